// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/server.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/explain/view_json.h"
#include "lib/flow/message_json.h"
#include "lib/health/http_server.h"
#include "lib/ui/edge_views.h"
#include "lib/ui/files.h"
#include "lib/ui/host.h"
#include "lib/ui/query.h"
#include "lib/ui/views_json.h"

namespace sluice::ui {
namespace {

using health::HttpServer;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Answer = HttpServer::Answer;
using Clock = HttpServer::Clock;

constexpr seconds kPatience{10};
// Of a request's work in the server's thread between two looks at the others.
constexpr milliseconds kSlice{15};
// How long a reader of edges waits for all flows that there were before it gets
// those that were read.
constexpr milliseconds kCatchUp{1'000};
// Fewer than HttpServer gives connections to one address, so that whoever has
// them all is told.
constexpr std::size_t kOpenMax = 12;
constexpr std::size_t kEdgesAtOnce = 2'000;
constexpr std::size_t kTextMax = 600;

// Names come from whoever creates pods, and so may be no UTF-8.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Answer give(const json& value, int status = 200) {
  return {.status = status, .type = "application/json", .body = dump(value)};
}

Answer refuse(int status, const std::string& why) {
  return give({{"error", why}}, status);
}

Answer give_file(std::string_view path) {
  const auto wanted = path == "/" ? std::string_view("/index.html") : path;
  const auto found = std::ranges::find(files(), wanted, &File::path);
  return found == files().end() ? refuse(404, "there is no such page")
                                : Answer{.type = std::string(found->type),
                                         .body = std::string(found->body)};
}

// Nothing but the page's own files runs or is shown, and nobody else's page
// shows it.
Answer secured(Answer answer) {
  for (const auto& [name, value] :
       {std::pair{"Content-Security-Policy",
                  "default-src 'none'; script-src 'self'; style-src 'self'; "
                  "connect-src 'self'; img-src 'self'; base-uri 'none'; "
                  "form-action 'none'; frame-ancestors 'none'"},
        std::pair{"X-Content-Type-Options", "nosniff"},
        std::pair{"Referrer-Policy", "no-referrer"},
        std::pair{"Cross-Origin-Resource-Policy", "same-origin"},
        std::pair{"Cross-Origin-Opener-Policy", "same-origin"},
        std::pair{"Cache-Control", "no-store"}}) {
    answer.headers.emplace_back(name, value);
  }
  return answer;
}

json to_json(const EdgeEnd& end) {
  return {{"type", end.type},
          {"namespace", end.ns},
          {"kind", end.kind},
          {"name", end.name}};
}

json list_of(const std::map<std::string, std::string>& away) {
  auto result = json::array();
  for (const auto& [node, problem] : away) {
    result.push_back({{"node", node}, {"problem", problem}});
  }
  return result;
}

json to_json(const EdgeView& view, const EdgeQuery& query) {
  constexpr std::int64_t kMillisecond = 1'000'000;
  const bool reset = query.view != view.id;
  const auto edges = view.table.after(reset ? 0 : query.after, kEdgesAtOnce);
  std::map<EdgeEnd, std::size_t> ends;
  const auto end = [&](const EdgeEnd& of) {
    return ends.try_emplace(of, ends.size()).first->second;
  };
  auto list = json::array();
  for (const auto* edge : edges) {
    list.push_back({{"id", edge->id},
                    {"from", end(edge->from)},
                    {"to", end(edge->to)},
                    {"protocol", edge->protocol},
                    {"port", edge->port},
                    {"verdict", edge->allowed ? "FORWARDED" : "DROPPED"},
                    {"direction", edge->egress ? "EGRESS" : "INGRESS"},
                    {"reason", edge->reason},
                    {"policies", edge->policies},
                    {"flows", edge->flows},
                    {"changed", edge->changed},
                    {"first", edge->first / kMillisecond},
                    {"last", edge->last / kMillisecond},
                    {"source", edge->source},
                    {"destination", edge->destination}});
  }
  std::vector<json> by_number(ends.size());
  for (const auto& [of, number] : ends) {
    by_number[number] = to_json(of);
  }
  const bool more = edges.size() == kEdgesAtOnce;
  return {{"view", std::to_string(view.id)},
          {"reset", reset},
          {"after", more ? edges.back()->changed : view.table.changes()},
          {"oldest", view.table.oldest()},
          {"more", more || !view.caught_up},
          {"flows", view.table.changes()},
          {"lost", view.notes.lost},
          {"away", list_of(view.notes.away)},
          {"ends", by_number},
          {"edges", list}};
}

}  // namespace

struct Server::Impl {
  // What waits for the program. Shared with what is posted to it.
  struct Asked {
    std::mutex mutex;  // guards `answers`
    std::map<std::uint64_t, std::optional<Answer>> answers;

