// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/wire/protocol.h"
#include "sluice/state.h"

namespace sluice::wire {

struct ClientOptions {
  std::string target;  // "sluice-operator.kube-system.svc:9443"
  std::string node;
  // Read again at every connect; empty: no token.
  std::filesystem::path token_file;
  // The trusted CA; read again at every connect.
  std::filesystem::path ca_file;
  bool plain_text = false;      // no TLS, and no CA file
  std::string server_name;      // in the certificate; empty: that of `target`
  std::string program_version;  // told to the operator, for its logs

  std::chrono::milliseconds backoff_first{100};
  std::chrono::milliseconds backoff_max{10'000};
  // Timeout to connect and receive the welcome.
  std::chrono::milliseconds welcome_timeout{10'000};
  std::chrono::milliseconds keepalive_interval{10'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  // Limits for a message, and for the memory of a snapshot or transaction;
  // larger ones are refused.
  std::size_t message_bytes_max = 4'000'000;
  std::size_t update_bytes_max = 512'000'000;
};

struct ClientStats {
  bool connected = false;
  std::uint64_t connects = 0;  // that succeeded
  std::uint64_t attempts = 0;  // all
  std::uint64_t disconnects = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t revision = 0;         // the last one delivered
  std::uint64_t refused_updates = 0;  // invalid ones
  std::string problem;                // why it is not connected, or empty
  Version version;  // the operator's protocol version, if connected
};

// The agent's end: subscribes for a node and stays subscribed, with jittered
// back-off. gRPC's threads only move messages; handlers are called from
// dispatch(), and all members are called from the owner's thread.
//
// Every update is checked completely before any of it is delivered. After an
// invalid one, the connection is restarted with a snapshot.
class Client {
 public:
  struct Handlers {
    // The whole view, to replace everything delivered before.
    std::function<void(std::uint64_t revision, State state)> on_snapshot;
    // The changes after the last snapshot, in order.
    std::function<void(Transaction transaction)> on_transaction;
    std::function<void(OnUnknown value)> on_unknown;
    // To a question of this connection.
    std::function<void(Answer answer)> on_answer;
    // The operator asks for flows; the owner calls give(), now or later. Void
    // when the connection ends. `id` has not been used on this connection.
    std::function<void(FlowRequest request)> on_flow_request;
    // About a request of this connection, which may have ended.
    std::function<void(const FlowControl& control)> on_flow_control;
    std::function<void(bool resumed, const std::string& operator_version)>
        on_connect;
    // Also after a connection that failed.
    std::function<void(const std::string& why)> on_disconnect;
  };

  // Begins to connect. Fails only for options that cannot work.
  static Result<Client> start(const ClientOptions& options, Handlers handlers);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();  // ends the stream; calls no handler

  // Readable when dispatch() has work, timers included.
  [[nodiscard]] int poll_fd() const;
  // Calls the handlers; does not wait. One call delivers at most one snapshot
  // or transaction: what the owner has not taken yet waits at the operator,
  // which merges it. Handlers may call every member but this.
  void dispatch();

  // Reports the owner's progress to the operator. The last call counts; it is
  // repeated after a reconnect.
  void acknowledge(const Ack& ack);

  // Announces a pod's addresses to the operator or, without addresses,
  // withdraws them; repeated after a reconnect. False if the connected operator
  // is too old to understand this.
  bool announce(const PodAddress& pod);
  // Reports all addresses of the node to the operator; repeated after a
  // reconnect. Addresses beyond kNodeAddressesMax are left out. Nothing is sent
  // to an operator that is too old to understand this.
  void set_addresses(const std::vector<IpAddress>& addresses);

  // Asks the connected operator. The answer comes by on_answer(), unless the
  // connection ends first; the caller sets a time limit. False, without asking,
  // if there is no connection or the operator is too old to answer. The caller
  // bounds the number of open questions.
  bool ask(const Question& question);

  // Sends a batch of flows to the operator, after everything else that waits.
  // Without a connection it is dropped. To be called for what the operator has
  // asked for on this connection only: this bounds what may wait here.
  void give(FlowBatch batch);

  [[nodiscard]] ClientStats stats() const;

 private:
  Client();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::wire
