// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/support/status.h>

#include "lib/flow/cluster.h"
#include "lib/flow/gated_call.h"
#include "lib/wire/protocol.h"

namespace sluice::flow {

// A question that all nodes of a cluster answer once. Waits a while for them.
// Any thread may call it.
class NodeQuery final : public GatedCall {
 public:
  // Why a node that has been asked has not answered, other than for the time.
  // kRefused: by its agent, or by a replica on the way to it.
  struct Failure {
    enum class Kind : std::uint8_t { kRefused, kTooLarge, kGone };
    Kind kind = Kind::kGone;
    std::string text;  // kRefused: may be anything
    bool operator==(const Failure&) const = default;
  };
  struct Answers {
    std::map<std::string, NodeView> nodes;
    // Of the nodes that have answered in time, and completely.
    std::map<std::string, std::vector<std::string>> messages;
    std::map<std::string, Failure> failures;
  };
  // Called once, in any thread, with what has come in time; there are answers
  // if the status is OK. Must not call the query.
  using Done =
      std::function<void(const grpc::Status& status,
                         const std::shared_ptr<const Answers>& answers)>;

  // `request`: of what is no flows; see wire::FlowRequest.
  static std::shared_ptr<NodeQuery> create(Cluster& cluster,
                                           wire::FlowKind kind,
                                           std::string request, Done done,
                                           Places places = Places::kReaders);
  // Use create().
  NodeQuery(Cluster& cluster, wire::FlowRequest request, Done done,
            Places places);

  // Ends the query, if it has not ended, with CANCELLED.
  void cancel();

  void on_batch(wire::FlowBatch batch, Clock::time_point now) override;
  void on_node(const std::string& node, const NodeView& view,
               Clock::time_point now) override;
  void on_lost(std::uint64_t id) override;
  void turn(Clock::time_point now) override;

 private:
  struct Asked {
    std::string node;
    std::vector<std::string> messages;
    std::size_t bytes = 0;
  };

  // These are under the lock.
  Result<std::vector<std::string>> namespaces_to_ask() override { return {}; }
  void on_admitted(const Admission& admission) override;
  void on_finish(const grpc::Status& status) override;
  void finish_if_complete();

  const std::shared_ptr<const wire::FlowRequest> request_;
  Done done_;
  std::map<std::uint64_t, Asked> asked_;
  // Nobody changes it any more when the query has ended.
  std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();
  Clock::time_point until_ = Clock::time_point::max();
};

}  // namespace sluice::flow
