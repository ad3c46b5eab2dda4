// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/health/listener.h"

namespace sluice::health {

// Serves one GET per connection, by libmicrohttpd. One separate thread handles
// all connections together, so that a slow client delays no other. Each client
// address may have a few connections, and a connection that is silent for
// seconds is closed. A request for which there is no memory is answered with
// 414 or 431.
class HttpServer {
 public:
  using Clock = std::chrono::steady_clock;

  using Pairs = std::vector<std::pair<std::string, std::string>>;

  struct Answer {
    int status = 200;
    std::string type = "text/plain";
    std::string body;
    // Besides those that every answer has.
    Pairs headers = {};  // NOLINT(readability-redundant*)
    // If set, the body is what this gives, in place of `body`, until it gives
    // nullopt. Called in the server's thread; if it gives an empty text, again
    // after some milliseconds. Destroyed there when the answer has ended, or
    // the client has gone.
    // NOLINTNEXTLINE(readability-redundant*)
    std::function<std::optional<std::string>()> stream = {};
  };
  // A GET. Valid during a call of the handler.
  struct Request {
    std::string_view path;
    Clock::time_point since;   // it arrived
    std::uint64_t number = 0;  // of all that the server has got
    // An argument after "?", decoded, or a header; empty if there is none.
    std::function<std::string(const char* name)> argument;
    std::function<std::string(const char* name)> header;
    // All arguments after "?", decoded, in their order.
    std::function<Pairs()> arguments;
  };
  // Called in the server's thread, and again every few milliseconds as long as
  // there is no answer.
  using Handler = std::function<std::optional<Answer>(const Request& request)>;
  // PEM. Empty: no TLS.
  struct Tls {
    std::string certificate;
    std::string key;
  };

  struct Options {
    Tls tls = {};  // NOLINT(readability-redundant*)
    // At a time, of one client address, so that a pod with many connections
    // leaves room for a probe.
    unsigned connections_of_one = 16;
    // Memory for a request, in bytes.
    std::size_t memory_of_one = 16'384;
    // After so much silence a connection is closed.
    std::chrono::seconds silence{5};
    // The same while a stream is sent: its reader may pause.
    std::chrono::seconds stream_silence{60};
  };

  // `address`: as for Listener.
  static Result<HttpServer> open(const std::string& address, Handler handler,
                                 Options options);
  static Result<HttpServer> open(Listener listener, Handler handler,
                                 Options options);
  static Result<HttpServer> open(const std::string& address, Handler handler);
  static Result<HttpServer> open(Listener listener, Handler handler);
  HttpServer(HttpServer&&) noexcept;
  HttpServer& operator=(HttpServer&& other) noexcept;
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();

  [[nodiscard]] int port() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::health
