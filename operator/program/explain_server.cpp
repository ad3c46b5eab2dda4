// SPDX-License-Identifier: Apache-2.0
#include "operator/program/explain_server.h"

#include <chrono>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include <spdlog/spdlog.h>

#include "lib/health/http_server.h"
#include "lib/kube/api/requests.h"
#include "lib/wire/authenticator.h"

namespace sluice::operatord {
namespace {

using health::HttpServer;
using Answer = HttpServer::Answer;
using Clock = HttpServer::Clock;

constexpr const char* kAccount = "sluice-explain";
constexpr const char* kAudience = "sluice-explain";
constexpr const char* kTokenHeader = "X-Sluice-Token";
constexpr std::chrono::seconds kPatience{10};
// Requests that are being checked or answered. Each costs the API server a
// TokenReview, also if it is anybody's.
constexpr std::size_t kOpenMax = 8;
constexpr std::size_t kTextMax = 600;
constexpr std::chrono::seconds kListenAgain{2};

Answer told(int status, const std::string& text) {
  return {.status = status, .type = "text/plain", .body = text + "\n"};
}

}  // namespace

struct ExplainServer::Impl {
  struct Open {
    explain::ExplainRequest request;
    std::string token;
    Clock::time_point since;
    bool asked = false;  // whose the token is
    kube::Call call;
    std::optional<Answer> answer;
    bool taken = false;  // by the server's thread
  };

  kube::Client* client = nullptr;
  std::string address;
  std::string account;
  Explain explain;
  std::mutex mutex;  // guards `requests`
  std::map<std::uint64_t, Open> requests;
  // It has to listen, with this certificate.
  std::optional<wire::TlsCertificate> due;
  Clock::time_point listen_at;
  std::optional<HttpServer> server;  // destroyed first

  Result<void> open(const wire::TlsCertificate& certificate);
  void open_if_due(Clock::time_point now);
  std::optional<Answer> handle(const HttpServer::Request& request);
  std::optional<Answer> begin(const HttpServer::Request& request);
  void check(std::uint64_t number, Open& open);
  void checked(std::uint64_t number,
               const kube::ApiResult<kube::TokenIdentity>& who);
  [[nodiscard]] Answer answer_to(
      const explain::ExplainRequest& request,
      const kube::ApiResult<kube::TokenIdentity>& who) const;
};

// The server's thread. Called again until there is an answer.
std::optional<Answer> ExplainServer::Impl::handle(
    const HttpServer::Request& request) {
  const std::lock_guard lock(mutex);
  const auto found = requests.find(request.number);
  if (found == requests.end()) {
    return begin(request);
  }
  // The call is destroyed in the loop's thread only; see turn().
  if (found->second.answer) {
    found->second.taken = true;
    return found->second.answer;
  }
  if (Clock::now() - request.since > kPatience) {
    return told(503, "the operator has not answered in time");
  }
  return std::nullopt;
}

// Under the lock.
std::optional<Answer> ExplainServer::Impl::begin(
    const HttpServer::Request& request) {
  if (request.path != "/explain") {
    return told(404, "GET /explain?from=&to=&port=");
  }
  if (Clock::now() - request.since > kPatience) {
    return told(503, "the operator has not answered in time");
  }
  Open open{.request = {.from = request.argument("from"),
                        .to = request.argument("to"),
                        .port = request.argument("port")},
            .token = request.header(kTokenHeader),
            .since = request.since,
            .asked = false,
            .call = {},
            .answer = {},
            .taken = false};
  if (open.token.empty() || open.token.size() > wire::kTokenBytesMax) {
    return told(401, std::string("a token of the service account ") + kAccount +
                         " is needed in the header " + kTokenHeader);
  }
  if (open.request.from.size() > kTextMax ||
      open.request.to.size() > kTextMax ||
      open.request.port.size() > kTextMax) {
    return told(400, "the question is too long");
  }
  if (requests.size() >= kOpenMax) {
    return told(429, "too many questions; ask again in a moment");
  }
  requests.emplace(request.number, std::move(open));
  return std::nullopt;
}

// Under the lock, in the loop's thread. The reply comes from the loop.
void ExplainServer::Impl::check(std::uint64_t number, Open& open) {
  open.asked = true;
  open.call = kube::review_token(
      *client, std::exchange(open.token, {}), {kAudience},
      [this, number](const kube::ApiResult<kube::TokenIdentity>& who) {
        checked(number, who);
      });
}

void ExplainServer::Impl::checked(
    std::uint64_t number, const kube::ApiResult<kube::TokenIdentity>& who) {
  explain::ExplainRequest request;
  {
    const std::lock_guard lock(mutex);
    const auto found = requests.find(number);
    if (found == requests.end()) {
      return;
    }
    request = found->second.request;
  }
  auto answer = answer_to(request, who);
  const std::lock_guard lock(mutex);
  if (const auto found = requests.find(number); found != requests.end()) {
    found->second.answer = std::move(answer);
  }
}

Answer ExplainServer::Impl::answer_to(
    const explain::ExplainRequest& request,
    const kube::ApiResult<kube::TokenIdentity>& who) const {
  if (!who) {
    return who.error().status == 401
               ? told(401, "the token is not valid: " + who.error().message)
               : told(503,
                      "the token cannot be checked: " + who.error().message);
  }
  if (who->username != account) {
    return told(403, "the token is not one of " + account);
  }
  auto text = explain(request);
  if (!text) {
    return told(422, text.error().message);
  }
  return {.status = 200, .type = "application/json", .body = std::move(*text)};
}

ExplainServer::ExplainServer(kube::Client& client, std::string address,
                             const std::string& ns, Explain explain)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = &client;
  impl_->address = std::move(address);
  impl_->account = "system:serviceaccount:" + ns + ":" + kAccount;
  impl_->explain = std::move(explain);
}

ExplainServer::~ExplainServer() = default;

void ExplainServer::set_certificate(const wire::TlsCertificate& certificate) {
  impl_->due = certificate;
}

// On failure nothing listens.
Result<void> ExplainServer::Impl::open(
    const wire::TlsCertificate& certificate) {
  server.reset();
  auto opened = HttpServer::open(
      address,
      [this](const HttpServer::Request& request) { return handle(request); },
      {.certificate = certificate.certificate_pem, .key = certificate.key_pem});
  if (!opened) {
    return std::unexpected(opened.error());
  }
  {
    // The numbers of another server's requests mean nothing to this one.
    const std::lock_guard lock(mutex);
    requests.clear();
  }
  server = std::move(*opened);
  return {};
}

void ExplainServer::Impl::open_if_due(Clock::time_point now) {
  if (!due || now < listen_at) {
    return;
  }
  listen_at = now + kListenAgain;
  if (const auto opened = open(*due); !opened) {
    spdlog::error("explanations: {}", opened.error().message);
    return;
  }
  due.reset();
}

void ExplainServer::turn() {
  // Nobody fetches an answer after this time: the client has gone.
  constexpr auto kKept = kPatience * 2;
  const auto now = Clock::now();
  impl_->open_if_due(now);
  const std::lock_guard lock(impl_->mutex);
  for (auto at = impl_->requests.begin(); at != impl_->requests.end();) {
    auto& [number, open] = *at;
    if (!open.asked) {
      impl_->check(number, open);
    }
    const bool over = open.taken || open.since + kKept < now;
    at = over ? impl_->requests.erase(at) : std::next(at);
  }
}

}  // namespace sluice::operatord
