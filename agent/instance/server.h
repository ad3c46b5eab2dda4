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

namespace sluice::instance {

// What a request is answered with: lines of JSON, asked for one by one as the
// client reads them; nullopt ends the reply and the connection.
using Reply = std::function<std::optional<std::string>()>;

// A reply of one line.
Reply reply_line(std::string line);

// The socket of the running instance: a client sends one line of JSON and gets
// lines back. Single-threaded and never blocks: whoever sends garbage, reads
// slowly or opens many connections harms nobody but himself. Buffers, clients
// and the time they may idle are bounded.
class Server {
 public:
  struct Answer {
    Reply reply;              // empty: this client is sent what publish() gets
    bool drops_only = false;  // of published lines, only those that are drops
    // Not 0, and unique: the reply is not there yet; see answer().
    std::uint64_t ticket = 0;
  };
  using Handler = std::function<Answer(const std::string& request)>;

  // Makes the folder if it is not there and replaces a socket that nobody
  // serves; mode 0600.
  static Result<Server> open(const std::filesystem::path& path,
                             Handler handler);
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  // removes the socket

  // Readable when dispatch() has something to do.
  [[nodiscard]] int poll_fd() const;
  void dispatch();
  // Ends connections that at `now` have idled too long; to be called every few
  // seconds.
  void expire(std::chrono::steady_clock::time_point now);

  // Who got this ticket gets the reply. False if nobody waits for it any more.
  bool answer(std::uint64_t ticket, Reply reply);
  // False if no more tickets are to be given.
  [[nodiscard]] bool can_wait() const;

  // True if somebody would get what is published.
  [[nodiscard]] bool has_subscribers() const;
  // Sends a line to every subscriber; one whose buffer is full loses it and is
  // told how many it lost.
  void publish(const std::string& line, bool is_drop);

 private:
  Server();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::instance
