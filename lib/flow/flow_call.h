// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/support/status.h>

#include "lib/base/result.h"
#include "lib/flow/cluster.h"
#include "lib/flow/cluster_reader.h"
#include "lib/flow/gate.h"
#include "lib/flow/seat.h"
#include "observer.pb.h"

namespace sluice::flow {

// A call that reads flows of a cluster: whether its client may, now and as long
// as it reads, and what the nodes give. How the client gets the flows is the
// derived class's business. Any thread may call it.
class FlowCall : public ClusterCall,
                 public std::enable_shared_from_this<FlowCall> {
 public:
  explicit FlowCall(Cluster& cluster) : cluster_(cluster), seat_(cluster) {}

  // Before anything else, once. Without a gate, root at this host asks.
  void start(Gate* gate, const std::string& authorization);

  void on_batch(wire::FlowBatch batch, Clock::time_point now) final;
  void on_node(const std::string& node, const NodeView& view,
               Clock::time_point now) final;
  void on_lost(std::uint64_t id) final;
  void turn(Clock::time_point now) final;

 protected:
  // The members below are called, and are to be called, under this lock, which
  // is taken before the cluster's.
  std::mutex& mutex() { return mutex_; }

  // The request, as far as it is needed for the gate and for reading. The call
  // asks for it twice at most, and not before the client has a place.
  virtual Result<::observer::GetFlowsRequest> request() = 0;
  // There may be a next() message.
  virtual void pump(Clock::time_point now) = 0;
  // The call has ended; once.
  virtual void on_finish(const grpc::Status& status) = 0;
  // Ends the call if the client has taken nothing for too long.
  virtual void check_client(Clock::time_point /*now*/) {}

  // Ends the call with success at kEnd.
  ClusterReader::Step next(::observer::GetFlowsResponse& response,
                           Clock::time_point now);
  // Nothing happens if it has ended already.
  void finish(const grpc::Status& status);
  // Takes part in nothing any more. Not under the lock.
  void close();
  [[nodiscard]] bool reads() const { return reader_.has_value() && !ended_; }
  [[nodiscard]] bool has_ended() const { return ended_; }
  [[nodiscard]] const ClusterOptions& options() const {
    return cluster_.options();
  }

 private:
  // Asks the gate. Not under the lock.
  void ask();
  void admitted(const Admission& admission);
  void begin(const Admission& admission);
  void check(const Admission& admission);
  void send_commands();

  Cluster& cluster_;
  std::mutex mutex_;  // guards what follows
  Seat seat_;
  Gate* gate_ = nullptr;
  std::string authorization_;
  std::vector<std::string> namespaces_;  // to ask about, then those granted
  bool everything_ = false;              // is granted
  Clock::time_point check_at_ = Clock::time_point::max();
  std::optional<ClusterReader> reader_;
  bool ended_ = false;
};

}  // namespace sluice::flow
