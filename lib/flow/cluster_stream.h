// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include <grpcpp/grpcpp.h>

#include "lib/flow/flow_call.h"
#include "lib/flow/node_query.h"

// Calls of ClusterObserver. Internal to it.
namespace sluice::flow {

// A call of GetFlows.
class ClusterStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                            public FlowCall {
 public:
  // `bytes`: what the client has sent, which may be anything.
  ClusterStream(Cluster& cluster, grpc::CallbackServerContext& context,
                const grpc::ByteBuffer& bytes)
      : FlowCall(cluster), context_(context), bytes_(bytes) {}

  // FlowCall::start(); keeps itself alive until gRPC is done with it.
  void begin_call(Gate* gate, const std::string& authorization);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 protected:
  Result<::observer::GetFlowsRequest> request() override;
  void pump(Clock::time_point now) override;
  void on_end(const grpc::Status& status) override;
  void check_client(Clock::time_point now) override;

 private:
  void write(const ::observer::GetFlowsResponse& response,
             Clock::time_point now);

  grpc::CallbackServerContext& context_;  // until OnDone()
  std::shared_ptr<GatedCall> self_;
  // These are under the lock.
  grpc::ByteBuffer bytes_;  // not parsed before the client has a place
  grpc::ByteBuffer response_;
  bool writing_ = false;
  Clock::time_point written_at_;            // when it has begun to
  std::optional<grpc::Status> last_words_;  // once what is written has gone
};

// A call that all nodes answer once. Deletes itself when gRPC is done with it.
class ClusterQuery final : public grpc::ServerUnaryReactor {
 public:
  // Puts what has come in time into the response.
  using Fill = std::function<void(const NodeQuery::Answers& answers)>;

  ClusterQuery(Cluster& cluster, wire::FlowKind kind, Fill fill);
  void start(Gate* gate, const std::string& authorization);

  void OnCancel() override;
  void OnDone() override;

 private:
  const std::shared_ptr<NodeQuery> query_;
};

}  // namespace sluice::flow
