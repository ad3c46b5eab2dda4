// SPDX-License-Identifier: Apache-2.0
#include "operator/program/query_server.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include <spdlog/spdlog.h>

#include "lib/health/http_server.h"
#include "lib/kube/api/requests.h"
#include "lib/wire/authenticator.h"
#include "operator/program/flow_lines.h"

namespace sluice::operatord {
namespace {

using health::HttpServer;
using Answer = HttpServer::Answer;
using Clock = QueryServer::Clock;

constexpr const char* kAccount = "sluice-explain";
constexpr const char* kAudience = "sluice-explain";
constexpr const char* kTokenHeader = "X-Sluice-Token";
constexpr std::chrono::seconds kPatience{10};
// Questions that are being checked or answered, and requests for flows that are
// being checked. Each costs the API server a TokenReview, also if it is
// anybody's.
constexpr std::size_t kQuestionsMax = 8;
constexpr std::size_t kFlowsMax = 8;
// Readers of flows; see also ClusterOptions. Together with the others they are
// fewer than the connections of one address: everybody comes from that of the
// API server.
constexpr std::size_t kStreamsMax = 64;
constexpr unsigned kConnectionsOfOne = 128;
// Holds a request for flows in base64, and a token.
constexpr std::size_t kMemoryOfOne = 65'536;
constexpr std::size_t kTextMax = 600;
constexpr std::size_t kArgumentsMax = 100;
constexpr std::chrono::seconds kListenAgain{2};

Answer told(int status, const std::string& text) {
  return {.status = status, .type = "text/plain", .body = text + "\n"};
}

bool is_of_page(std::string_view path) {
  return path == "/api/policies" || path == "/api/namespaces" ||
         path == "/api/reach";
}

bool is_question(std::string_view path) {
  return path == "/explain" || path == "/status" || path == "/endpoints" ||
         path == "/policies" || is_of_page(path);
}

bool is_too_long(const QueryServer::Arguments& arguments) {
  return arguments.size() > kArgumentsMax ||
         std::ranges::any_of(arguments, [](const auto& argument) {
           return argument.second.size() > kTextMax;
         });
}

struct Open {
  std::string path;
  explain::ExplainRequest request;
  QueryServer::Arguments arguments;
  std::string token;
  std::shared_ptr<flow::FlowPull> flows;  // of a request for flows
  Clock::time_point since;
  bool asked = false;  // whose the token is
  kube::Call call;
  std::optional<Answer> answer;
  Clock::time_point answered;
  bool taken = false;  // by the server's thread
};

// Shared with callbacks that may come late.
struct Requests {
  std::mutex mutex;  // guards `open`
  std::map<std::uint64_t, Open> open;
  // Each stream of flows has one. Belongs to the server's thread.
  std::shared_ptr<const bool> stream = std::make_shared<bool>();

  // Under the lock.
  [[nodiscard]] std::size_t count(bool flows) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(open, [&](const auto& entry) {
          return (entry.second.path == "/flows") == flows;
        }));
  }
  [[nodiscard]] std::size_t streams() const {
    return static_cast<std::size_t>(stream.use_count()) - 1;
  }
  void answer(std::uint64_t number, Answer answer) {
    const std::lock_guard lock(mutex);
    if (const auto found = open.find(number); found != open.end()) {
      found->second.answer = std::move(answer);
      found->second.answered = Clock::now();
    }
  }
};

Answer answer_of(QueryServer::Reply reply) {
  if (reply.status != 200) {
    return told(reply.status, reply.text);
  }
  return {
      .status = 200, .type = "application/json", .body = std::move(reply.text)};
}

}  // namespace

int http_status(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAUTHENTICATED:
      return 401;
    case grpc::StatusCode::PERMISSION_DENIED:
      return 403;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return 400;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return 429;
    default:
      return 503;
  }
}

struct QueryServer::Impl {
  kube::Client* client = nullptr;
  std::string address;
  std::string account;
  Sources sources;
  std::shared_ptr<Requests> requests = std::make_shared<Requests>();
  // It has to listen, with this certificate.
  std::optional<wire::TlsCertificate> due;
  Clock::time_point listen_at;
  std::optional<HttpServer> server;  // destroyed first

