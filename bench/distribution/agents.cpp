// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <deque>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/distribution/shared.h"
#include "lib/wire/client.h"

// The agents of all nodes, as far as the operator can tell: each a connection
// and a stream of its own, that takes what comes and acknowledges it.
namespace sluice::bench {
namespace {

struct Counted {
  std::uint64_t transactions = 0;
  std::uint64_t peers = 0;  // changes of peers in them
  std::uint64_t endpoints = 0;
  std::uint64_t entries = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t disconnects = 0;
  Samples latency;
};

class Agents {
 public:
  Agents(int port, int nodes, Times times)
      : epoll_(::epoll_create1(EPOLL_CLOEXEC)), times_(std::move(times)) {
    watch(STDIN_FILENO, nullptr);
    for (int i = 0; i < nodes; ++i) {
      start("127.0.0.1:" + std::to_string(port), "node" + std::to_string(i));
    }
  }

  int run() {
    std::array<epoll_event, 256> ready{};
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), ready.data(),
                                     static_cast<int>(ready.size()), -1);
      for (int i = 0; i < count; ++i) {
        auto* client = static_cast<wire::Client*>(ready[i].data.ptr);
        if (client != nullptr) {
          client->dispatch();
        } else if (!report()) {
          return 0;
        }
      }
    }
  }

 private:
  void watch(int fd, wire::Client* client) const {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = client}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  // What the false API server takes for the node's.
  std::string token_file(const std::string& node) {
    const Fd& file = tokens_.emplace_back(::memfd_create("token", MFD_CLOEXEC));
    if (::write(file.get(), node.data(), node.size()) < 0) {
      std::abort();
    }
    return "/proc/self/fd/" + std::to_string(file.get());
  }

  void start(const std::string& target, const std::string& node) {
    const std::size_t index = clients_.size();
    wire::ClientOptions options;
    options.target = target;
    options.node = node;
    options.plain_text = true;
    options.token_file = token_file(node);
    auto client = wire::Client::start(
        options,
        {.on_snapshot =
             [this, index](std::uint64_t revision, const State& /*state*/) {
               ++counted_.snapshots;
               acknowledge(index, revision);
             },
         .on_transaction =
             [this, index](const Transaction& transaction) {
               count(transaction);
               acknowledge(index, transaction.revision);
             },
         .on_unknown = {},
         .on_connect = {},
         .on_disconnect =
             [this](const std::string&) { ++counted_.disconnects; }});
    if (!client) {
      std::cerr << node << ": " << client.error().message << "\n";
      std::exit(1);
    }
    clients_.push_back(std::move(*client));
    watch(clients_.back().poll_fd(), &clients_.back());
  }

  void acknowledge(std::size_t index, std::uint64_t revision) {
    clients_[index].acknowledge(
        {.received = revision, .applied = revision, .failures = {}});
  }

  void count(const Transaction& transaction) {
    ++counted_.transactions;
    counted_.peers += transaction.peers.size();
    counted_.endpoints += transaction.endpoints.size();
    counted_.entries += transaction.entries.size();
    const Nanoseconds now = now_ns();
    for (const auto& peer : transaction.peers) {
      const auto& bytes = peer.prefix.address.bytes;
      const std::uint32_t number =
          (std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
           std::uint32_t{bytes[2]} << 8 | std::uint32_t{bytes[3]}) -
          kFirstAddress;
      if (peer.cidr_id && number < kAddresses) {
        counted_.latency.add(now - times_[number].load());
      }
    }
  }

  bool report() {
    std::array<char, 256> command{};
    if (::read(STDIN_FILENO, command.data(), command.size()) <= 0) {
      return false;
    }
    if (command.front() == 'p') {
      std::cout << nlohmann::json{{"snapshots", counted_.snapshots},
                                  {"transactions", counted_.transactions}}
                       .dump()
                << '\n'
                << std::flush;
      return true;
    }
    std::uint64_t bytes = 0;
    std::uint64_t connected = 0;
    for (const wire::Client& client : clients_) {
      bytes += client.stats().bytes_received;
      connected += client.stats().connected ? 1 : 0;
    }
    const nlohmann::json line{{"connected", connected},
                              {"snapshots", counted_.snapshots},
                              {"transactions", counted_.transactions},
                              {"peers", counted_.peers},
                              {"endpoints", counted_.endpoints},
                              {"entries", counted_.entries},
                              {"disconnects", counted_.disconnects},
                              {"bytes", bytes - bytes_before_},
                              {"samples", counted_.latency.size()},
                              {"p50", counted_.latency.percentile(0.5)},
                              {"p99", counted_.latency.percentile(0.99)},
                              {"max", counted_.latency.percentile(1)}};
    bytes_before_ = bytes;
    counted_ = {};
    std::cout << line.dump() << '\n' << std::flush;
    return true;
  }

  Fd epoll_;
  std::deque<Fd> tokens_;  // files with what each of them shows
  Times times_;
  Counted counted_;
  std::uint64_t bytes_before_ = 0;
  std::deque<wire::Client> clients_;
};

}  // namespace

int run_agents(int port, int nodes, int times_fd, int cpu) {
  prepare_process(cpu);
  return Agents(port, nodes, Times::open(times_fd)).run();
}

}  // namespace sluice::bench
