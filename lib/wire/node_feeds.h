// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>

#include "lib/wire/deadlines.h"
#include "lib/wire/poller.h"
#include "lib/wire/protocol.h"
#include "lib/wire/server.h"
#include "lib/wire/session.h"
#include "sluice/state.h"

namespace sluice::wire {

// What the agents of the nodes are sent. Each node has an outbox, which
// outlives the streams of its agent, and a place in the queue for snapshots.
// Streams are neither admitted nor ended here. All members are for the owner's
// thread; gRPC's threads take from the outboxes.
class NodeFeeds {
 public:
  // Takes the limits for what is kept from `options`. `events` is notified when
  // next_snapshot() may have something.
  NodeFeeds(const ServerOptions& options, std::shared_ptr<StreamEvents> events);

  // True if the node that the stream is for has this stream, and no other has
  // taken its place.
  [[nodiscard]] bool is_current(const Stream& stream) const;
  // Takes the stream away from the node, and returns it; null if there is none.
  // What waits for the agent is kept.
  std::shared_ptr<Stream> detach(const std::string& node);
  // Subscribes the stream for its node, which has none at the moment, and
  // completes the welcome. Returns whether the agent resumes; if not, a
  // snapshot is needed.
  bool attach(const std::shared_ptr<Stream>& stream, v1::Welcome welcome);

  // Keeps what waits for a node without a stream until then.
  void forget_at(Clock::time_point when, const std::string& node);
  // Forgets the nodes that are due at `now` and still have no stream, and calls
  // `forgotten` for each.
  void run_timers(Clock::time_point now,
                  const std::function<void(const std::string&)>& forgotten);
  // When run_timers() has something to do; Clock::time_point::max() if never.
  [[nodiscard]] Clock::time_point next_timer() const {
    return forget_at_.next();
  }

  // A node whose snapshot must be made now, and counts as being sent from now
  // on; nullopt if there is none or too many are being sent.
  std::optional<std::string> next_snapshot();
  // The agent must get a snapshot, as soon as it has announced its pods.
  void need_snapshot(const std::string& node);
  // The snapshot has been sent on this stream.
  void snapshot_sent(const Stream& stream);

  // The agent's word on a revision. `known`: it was sent and had not been
  // acknowledged. `current`: it belongs to what the agent is sent now. The
  // stream must be that of its node.
  struct Acknowledged {
    bool known = false;
    bool current = false;
  };
  Acknowledged acknowledge(const Stream& stream, std::uint64_t origin,
                           std::uint64_t revision);

  // As the members of Server.
  void send_snapshot(const std::string& node, std::uint64_t revision,
                     std::shared_ptr<const State> state);
  void send(const std::string& node,
            std::shared_ptr<const Transaction> transaction);
  void set_on_unknown(const std::string& node, OnUnknown value);
  void answer(const std::string& node, const Answer& answer);
  bool request_flows(const std::string& node, std::uint64_t id,
                     std::shared_ptr<const FlowRequest> request);
  void control_flows(const std::string& node, const FlowControl& control);

  // The node's stream; null if it has none.
  [[nodiscard]] std::shared_ptr<Stream> stream_of(
      const std::string& node) const;
  // Nodes with a stream.
  [[nodiscard]] std::size_t connected() const;
  // Transactions that were merged into one that had to wait.
  [[nodiscard]] std::uint64_t merged() const { return merged_; }

 private:
  struct Node {
    std::shared_ptr<Outbox> outbox;
    std::shared_ptr<Stream> stream;  // null: not connected
    bool needs_snapshot = true;
    bool queued = false;  // in snapshot_queue_
    bool asked = false;   // a snapshot is being made or sent
    Clock::time_point forget_at;
  };
  Node* find(const std::string& name);
  void need_snapshot(const std::string& name, Node& node);
  void snapshot_over(Node& node);

  std::shared_ptr<StreamEvents> events_;
  std::size_t pending_changes_max_;
  std::size_t unacknowledged_max_;
  std::size_t snapshots_max_;
  std::random_device random_;
  std::unordered_map<std::string, Node> nodes_;
  std::deque<std::string> snapshot_queue_;
  std::size_t snapshots_active_ = 0;
  Deadlines<std::string> forget_at_;
  std::uint64_t merged_ = 0;
};

}  // namespace sluice::wire