  Result<void> open(const wire::TlsCertificate& certificate);
  void open_if_due(Clock::time_point now);
  std::optional<Answer> handle(const HttpServer::Request& request);
  std::optional<Answer> begin(const HttpServer::Request& request);
  std::optional<Answer> begin_flows(const HttpServer::Request& request,
                                    Open& open) const;
  std::optional<Answer> continue_flows(Open& open) const;
  void check(std::uint64_t number, Open& open);
  void checked(std::uint64_t number,
               const kube::ApiResult<kube::TokenIdentity>& who);
  [[nodiscard]] std::optional<Answer> refusal(
      const kube::ApiResult<kube::TokenIdentity>& who) const;
};

// The server's thread. Called again until there is an answer.
std::optional<Answer> QueryServer::Impl::handle(
    const HttpServer::Request& request) {
  const std::lock_guard lock(requests->mutex);
  const auto found = requests->open.find(request.number);
  if (found == requests->open.end()) {
    return begin(request);
  }
  auto& open = found->second;
  if (open.flows) {
    open.answer = continue_flows(open);
  }
  // The call is destroyed in the loop's thread only; see turn().
  if (open.answer) {
    open.taken = true;
    return std::exchange(open.answer, std::nullopt);
  }
  if (Clock::now() - request.since > kPatience) {
    open.taken = true;
    return told(503, "the operator has not answered in time");
  }
  return std::nullopt;
}

// Under the lock.
std::optional<Answer> QueryServer::Impl::begin(
    const HttpServer::Request& request) {
  const bool flows = request.path == "/flows";
  if (!flows && !is_question(request.path)) {
    return told(404,
                "GET /explain?from=&to=&port=, /status, /endpoints, /policies, "
                "/api/policies, /api/namespaces, /api/reach?namespace= or "
                "/flows?request=");
  }
  if (Clock::now() - request.since > kPatience) {
    return told(503, "the operator has not answered in time");
  }
  Open open{.path = std::string(request.path),
            .request = {.from = request.argument("from"),
                        .to = request.argument("to"),
                        .port = request.argument("port")},
            .arguments = {},
            .token = request.header(kTokenHeader),
            .flows = nullptr,
            .since = request.since,
            .asked = false,
            .call = {},
            .answer = {},
            .answered = {},
            .taken = false};
  if (open.token.empty() || open.token.size() > wire::kTokenBytesMax) {
    return told(401, std::string("a token of the service account ") +
                         (flows ? "sluice-observer" : kAccount) +
                         " is needed in the header " + kTokenHeader);
  }
  open.arguments = request.arguments();
  for (const auto& [name, value] : open.arguments) {
    if (name == "to-name") {
      open.request.to_names.push_back(value);
    }
  }
  if (!flows && is_too_long(open.arguments)) {
    return told(400, "the question is too long");
  }
  if (requests->count(flows) >= (flows ? kFlowsMax : kQuestionsMax)) {
    return told(429, flows ? "too many requests for flows are being checked"
                           : "too many questions are open");
  }
  if (flows) {
    if (auto answer = begin_flows(request, open)) {
      return answer;
    }
  }
  requests->open.emplace(request.number, std::move(open));
  return std::nullopt;
}

// Under the lock. nullopt: the answer comes later.
std::optional<Answer> QueryServer::Impl::begin_flows(
    const HttpServer::Request& request, Open& open) const {
  auto bytes = kube::base64_decode(request.argument("request"));
  if (!bytes) {
    return told(400, "request: not base64");
  }
  open.asked = true;
  open.flows = sources.flows("Bearer " + std::exchange(open.token, {}),
                             std::move(*bytes));
  if (!open.flows) {
    return told(503, "the operator gives no flows");
  }
  return std::nullopt;
}