    // The browser may have given up.
    bool waits(std::uint64_t number) {
      const std::lock_guard lock(mutex);
      return answers.contains(number);
    }
    void answer(std::uint64_t number, Answer answer) {
      const std::lock_guard lock(mutex);
      if (const auto found = answers.find(number); found != answers.end()) {
        found->second = std::move(answer);
      }
    }
  };
  // Flows that are being read, in the server's thread.
  struct Reading {
    std::unique_ptr<FlowFeed> feed;
    std::string flows;
    FeedNotes notes;

    void take(const ::observer::GetFlowsResponse& response);
    [[nodiscard]] Answer answer() const;
  };
  using Job = std::function<Answer()>;

  Impl(Sources& given, ServerOptions about, const IpAddress& address)
      : sources(given),
        options(std::move(about)),
        listen(address),
        views(given, std::random_device()() & 0xffff'ffffU) {}

  Sources& sources;
  ServerOptions options;
  IpAddress listen;
  std::shared_ptr<Asked> asked = std::make_shared<Asked>();
  // The server's thread alone.
  EdgeViews views;
  std::map<std::uint64_t, Reading> readings;
  std::map<std::uint64_t, Clock::time_point> open;  // of both kinds
  std::optional<HttpServer> server;                 // destroyed first

  std::optional<Answer> handle(const HttpServer::Request& request);
  std::optional<Answer> answer(const HttpServer::Request& request);
  std::optional<Answer> edges(const HttpServer::Request& request);
  std::optional<Answer> flows(const HttpServer::Request& request);
  std::optional<Answer> ask(const HttpServer::Request& request);
  void post(std::uint64_t number, Job job);
  std::optional<Answer> post_for(const HttpServer::Request& request);
  std::optional<Answer> post_explain(const HttpServer::Request& request);
  std::optional<Answer> post_reach(const HttpServer::Request& request);
  void close(std::uint64_t number);
  void sweep();
};

std::optional<Answer> Server::Impl::handle(const HttpServer::Request& request) {
  sweep();
  auto result = answer(request);
  if (!result && Clock::now() - request.since > kPatience) {
    result = refuse(503, "the answer takes too long");
  }
  if (!result) {
    open.try_emplace(request.number, request.since);
    return std::nullopt;
  }
  close(request.number);
  return secured(std::move(*result));
}

std::optional<Answer> Server::Impl::answer(const HttpServer::Request& request) {
  if (!is_own_host(request.header("Host"), listen)) {
    return refuse(403, "the Host header names another host");
  }
  if (!request.path.starts_with("/api/")) {
    return give_file(request.path);
  }
  if (open.size() >= kOpenMax && !open.contains(request.number)) {
    return refuse(429, "too many requests; ask again in a moment");
  }
  if (request.path == "/api/status") {
    return give({{"node", options.node}, {"version", options.version}});
  }
  if (request.path == "/api/edges") {
    return edges(request);
  }
  return request.path == "/api/flows" ? flows(request) : ask(request);
}

std::optional<Answer> Server::Impl::edges(const HttpServer::Request& request) {
  const auto query = parse_edge_query(request.arguments());
  if (!query) {
    return refuse(400, query.error().message);
  }
  const auto view = views.read(*query, kSlice);
  if (!view) {
    return refuse(400, view.error().message);
  }
  if (!(*view)->problem.empty()) {
    return refuse(502, (*view)->problem);
  }
  const bool waits =
      !(*view)->caught_up && Clock::now() - request.since < kCatchUp;
  return waits ? std::nullopt : std::optional(give(to_json(**view, *query)));
}

std::optional<Answer> Server::Impl::flows(const HttpServer::Request& request) {
  auto found = readings.find(request.number);
  if (found == readings.end()) {
    const auto query = parse_flow_query(request.arguments());
    if (!query) {
      return refuse(400, query.error().message);
    }
    auto feed = sources.open(*query);
    if (!feed) {
      return refuse(400, feed.error().message);
    }
    found = readings.emplace(request.number, Reading{}).first;
    found->second.feed = std::move(*feed);
  }
  auto& reading = found->second;
  const auto until = Clock::now() + kSlice;
  ::observer::GetFlowsResponse response;
  do {
    const auto step = reading.feed->next(response);
    if (step == FlowFeed::Step::kEnd || step == FlowFeed::Step::kWait) {
      const auto problem = reading.feed->problem();
      return problem.empty() ? reading.answer() : refuse(502, problem);
    }
    if (step == FlowFeed::Step::kMessage) {
      reading.take(response);
    }
  } while (Clock::now() < until);
  return std::nullopt;
}

void Server::Impl::Reading::take(const ::observer::GetFlowsResponse& response) {
  if (!response.has_flow()) {
    notes.take(response);
    return;
  }
  const auto text = flow::to_json(response.flow());
  if (!text.empty()) {
    flows += (flows.empty() ? "" : ",") + text;
  }
}

Answer Server::Impl::Reading::answer() const {
  return {.type = "application/json",
          .body = "{\"flows\":[" + flows +
                  "],\"lost\":" + std::to_string(notes.lost) +
                  ",\"away\":" + dump(list_of(notes.away)) + "}"};
}

// What only the program knows.
std::optional<Answer> Server::Impl::ask(const HttpServer::Request& request) {
  {
    const std::lock_guard lock(asked->mutex);
    const auto found = asked->answers.find(request.number);
    if (found != asked->answers.end()) {
      return found->second;
    }
  }
  return post_for(request);
}

// Returns an answer if there is nothing to ask for.
std::optional<Answer> Server::Impl::post_for(
    const HttpServer::Request& request) {
  if (request.path == "/api/policies") {
    post(request.number, [this] {
      const auto policies = sources.policies();
      return policies ? give({{"policies", *policies}})
                      : refuse(502, policies.error().message);
    });
    return std::nullopt;
  }
  if (request.path == "/api/namespaces") {
    post(request.number, [this] {
      const auto namespaces = sources.namespaces();
      return namespaces ? give({{"namespaces", *namespaces}})
                        : refuse(502, namespaces.error().message);
    });
    return std::nullopt;
  }
  if (request.path == "/api/explain") {
    return post_explain(request);
  }
  return request.path == "/api/reach" ? post_reach(request)
                                      : refuse(404, "there is no such page");
}

void Server::Impl::post(std::uint64_t number, Job job) {
  {
    const std::lock_guard lock(asked->mutex);
    asked->answers.try_emplace(number);
  }
  // The server outlives what is called: if it is still there at the beginning,
  // it is at the end.
  sources.post(
      [number, job = std::move(job), weak = std::weak_ptr<Asked>(asked)] {
        if (const auto alive = weak.lock(); alive && alive->waits(number)) {
          alive->answer(number, job());
        }
      });
}

std::optional<Answer> Server::Impl::post_explain(
    const HttpServer::Request& request) {
  explain::ExplainRequest question{.from = request.argument("from"),
                                   .to = request.argument("to"),
                                   .port = request.argument("port")};
  for (const auto& [name, value] : request.arguments()) {
    if (value.size() > kTextMax) {
      return refuse(400, name + ": is too long");
    }
    if (name == "to-name") {
      question.to_names.push_back(value);
    }
  }
  post(request.number, [this, question = std::move(question)] {
    const auto view = sources.explain(question);
    return view ? give(*view) : refuse(422, view.error().message);
  });
  return std::nullopt;
}

std::optional<Answer> Server::Impl::post_reach(
    const HttpServer::Request& request) {
  std::vector<std::string> ports;
  for (const auto& [name, value] : request.arguments()) {
    if (name == "port") {
      ports.push_back(value.substr(0, kTextMax));
    }
  }
  post(request.number,
       [this, ports = std::move(ports), ns = request.argument("namespace")] {
         const auto view = sources.reach(ns, ports);
         return view ? give(*view) : refuse(422, view.error().message);
       });
  return std::nullopt;
}

void Server::Impl::close(std::uint64_t number) {
  open.erase(number);
  readings.erase(number);
  const std::lock_guard lock(asked->mutex);
  asked->answers.erase(number);
}

// Nobody fetches an answer after this time: the client has gone.
void Server::Impl::sweep() {
  const auto now = Clock::now();
  while (!open.empty() && open.begin()->second + kPatience * 2 < now) {
    close(open.begin()->first);
  }
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;
Server::~Server() = default;

Result<Server> Server::open(health::Listener listener, Sources& sources,
                            ServerOptions options) {
  auto impl =
      std::make_unique<Impl>(sources, std::move(options), listener.address());
  auto server =
      HttpServer::open(std::move(listener),
                       [impl = impl.get()](const HttpServer::Request& request) {
                         return impl->handle(request);
                       });
  if (!server) {
    return std::unexpected(server.error());
  }
  impl->server = std::move(*server);
  return Server(std::move(impl));
}

int Server::port() const {
  return impl_->server->port();
}

}  // namespace sluice::ui
