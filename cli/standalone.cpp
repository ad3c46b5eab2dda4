// SPDX-License-Identifier: Apache-2.0
#include "cli/standalone.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/spdlog.h>

#include "agent/node/files.h"
#include "agent/node/flow.h"
#include "agent/node/json_text.h"
#include "agent/node/locks.h"
#include "agent/node/names.h"
#include "agent/node/progress.h"
#include "agent/node/requests.h"
#include "agent/node/server.h"
#include "agent/node/views_json.h"
#include "cli/cluster.h"
#include "cli/host.h"
#include "cli/manifest_source.h"
#include "lib/base/fd.h"
#include "lib/base/printable.h"
#include "lib/base/process.h"
#include "operator/manifest_dir.h"

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Changes in quick succession are one transaction: the folder is read when it
// has been quiet for a moment, but after a bounded delay.
constexpr milliseconds kQuiet{25};
constexpr milliseconds kQuietMax{250};
// The datapath never wakes the reader of flow events (a wake-up costs more than
// a hundred packets), so they are fetched at this interval.
constexpr milliseconds kEvents{100};
// Interval of scans without a notice, which find changes that notices do not
// cover.
constexpr seconds kRescan{20};
constexpr seconds kRescanSoon{1};
constexpr seconds kHousekeeping{1};

}  // namespace

struct Standalone::Impl {
  explicit Impl(RunOptions options_in)
      : options(std::move(options_in)),
        cluster(options.translator, options.on_invalid) {}

  RunOptions options;
  node::Locks locks;
  Fd signals;
  Cluster cluster;
  node::Names names;
  std::optional<op::ManifestDir> dir;
  std::optional<agent::Agent> agent;
  std::optional<node::Server> server;
  std::string node;
  std::vector<IpAddress> told_addresses;
  bool replaced = false;  // the first snapshot is in force
  bool stopping = false;
  bool names_dirty = false;
  node::Progress progress;
  std::set<std::string> logged;  // problems of the objects
  std::string logged_dir_problem;
  Clock::time_point scan_at = Clock::time_point::max();
  Clock::time_point scan_latest = Clock::time_point::max();
  Clock::time_point rescan_at;
  Clock::time_point housekeeping_at;

  Result<void> prepare();
  void choose_node();
  bool tell_addresses();
  void scan();
  void log_problems();
  void enforce();
  void save_names();
  void housekeeping();
  [[nodiscard]] std::string name_of(const IpAddress& address) const;
  void on_event(const sluice_flow_event& event);
  void on_signal();
  void on_notice();
  node::Server::Answer answer(const std::string& request);
  [[nodiscard]] int wait_ms() const;
  void run_timers();
  Result<void> loop();
};

// The first Node object that has an address of this host names the node.
void Standalone::Impl::choose_node() {
  node = options.node;
  if (node.empty()) {
    const auto& local = agent->node_addresses();
    for (const auto& candidate : cluster.store().nodes()) {
      const bool is_local =
          std::ranges::any_of(candidate.ips, [&](const IpAddress& ip) {
            return std::ranges::binary_search(local, ip);
          });
      if (is_local) {
        node = candidate.name;
        break;
      }
    }
  }
  if (node.empty()) {
    node = host_name();
  }
}

// All of the host's addresses are the node's, whatever the Node object lists,
// because probes and proxies reach pods from any of them. True if they have
// changed.
bool Standalone::Impl::tell_addresses() {
  if (told_addresses == agent->node_addresses()) {
    return false;
  }
  told_addresses = agent->node_addresses();
  cluster.translator().set_node_addresses(node, told_addresses);
  return true;
}