std::optional<Answer> QueryServer::Impl::continue_flows(Open& open) const {
  const auto status = open.flows->status();
  if (!status) {
    return std::nullopt;
  }
  auto flows = std::exchange(open.flows, nullptr);
  if (!status->ok()) {
    return told(http_status(*status), status->error_message());
  }
  if (requests->streams() >= kStreamsMax) {
    return told(429, "too many readers of flows");
  }
  return Answer{
      .status = 200,
      .type = "application/x-ndjson",
      .body = {},
      .headers = {},
      .stream = [place = requests->stream,
                 lines = flow_lines(std::move(flows))] { return lines(); }};
}

// Under the lock, in the loop's thread. The reply comes from the loop.
void QueryServer::Impl::check(std::uint64_t number, Open& open) {
  open.asked = true;
  open.call = kube::review_token(
      *client, std::exchange(open.token, {}), {kAudience},
      [this, number](const kube::ApiResult<kube::TokenIdentity>& who) {
        checked(number, who);
      });
}

void QueryServer::Impl::checked(
    std::uint64_t number, const kube::ApiResult<kube::TokenIdentity>& who) {
  Question question;
  {
    const std::lock_guard lock(requests->mutex);
    const auto found = requests->open.find(number);
    if (found == requests->open.end()) {
      return;
    }
    const auto& open = found->second;
    question = {.path = open.path,
                .request = open.request,
                .arguments = open.arguments,
                .until = open.since + kPatience};
  }
  if (auto refused = refusal(who)) {
    requests->answer(number, std::move(*refused));
    return;
  }
  sources.ask(question, [weak = std::weak_ptr(requests), number](Reply reply) {
    if (const auto waiting = weak.lock()) {
      waiting->answer(number, answer_of(std::move(reply)));
    }
  });
}

std::optional<Answer> QueryServer::Impl::refusal(
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
  return std::nullopt;
}

QueryServer::QueryServer(kube::Client& client, std::string address,
                         const std::string& ns, Sources sources)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = &client;
  impl_->address = std::move(address);
  impl_->account = "system:serviceaccount:" + ns + ":" + kAccount;
  impl_->sources = std::move(sources);
}

QueryServer::~QueryServer() = default;

void QueryServer::set_certificate(const wire::TlsCertificate& certificate) {
  impl_->due = certificate;
}

// On failure nothing listens.
Result<void> QueryServer::Impl::open(const wire::TlsCertificate& certificate) {
  server.reset();
  // The numbers of another server's requests mean nothing to the next one, nor
  // do answers to them that come late.
  requests = std::make_shared<Requests>();
  auto opened = HttpServer::open(
      address,
      [this](const HttpServer::Request& request) { return handle(request); },
      {.tls = {.certificate = certificate.certificate_pem,
               .key = certificate.key_pem},
       .connections_of_one = kConnectionsOfOne,
       .memory_of_one = kMemoryOfOne});
  if (!opened) {
    return std::unexpected(opened.error());
  }
  server = std::move(*opened);
  return {};
}

void QueryServer::Impl::open_if_due(Clock::time_point now) {
  if (!due || now < listen_at) {
    return;
  }
  listen_at = now + kListenAgain;
  if (const auto opened = open(*due); !opened) {
    spdlog::error("questions of people: {}", opened.error().message);
    return;
  }
  due.reset();
}

void QueryServer::turn() {
  // A client that is still there fetches its answer at once, and does not wait
  // longer for one than kPatience.
  constexpr std::chrono::seconds kFetched{1};
  constexpr auto kKept = kPatience * 2;
  const auto now = Clock::now();
  impl_->open_if_due(now);
  auto& requests = impl_->requests->open;
  const std::lock_guard lock(impl_->requests->mutex);
  for (auto at = requests.begin(); at != requests.end();) {
    auto& [number, open] = *at;
    if (!open.asked) {
      impl_->check(number, open);
    }
    const bool over = open.taken || open.since + kKept < now ||
                      (open.answer && open.answered + kFetched < now);
    at = over ? requests.erase(at) : std::next(at);
  }
}

}  // namespace sluice::operatord
