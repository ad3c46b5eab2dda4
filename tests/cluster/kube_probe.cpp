// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/kube/api/client.h"
#include "lib/kube/api/leader_elector.h"
#include "lib/kube/api/reflector.h"
#include "lib/kube/api/requests.h"

// lib/kube/api as a program, for tests against a real API server: takes
// commands, one JSON object a line, and says what happens, likewise.
//
//   {"do": "watch", "plural": "pods", "group": "", "versions": ["v1"],
//    "namespace": "x", "page": 100}
//        -> {"event": "set", "name": ...}..., {"state": "watching", ...}
//   {"do": "stop"}, {"do": "start"}, {"do": "stats"}
//   {"do": "get" | "create" | "merge" | "apply" | "replace" | "delete",
//    "path": ..., "body": ...}
//   {"do": "review", "token": ..., "audiences": [...]}
//   {"do": "note", ...}          an Event about an object
//   {"do": "elect", "namespace": ..., "name": ..., "identity": ...},
//   {"do": "release"}
//
// Ends with its standard input.
namespace sluice::kube {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

void say(const json& line) {
  std::cout << line.dump() << '\n' << std::flush;
}

json json_of(const ApiError& error) {
  return {{"status", error.status},
          {"reason", error.reason},
          {"causes", error.causes},
          {"message", error.message}};
}

json labels_of(const Event& event) {
  if (const auto* pod = std::get_if<Pod>(&event.object)) {
    return pod->labels;
  }
  if (const auto* made = std::get_if<Event::Json>(&event.object)) {
    return (**made)["metadata"].value("labels", json::object());
  }
  return json::object();
}

json json_of(const Event& event) {
  constexpr std::array kNames{"set", "deleted", "invalid"};
  return {{"event", kNames[static_cast<std::size_t>(event.type)]},
          {"namespace", event.ns},
          {"name", event.name},
          {"uid", event.uid},
          {"version", event.resource_version},
          {"generation", event.generation},
          {"labels", labels_of(event)},
          {"error", event.error}};
}

class Probe {
 public:
  explicit Probe(Client& client) : client_(&client) {}

  void take(const std::string& line) {
    const json command = json::parse(line);
    const std::string what = command.at("do");
    if (const auto found = commands_.find(what); found != commands_.end()) {
      found->second(command);
    } else {
      say({{"error", "no such command: " + what}});
    }
  }

 private:
  void watch(const json& command) {
    resource_ = {
        .group = command.value("group", ""),
        .versions = command.value("versions", std::vector<std::string>{"v1"}),
        .plural = command.at("plural"),
        .kind = command.value("kind", ""),
        .shape = command.at("plural") == "pods" ? Shape::kPod : Shape::kJson,
        .namespaced = command.value("namespaced", true)};
    ReflectorOptions options;
    options.ns = command.value("namespace", "");
    options.label_selector = command.value("labels", "");
    options.page_size = command.value("page", 500);
    options.backoff_base = milliseconds(50);
    options.backoff_cap = milliseconds(500);
    options.absent_poll_min = milliseconds(100);
    options.absent_poll_max = milliseconds(200);
    options.absent_confirm = milliseconds(300);
    options.absent_confirm_known =
        milliseconds(command.value("absent_ms", 500));
    options.on_change = [this] { say_state("state"); };
    reflector_ = std::make_unique<Reflector>(
        *client_, resource_,
        [](const std::vector<Event>& events) {
          for (const Event& event : events) {
            say(json_of(event));
          }
        },
        options);
    reflector_->start();
  }

  void say_state(const char* what) const {
    if (!reflector_) {
      const ClientStats& client = client_->stats();
      say({{what, "none"}, {"http2", client.http2}});
      return;
    }
    const ReflectorStats& stats = reflector_->stats();
    const ClientStats& client = client_->stats();
    say({{what, to_string(reflector_->state())},
         {"synced", reflector_->synced()},
         {"error", reflector_->error()},
         {"size", reflector_->size()},
         {"version", reflector_->version()},
         {"lists", stats.lists},
         {"relists", stats.relists},
         {"watches", stats.watches},
         {"bookmarks", stats.bookmarks},
         {"failures", stats.failures},
         {"events", stats.events},
         {"bytes", client.bytes},
         {"compressed", client.compressed},
         {"requests", client.requests},
         {"connections", client.connections},
         {"http2", client.http2}});
  }

  static ObjectReply reply() {
    return [](ApiResult<json> result) {
      say(result ? json{{"object", *result}}
                 : json{{"failure", json_of(result.error())}});
    };
  }

  void patch(const json& command, Patch how) {
    patch_object(*client_, command.at("path").get<std::string>(), how,
                 command.at("body"), "kube-probe", reply())
        .detach();
  }

