// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/base/result.h"

namespace sluice::node {

// The answer to a request: lines of JSON, produced one by one as the client
// reads them; nullopt ends the reply and the connection.
using Reply = std::function<std::optional<std::string>()>;

// A reply of one line.
Reply reply_line(std::string line);

// The socket of a running program: a client sends one line of JSON and receives
// lines. Single-threaded and never blocks. A client that sends garbage, reads
// slowly or opens many connections affects no other client. Buffers, clients
// and their idle time are bounded.
class Server {
 public:
  struct Answer {
    Reply reply;              // empty: the client subscribes to publish()
    bool drops_only = false;  // subscribe to drops only
    // If not 0, the reply comes later, under this unique number; see answer().
    std::uint64_t ticket = 0;
  };
  using Handler = std::function<Answer(const std::string& request)>;

  // Creates the folder if needed and replaces a stale socket; mode 0600.
  static Result<Server> open(const std::filesystem::path& path,
                             Handler handler);
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  // removes the socket

  // Becomes readable when dispatch() has work.
  [[nodiscard]] int poll_fd() const;
  void dispatch();
  // Closes connections that have been idle too long at `now`; to be called
  // every few seconds.
  void expire(std::chrono::steady_clock::time_point now);

  // Sends the reply to the client with this ticket. False if it no longer
  // waits.
  bool answer(std::uint64_t ticket, Reply reply);
  // False if no more clients may wait.
  [[nodiscard]] bool can_wait() const;

  // True if there is a subscriber.
  [[nodiscard]] bool has_subscribers() const;
  // Sends a line to every subscriber. A subscriber with a full buffer loses the
  // line and later receives the number of lost lines.
  void publish(const std::string& line, bool is_drop);

 private:
  Server();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