Result<void> Standalone::Impl::prepare() {
  auto opened_signals = open_signals();
  if (!opened_signals) {
    return std::unexpected(opened_signals.error());
  }
  signals = std::move(*opened_signals);
  auto locked =
      node::take_locks(options.socket, options.agent.datapath.pin_dir);
  if (!locked) {
    return std::unexpected(locked.error());
  }
  locks = std::move(*locked);
  auto opened = op::ManifestDir::open(options.dir);
  if (!opened) {
    return std::unexpected(opened.error());
  }
  dir = std::move(*opened);
  for (const auto& change : dir->scan()) {
    cluster.take(change);
  }
  auto started = agent::Agent::start(options.agent);
  if (!started) {
    return std::unexpected(started.error());
  }
  agent = std::move(*started);
  choose_node();
  cluster.store().set_local_node({.name = node, .labels = {}, .ips = {}});
  cluster.store().commit();
  tell_addresses();
  cluster.translator().watch_node(node);
  auto opened_server = node::Server::open(
      options.socket,
      [this](const std::string& request) { return answer(request); });
  if (!opened_server) {
    return std::unexpected(opened_server.error());
  }
  server = std::move(*opened_server);
  return {};
}

node::Server::Answer Standalone::Impl::answer(const std::string& request) {
  auto problem = progress.problem();
  if (problem.empty() && dir) {
    problem = dir->problem();
  }
  const ManifestSource source(cluster, options.dir.string());
  return node::answer_request({.source = &source,
                               .agent = &*agent,
                               .names = &names,
                               .node = node,
                               .problem = std::move(problem)},
                              request);
}

void Standalone::Impl::log_problems() {
  std::set<std::string> now;
  for (const auto& problem : cluster.problems(false)) {
    auto text =
        printable(problem.source) + ": " +
        (problem.object.empty() ? "" : printable(problem.object) + ": ") +
        printable(problem.message);
    if (!logged.contains(text)) {
      spdlog::log(problem.severity == "error" ? spdlog::level::err
                                              : spdlog::level::info,
                  "{}", text);
    }
    now.insert(std::move(text));
  }
  logged = std::move(now);
  if (dir->problem() != logged_dir_problem) {
    logged_dir_problem = dir->problem();
    if (logged_dir_problem.empty()) {
      spdlog::info("{}: can be read again", options.dir.string());
    } else {
      spdlog::error("{}", printable(logged_dir_problem));
    }
  }
}

// Applies everything that has changed since the last call, as one transaction.
void Standalone::Impl::enforce() {
  const auto transaction = cluster.translator().take(node);
  if (!replaced) {
    const auto state = cluster.translator().snapshot(node);
    names = node::Names(state);
    replaced = true;
    progress.note(agent->replace(state, transaction.revision));
  } else {
    names.apply(transaction);
    progress.note(agent->apply(transaction));
  }
  names_dirty = true;
}

void Standalone::Impl::scan() {
  scan_at = scan_latest = Clock::time_point::max();
  const auto changes = dir->scan();
  for (const auto& change : changes) {
    cluster.take(change);
  }
  const bool soon = dir->pending() || !dir->problem().empty();
  rescan_at = Clock::now() + (soon ? kRescanSoon : kRescan);
  if (cluster.store().commit()) {
    enforce();
  }
  if (!changes.empty() || dir->problem() != logged_dir_problem) {
    log_problems();
  }
}

void Standalone::Impl::save_names() {
  if (!std::exchange(names_dirty, false)) {
    return;
  }
  if (auto saved = names.save(node::names_file(options.socket)); !saved) {
    spdlog::warn("names for `policy dump`: {}", saved.error().message);
  }
}

void Standalone::Impl::housekeeping() {
  housekeeping_at = Clock::now() + kHousekeeping;
  save_names();
  server->expire(Clock::now());
}

std::string Standalone::Impl::name_of(const IpAddress& address) const {
  auto name = cluster.store().name_of(address);
  return name.empty() && std::ranges::binary_search(told_addresses, address)
             ? "node/" + node
             : name;
}