  void review(const json& command) {
    review_token(*client_, command.at("token").get<std::string>(),
                 command.value("audiences", std::vector<std::string>{}),
                 [](ApiResult<TokenIdentity> result) {
                   if (!result) {
                     say({{"failure", json_of(result.error())}});
                     return;
                   }
                   say({{"username", result->username},
                        {"groups", result->groups},
                        {"extra", result->extra},
                        {"audiences", result->audiences}});
                 })
        .detach();
  }

  void note(const json& command) {
    create_event(*client_,
                 {.reason = command.at("reason"),
                  .message = command.at("message"),
                  .api_version = command.at("apiVersion"),
                  .kind = command.at("kind"),
                  .ns = command.at("namespace"),
                  .name = command.at("name"),
                  .uid = command.at("uid"),
                  .instance = "kube-probe"},
                 reply())
        .detach();
  }

  void elect(const json& command) {
    elector_ = std::make_unique<LeaderElector>(
        *client_,
        LeaderElectorOptions{.ns = command.at("namespace"),
                             .name = command.at("name"),
                             .identity = command.at("identity"),
                             .lease_duration = milliseconds(3000),
                             .renew_deadline = milliseconds(2000),
                             .retry_period = milliseconds(300)},
        [this](bool leads) {
          say({{"leads", leads}, {"leader", elector_->leader()}});
        });
    elector_->start();
  }

  Client* client_;
  Resource resource_;
  std::unique_ptr<Reflector> reflector_;
  std::unique_ptr<LeaderElector> elector_;
  std::map<std::string, std::function<void(const json&)>> commands_{
      {"watch", [this](const json& c) { watch(c); }},
      {"stop",
       [this](const json&) {
         reflector_->stop();
         say_state("stats");
       }},
      {"start", [this](const json&) { reflector_->start(); }},
      {"stats", [this](const json&) { say_state("stats"); }},
      {"get",
       [this](const json& c) {
         get_object(*client_, c.at("path").get<std::string>(), reply())
             .detach();
       }},
      {"create",
       [this](const json& c) {
         create_object(*client_, c.at("path").get<std::string>(), c.at("body"),
                       reply())
             .detach();
       }},
      {"replace",
       [this](const json& c) {
         replace_object(*client_, c.at("path").get<std::string>(), c.at("body"),
                        reply())
             .detach();
       }},
      {"delete",
       [this](const json& c) {
         delete_object(*client_, c.at("path").get<std::string>(), reply())
             .detach();
       }},
      {"merge", [this](const json& c) { patch(c, Patch::kMerge); }},
      {"apply", [this](const json& c) { patch(c, Patch::kApply); }},
      {"review", [this](const json& c) { review(c); }},
      {"note", [this](const json& c) { note(c); }},
      {"elect", [this](const json& c) { elect(c); }},
      {"release",
       [this](const json&) {
         elector_->release([] { say({{"released", true}}); });
       }},
  };
};

// Commands until the input ends.
int serve(const ClusterConfig& config, const ClientOptions& options) {
  auto loop = Loop::create();
  if (!loop) {
    return 1;
  }
  auto client = Client::create(**loop, config, options);
  if (!client) {
    std::cerr << client.error().message << "\n";
    return 1;
  }
  Probe probe(**client);
  bool over = false;
  std::string text;
  const auto watched =
      (*loop)->set_fd(STDIN_FILENO, EPOLLIN, [&](std::uint32_t) {
        std::array<char, 65536> bytes{};
        const auto got = ::read(STDIN_FILENO, bytes.data(), bytes.size());
        over = got <= 0;
        text.append(bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
        for (auto end = text.find('\n'); end != std::string::npos;
             end = text.find('\n')) {
          probe.take(text.substr(0, end));
          text.erase(0, end + 1);
        }
      });
  while (watched && !over) {
    (*loop)->wait(std::chrono::seconds(1));
  }
  return watched ? 0 : 1;
}

}  // namespace
}  // namespace sluice::kube

int main(int argc, char** argv) {
  CLI::App app{"lib/kube/api as a program, for tests"};
  std::string kubeconfig;
  bool http1 = false;
  app.add_option("--kubeconfig", kubeconfig)->required();
  app.add_flag("--http1", http1, "HTTP/1.1 only");
  CLI11_PARSE(app, argc, argv);
  const auto config = sluice::kube::load_cluster_config(kubeconfig);
  if (!config) {
    std::cerr << config.error().message << "\n";
    return 1;
  }
  sluice::kube::ClientOptions options;
  options.http2 = !http1;
  return sluice::kube::serve(*config, options);
}
