// SPDX-License-Identifier: Apache-2.0
#include "agent/program/announcements.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "agent/node/json_text.h"
#include "agent/program/sibling.h"

namespace sluice::agentd {
namespace {

using nlohmann::json;
using node::Server;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Denying an interface costs a grace period, which delays all verdicts of the
// node. Nothing runs in a pod before its announcement is answered, so the
// operator has this much time to send the pod's policies first.
constexpr milliseconds kOperatorDelay{100};
// The time that an agent that has just started, or has just lost its operator,
// may take to connect before a pod gets its siblings' policies.
constexpr milliseconds kConnectDelay{500};
constexpr seconds kCheckInterval{1};

Server::Answer line(const json& object) {
  return {.reply = node::reply_line(node::dump(object)), .drops_only = false};
}

}  // namespace

bool Announcements::is_there(const AnnouncedPod& announced) const {
  return agent_->interface_name(announced.ifindex) == announced.pod.interface;
}

void Announcements::load() {
  auto kept = load_pods(file_);
  if (!kept) {
    spdlog::warn("the list of announced pods cannot be read: {}",
                 kept.error().message);
    return;
  }
  std::vector<std::uint32_t> to_close;
  for (auto& announced : *kept) {
    if (!is_there(announced)) {
      continue;
    }
    agent_->announce(announced.full_name(), announced.ifindex);
    if (!announced.open) {
      to_close.push_back(announced.ifindex);
    }
    const auto name = announced.full_name();
    pods_[name] = std::move(announced);
  }
  dirty_ = pods_.size() != kept->size();
  // Pods whose announcement was not answered have no record yet.
  if (auto closed = agent_->close_interfaces(to_close); !closed) {
    spdlog::error("traffic of new pods cannot be denied: {}",
                  closed.error().message);
  }
}

void Announcements::add_siblings(State& state) const {
  Transaction transaction;
  for (const auto& [name, announced] : pods_) {
    if (!announced.as_siblings) {
      continue;
    }
    if (auto entry = as_siblings(name, announced.pod.ips, state.endpoints)) {
      transaction.endpoints.push_back(
          {.name = name, .value = std::move(entry)});
    }
  }
  apply(state, transaction);
}

bool Announcements::use_siblings(AnnouncedPod& announced) {
  const auto name = announced.full_name();
  auto entry = as_siblings(name, announced.pod.ips, agent_->wanted().endpoints);
  if (!entry) {
    return false;
  }
  spdlog::warn(
      "new pod {} has the policies of its siblings on this node: no operator "
      "can be reached: {}",
      name, link_->problem);
  announced.as_siblings = dirty_ = true;
  change_({.name = name, .value = std::move(entry)});
  return true;
}

void Announcements::stop_using_siblings(AnnouncedPod& announced) {
  if (std::exchange(announced.as_siblings, false)) {
    dirty_ = true;
    change_({.name = announced.full_name(), .value = std::nullopt});
  }
}

void Announcements::on_transaction(const Transaction& transaction) {
  for (const auto& change : transaction.endpoints) {
    if (const auto found = pods_.find(change.name); found != pods_.end()) {
      dirty_ = std::exchange(found->second.as_siblings, false) || dirty_;
    }
  }
}

void Announcements::on_snapshot() {
  for (auto& [name, announced] : pods_) {
    dirty_ = std::exchange(announced.as_siblings, false) || dirty_;
  }
}

void Announcements::serve(wire::Client& client, Server& server, Change change) {
  client_ = &client;
  server_ = &server;
  change_ = std::move(change);
  for (const auto& [name, announced] : pods_) {
    client_->announce(announced.pod);
  }
}

std::optional<Server::Answer> Announcements::answer(
    const std::string& request) {
  const auto parsed = parse_pod_request(request);
  if (!parsed) {
    return line({{"error", parsed.error().message}});
  }
  if (!*parsed) {
    return std::nullopt;
  }
  switch ((*parsed)->kind) {
    case PodRequest::Kind::kAnnounce:
      return announce(**parsed);
    case PodRequest::Kind::kWithdraw:
      withdraw((*parsed)->announced.container);
      break;
    case PodRequest::Kind::kCollectGarbage:
      collect_garbage(**parsed);
      break;
    case PodRequest::Kind::kCheck:
      return check(**parsed);
  }
  return line({{"view", json::object()}});
}

Server::Answer Announcements::announce(const PodRequest& request) {
  // The interface may be newer than the last list of interfaces.
  if (const auto followed = agent_->dispatch(); !followed) {
    spdlog::debug("{}", followed.error().message);  // reported elsewhere
  }
  const auto& announced = request.announced;
  if (!is_there(announced)) {
    return line(
        {{"error", "there is no interface " + announced.pod.interface +
                       " with index " + std::to_string(announced.ifindex)}});
  }
  if (!server_->can_wait()) {
    return line({{"error", "too many pods start at once"}});
  }
  const auto name = announced.full_name();
  const auto old = pods_.find(name);
  if (old != pods_.end() && old->second.ifindex != announced.ifindex) {
    remove(name);  // its sandbox was created again
  }
  pods_[name] = announced;
  dirty_ = true;
  // With on_timeout open, the plugin may start the pod without an answer.
  agent_->announce(name, announced.ifindex,
                   request.on_timeout != OnTimeout::kOpen);
  client_->announce(announced.pod);
  if (const auto bound = agent_->retry(); !bound) {
    spdlog::debug("{}: {}", name, bound.error().message);  // reported elsewhere
  }
  const auto now = Clock::now();
  waiting_.push_back({.ticket = ++tickets_,
                      .pod = name,
                      .ifindex = announced.ifindex,
                      .since = now,
                      .close_at = link_->connected ? now + kOperatorDelay : now,
                      .deadline = now + request.timeout,
                      .on_timeout = request.on_timeout});
  return {.reply = {}, .drops_only = false, .ticket = tickets_};
}

// The interface stays as it is until it is deleted. If nothing else claims it,
// its traffic is denied.
void Announcements::remove(const std::string& name) {
  const auto found = pods_.find(name);
  if (found == pods_.end()) {
    return;
  }
  stop_using_siblings(found->second);
  auto pod = std::move(found->second.pod);
  pods_.erase(found);
  dirty_ = true;
  agent_->announce(name, 0);
  pod.ips.clear();
  if (client_ != nullptr) {
    client_->announce(pod);
  }
}

void Announcements::withdraw(const std::string& container) {
  const auto found = std::ranges::find_if(pods_, [&](const auto& item) {
    return item.second.container == container;
  });
  if (found != pods_.end()) {
    remove(std::string(found->first));
  }
}

void Announcements::collect_garbage(const PodRequest& request) {
  std::vector<std::string> gone;
  for (const auto& [name, announced] : pods_) {
    if (announced.network == request.announced.network &&
        std::ranges::find(request.valid, announced.container) ==
            request.valid.end()) {
      gone.push_back(name);
    }
  }
  for (const auto& name : gone) {
    remove(name);
  }
}

Server::Answer Announcements::check(const PodRequest& request) const {
  const auto& wanted = request.announced;
  if (wanted.container.empty()) {
    return line({{"view", {{"pods", pods_.size()}}}});
  }
  const auto found = std::ranges::find_if(pods_, [&](const auto& item) {
    return item.second.container == wanted.container;
  });
  if (found == pods_.end() || found->second.ifindex != wanted.ifindex) {
    return line({{"error", "the interface of this container is not known"}});
  }
  const auto& [name, announced] = *found;
  const bool enforced =
      agent_->is_enforced(name, announced.ifindex, announced.pod.ips);
  if (!enforced && !announced.open && !agent_->is_closed(announced.ifindex)) {
    return line({{"error", name + ": " + why_not_enforced(name)}});
  }
  return line({{"view", {{"enforced", enforced}}}});
}

void Announcements::remove_gone() {
  std::vector<std::string> gone;
  for (const auto& [name, announced] : pods_) {
    if (!is_there(announced)) {
      gone.push_back(name);
    }
  }
  for (const auto& name : gone) {
    remove(name);
  }
}

bool Announcements::operator_is_old() const {
  const auto stats = client_->stats();
  return stats.connected && stats.version.minor < wire::kAnnouncementsSince;
}

std::string Announcements::why_not_enforced(const std::string& name) const {
  if (!link_->connected) {
    return "no operator can be reached: " + link_->problem;
  }
  for (const auto& [endpoint, problem] : agent_->endpoint_problems()) {
    if (endpoint == name) {
      return problem;
    }
  }
  return "the operator has not sent the policies of the pod yet";
}

void Announcements::send(const Waiting& waiting, node::Reply reply) {
  if (const auto found = pods_.find(waiting.pod);
      found != pods_.end() && found->second.ifindex == waiting.ifindex) {
    // Processes may run in it from now on.
    agent_->announce(waiting.pod, waiting.ifindex);
  }
  waits_.add(Clock::now() - waiting.since);
  server_->answer(waiting.ticket, std::move(reply));
}

void Announcements::reply(const Waiting& waiting, const char* state) {
  send(waiting, node::reply_line(node::dump({{"view", {{"state", state}}}})));
}

void Announcements::reply_error(const Waiting& waiting,
                                const std::string& why) {
  spdlog::warn("new pod {}: {}", waiting.pod, why);
  send(waiting, node::reply_line(node::dump({{"error", why}})));
}

void Announcements::on_time_over(const Waiting& waiting,
                                 AnnouncedPod& announced) {
  const auto why = why_not_enforced(waiting.pod);
  switch (waiting.on_timeout) {
    case OnTimeout::kOpen:
      spdlog::warn(
          "all traffic of the new pod {} is allowed until its policies are "
          "known: {}",
          waiting.pod, why);
      announced.open = dirty_ = true;
      if (const auto opened = agent_->open_interface(waiting.ifindex);
          !opened) {
        reply_error(waiting, opened.error().message);
        return;
      }
      reply(waiting, "open");
      return;
    case OnTimeout::kClosed:
      if (agent_->is_closed(waiting.ifindex)) {
        spdlog::warn(
            "all traffic of the new pod {} is denied until its policies are "
            "known: {}",
            waiting.pod, why);
        reply(waiting, "closed");
        return;
      }
      break;
    case OnTimeout::kFail:
      break;
  }
  reply_error(waiting, why);
}

bool Announcements::try_to_answer(const Waiting& waiting, Clock::time_point now,
                                  std::vector<std::uint32_t>& to_close) {
  const auto found = pods_.find(waiting.pod);
  if (found == pods_.end() || found->second.ifindex != waiting.ifindex) {
    reply_error(waiting, "withdrawn before its policies were in force");
    return true;
  }
  auto& announced = found->second;
  if (agent_->is_enforced(waiting.pod, waiting.ifindex, announced.pod.ips)) {
    // From now on its traffic is denied if the endpoint is removed first.
    to_close.push_back(waiting.ifindex);
    reply(waiting, "enforced");
    return true;
  }
  if (!is_there(announced)) {
    reply_error(waiting, "interface " + announced.pod.interface + " is gone");
    remove(std::string(waiting.pod));
    return true;
  }
  // Such an operator reads the address from the pod's status, which kubelet
  // writes after the plugin has returned.
  if (operator_is_old() && agent_->is_closed(waiting.ifindex)) {
    reply(waiting, "closed");
    return true;
  }
  if (!link_->connected && now >= waiting.since + kConnectDelay &&
      use_siblings(announced)) {
    return false;  // the answer follows when they are in force
  }
  if (now >= waiting.deadline) {
    on_time_over(waiting, announced);
    return true;
  }
  if (now >= waiting.close_at || operator_is_old()) {
    to_close.push_back(waiting.ifindex);
  }
  return false;
}

void Announcements::run() {
  const auto now = Clock::now();
  if (now >= check_at_) {
    check_at_ = now + kCheckInterval;
    remove_gone();
  }
  // The file is written before any answer, so that a restart keeps promises.
  save();
  std::vector<std::uint32_t> to_close;
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    return try_to_answer(waiting, now, to_close);
  });
  if (to_close.empty()) {
    return;
  }
  if (const auto closed = agent_->close_interfaces(to_close); !closed) {
    spdlog::error("traffic of new pods cannot be denied: {}",
                  closed.error().message);
  }
}

void Announcements::save() {
  if (!std::exchange(dirty_, false)) {
    return;
  }
  std::vector<AnnouncedPod> pods;
  pods.reserve(pods_.size());
  for (const auto& [name, announced] : pods_) {
    pods.push_back(announced);
  }
  if (auto saved = save_pods(file_, pods); !saved) {
    dirty_ = true;
    spdlog::warn(
        "the list of announced pods cannot be written, so the next start will "
        "not know them: {}",
        saved.error().message);
  }
}

}  // namespace sluice::agentd
