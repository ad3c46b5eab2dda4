// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/wire/authenticator.h"
#include "lib/wire/protocol.h"
#include "lib/wire/tls.h"
#include "sluice/state.h"

namespace sluice::wire {

struct ServerOptions {
  std::string address = "0.0.0.0:9443";  // port 0: any; port() tells
  // Without a certificate the server starts only if plain text is asked for.
  std::optional<TlsCertificate> certificate;
  bool plain_text = false;
  std::string program_version;  // told to agents, for their logs
  // Of replicas that may report; empty: none may. See replication.h.
  std::string replica_token;

  // A stream that has not said who it is by then is ended.
  std::chrono::milliseconds hello_timeout{10'000};
  // How long what a disconnected agent misses is kept for it.
  std::chrono::milliseconds resume_for{60'000};
  std::chrono::milliseconds keepalive_interval{10'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  std::size_t streams_max = 16'384;
  std::size_t unknown_streams_max = 1'024;  // that have not said who they are
  // Snapshots being sent at once; who comes later waits.
  std::size_t snapshots_max = 64;
  // Changes kept for one slow or absent agent; beyond it gets a snapshot.
  std::size_t pending_changes_max = 1'000'000;
  // Transactions sent and not acknowledged; what comes meanwhile is merged.
  std::size_t unacknowledged_max = 1;
  std::size_t chunk_bytes = 1'000'000;
};

// An agent that has said who it is.
struct Connected {
  std::string node;
  std::string peer;           // address, for logs
  std::string agent_version;  // of the program
  Version version;            // of the protocol
  bool resumed = false;       // it goes on where it was: needs no snapshot
};

struct ServerStats {
  std::size_t streams = 0;  // open, known or not
  std::size_t agents = 0;   // connected
  std::uint64_t messages_sent = 0;
  std::uint64_t bytes_sent = 0;  // of messages, before TLS and framing
  std::uint64_t snapshots_sent = 0;
  std::uint64_t transactions_sent = 0;
  std::uint64_t transactions_merged = 0;  // into one that had to wait
  std::uint64_t refused = 0;              // streams, for whatever reason
};

// The operator's end. gRPC's threads only move messages; everything of the
// owner's is called from dispatch(), and all members are called from the
// owner's thread.
//
// For every node that an agent subscribed for, it keeps where that agent is.
// What is sent to a slow agent is merged into one transaction; nothing is
// queued without bound. An agent that comes back within `resume_for` gets the
// difference.
class Server {
 public:
  struct Handlers {
    // An agent has subscribed. It replaces one connected for the same node.
    std::function<void(const Connected&)> on_connect;
    // The node must be given send_snapshot(), now or later; until then send()
    // for it does nothing. Called after on_connect() of an agent that was not
    // resumed, and when more than `pending_changes_max` changes wait.
    std::function<void(const std::string& node)> on_snapshot_needed;
    // `ack.received` is a revision of the last snapshot or what followed it.
    std::function<void(const std::string& node, const Ack& ack)> on_ack;
    // Addresses of pods as their node knows them. `begins`: what that node's
    // agent said of pods before is void. Nobody has checked that these are pods
    // of the node, or that the addresses can be theirs.
    std::function<void(const std::string& node, bool begins,
                       const std::vector<PodAddress>& pods)>
        on_announcement;
    // All addresses that the agent has found on its node. Nobody has checked
    // whose they can be. An older agent says nothing.
    std::function<void(const std::string& node,
                       const std::vector<IpAddress>& addresses)>
        on_addresses;
    // What is sent from now on is kept for the agent, for a while.
    std::function<void(const std::string& node, const std::string& why)>
        on_disconnect;
    // The agent has not come back: nothing is kept for it any more, and the
    // next one gets a snapshot.
    std::function<void(const std::string& node)> on_forget;
    // Another replica tells of its agents: of the nodes that changed since it
    // told last or, the `first` time, of all. Replicas that are not heard of
    // any more are for the owner to forget_replica().
    std::function<void(const std::string& replica, bool first,
                       const std::vector<NodeReport>& nodes)>
        on_report;
    // For the log: a stream was refused or ended for what it did. Bounded by
    // the caller.
    std::function<void(const std::string& peer, const std::string& why)>
        on_refused;
  };

  // Listens. Handlers that are empty are not called. `authenticator` must
  // outlive the server.
  static Result<Server> start(const ServerOptions& options, Handlers handlers,
                              Authenticator& authenticator);
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  // Ends all streams; calls no handler.
  ~Server();

  [[nodiscard]] int port() const;

  // Readable when dispatch() has something to do, timers included.
  [[nodiscard]] int poll_fd() const;
  // Calls the handlers; does not wait. Handlers may call every member but this.
  void dispatch();

  // The node's whole view. What was to be sent before is not sent any more.
  // Ignored for a node that no agent subscribed for.
  void send_snapshot(const std::string& node, std::uint64_t revision,
                     std::shared_ptr<const State> state);
  // What follows. Revisions grow. Ignored for a node that waits for a snapshot
  // or that no agent subscribed for. A transaction without changes is passed
  // on too: its revision is acknowledged.
  void send(const std::string& node,
            std::shared_ptr<const Transaction> transaction);
  // For pods that no verdict is known for; kept, and told again after each
  // reconnect, until the node is forgotten. In the order of send().
  void set_on_unknown(const std::string& node, OnUnknown value);

  // Told to all replicas that report: what the agent of a node has found there;
  // not set: the node is gone.
  void set_found(const std::string& node,
                 const std::optional<std::vector<IpAddress>>& addresses);
  // The replica's next report is its first one again.
  void forget_replica(const std::string& replica);

  // Ends the agent's stream; it will come back, to another replica perhaps.
  void disconnect(const std::string& node, const std::string& why);
  // For new connections, within two seconds. The old one stays on failure.
  Result<void> set_certificate(const TlsCertificate& certificate);
  void set_replica_token(const std::string& token);

  [[nodiscard]] ServerStats stats() const;

 private:
  Server();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::wire
