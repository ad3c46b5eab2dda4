// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/loop.h"
#include "lib/base/result.h"
#include "lib/kube/api/cluster_config.h"

// HTTP requests to the API server: TLS with verification, client certificates
// or tokens, HTTP/2 if both ends support it, gzip. Every answer is bounded in
// size and time.
//
//   auto client = Client::create(loop, config);
//   Call call = (*client)->send({.path = "/version"}, [](ApiResult<Response> r)
//   {...});
//
// Belongs to the loop's thread. Callbacks come from Loop::dispatch(), exactly
// one per request, never from within send(); none comes after the Call is
// destroyed. The client retries nothing; the caller decides.
namespace sluice::kube {

// Why a request failed.
struct ApiError {
  int status = 0;      // HTTP status; 0: no complete answer
  std::string reason;  // of the Status object: "NotFound", "Conflict", ...; may
                       // be empty
  std::vector<std::string> causes;  // of its details; see causes_of()
  std::string message;  // for a person: "GET /api/v1/pods: 403 Forbidden: ..."
  std::optional<std::chrono::seconds> retry_after;
};

template <typename T>
using ApiResult = std::expected<T, ApiError>;

enum class Method : std::uint8_t { kGet, kPost, kPut, kPatch, kDelete };

struct Request {
  Method method = Method::kGet;
  std::string path;  // with query, escaped: "/api/v1/pods?limit=500"
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::string> headers;  // further ones: "Name: value"
  // For errors: the purpose of the request ("list pods"). Empty: method and
  // path.
  std::string purpose;
  // Limit for a whole request, or for a stream until its headers have arrived.
  std::chrono::milliseconds timeout{30'000};
  // Limit for a stream without a byte.
  std::chrono::milliseconds silence{60'000};
  // Limit for a stream from the headers to the end, however much arrives.
  std::chrono::milliseconds longest{std::chrono::hours(24)};
  std::size_t max_response = std::size_t{16}
                             << 20;  // decompressed; not streams
};

struct Response {
  int status = 0;  // 200 to 299
  std::string body;
};

// The stream of an answer of any length. The callbacks run inside the client:
// they must not call it (use Loop::defer()).
struct StreamHandler {
  // Some bytes of the body of a successful answer, decompressed. An error ends
  // the stream with it.
  std::function<Result<void>(std::string_view)> on_data;
  // The last callback: no error if the server ended the answer properly.
  std::function<void(ApiResult<void>)> on_end;
};

struct ClientOptions {
  std::string user_agent = "sluice";
  std::chrono::milliseconds connect_timeout{10'000};
  // If sent packets are not acknowledged for this long, the connection is
  // closed.
  std::chrono::milliseconds dead_peer{30'000};
  bool http2 = true;
};

struct ClientStats {
  std::uint64_t requests = 0;     // streams included
  std::uint64_t failures = 0;     // answers that are errors, or none at all
  std::uint64_t bytes = 0;        // received, decompressed
  std::uint64_t compressed = 0;   // the same of what is over, as it was sent
  std::uint64_t connections = 0;  // opened
  std::uint64_t http2 = 0;        // answers that came over HTTP/2
};

class Client;

// A request in flight. Destroying it cancels the request, without a callback.
class [[nodiscard]] Call {
 public:
  Call() = default;
  Call(Call&& other) noexcept
      : client_(std::exchange(other.client_, nullptr)), id_(other.id_) {}
  Call& operator=(Call&& other) noexcept;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { cancel(); }
  void cancel();
  // Lets the request run without an owner. The callback is called nevertheless,
  // unless the client is destroyed first.
  void detach() { client_ = nullptr; }
  [[nodiscard]] bool in_flight() const;

 private:
  friend class Client;
  Call(Client* client, std::uint64_t id) : client_(client), id_(id) {}
  Client* client_ = nullptr;
  std::uint64_t id_ = 0;
};

class Client {
 public:
  using Reply = std::function<void(ApiResult<Response>)>;

  // Fails if the configuration is invalid or libcurl cannot be set up; does not
  // connect. `loop` must outlive the client.
  static Result<std::unique_ptr<Client>> create(Loop& loop,
                                                ClusterConfig config,
                                                ClientOptions options = {});
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  Client(Client&&) = delete;
  Client& operator=(Client&&) = delete;
  // Cancels all requests. Calls that still exist may be destroyed later only if
  // they were detached or answered.
  ~Client();

  Call send(Request request, Reply reply);
  Call stream(Request request, StreamHandler handler);

  [[nodiscard]] Loop& loop() const;
  [[nodiscard]] const ClusterConfig& config() const;
  [[nodiscard]] const ClientStats& stats() const;

 private:
  friend class Call;
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::kube
