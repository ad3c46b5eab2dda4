// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <grpcpp/support/status.h>

#include "lib/base/result.h"
#include "lib/flow/cluster.h"
#include "lib/flow/cluster_reader.h"
#include "lib/flow/gated_call.h"
#include "observer.pb.h"

namespace sluice::flow {

// A call that reads flows of a cluster: whether its client may, now and as long
// as it reads, and what the nodes give. How the client gets the flows is the
// derived class's business. Any thread may call it.
class FlowCall : public GatedCall {
 public:
  explicit FlowCall(Cluster& cluster) : GatedCall(cluster, Places::kReaders) {}

  void on_batch(wire::FlowBatch batch, Clock::time_point now) final;
  void on_node(const std::string& node, const NodeView& view,
               Clock::time_point now) final;
  void on_lost(std::uint64_t id) final;
  void turn(Clock::time_point now) final;

 protected:
  // These are called, and are to be called, under the lock.

  // The request, as far as it is needed for the gate and for reading. The call
  // asks for it twice at most, and not before the client has a place.
  virtual Result<::observer::GetFlowsRequest> request() = 0;
  // There may be a next() message.
  virtual void pump(Clock::time_point now) = 0;
  // The call has ended; once.
  virtual void on_end(const grpc::Status& status) = 0;
  // Ends the call if the client has taken nothing for too long.
  virtual void check_client(Clock::time_point /*now*/) {}

  // Ends the call with success at kEnd.
  ClusterReader::Step next(::observer::GetFlowsResponse& response,
                           Clock::time_point now);
  [[nodiscard]] bool reads() const {
    return reader_.has_value() && !has_ended();
  }
  [[nodiscard]] const ClusterOptions& options() const {
    return cluster().options();
  }

 private:
  Result<std::vector<std::string>> namespaces_to_ask() final;
  void on_admitted(const Admission& admission) final;
  void on_checked(const Admission& admission) final;
  void on_finish(const grpc::Status& status) final;
  void send_commands();

  // Under the lock.
  std::vector<std::string> namespaces_;  // that are granted
  bool everything_ = false;              // is granted
  Clock::time_point check_at_ = Clock::time_point::max();
  std::optional<ClusterReader> reader_;
};

}  // namespace sluice::flow
