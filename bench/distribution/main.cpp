// SPDX-License-Identifier: Apache-2.0
// What it costs an operator to follow a large cluster: a false API server, the
// operator's way from events to streams, and the agents of all nodes, each in a
// process of its own, over loopback.
//
//   bench_distribution                          1,000 nodes, 10,000 pods, 60 s
//   bench_distribution --seconds 5 --mix lives  a short run of one mix
//   bench_distribution --rate 0                 as many events as it takes
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/distribution/replay_server.h"
#include "bench/distribution/shared.h"

namespace {

using nlohmann::json;
using sluice::Fd;
namespace bench = sluice::bench;

// This program again, in another role. Ends with its standard input.
class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    if (::pipe(in.data()) != 0 || ::pipe(out.data()) != 0) {
      std::abort();
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    for (const int fd : {in[0], in[1], out[0], out[1]}) {
      posix_spawn_file_actions_addclose(&actions, fd);
    }
    std::vector<std::string> words{"bench_distribution"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words) {
      pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    if (::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr,
                      pointers.data(), environ) != 0) {
      std::abort();
    }
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    in_.reset(in[1]);
    out_.reset(::fdopen(out[0], "r"));
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child(Child&&) = delete;
  Child& operator=(Child&&) = delete;
  ~Child() {
    in_.reset();
    out_.reset();
    ::waitpid(pid_, nullptr, 0);
  }

  // What it says next.
  json read() {
    char* line = nullptr;
    std::size_t size = 0;
    if (::getline(&line, &size, out_.get()) <= 0) {
      std::cerr << "a process has ended\n";
      std::exit(1);
    }
    json result = json::parse(line);
    std::free(line);  // NOLINT
    return result;
  }
  json ask(char what) {
    const std::array text{what, '\n'};
    if (::write(in_.get(), text.data(), text.size()) < 0) {
      std::abort();
    }
    return read();
  }
  // CPU time so far.
  [[nodiscard]] double cpu_seconds() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string text;
    std::getline(file, text);
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) {
      fields >> skipped;
    }
    double user = 0;
    double system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  [[nodiscard]] double resident_mb() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
    std::string word;
    double kb = 0;
    while (file >> word) {
      if (word == "VmRSS:") {
        file >> kb;
      }
    }
    return kb / 1024;
  }

 private:
  pid_t pid_ = 0;
  Fd in_;
  std::unique_ptr<FILE, int (*)(FILE*)> out_{nullptr, &std::fclose};
};

// Returns when the agents have got all that is on its way.
void settle(Child& agents) {
  json last = agents.ask('p');
  for (int same = 0; same < 2;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    const json now = agents.ask('p');
    same = now == last ? same + 1 : 0;
    last = now;
  }
}

struct Options {
  bench::MadeCluster cluster;
  bench::Phase phase{.rate = 5000, .seconds = 60};
  std::vector<std::string> mixes{"lives", "stray", "status", "moves"};
  std::string role;
  std::string api_server;
  int port = 0;
  int times_fd = -1;
  int operator_cpu = 0;
  int other_cpu = 1;
};

void run_mix(const std::string& name, const Options& options,
             bench::ReplayServer& server, Child& op, Child& agents) {
  static const std::map<std::string, bench::Mix> mixes{
      {"lives", bench::Mix::kLives},
      {"moves", bench::Mix::kMoves},
      {"status", bench::Mix::kStatus},
      {"stray", bench::Mix::kStray}};
  bench::Phase phase = options.phase;
  phase.mix = mixes.at(name);
  op.ask('r');
  agents.ask('r');
  const double cpu = op.cpu_seconds();
  const bench::Sent sent = server.run(phase);
  const double busy = op.cpu_seconds() - cpu;
  settle(agents);
  const json handed = op.ask('r');
  const json got = agents.ask('r');
  const auto events = static_cast<double>(sent.events);
  const double bytes = got["bytes"];
  std::printf(
      "%-7s %8.0f %9.0f %6.0f%% %7.1f %7.1f %7.1f %8.1f %8.1f %11llu "
      "%9llu %9.1f %10.3f %8.0f\n",
      name.c_str(), events, events / sent.seconds, 100 * busy / sent.seconds,
      1e6 * busy / events, handed["p50"].get<double>(),
      handed["p99"].get<double>(), got["p50"].get<double>(),
      got["p99"].get<double>(), got["transactions"].get<unsigned long long>(),
      got["peers"].get<unsigned long long>(), bytes / events,
      bytes / events / options.cluster.nodes, op.resident_mb());
  std::fflush(stdout);
}