void Standalone::Impl::on_event(const sluice_flow_event& event) {
  if (!server || !server->has_subscribers()) {
    return;
  }
  const auto flow = node::make_flow(
      event, agent->endpoint_name(event.ifindex), names,
      [this](const IpAddress& address) { return name_of(address); });
  server->publish(node::dump(nlohmann::json{{"event", flow}}),
                  event.verdict != SLUICE_VERDICT_ALLOW);
}

void Standalone::Impl::on_signal() {
  const auto come = read_signals(signals.get());
  if (come.stop) {
    spdlog::info("stopping; what is in force stays in force");
    stopping = true;
  }
  if (come.reload) {
    scan_at = Clock::now();
  }
}

void Standalone::Impl::on_notice() {
  dir->drain();
  const auto now = Clock::now();
  scan_latest = std::min(scan_latest, now + kQuietMax);
  scan_at = std::min(now + kQuiet, scan_latest);
}

int Standalone::Impl::wait_ms() const {
  const auto next =
      std::min({scan_at, rescan_at, progress.retry_at(), housekeeping_at});
  const auto left =
      std::chrono::ceil<milliseconds>(next - Clock::now()).count();
  return static_cast<int>(std::clamp<long>(left, 0, kEvents.count()));
}

void Standalone::Impl::run_timers() {
  const auto now = Clock::now();
  if (now >= scan_at || now >= rescan_at) {
    scan();
  }
  if (now >= progress.retry_at()) {
    progress.note(agent->retry());
  }
  if (now >= housekeeping_at) {
    housekeeping();
  }
}

Result<void> Standalone::Impl::loop() {
  enum : std::uint8_t { kSignals, kDir, kAgent, kServer, kCount };
  std::array<pollfd, kCount> fds{};
  fds[kSignals].fd = signals.get();
  fds[kDir].fd = dir->poll_fd();
  fds[kAgent].fd = agent->poll_fd();
  fds[kServer].fd = server->poll_fd();
  for (auto& fd : fds) {
    fd.events = POLLIN;
  }
  while (!stopping) {
    if (::poll(fds.data(), fds.size(), wait_ms()) < 0 && errno != EINTR) {
      return fail_errno("poll");
    }
    if (fds[kSignals].revents != 0) {
      on_signal();
    }
    // A failure that lasts is noted once; agent->retry() says when it is over.
    if (const auto followed = agent->dispatch();
        !followed && followed.error().message != progress.problem()) {
      progress.note(followed);
    }
    if (tell_addresses()) {
      enforce();
    }
    if (fds[kDir].revents != 0) {
      on_notice();
    }
    if (fds[kServer].revents != 0) {
      server->dispatch();
    }
    run_timers();
  }
  return {};
}

Standalone::Standalone() = default;
Standalone::Standalone(Standalone&&) noexcept = default;
Standalone& Standalone::operator=(Standalone&&) noexcept = default;
Standalone::~Standalone() = default;

Result<Standalone> Standalone::start(RunOptions options) {
  Standalone standalone;
  standalone.impl_ = std::make_unique<Impl>(std::move(options));
  if (auto ready = standalone.impl_->prepare(); !ready) {
    return std::unexpected(ready.error());
  }
  return standalone;
}

Result<void> Standalone::run() {
  auto& impl = *impl_;
  impl.agent->on_notice([](const std::string& text) { spdlog::info(text); });
  impl.agent->on_event(
      [&impl](const sluice_flow_event& event) { impl.on_event(event); });
  impl.log_problems();
  impl.enforce();
  spdlog::info("node {}: {} manifests, {} endpoints, socket {}", impl.node,
               impl.cluster.store().source_count(),
               impl.agent->status().endpoints.size(),
               impl.options.socket.string());
  impl.rescan_at = Clock::now() + kRescan;
  impl.housekeeping_at = Clock::now() + kHousekeeping;
  auto result = impl.loop();
  impl.save_names();
  return result;
}

}  // namespace sluice::cli
