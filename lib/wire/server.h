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

class RelayAcceptor;

struct ServerOptions {
  std::string address = "0.0.0.0:9443";  // port 0: any; port() tells
  // Without a certificate the server starts only if plain text is requested.
  std::optional<TlsCertificate> certificate;
  bool plain_text = false;
  std::string program_version;  // told to agents, for their logs
  // Token of replicas that may report; empty: none may. See replication.h.
  std::string replica_token;
  // Takes the streams of other replicas; null: they are refused. See relay.h.
  std::shared_ptr<RelayAcceptor> relay;

  // A stream that has not authenticated by then is ended.
  std::chrono::milliseconds hello_timeout{10'000};
  // How long changes are kept for a disconnected agent.
  std::chrono::milliseconds resume_for{60'000};
  std::chrono::milliseconds keepalive_interval{10'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  std::size_t streams_max = 16'384;
  std::size_t unknown_streams_max = 1'024;  // not authenticated
  // Limit for snapshots sent at the same time; other agents wait.
  std::size_t snapshots_max = 64;
  // Limit for the changes kept for one slow or absent agent; beyond it, the
  // agent gets a snapshot.
  std::size_t pending_changes_max = 1'000'000;
  // Limit for transactions sent and not acknowledged; later changes are merged.
  std::size_t unacknowledged_max = 1;
  std::size_t chunk_bytes = 1'000'000;
  // Questions of one agent. After a pause, it may ask as many at once.
  double questions_per_second = 5;
};

// An authenticated agent.
struct Connected {
  std::string node;
  std::string peer;           // address, for logs
  std::string agent_version;  // of the program
  Version version;            // of the protocol
  bool resumed = false;       // it resumes and needs no snapshot
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

// The operator's end. gRPC's threads only move messages; handlers are called
// from dispatch(), and all members are called from the owner's thread.
//
// It tracks the state of the agent of every subscribed node. Changes for a slow
// agent are merged into one transaction; nothing is queued without bound. An
// agent that reconnects within `resume_for` gets the difference.
class Server {
 public:
  struct Handlers {
    // An agent has subscribed. It replaces an agent connected for the same
    // node.
    std::function<void(const Connected&)> on_connect;
    // The owner must call send_snapshot() for the node, now or later; until
    // then send() for it does nothing. Called after on_connect() of an agent
    // that was not resumed and the first on_announcement() of such an agent,
    // unless it is too old to announce, and when more than
    // `pending_changes_max` changes wait.
    std::function<void(const std::string& node)> on_snapshot_needed;
    // `ack.received` is a revision of the last snapshot or of a later
    // transaction.
    std::function<void(const std::string& node, const Ack& ack)> on_ack;
    // Addresses of pods as their node knows them. `begins`: earlier
    // announcements of that node's agent are void. It is not checked whether
    // these are pods of the node, or whether they can have the addresses.
    std::function<void(const std::string& node, bool begins,
                       const std::vector<PodAddress>& pods)>
        on_announcement;
    // All addresses that the agent has found on its node. It is not checked
    // whose they can be. Older agents do not report.
    std::function<void(const std::string& node,
                       const std::vector<IpAddress>& addresses)>
        on_addresses;
    // The agent asks something. The owner calls answer(), now or later. Not
    // called for more questions than `questions_per_second`.
    std::function<void(const std::string& node, Question question)> on_question;
    // Of a request for flows. Also called for requests that have been cancelled
    // or that there never were.
    std::function<void(const std::string& node, FlowBatch batch)> on_flows;
    // The agent has disconnected; later changes are kept for it for a while.
    // Its requests for flows have ended.
    std::function<void(const std::string& node, const std::string& why)>
        on_disconnect;
    // The agent has not reconnected in time: nothing is kept for it any more,
    // and the next one gets a snapshot.
    std::function<void(const std::string& node)> on_forget;
    // Another replica reports on its agents: on the nodes that have changed
    // since its last report or, the `first` time, on all. The owner calls
    // forget_replica() for replicas that no longer report.
    std::function<void(const std::string& replica, bool first,
                       const std::vector<NodeReport>& nodes)>
        on_report;
    // For the log: a stream was refused or ended because of its behaviour. The
    // caller limits the rate.
    std::function<void(const std::string& peer, const std::string& why)>
        on_refused;
  };

  // Starts to listen. Empty handlers are not called. `authenticator` must
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

  // Readable when dispatch() has work, timers included.
  [[nodiscard]] int poll_fd() const;
  // Calls the handlers; does not wait. Handlers may call every member but this.
  void dispatch();

  // Sends the node's whole view and drops pending changes. Ignored for a node
  // without a subscribed agent.
  void send_snapshot(const std::string& node, std::uint64_t revision,
                     std::shared_ptr<const State> state);
  // Sends changes. Revisions increase. Ignored for a node that waits for a
  // snapshot or has no subscribed agent. A transaction without changes is sent
  // too, because its revision is acknowledged.
  void send(const std::string& node,
            std::shared_ptr<const Transaction> transaction);
  // Sets what to do with pods without a known verdict; stored, and sent again
  // after each reconnect, until the node is forgotten. In the order of send().
  void set_on_unknown(const std::string& node, OnUnknown value);

  // Sets, for all reporting replicas, the addresses that the agent of a node
  // has found; not set: the node is gone.
  void set_found(const std::string& node,
                 const std::optional<std::vector<IpAddress>>& addresses);
  // The replica's next report counts as its first one again.
  void forget_replica(const std::string& replica);

  // Answers a question of the node's agent, after the changes that wait for it.
  // Ignored if the agent is gone.
  void answer(const std::string& node, const Answer& answer);

  // Asks the node's agent for flows, after everything else that waits for it.
  // `id` stands for that of the request, which many nodes may share. False if
  // no agent is connected or it is too old. The caller bounds the number of
  // open requests.
  bool request_flows(const std::string& node, std::uint64_t id,
                     std::shared_ptr<const FlowRequest> request);
  // About a request that has not ended. Ignored if the agent is gone.
  void control_flows(const std::string& node, const FlowControl& control);

  // Ends the agent's stream; the agent will reconnect, perhaps to another
  // replica.
  void disconnect(const std::string& node, const std::string& why);
  // Sets the certificate for new connections, within two seconds. On failure
  // the old one stays in use.
  Result<void> set_certificate(const TlsCertificate& certificate);
  void set_replica_token(const std::string& token);

  [[nodiscard]] ServerStats stats() const;

 private:
  Server();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::wire
