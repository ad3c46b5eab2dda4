// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <grpcpp/support/status.h>

#include "lib/flow/cluster.h"
#include "lib/flow/gate.h"
#include "lib/flow/seat.h"
#include "lib/wire/protocol.h"

namespace sluice::flow {

// A question that all nodes of a cluster answer once. Waits a while for them.
// Any thread may call it.
class NodeQuery final : public ClusterCall,
                        public std::enable_shared_from_this<NodeQuery> {
 public:
  struct Answers {
    std::map<std::string, NodeView> nodes;
    // Of the nodes that have answered in time, and completely.
    std::map<std::string, std::vector<std::string>> messages;
  };
  // Called once, in any thread, with what has come in time; there are answers
  // if the status is OK. Must not call the query.
  using Done =
      std::function<void(const grpc::Status& status, const Answers& answers)>;

  // `request`: of what is no flows; see wire::FlowRequest.
  static std::shared_ptr<NodeQuery> create(Cluster& cluster,
                                           wire::FlowKind kind,
                                           std::string request, Done done);
  // Use create().
  NodeQuery(Cluster& cluster, wire::FlowRequest request, Done done);

  // Before anything else, once. Without a gate, root at this host asks.
  void start(Gate* gate, const std::string& authorization);
  // Ends the query, if it has not ended, with CANCELLED.
  void cancel();
  // Takes part in nothing any more.
  void close();

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

  void admitted(const Admission& admission);
  // These are under the lock.
  void begin();
  void finish(const grpc::Status& status);
  void finish_if_complete();

  Cluster& cluster_;
  std::mutex mutex_;  // guards what follows; taken before the cluster's
  Seat seat_;
  const std::shared_ptr<const wire::FlowRequest> request_;
  Done done_;
  std::map<std::uint64_t, Asked> asked_;
  Answers answers_;
  Clock::time_point until_ = Clock::time_point::max();
  bool begun_ = false;
  bool ended_ = false;
};

}  // namespace sluice::flow
