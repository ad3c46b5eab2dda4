// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/ends.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "lib/explain/outside_cidrs.h"
#include "lib/explain/reach_outside.h"

namespace sluice::preview {
namespace {

using explain::add_note;
using explain::set_and_classes;
using explain::SetAndClasses;
using Views = std::unordered_map<std::string, const ReachJudge::PodView*>;

Views views_of(const ReachJudge& judge) {
  Views views;
  views.reserve(judge.pods().size());
  for (const auto& view : judge.pods()) {
    views.emplace(view.pod->ns + "/" + view.pod->name, &view);
  }
  return views;
}

// A pod that is not plain is one of its own.
using Same = std::tuple<const Member*, SetAndClasses, SetAndClasses>;

// Whether the pods of a set have the same verdicts in both worlds.
class Sets {
 public:
  Sets(const ReachJudge& before, const ReachJudge& after)
      : before_(&before), after_(&after) {}

  [[nodiscard]] bool is_same(const Member& member) {
    const auto& [before, after] = member.view;
    if (!member.is_plain() ||
        set_and_classes(*before) != set_and_classes(*after) ||
        before->endpoint->isolated != after->endpoint->isolated) {
      return false;
    }
    const auto [found, added] = same_.try_emplace(before->set());
    if (added) {
      found->second = before_->has_same_entries(*after_, before->set());
    }
    return found->second;
  }

 private:
  const ReachJudge* before_;
  const ReachJudge* after_;
  std::unordered_map<std::uint32_t, bool> same_;
};

Same same_of(const Member& member) {
  return member.is_plain() ? Same{nullptr, set_and_classes(*member.view.before),
                                  set_and_classes(*member.view.after)}
                           : Same{&member, {}, {}};
}

}  // namespace

Pods pods_of(const std::vector<explain::Workload>& before,
             const ReachJudge& judge_before, const ReachJudge& judge_after,
             std::vector<std::string>& notes) {
  Pods result;
  auto earlier = views_of(judge_before);
  auto later = views_of(judge_after);
  Sets sets(judge_before, judge_after);
  std::map<Same, std::size_t> kinds;
  std::vector<std::string> gone;
  for (const auto& workload : before) {
    auto& added = result.workloads.emplace_back(
        Workload{.end = workload.end, .shares = {}});
    added.end.pods.clear();
    std::map<std::size_t, Share> shares;
    for (const auto& name : workload.end.pods) {
      const auto found = later.find(name);
      if (found == later.end()) {
        gone.push_back(name);
        continue;
      }
      auto& member = result.members.emplace_back(
          Member{.view = {.before = earlier.at(name), .after = found->second},
                 .same = false});
      member.same = sets.is_same(member);
      later.erase(found);
      const auto [kind, is_new] =
          kinds.try_emplace(same_of(member), result.kinds.size());
      if (is_new) {
        result.kinds.emplace_back();
      }
      result.kinds[kind->second].pods.push_back(&member);
      auto& share = shares[kind->second];
      share.kind = kind->second;
      share.pods.push_back(&member);
      added.end.pods.push_back(name);
    }
    for (auto& [kind, share] : shares) {
      added.shares.push_back(std::move(share));
    }
  }
  std::vector<std::string> fresh;
  fresh.reserve(later.size());
  for (const auto& [name, view] : later) {
    fresh.push_back(name);
  }
  std::ranges::sort(fresh);
  add_note(notes, gone, "left out (there before the change only)");
  add_note(notes, fresh, "left out (there after the change only)");
  return result;
}

namespace {

std::vector<Outside::Addresses> shared(
    const std::vector<ReachJudge::Peer>& before,
    const std::vector<ReachJudge::Peer>& after) {
  std::map<IpAddress, std::uint32_t> later;
  for (const auto& peer : after) {
    later[peer.address] = peer.cidr_id;
  }
  std::vector<Outside::Addresses> result;
  std::map<std::tuple<std::uint32_t, std::uint32_t, bool>, std::size_t> places;
  for (const auto& peer : before) {
    const auto found = later.find(peer.address);
    if (found == later.end()) {
      continue;
    }
    const auto [place, added] = places.try_emplace(
        {peer.cidr_id, found->second, peer.address.v6}, result.size());
    if (added) {
      result.push_back({.first = {.before = peer,
                                  .after = {.address = peer.address,
                                            .cidr_id = found->second}},
                        .count = 0});
    }
    ++result[place->second].count;
  }
  return result;
}

Outside entity(const char* name, explain::Outside::Kind kind) {
  Outside result;
  result.end = explain::entity_end(name);
  result.kind = kind;
  return result;
}

void add_address(Outside& outside, const ReachJudge& before,
                 const ReachJudge& after, const IpAddress& address) {
  outside.addresses.push_back({.first = {.before = before.outside(address),
                                         .after = after.outside(address)},
                               .count = 1});
  outside.end.addresses.push_back(to_string(address));
}

}  // namespace

const std::vector<Outside::Addresses>& Outside::seen_by(const Member& pod) {
  if (kind == explain::Outside::Kind::kFixed) {
    return addresses;
  }
  const auto nodes = nodes_of(pod);
  const auto [found, added] = by_nodes_.try_emplace(nodes);
  if (added) {
    found->second = kind == explain::Outside::Kind::kOwnNode
                        ? shared(nodes.first->own, nodes.second->own)
                        : shared(nodes.first->remote, nodes.second->remote);
  }
  return found->second;
}

std::vector<Outside> outside_ends(const ReachJudge& before,
                                  const ReachJudge& after,
                                  std::vector<std::string>& notes) {
  auto regions = before.regions();
  regions.add(after.regions());
  using Kind = explain::Outside::Kind;
  auto world = entity("world", Kind::kFixed);
  for (const char* all : {"0.0.0.0/0", "::/0"}) {
    if (const auto address = regions.address_in(*parse_prefix(all))) {
      add_address(world, before, after, *address);
    }
  }
  auto result = explain::outside_cidrs<Outside>(
      regions,
      [&](const IpAddress& address) {
        return std::pair(before.outside(address).cidr_id,
                         after.outside(address).cidr_id);
      },
      [&](Outside& outside, const IpAddress& address) {
        add_address(outside, before, after, address);
      },
      notes);
  result.insert(result.begin(), std::move(world));
  auto api = entity("kube-apiserver", Kind::kFixed);
  for (const auto& address : before.api_servers()) {
    if (after.api_servers().contains(address)) {
      add_address(api, before, after, address);
    }
  }
  if (!api.addresses.empty()) {
    result.push_back(std::move(api));
  }
  result.push_back(entity("host", Kind::kOwnNode));
  result.push_back(entity("remote-node", Kind::kOtherNodes));
  return result;
}

}  // namespace sluice::preview
