// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace sluice::health {

// Serves one GET per connection, by libmicrohttpd. One separate thread handles
// all connections together, so that a slow client delays no other. Each client
// address may have a few connections, and a connection that is silent for
// seconds is closed.
class HttpServer {
 public:
  using Clock = std::chrono::steady_clock;

  struct Answer {
    int status = 200;
    std::string type = "text/plain";
    std::string body;
  };
  // Called in the server's thread, and again every few milliseconds as long as
  // there is no answer. `since`: when the request arrived.
  using Handler = std::function<std::optional<Answer>(std::string_view path,
                                                      Clock::time_point since)>;

  // `address`: "10.0.0.1:80", "[fd00::1]:80". "0.0.0.0:80" and "[::]:80" are
  // all addresses of both families, or of the only one that the kernel
  // supports.
  static Result<HttpServer> open(const std::string& address, Handler handler);
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
