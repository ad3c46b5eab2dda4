// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/result.h"
#include "lib/flow/cluster_reader.h"
#include "lib/wire/protocol.h"

namespace sluice::flow {

// A call of a client that agents answer. gRPC's threads and the owner's call
// it; the cluster shares it with the call.
class ClusterCall {
 public:
  using Clock = std::chrono::steady_clock;

  ClusterCall() = default;
  ClusterCall(const ClusterCall&) = delete;
  ClusterCall& operator=(const ClusterCall&) = delete;
  ClusterCall(ClusterCall&&) = delete;
  ClusterCall& operator=(ClusterCall&&) = delete;
  virtual ~ClusterCall() = default;

  virtual void on_batch(wire::FlowBatch batch, Clock::time_point now) = 0;
  virtual void on_node(const std::string& node, const NodeView& view,
                       Clock::time_point now) = 0;
  virtual void on_lost(std::uint64_t id) = 0;
  // Does what is due.
  virtual void turn(Clock::time_point now) = 0;
};

// Of which a call takes one. Those who read flows, and questions of people to
// all nodes (`sluice status --operator`), keep each other from nothing.
enum class Places : std::uint8_t { kReaders, kQuestions };

struct ClusterOptions {
  std::string version;  // of the program
  // Readers at a time, of all clients, of one user, and of those that are not
  // known yet; others are refused.
  std::size_t calls_max = 64;
  std::size_t user_calls_max = 16;
  std::size_t unknown_calls_max = 64;
  std::size_t questions_max = 16;
  ClusterReaderOptions reader;
  // A stream whose client has not taken a message for so long is ended: it has
  // one of few places.
  std::chrono::milliseconds write_patience{60'000};
  // For the state of nodes, clients wait so long.
  std::chrono::milliseconds patience{2'000};
  // How often a stream's right is checked again.
  std::chrono::milliseconds check_right_every{60'000};
};

// The nodes of a cluster as sources of flows: passes requests of clients to
// agents, and what these answer back. Nothing is asked of a node unless a
// client waits for it.
//
// The owner's thread calls the members before `add`; those after it are for
// calls, in any thread.
class Cluster {
 public:
  using Clock = ClusterCall::Clock;

  // How to reach agents. Called from turn() only, but for `wake`.
  struct Links {
    // False if the node's agent cannot be asked. `id` stands for that of the
    // request.
    std::function<bool(const std::string& node, std::uint64_t id,
                       const std::shared_ptr<const wire::FlowRequest>&)>
        request;
    std::function<void(const std::string& node, const wire::FlowControl&)>
        control;
    // turn() has to be called soon. Any thread.
    std::function<void()> wake;
  };

  Cluster(ClusterOptions options, Links links);

  // Every change, and each time that an agent connects: what was asked of its
  // earlier connection is void. kGone: forgets the node.
  void set_node(const std::string& node, NodeState state);
  void on_batch(wire::FlowBatch batch);
  // To be called often; sends what calls want of agents.
  void turn();

  // Takes part in what happens from now on. Gives the nodes as they are now.
  std::map<std::string, NodeView> add(const std::shared_ptr<ClusterCall>& call);
  void remove(const std::shared_ptr<ClusterCall>& call);
  // Answers to these requests are for the call.
  void send(const std::shared_ptr<ClusterCall>& call,
            std::vector<NodeCommand> commands);
  // Random: an agent cannot answer a request that another one has got, nor one
  // of another operator's.
  static std::uint64_t next_id();
  [[nodiscard]] const ClusterOptions& options() const { return options_; }
  [[nodiscard]] std::int64_t started() const { return started_; }

  // Counts a call; an error if there are too many. `user`: empty if not known
  // yet.
  Result<void> enter(const std::string& user, Places places);
  void leave(const std::string& user, Places places);

  struct Counters {
    std::size_t calls = 0;      // open
    std::uint64_t refused = 0;  // because there were too many
  };
  [[nodiscard]] Counters counters() const;

 private:
  [[nodiscard]] std::vector<std::shared_ptr<ClusterCall>> calls() const;
  void run(const NodeCommand& command);

  const ClusterOptions options_;
  const Links links_;
  const std::int64_t started_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, NodeView> nodes_;
  std::uint64_t generation_ = 0;
  std::set<std::shared_ptr<ClusterCall>> calls_;
  std::unordered_map<std::uint64_t, std::shared_ptr<ClusterCall>> routes_;
  std::vector<NodeCommand> commands_;
  std::map<std::string, std::size_t> users_;
  std::size_t known_ = 0;  // readers that are users
  std::size_t questions_ = 0;
  std::uint64_t refused_ = 0;
};

}  // namespace sluice::flow
