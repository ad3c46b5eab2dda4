// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/all_ports.h"

#include <algorithm>
#include <string>

#include "lib/base/sequence.h"
#include "lib/explain/cluster.h"
#include "lib/explain/reach_judge.h"

namespace sluice::explain {
namespace {

std::vector<ReachPorts> ports_of(const policy::Translator& translator,
                                 const End& from, const End& to) {
  if (to.service != nullptr) {
    std::vector<ReachPorts> result;
    result.reserve(to.service->ports.size());
    for (const auto& port : to.service->ports) {
      result.push_back(
          {.protocol = port.protocol, .first = port.port, .last = port.port});
    }
    return result;
  }
  std::vector<const kube::Pod*> pods;
  for (const auto* pod : {from.pod, to.pod}) {
    if (pod != nullptr) {
      pods.push_back(pod);
    }
  }
  return ReachJudge(translator, pods).named_ports();
}

// Adds a piece, to the one before it if they are neighbours.
void add_port(std::vector<ReachPorts>& ports, const ReachPorts& port) {
  if (!ports.empty() && !port.other && !ports.back().other &&
      ports.back().protocol == port.protocol && ports.back().last != 0xffff &&
      ports.back().last + 1 == port.first) {
    ports.back().last = port.last;
  } else {
    ports.push_back(port);
  }
}

std::string names_of(const std::vector<ReachPorts>& ports) {
  std::vector<std::string> names;
  names.reserve(ports.size());
  for (const auto& port : ports) {
    names.push_back(port.view().name);
  }
  return joined(names);
}

bool decide_alike(const SideView& a, const SideView& b) {
  return a.direction == b.direction && a.endpoint == b.endpoint &&
         a.peer == b.peer && a.allowed == b.allowed && a.reason == b.reason &&
         a.policy == b.policy && a.path == b.path;
}

bool are_alike(const ExplainView& a, const ExplainView& b) {
  return a.allowed == b.allowed && a.summary == b.summary && a.to == b.to &&
         std::ranges::equal(a.sides, b.sides, decide_alike);
}

}  // namespace

Result<AllPorts> AllPorts::begin(const policy::Translator& translator,
                                 ExplainRequest request, KnownPods known_pods) {
  const auto ends = find_ends(translator, request, known_pods);
  if (!ends) {
    return std::unexpected(ends.error());
  }
  auto ports = ports_of(translator, ends->from, ends->to);
  if (ports.empty()) {
    return fail("--to: " + request.to +
                (ends->to.service != nullptr
                     ? ": the Service has no ports, so there is no port to "
                       "ask about"
                     : ": there is no port to ask about"));
  }
  return AllPorts(translator, std::move(request), std::move(known_pods),
                  std::move(ports));
}

bool AllPorts::step() {
  if (next_ == ports_.size()) {
    return false;
  }
  const auto& port = ports_[next_++];
  auto asked = request_;
  asked.port = port.view().asked;
  auto view = explain_cluster(*translator_, asked, {}, known_pods_);
  if (view) {
    add(std::move(*view), port);
  } else {  // also if the protocol goes over none of their families
    failure_ = view.error();
  }
  return next_ < ports_.size();
}

void AllPorts::add(ExplainView view, const ReachPorts& port) {
  const auto same = std::ranges::find_if(
      answers_, [&](const auto& other) { return are_alike(other, view); });
  const auto place = static_cast<std::size_t>(same - answers_.begin());
  if (same == answers_.end()) {
    for (auto& side : view.sides) {
      side.near_misses.clear();
    }
    answers_.push_back(std::move(view));
    ports_of_answers_.emplace_back();
  }
  add_port(ports_of_answers_[place], port);
}

Result<std::vector<ExplainView>> AllPorts::take() && {
  if (answers_.empty() && failure_) {
    return std::unexpected(*failure_);
  }
  for (std::size_t i = 0; i < answers_.size(); ++i) {
    answers_[i].port = names_of(ports_of_answers_[i]);
  }
  return std::move(answers_);
}

Result<std::vector<ExplainView>> explain_all_ports(
    const policy::Translator& translator, const ExplainRequest& request,
    const KnownPods& known_pods) {
  auto all = AllPorts::begin(translator, request, known_pods);
  if (!all) {
    return std::unexpected(all.error());
  }
  while (all->step()) {
  }
  return std::move(*all).take();
}

}  // namespace sluice::explain
