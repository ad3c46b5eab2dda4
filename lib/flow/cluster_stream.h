// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "lib/flow/cluster.h"
#include "lib/flow/cluster_observer.h"
#include "lib/flow/cluster_reader.h"
#include "observer.pb.h"

// Calls of ClusterObserver. Internal to it.
namespace sluice::flow {

// One of the calls that a cluster permits at a time.
class Seat {
 public:
  explicit Seat(Cluster& cluster) : cluster_(cluster) {}
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;
  Seat(Seat&&) = delete;
  Seat& operator=(Seat&&) = delete;
  ~Seat() { leave(); }

  // In place of the seat that it has. `user`: see Cluster::enter().
  Result<void> take(const std::string& user);
  void leave();

 private:
  Cluster& cluster_;
  std::optional<std::string> user_;
};

// A call of GetFlows.
class ClusterStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                            public ClusterCall,
                            public std::enable_shared_from_this<ClusterStream> {
 public:
  // `request`: what the client has sent, which may be anything.
  ClusterStream(Cluster& cluster, grpc::CallbackServerContext& context,
                const grpc::ByteBuffer& request)
      : cluster_(cluster),
        context_(context),
        seat_(cluster),
        request_(request) {}

  // Before anything else, once; keeps itself alive until gRPC is done with it.
  void start(Gate* gate, const std::string& authorization);

  void on_batch(wire::FlowBatch batch, Clock::time_point now) override;
  void on_node(const std::string& node, const NodeView& view,
               Clock::time_point now) override;
  void on_lost(std::uint64_t id) override;
  void turn(Clock::time_point now) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // Asks the gate. Not under the lock.
  void ask();
  void admitted(const Admission& admission);
  // These are under the lock.
  void begin(const Admission& admission);
  void check(const Admission& admission);
  void pump(Clock::time_point now);
  void write(const ::observer::GetFlowsResponse& response,
             Clock::time_point now);
  void finish(const grpc::Status& status);

  Cluster& cluster_;
  grpc::CallbackServerContext& context_;  // until OnDone()
  std::shared_ptr<ClusterStream> self_;
  std::mutex mutex_;  // guards what follows; taken before the cluster's
  Seat seat_;
  grpc::ByteBuffer request_;  // not parsed before the client is admitted
  Gate* gate_ = nullptr;
  std::string authorization_;
  std::vector<std::string> namespaces_;  // to ask about, then those granted
  bool everything_ = false;              // is granted
  Clock::time_point check_at_ = Clock::time_point::max();
  std::optional<ClusterReader> reader_;
  grpc::ByteBuffer response_;
  bool writing_ = false;
  Clock::time_point written_at_;  // when it has begun to
  bool ended_ = false;
  std::optional<grpc::Status> last_words_;  // once what is written has gone
};

// A call that all nodes answer once; waits a while for them.
class ClusterQuery final : public grpc::ServerUnaryReactor,
                           public ClusterCall,
                           public std::enable_shared_from_this<ClusterQuery> {
 public:
  struct Answers {
    std::map<std::string, NodeView> nodes;
    std::map<std::string, std::string> messages;  // of those that answered
  };
  // Puts what has come in time into the response.
  using Fill = std::function<void(const Answers& answers)>;

  ClusterQuery(Cluster& cluster, wire::FlowKind kind, Fill fill)
      : cluster_(cluster),
        seat_(cluster),
        kind_(kind),
        fill_(std::move(fill)) {}

  // As that of ClusterStream.
  void start(Gate* gate, const std::string& authorization);

  void on_batch(wire::FlowBatch batch, Clock::time_point now) override;
  void on_node(const std::string& node, const NodeView& view,
               Clock::time_point now) override;
  void on_lost(std::uint64_t id) override;
  void turn(Clock::time_point now) override;

  void OnCancel() override;
  void OnDone() override;

 private:
  void admitted(const Admission& admission);
  // These are under the lock.
  void begin();
  void finish(const grpc::Status& status);

  Cluster& cluster_;
  std::shared_ptr<ClusterQuery> self_;
  std::mutex mutex_;  // guards what follows; taken before the cluster's
  Seat seat_;
  const wire::FlowKind kind_;
  const Fill fill_;
  std::map<std::uint64_t, std::string> asked_;  // node of each request
  Answers answers_;
  Clock::time_point until_ = Clock::time_point::max();
  bool begun_ = false;
  bool ended_ = false;
};

}  // namespace sluice::flow
