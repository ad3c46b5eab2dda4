// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest_source.h"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include "agent/node/runtime.h"
#include "cli/host.h"
#include "lib/base/printable.h"
#include "lib/flow/cluster_end.h"

namespace sluice::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Changes in quick succession are one transaction: the folder is read when it
// has been quiet for a moment, but after a bounded delay.
constexpr milliseconds kQuiet{25};
constexpr milliseconds kQuietMax{250};
// Interval of scans without a notice, which find changes that notices do not
// cover.
constexpr seconds kRescan{20};
constexpr seconds kRescanSoon{1};

}  // namespace

ManifestSource::ManifestSource(ManifestSourceOptions options)
    : options_(std::move(options)),
      cluster_(options_.translator, options_.on_invalid) {}

Result<void> ManifestSource::open() {
  auto opened = op::ManifestDir::open(options_.dir);
  if (!opened) {
    return std::unexpected(opened.error());
  }
  dir_ = std::move(*opened);
  for (const auto& change : dir_->scan()) {
    cluster_.take(change);
  }
  return {};
}

// The first Node object that has an address of this host names the node.
void ManifestSource::choose_node() {
  local_.name = options_.node;
  if (local_.name.empty()) {
    for (const auto& candidate : cluster_.store().nodes()) {
      const bool is_local =
          std::ranges::any_of(candidate.ips, [&](const IpAddress& ip) {
            return std::ranges::binary_search(local_.addresses, ip);
          });
      if (is_local) {
        local_.name = candidate.name;
        break;
      }
    }
  }
  if (local_.name.empty()) {
    local_.name = host_name();
  }
}

Result<void> ManifestSource::start(node::Runtime& runtime) {
  runtime_ = &runtime;
  local_.addresses = runtime.agent().node_addresses();
  choose_node();
  cluster_.store().set_local_node(
      {.name = local_.name, .labels = {}, .ips = {}});
  cluster_.store().commit();
  cluster_.translator().set_node_addresses(local_.name, local_.addresses);
  cluster_.translator().watch_node(local_.name);
  policies_.emplace(cluster_, options_.dir.string(), &local_);
  log_problems();
  enforce();
  scan_within(kRescan);
  spdlog::info("node {}: {} manifests, {} endpoints, socket {}", local_.name,
               cluster_.store().source_count(),
               runtime.agent().status().endpoints.size(),
               runtime.options().socket.string());
  return runtime.loop().set_fd(dir_->poll_fd(), EPOLLIN,
                               [this](std::uint32_t) { on_notice(); });
}

std::string ManifestSource::unready() const {
  return runtime_->enforcement_problem();
}

// All of the host's addresses are the node's, whatever the Node object lists,
// because probes and proxies reach pods from any of them.
void ManifestSource::on_node_addresses(
    const std::vector<IpAddress>& addresses) {
  if (local_.addresses == addresses) {
    return;
  }
  local_.addresses = addresses;
  cluster_.translator().set_node_addresses(local_.name, local_.addresses);
  enforce();
}

bool ManifestSource::ask_ends(const std::vector<IpAddress>& addresses,
                              const LearnEnd& learn) {
  for (const auto& address : addresses) {
    learn(address,
          flow::cluster_end(cluster_.translator(), address, local_.name));
  }
  return true;
}

void ManifestSource::log_problems() {
  std::set<std::string> now;
  for (const auto& problem : cluster_.problems(false)) {
    auto text =
        printable(problem.source) + ": " +
        (problem.object.empty() ? "" : printable(problem.object) + ": ") +
        printable(problem.message);
    if (!logged_.contains(text)) {
      spdlog::log(problem.severity == "error" ? spdlog::level::err
                                              : spdlog::level::info,
                  "{}", text);
    }
    now.insert(std::move(text));
  }
  logged_ = std::move(now);
  if (dir_->problem() != logged_dir_problem_) {
    logged_dir_problem_ = dir_->problem();
    if (logged_dir_problem_.empty()) {
      spdlog::info("{}: can be read again", options_.dir.string());
    } else {
      spdlog::error("{}", printable(logged_dir_problem_));
    }
  }
}

// Gives the runtime everything that has changed since the last call, as one
// transaction.
void ManifestSource::enforce() {
  const auto transaction = cluster_.translator().take(local_.name);
  // A failure is logged, shown and retried by the runtime.
  if (runtime_->phase() != node::Phase::kWaiting) {
    runtime_->change(transaction);
    return;
  }
  State state;
  apply(state, transaction);
  runtime_->snapshot(transaction.revision, state);
}

void ManifestSource::scan() {
  first_notice_.reset();
  const auto changes = dir_->scan();
  for (const auto& change : changes) {
    cluster_.take(change);
  }
  const bool soon = dir_->pending() || !dir_->problem().empty();
  scan_within(soon ? kRescanSoon : kRescan);
  if (cluster_.store().commit()) {
    enforce();
  }
  if (!changes.empty() || dir_->problem() != logged_dir_problem_) {
    log_problems();
  }
}

void ManifestSource::scan_within(Clock::duration delay) {
  scan_timer_ = runtime_->loop().after(delay, [this] { scan(); });
}

void ManifestSource::on_notice() {
  dir_->drain();
  const auto now = Clock::now();
  first_notice_ = first_notice_.value_or(now);
  scan_within(
      std::min<Clock::duration>(kQuiet, *first_notice_ + kQuietMax - now));
}

void ManifestSource::reload() {
  scan_within(Clock::duration::zero());
}

}  // namespace sluice::cli