int run(const Options& options) {
  const bench::Times times = bench::Times::create();
  bench::ReplayServer server(options.cluster, times);
  Child op({"--role", "operator", "--api-server", server.url(),
            "--operator-cpu", std::to_string(options.operator_cpu)});
  const int port = op.read()["port"];
  const double lists = op.cpu_seconds();
  const double before = op.resident_mb();
  Child agents({"--role", "agents", "--port", std::to_string(port), "--nodes",
                std::to_string(options.cluster.nodes), "--times-fd",
                std::to_string(times.fd()), "--other-cpu",
                std::to_string(options.other_cpu)});
  for (int have = 0; have < options.cluster.nodes;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    have = agents.ask('p')["snapshots"];
    std::fprintf(stderr, "\r%d agents have their view ", have);
  }
  std::fprintf(stderr, "\n");
  settle(agents);
  std::printf(
      "%d nodes, %d pods, %d policies: lists taken in %.1f s of CPU, %.0f MB; "
      "with all agents %.1f s, %.0f MB\n\n",
      options.cluster.nodes, options.cluster.pods, options.cluster.policies,
      lists, before, op.cpu_seconds(), op.resident_mb());
  std::printf("%-7s %8s %9s %7s %7s %15s %16s %11s %9s %9s %10s %8s\n", "", "",
              "", "", "CPU us", "handed on, ms", "at agents, ms", "trans-",
              "peers", "bytes", "bytes per", "memory");
  std::printf("%-7s %8s %9s %7s %7s %7s %7s %7s %8s %12s %9s %9s %10s %8s\n",
              "events", "sent", "per s", "CPU", "/event", "p50", "p99", "p50",
              "p99", "actions", "in them", "/event", "and node", "MB");
  for (const std::string& mix : options.mixes) {
    run_mix(mix, options, server, op, agents);
  }
  // The server's threads wait for watchers that do not come.
  std::fflush(stdout);
  std::_Exit(0);
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"An operator in a large cluster"};
  Options options;
  app.add_option("--nodes", options.cluster.nodes);
  app.add_option("--pods", options.cluster.pods);
  app.add_option("--policies", options.cluster.policies);
  app.add_option("--rate", options.phase.rate,
                 "events per second; 0: no limit");
  app.add_option("--seconds", options.phase.seconds, "of each mix");
  app.add_option("--mix", options.mixes, "lives, stray, status, moves");
  app.add_option("--operator-cpu", options.operator_cpu, "-1: any");
  app.add_option("--other-cpu", options.other_cpu, "-1: any");
  app.add_option("--role", options.role)->group("");
  app.add_option("--api-server", options.api_server)->group("");
  app.add_option("--port", options.port)->group("");
  app.add_option("--times-fd", options.times_fd)->group("");
  CLI11_PARSE(app, argc, argv);
  if (options.role == "operator") {
    return bench::run_operator(options.api_server, options.operator_cpu);
  }
  if (options.role == "agents") {
    return bench::run_agents(options.port, options.cluster.nodes,
                             options.times_fd, options.other_cpu);
  }
  bench::prepare_process(options.other_cpu);
  return run(options);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "bench_distribution: " << error.what() << '\n';
    return 1;
  }
}
