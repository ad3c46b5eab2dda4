// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/base/result.h"
#include "lib/wire/protocol.h"

// Streams between the operator's replicas, by which each gives the others the
// flows of its agents: Replication.Relay in wire.proto.
namespace sluice::wire {

class RelayAcceptor;

struct RelayOptions {
  std::string replica;            // this one's name
  std::size_t accepted_max = 64;  // streams of other replicas to this one
  // Limit for connecting and for the other end's hello.
  std::chrono::milliseconds hello_timeout{10'000};
  // A stream whose other end has not read a message for so long is ended.
  std::chrono::milliseconds write_patience{30'000};
  // Of what waits to be sent on one stream, in bytes. Batches are refused
  // beyond it; with twice as much, the stream is ended.
  std::size_t waiting_max = 64 << 20;
  // How soon a stream to the leader is tried again, and how soon if the leader
  // does not know of such streams.
  std::chrono::milliseconds retry{1'000};
  std::chrono::milliseconds retry_unknown{30'000};
};

struct RelayTarget {
  std::string target;       // "10.0.0.1:9443"
  std::string server_name;  // in the certificate
  std::string ca_pem;       // what to trust; empty: plain text
  std::string token;        // replica_token()
};

// All streams of one replica: one to the leader, if it is another replica, and
// those that other replicas have opened. gRPC's threads only move messages;
// handlers are called from dispatch() or set_leader(), and all members are
// called from the owner's thread.
//
// A message is read from a stream when the one before has been handled.
class RelayLinks {
 public:
  // A number that no other stream of this object has had; not 0.
  using Link = std::uint64_t;

  struct Handlers {
    // The other end has said who it is. `to_leader`: set_leader() has opened
    // the stream. A second stream of the same replica replaces the first one.
    std::function<void(Link, const std::string& replica, bool to_leader)>
        on_open;
    // After an error, the stream ends.
    std::function<Result<void>(Link, RelayMessage)> on_message;
    // Of a stream that was opened.
    std::function<void(Link, const std::string& why)> on_close;
    // The stream to the leader has ended or could not be opened; it is tried
    // again.
    std::function<void(const std::string& why)> on_problem;
  };

  static Result<RelayLinks> open(RelayOptions options, Handlers handlers);
  RelayLinks(RelayLinks&&) noexcept;
  RelayLinks& operator=(RelayLinks&&) noexcept;
  RelayLinks(const RelayLinks&) = delete;
  RelayLinks& operator=(const RelayLinks&) = delete;
  ~RelayLinks();  // ends the streams; calls no handler

  // Takes the streams that arrive at a server; for ServerOptions::relay.
  [[nodiscard]] std::shared_ptr<RelayAcceptor> acceptor() const;

  // Readable when dispatch() has work, timers included.
  [[nodiscard]] int poll_fd() const;
  void dispatch();

  // Ends the stream to the leader before, and opens one to this. nullopt: this
  // replica leads, or nobody does.
  void set_leader(std::optional<RelayTarget> leader);
  // Ends the streams of other replicas; these will open new ones, with a token
  // that is valid now.
  void end_accepted(const std::string& why);

  // False, without sending, if the message is a batch that is too large or for
  // which there is no room. A stream that has ended takes everything.
  bool send(Link link, RelayMessage message);

 private:
  RelayLinks();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::wire
