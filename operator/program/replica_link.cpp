// SPDX-License-Identifier: Apache-2.0
#include "operator/program/replica_link.h"

#include <utility>
#include <vector>

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

namespace sluice::operatord {
namespace {

// Nodes that change meanwhile go into one report.
constexpr std::chrono::milliseconds kPace{50};
// Interval without a change: shows that this replica is alive, and fetches the
// addresses that agents of other replicas have found on their nodes.
constexpr std::chrono::milliseconds kHeartbeat{200};
constexpr std::chrono::milliseconds kAfterFailure{1'000};
// Limit for all nodes of one report except the last one: half of what a message
// may have.
constexpr std::size_t kBytes = 256 << 10;

// About the bytes of the report's message.
std::size_t size_of(const wire::NodeReport& report) {
  constexpr std::size_t kMember = 24;
  std::size_t bytes = report.node.size() + (2 * kMember);
  for (const auto& held : report.held) {
    bytes += held.ns.size() + kMember;
  }
  for (const auto& failure : report.failures) {
    bytes += failure.endpoint.size() + failure.message.size() + kMember;
  }
  return bytes + (report.addresses ? report.addresses->size() * kMember : 0);
}

}  // namespace

std::string replica_identity(const std::string& name,
                             const std::string& address) {
  return address.empty() ? name : name + "@" + address;
}

std::string address_of(const std::string& identity) {
  const auto at = identity.find('@');
  return at == std::string::npos ? std::string{} : identity.substr(at + 1);
}

ReplicaLink::ReplicaLink(Loop& loop, const op::NodeProgress& progress,
                         const op::ClusterStore& store, std::string identity,
                         OnFound on_found)
    : loop_(loop),
      progress_(progress),
      store_(store),
      identity_(std::move(identity)),
      on_found_(std::move(on_found)) {}

ReplicaLink::~ReplicaLink() {
  disconnect();
}

void ReplicaLink::set_certificate(const std::optional<wire::TlsMaterial>& tls,
                                  const std::string& server_name) {
  tls_ = tls;
  server_name_ = server_name;
  disconnect();
  connect();
}

void ReplicaLink::set_leader(const std::string& identity) {
  if (leader_ == identity) {
    return;
  }
  leader_ = identity;
  disconnect();
  connect();
}

void ReplicaLink::disconnect() {
  if (sender_) {
    loop_.remove_fd(sender_->poll_fd());
    sender_.reset();
  }
}

void ReplicaLink::connect() {
  const auto target = address_of(leader_);
  if (target.empty() || leader_ == identity_) {
    return;
  }
  auto started = wire::ReportSender::start(
      {.target = target,
       .server_name = server_name_,
       .ca_pem = tls_ ? tls_->ca_pem : std::string{},
       .token = wire::replica_token(tls_ ? tls_->server.key_pem : ""),
       .replica = identity_},
      [this](const wire::ReportSender::Outcome& what) { outcome(what); });
  if (!started) {
    spdlog::error("reports to {}: {}", leader_, started.error().message);
    return;
  }
  sender_ = std::move(*started);
  auto watched = loop_.set_fd(sender_->poll_fd(), EPOLLIN,
                              [this](std::uint32_t) { sender_->dispatch(); });
  if (!watched) {
    spdlog::error("reports to {}: {}", leader_, watched.error().message);
    sender_.reset();
    return;
  }
  next_ = {};
  tell_all();
}

void ReplicaLink::tell_all() {
  const auto nodes = progress_.nodes();
  changed_ = {nodes.begin(), nodes.end()};
  sent_.clear();
}

void ReplicaLink::nodes_changed(const std::vector<std::string>& nodes) {
  if (sender_) {
    changed_.insert(nodes.begin(), nodes.end());
  }
}

void ReplicaLink::outcome(const wire::ReportSender::Outcome& outcome) {
  const auto now = op::Clock::now();
  if (!outcome.problem.empty()) {
    if (told_problem_ != outcome.problem) {
      told_problem_ = outcome.problem;
      spdlog::warn("reports to {}: {}", leader_, outcome.problem);
    }
    changed_.merge(sent_);
    sent_.clear();
    next_ = now + kAfterFailure;
    return;
  }
  told_problem_.clear();
  sent_.clear();
  next_ = now + kPace;
  hear_at_ = now + (outcome.more ? kPace : kHeartbeat);
  if (!outcome.found.empty()) {
    on_found_(outcome.found);
  }
  if (outcome.tell_all) {
    tell_all();
  }
}

void ReplicaLink::turn(op::Clock::time_point now) {
  if (!sender_ || sender_->busy() || now < next_ ||
      (changed_.empty() && now < hear_at_)) {
    return;
  }
  std::vector<wire::NodeReport> reports;
  std::size_t bytes = 0;
  while (!changed_.empty() && reports.size() < wire::kReportNodesMax &&
         bytes < kBytes) {
    const auto node = changed_.extract(changed_.begin()).value();
    reports.push_back(progress_.report(node));
    reports.back().addresses = store_.node_addresses(node, true);
    bytes += size_of(reports.back());
    sent_.insert(node);
  }
  sender_->send(reports);
}

}  // namespace sluice::operatord
