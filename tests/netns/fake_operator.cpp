// SPDX-License-Identifier: Apache-2.0
//
// An operator for tests of the agent: serves a folder of manifests, and writes
// down what agents say. No API server, no status, one token.
//
//   fake_operator DIR ADDRESS:PORT OUT TOKEN
//
// OUT is a folder: ca.crt and port when it listens, NODE.json with the last
// acknowledgement of each node. DIR/on-unknown, if it is there, holds "allow"
// or "deny".
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>
#include <poll.h>

#include "cli/cluster.h"
#include "lib/wire/server.h"
#include "operator/announced_pods.h"
#include "operator/manifest_dir.h"

namespace sluice {
namespace {

using std::filesystem::path;

void write_file(const path& file, const std::string& text) {
  auto hidden = file;
  hidden += ".new";
  std::ofstream(hidden) << text;
  std::filesystem::rename(hidden, file);
}

class OneToken : public wire::Authenticator {
 public:
  explicit OneToken(std::string token) : token_(std::move(token)) {}
  void authenticate(const std::string& token, Done done) override {
    done({.allowed = token == token_, .node = {}, .error = {}});
  }

 private:
  std::string token_;
};

class FakeOperator {
 public:
  FakeOperator(path dir, path out, const std::string& token)
      : dir_(std::move(dir)), out_(std::move(out)), authenticator_(token) {}

  Result<void> start(const std::string& address) {
    auto opened = op::ManifestDir::open(dir_);
    if (!opened) {
      return std::unexpected(opened.error());
    }
    manifests_ = std::move(*opened);
    scan();
    auto tls = wire::make_self_signed_ca_and_server_cert(
        {"operator.test"}, std::chrono::hours(24));
    if (!tls) {
      return std::unexpected(tls.error());
    }
    wire::ServerOptions options;
    options.address = address;
    options.certificate = tls->server;
    options.program_version = "fake";
    auto started = wire::Server::start(options, handlers(), authenticator_);
    if (!started) {
      return std::unexpected(started.error());
    }
    server_ = std::move(*started);
    write_file(out_ / "ca.crt", tls->ca_pem);
    write_file(out_ / "port", std::to_string(server_->port()));
    return {};
  }

  [[noreturn]] void run() {
    while (true) {
      std::array<pollfd, 2> fds{
          pollfd{.fd = manifests_->poll_fd(), .events = POLLIN, .revents = 0},
          pollfd{.fd = server_->poll_fd(), .events = POLLIN, .revents = 0}};
      ::poll(fds.data(), fds.size(), 100);
      server_->dispatch();
      manifests_->drain();
      scan();
      for (const auto& node : watched_) {
        auto change =
            std::make_shared<Transaction>(cluster_.translator().take(node));
        if (!change->empty() || !change->rules.empty() ||
            !change->sets.empty()) {
          server_->send(node, std::move(change));
        }
        server_->set_on_unknown(node, on_unknown());
      }
    }
  }

 private:
  void scan() {
    for (const auto& change : manifests_->scan()) {
      cluster_.take(change);
    }
    cluster_.store().commit();
    for (const auto& [ns, name] : said_) {
      if (const auto* pod = cluster_.store().pod(ns, name)) {
        cluster_.translator().set(announced_.seen(*pod, {}));
      }
    }
  }

  [[nodiscard]] wire::OnUnknown on_unknown() const {
    std::string word;
    std::ifstream(dir_ / "on-unknown") >> word;
    if (word == "deny") {
      return wire::OnUnknown::kDeny;
    }
    return word == "allow" ? wire::OnUnknown::kAllow
                           : wire::OnUnknown::kAgentDefault;
  }

  void announced(const std::string& node, bool begins,
                 const std::vector<wire::PodAddress>& pods) {
    for (const auto& said : pods) {
      said_.emplace(said.ns, said.name);
      if (const auto* pod = cluster_.store().pod(said.ns, said.name)) {
        (void)announced_.seen(*pod, {});
      }
    }
    for (const auto& pod : announced_.announce(node, begins, pods)) {
      cluster_.translator().set(pod);
    }
  }

  wire::Server::Handlers handlers() {
    wire::Server::Handlers handlers;
    handlers.on_snapshot_needed = [this](const std::string& node) {
      watched_.insert(node);
      cluster_.translator().watch_node(node);
      const auto first = cluster_.translator().take(node);
      server_->send_snapshot(
          node, first.revision,
          std::make_shared<const State>(cluster_.translator().snapshot(node)));
    };
    handlers.on_forget = [this](const std::string& node) {
      watched_.erase(node);
      cluster_.translator().forget_node(node);
    };
    handlers.on_ack = [this](const std::string& node, const wire::Ack& ack) {
      nlohmann::json failures = nlohmann::json::array();
      for (const auto& failure : ack.failures) {
        failures.push_back(
            {{"endpoint", failure.endpoint}, {"message", failure.message}});
      }
      write_file(out_ / (node + ".json"),
                 nlohmann::json{{"received", ack.received},
                                {"applied", ack.applied},
                                {"failures", failures}}
                     .dump());
    };
    handlers.on_announcement = [this](
                                   const std::string& node, bool begins,
                                   const std::vector<wire::PodAddress>& pods) {
      announced(node, begins, pods);
    };
    handlers.on_refused = [](const std::string& peer, const std::string& why) {
      std::cerr << peer << ": " << why << '\n';
    };
    return handlers;
  }

  path dir_;
  path out_;
  OneToken authenticator_;
  cli::Cluster cluster_;
  op::AnnouncedPods announced_{cluster_.translator()};
  std::set<std::pair<std::string, std::string>> said_;
  std::optional<op::ManifestDir> manifests_;
  std::optional<wire::Server> server_;
  std::set<std::string> watched_;
};

int run(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: fake_operator DIR ADDRESS:PORT OUT TOKEN\n";
    return 2;
  }
  FakeOperator op(argv[1], argv[3], argv[4]);
  if (auto started = op.start(argv[2]); !started) {
    std::cerr << started.error().message << '\n';
    return 1;
  }
  op.run();
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  return sluice::run(argc, argv);
}
