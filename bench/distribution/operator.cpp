// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

#include "bench/distribution/shared.h"
#include "lib/kube/api/client.h"
#include "lib/kube/api/reflector.h"
#include "lib/policy/parse.h"
#include "lib/policy/translator.h"
#include "lib/wire/server.h"

// The way of a pod event through the operator, and nothing beside it.
namespace sluice::bench {
namespace {

class Everybody : public wire::Authenticator {
 public:
  void authenticate(const std::string& /*token*/, Done done) override {
    done({.allowed = true, .node = {}, .error = {}});
  }
};

class Operator {
 public:
  explicit Operator(const std::string& api_server) {
    kube::ClusterConfig config;
    config.server = api_server;
    loop_ = *kube::Loop::create();
    client_ = *kube::Client::create(*loop_, config);
    for (const kube::Resource* resource :
         {&kube::namespaces(), &kube::nodes(), &kube::services(),
          &kube::endpoint_slices(), &kube::cilium_network_policies(),
          &kube::pods()}) {
      reflectors_.push_back(std::make_unique<kube::Reflector>(
          *client_, *resource,
          [this](const std::vector<kube::Event>& events) { take(events); }));
      reflectors_.back()->start();
    }
  }

  int run() {
    while (!synced()) {
      loop_->wait(std::chrono::milliseconds(100));
    }
    serve();
    std::cout << nlohmann::json{{"port", server_->port()}}.dump() << std::endl;
    std::array<pollfd, 3> fds{{{.fd = loop_->poll_fd(), .events = POLLIN},
                               {.fd = server_->poll_fd(), .events = POLLIN},
                               {.fd = STDIN_FILENO, .events = POLLIN}}};
    for (;;) {
      ::poll(fds.data(), fds.size(), -1);
      if (fds[0].revents != 0) {
        loop_->dispatch();
      }
      if (fds[1].revents != 0) {
        server_->dispatch();
      }
      if (fds[2].revents != 0 && !report()) {
        return 0;
      }
      hand_out();
    }
  }

 private:
  [[nodiscard]] bool synced() const {
    return std::ranges::all_of(reflectors_,
                               [](const auto& each) { return each->synced(); });
  }

  void serve() {
    wire::ServerOptions options;
    options.address = "127.0.0.1:0";
    options.plain_text = true;
    server_.emplace(*wire::Server::start(
        options,
        {.on_connect =
             [this](const wire::Connected& agent) {
               translator_.watch_node(agent.node);
             },
         .on_snapshot_needed =
             [this](const std::string& node) {
               translator_.watch_node(node);
               translator_.take(node);
               server_->send_snapshot(
                   node, ++revision_,
                   std::make_shared<State>(translator_.snapshot(node)));
             },
         .on_ack = {},
         .on_disconnect = {},
         .on_forget = {},
         .on_refused = {}},
        everybody_));
  }

  void take(const std::vector<kube::Event>& events) {
    if (!batch_) {
      batch_ = now_ns();
    }
    events_ += events.size();
    for (const kube::Event& event : events) {
      if (event.type == kube::Event::Type::kDeleted) {
        remove(event);
      } else {
        set(event);
      }
    }
  }

  void set(const kube::Event& event) {
    std::visit(
        [&](const auto& object) {
          using T = std::remove_cvref_t<decltype(object)>;
          if constexpr (std::is_same_v<T, kube::Event::Json>) {
            translator_.set(*policy::parse_policy(*object));
          } else if constexpr (!std::is_same_v<T, std::monostate>) {
            translator_.set(object);
          }
        },
        event.object);
  }

  void remove(const kube::Event& event) {
    if (event.resource == &kube::pods()) {
      translator_.remove_pod(event.ns, event.name);
    }
  }

  void hand_out() {
    for (const std::string& node : translator_.changed_nodes()) {
      auto transaction = std::make_shared<Transaction>(translator_.take(node));
      if (transaction->empty()) {
        continue;
      }
      transaction->revision = ++revision_;
      server_->send(node, std::move(transaction));
      if (batch_) {
        handed_.add(now_ns() - *batch_);
      }
    }
    batch_.reset();
  }

  bool report() {
    std::array<char, 256> ignored{};
    if (::read(STDIN_FILENO, ignored.data(), ignored.size()) <= 0) {
      return false;
    }
    const wire::ServerStats stats = server_->stats();
    std::cout << nlohmann::json{{"events", events_},
                                {"sent", stats.transactions_sent},
                                {"merged", stats.transactions_merged},
                                {"bytes", stats.bytes_sent},
                                {"p50", handed_.percentile(0.5)},
                                {"p99", handed_.percentile(0.99)}}
                     .dump()
              << std::endl;
    handed_.clear();
    events_ = 0;
    return true;
  }

  Everybody everybody_;
  std::unique_ptr<kube::Loop> loop_;
  std::unique_ptr<kube::Client> client_;
  policy::Translator translator_;
  std::optional<wire::Server> server_;
  std::vector<std::unique_ptr<kube::Reflector>> reflectors_;
  std::uint64_t revision_ = 0;
  std::uint64_t events_ = 0;
  // When the first event was read that hand_out() has yet to do with.
  std::optional<Nanoseconds> batch_;
  Samples handed_;
};

}  // namespace

int run_operator(const std::string& api_server, int cpu) {
  prepare_process(cpu);
  return Operator(api_server).run();
}

}  // namespace sluice::bench
