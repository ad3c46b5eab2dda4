// SPDX-License-Identifier: Apache-2.0
#include "operator/program/operator.h"

#include <array>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "bench/distribution/shared.h"

// The operator's own code, in a process that is asked what it measured.
namespace sluice::bench {
namespace {

class Measured {
 public:
  explicit Measured(const std::string& api_server) {
    operatord::OperatorOptions options;
    options.cluster.server = api_server;
    options.identity = "bench";
    options.server.address = "127.0.0.1:0";
    options.server.plain_text = true;
    auto started = operatord::Operator::start(std::move(options));
    if (!started) {
      std::cerr << started.error().message << "\n";
      std::exit(1);
    }
    operator_ = std::move(*started);
  }

  int run() {
    while (operator_->port() == 0) {
      operator_->turn(kTurn);
    }
    std::cout << nlohmann::json{{"port", operator_->port()}}.dump() << '\n'
              << std::flush;
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    for (;;) {
      operator_->turn(kTurn);
      note();
      if (::poll(&input, 1, 0) > 0 && !report()) {
        return 0;
      }
    }
  }

 private:
  static constexpr std::chrono::milliseconds kTurn{20};

  // One sample for every set of changes, as old as its oldest event.
  void note() {
    const auto figures = operator_->figures();
    if (figures.revision != revision_) {
      revision_ = figures.revision;
      handed_.add(figures.handed_in.count());
    }
  }

  bool report() {
    std::array<char, 256> ignored{};
    if (::read(STDIN_FILENO, ignored.data(), ignored.size()) <= 0) {
      return false;
    }
    std::cout << nlohmann::json{{"p50", handed_.percentile(0.5)},
                                {"p99", handed_.percentile(0.99)}}
                     .dump()
              << '\n'
              << std::flush;
    handed_.clear();
    return true;
  }

  std::unique_ptr<operatord::Operator> operator_;
  std::uint64_t revision_ = 0;
  Samples handed_;
};

}  // namespace

int run_operator(const std::string& api_server, int cpu) {
  prepare_process(cpu);
  spdlog::set_level(spdlog::level::warn);
  return Measured(api_server).run();
}

}  // namespace sluice::bench
