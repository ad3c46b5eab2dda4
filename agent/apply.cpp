// SPDX-License-Identifier: Apache-2.0
#include "agent/apply.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "agent/absent_peers.h"
#include "agent/left_out.h"
#include "agent/mirror.h"
#include "agent/plan.h"
#include "agent/standby.h"
#include "agent/takeover.h"
#include "agent/targets.h"

namespace sluice::agent {
namespace {

bool is_hash(Map map) {
  return describe(map).type == BPF_MAP_TYPE_HASH;
}

IsolatedSets isolated_sets(std::initializer_list<const LeftOutSets*> left_out) {
  IsolatedSets result;
  for (const auto* sets : left_out) {
    for (const auto& [id, set] : *sets) {
      if (set.isolated) {
        result[id] = set.directions;
      }
    }
  }
  return result;
}

}  // namespace

struct Applier::Impl {
  std::unique_ptr<Maps> maps;
  ApplierOptions options;
  Mirror mirror;
  EndpointTargets targets;
  Delta wanted;  // beyond the mirror and what is left out
  // Left out, for want of room.
  LeftOutSets left_out;
  AbsentPeers absent;
  // Must be done before anything else is written.
  Cleanup cleanup;
  // Elements of a hash were deleted since the last grace period. The kernel
  // reuses a deleted element for the next key at once, although a program may
  // still be reading it.
  bool reuse_hazard = false;
  std::function<void()> effect;

  [[nodiscard]] unsigned slot() const { return maps->epoch() & 1; }

  Result<void> reconcile();
  Result<void> apply_once();
  void reconsider_left_out();
  void mark(std::uint32_t set);
  Result<Plan> plan(LeftOutSets& more, AbsentPeers& absent_now);
  [[nodiscard]] const LeftOutSet* left_out_of(
      const std::string& endpoint) const;
  Result<void> clean_up();
  Result<void> erase(Map map, Batch& keys);
  Result<void> grace_period();
  Result<void> write_ahead(const Plan& plan);
  Result<void> write_elements(const Plan& plan, BatchPerMap& added,
                              BatchPerMap& changed) const;
  void take_effect(const Plan& plan) const;
  void undo(const Plan& plan, BatchPerMap added, BatchPerMap changed);
  Result<void> forget_all_standbys();
  std::unexpected<Error> write_error(Map map, std::size_t adding,
                                     int error) const;
};

Result<void> Applier::Impl::grace_period() {
  auto result = maps->grace_period();
  if (result) {
    reuse_hazard = false;
  }
  return result;
}

Result<void> Applier::Impl::erase(Map map, Batch& keys) {
  if (keys.empty()) {
    return {};
  }
  const auto [done, error] = maps->erase(map, keys);
  reuse_hazard = reuse_hazard || (is_hash(map) && done > 0);
  keys.drop_front(done);
  if (error != 0) {
    return fail_errno("map " + std::string(map_name(map)) + ": delete", error);
  }
  return {};
}

// Idempotent: after a failure, the next call does the rest. Deletions go first
// because they make room.
Result<void> Applier::Impl::clean_up() {
  if (cleanup.empty()) {
    return {};
  }
  if (cleanup.grace_period_first) {
    if (auto result = grace_period(); !result) {
      return result;
    }
    cleanup.grace_period_first = false;
  }
  for (const Map map : kAppliedMaps) {
    if (auto result = erase(map, of(cleanup.erases, map)); !result) {
      return result;
    }
  }
  for (const Map map : kAppliedMaps) {
    auto& batch = of(cleanup.updates, map);
    if (batch.empty()) {
      continue;
    }
    const auto [done, error] = maps->update(map, batch);
    batch.drop_front(done);
    if (error != 0) {
      return write_error(map, 0, error);
    }
  }
  for (const auto& store : cleanup.stores) {
    maps->store_policy(store.index, store.slot, store.policy);
    if (store.clear_facts) {
      maps->store_facts(store.index, {});
    }
  }
  cleanup = {};
  return {};
}

std::unexpected<Error> Applier::Impl::write_error(Map map, std::size_t adding,
                                                  int error) const {
  if (error == E2BIG || error == ENOSPC) {
    return map_full(*maps, map, mirror.count(map) + adding);
  }
  return fail_errno("map " + std::string(map_name(map)) + ": update", error);
}

// Writes new elements, then inactive slots of existing ones, map by map.
// `added` and `changed` receive what was written, for undo().
Result<void> Applier::Impl::write_elements(const Plan& plan, BatchPerMap& added,
                                           BatchPerMap& changed) const {
  for (const Map map : kAppliedMaps) {
    const auto& adds = of(plan.adds, map);
    if (!adds.empty()) {
      const auto [done, error] = maps->update(map, adds);
      of(added, map) = adds;
      of(added, map).keep_front(done);
      if (error != 0) {
        return write_error(map, plan.growth(map), error);
      }
    }
    const auto& changes = of(plan.changes, map);
    if (!changes.empty()) {
      const auto [done, error] = maps->update(map, changes);
      of(changed, map) = of(plan.restores, map);
      of(changed, map).keep_front(done);
      if (error != 0) {
        return write_error(map, plan.growth(map), error);
      }
    }
  }
  return {};
}

// Nothing written here is in force. On failure everything is undone.
Result<void> Applier::Impl::write_ahead(const Plan& plan) {
  const bool fills_hash = std::ranges::any_of(kAppliedMaps, [&](Map map) {
    return is_hash(map) && !of(plan.adds, map).empty();
  });
  if (reuse_hazard && fills_hash) {
    if (auto result = grace_period(); !result) {
      return result;
    }
  }
  // A record is complete before anything leads to it.
  for (const auto& record : plan.records) {
    if (!record.before && record.after) {
      maps->store_facts(record.after->index, record.after->facts);
    }
  }
  BatchPerMap added;
  BatchPerMap changed;
  auto erases = plan.erases;
  auto result = erase(Map::kPolicy, erases);
  if (result) {
    result = write_elements(plan, added, changed);
  }
  if (!result) {
    undo(plan, std::move(added), std::move(changed));
    return result;
  }
  for (const auto& record : plan.records) {
    maps->store_policy(
        record.index(), slot() ^ 1,
        record.after ? record.after->policy : sluice_endpoint_policy{});
  }
  return {};
}

// Uses clean_up(), so that whatever cannot be undone now is undone before the
// next transaction.
void Applier::Impl::undo(const Plan& plan, BatchPerMap added,
                         BatchPerMap changed) {
  for (const Map map : kAppliedMaps) {
    of(cleanup.erases, map) = std::move(of(added, map));
    of(cleanup.updates, map) = std::move(of(changed, map));
  }
  for (const auto& set : plan.sets) {
    if (set.refreshes) {
      forget_standby(mirror, set.set, of(cleanup.erases, Map::kPolicy));
    }
  }
  for (const auto& record : plan.records) {
    if (!record.before) {
      maps->store_facts(record.index(), {});
    }
  }
  if (auto result = clean_up(); !result) {
    return;  // the caller reports the failure that led here
  }
}

// The one store that puts the transaction into force, and changed facts of
// endpoints. Facts are not kept by generation: at worst, a packet between the
// two stores is dropped because its source address is not yet, or no longer,
// the endpoint's.
void Applier::Impl::take_effect(const Plan& plan) const {
  if (plan.visible) {
    maps->store_epoch(maps->epoch() + 1);
  }
  for (const auto& record : plan.records) {
    if (record.before && record.after &&
        !same_facts(*record.before, *record.after)) {
      maps->store_facts(record.after->index, record.after->facts);
    }
  }
}

// Plans what was left out again if the result may be another one.
void Applier::Impl::reconsider_left_out() {
  // What sets say decides whether peers may be left out, and the reverse.
  for (bool peers = take_absent(absent, wanted, mirror, *maps);;) {
    for (const std::uint32_t set :
         take_reconsidered(left_out, wanted, mirror, *maps, peers)) {
      mark(set);
    }
    if (peers || !take_absent(absent, wanted, mirror, *maps)) {
      return;
    }
    peers = true;
  }
}

void Applier::Impl::mark(std::uint32_t set) {
  for (const std::uint32_t ifindex : targets.of_set(set)) {
    targets.mark(ifindex);
  }
}

// Plans everything that is wanted, or all of it for which the maps have room.
Result<Plan> Applier::Impl::plan(LeftOutSets& more, AbsentPeers& absent_now) {
  Delta rest = wanted;
  while (true) {
    Shortage shortage;
    auto made = make_plan(mirror, rest, targets, *maps,
                          {.slot = slot(),
                           .isolated = isolated_sets({&left_out, &more}),
                           .standby_min = options.standby_min},
                          shortage);
    if (made || shortage.needed == 0) {
      return made;
    }
    if (shortage.map == Map::kPolicy && mirror.standbys > 0) {
      if (auto result = forget_all_standbys(); !result) {
        return std::unexpected(result.error());
      }
      continue;
    }
    const auto before = more.size() + absent_now.changes.size();
    if (shortage.map == Map::kPolicy) {
      more.merge(choose_left_out(shortage, mirror, rest, targets,
                                 maps->capacity(Map::kPolicy)));
    } else if (!choose_absent(shortage, mirror, wanted, rest, *maps, absent_now,
                              more)) {
      return made;
    }
    if (more.size() + absent_now.changes.size() == before) {
      return made;  // nothing more can be left out
    }
    for (const auto& [id, set] : more) {
      mark(id);
    }
    rest = without_absent(without_left_out(wanted, more, mirror), absent_now);
  }
}

// Endpoints of sets that are left out become isolated when the rest takes
// effect. Their old entries are deleted then, and there may be room for the
// sets.
Result<void> Applier::Impl::reconcile() {
  auto result = apply_once();
  if (result && (!left_out.empty() || !absent.empty()) && cleanup.empty()) {
    reconsider_left_out();
    if (!wanted.empty()) {
      result = apply_once();
    }
  }
  return result;
}

Result<void> Applier::Impl::apply_once() {
  if (auto result = clean_up(); !result) {
    return result;
  }
  reconsider_left_out();
  LeftOutSets more;
  AbsentPeers absent_now;
  auto plan = this->plan(more, absent_now);
  if (!plan) {
    return std::unexpected(plan.error());
  }
  if (!plan->empty()) {
    if (auto result = write_ahead(*plan); !result) {
      return result;
    }
    take_effect(*plan);
    commit(mirror, *plan);
    cleanup = std::move(plan->cleanup);
    if (effect) {
      effect();
    }
  }
  wanted = {};
  left_out.merge(more);
  absent.merge(std::move(absent_now));
  targets.settle();
  // The transaction is in force. If the clean-up fails, the next call repeats
  // it, and fails if it fails again.
  if (auto result = clean_up(); !result) {
    return {};
  }
  return {};
}

// For room.
Result<void> Applier::Impl::forget_all_standbys() {
  forget_standbys(mirror, of(cleanup.erases, Map::kPolicy), false);
  return clean_up();
}

Applier::Applier(std::unique_ptr<Maps> maps, const ApplierOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->maps = std::move(maps);
  impl_->options = options;
}
Applier::Applier(Applier&&) noexcept = default;
Applier& Applier::operator=(Applier&&) noexcept = default;
Applier::~Applier() = default;

Result<Applier> Applier::create(const Datapath& datapath) {
  auto maps = kernel_maps(datapath);
  if (!maps) {
    return std::unexpected(maps.error());
  }
  return create(std::move(*maps));
}

Result<Applier> Applier::create(std::unique_ptr<Maps> maps,
                                const ApplierOptions& options) {
  Applier applier(std::move(maps), options);
  auto found = take_over(*applier.impl_->maps);
  if (!found) {
    return std::unexpected(found.error());
  }
  applier.impl_->mirror = std::move(found->mirror);
  applier.impl_->cleanup = std::move(found->cleanup);
  // The last applier may have deleted elements just before it ended.
  applier.impl_->reuse_hazard = true;
  return applier;
}

void Applier::bind(const std::string& endpoint, std::uint32_t ifindex,
                   const EndpointLink& link) {
  if (impl_->targets.interface_of(endpoint) != ifindex) {
    impl_->targets.bind(endpoint, ifindex, link);
  }
}

Result<void> Applier::apply(const Transaction& transaction) {
  impl_->wanted.merge(transaction.peers, transaction.entries);
  for (const auto& change : transaction.endpoints) {
    impl_->targets.set(change.name, change.value);
  }
  return impl_->reconcile();
}

Result<void> Applier::replace(const State& wanted, const Transaction& beside) {
  auto& impl = *impl_;
  impl.wanted = {};
  impl.left_out.clear();
  impl.absent = {};
  std::vector<Transaction::PeerChange> peers;
  std::vector<Transaction::EntryChange> entries;
  // Delete everything that exists, then add what is wanted: later changes win.
  for (const auto& [prefix, cidr_id] : impl.mirror.peers.all()) {
    peers.push_back({prefix, std::nullopt});
  }
  for (const auto& [id, set] : impl.mirror.sets) {
    for (const auto& [key, value] : set.entries) {
      entries.push_back({key, std::nullopt});
    }
  }
  for (const auto& peer : wanted.peers) {
    peers.push_back({peer.prefix, peer.cidr_id});
  }
  for (const auto& entry : wanted.entries) {
    entries.push_back({entry.key, entry.value});
  }
  peers.insert(peers.end(), beside.peers.begin(), beside.peers.end());
  entries.insert(entries.end(), beside.entries.begin(), beside.entries.end());
  impl.wanted.merge(peers, entries);
  impl.targets.clear_endpoints();
  for (const auto& endpoint : wanted.endpoints) {
    impl.targets.set(endpoint.name, endpoint);
  }
  for (const auto& change : beside.endpoints) {
    impl.targets.set(change.name, change.value);
  }
  for (const auto& [ifindex, record] : impl.mirror.records) {
    impl.targets.mark(ifindex);
  }
  return impl.reconcile();
}

void Applier::adopt_until(std::uint32_t ifindex, std::uint32_t jiffies) {
  impl_->targets.adopt_until(ifindex, jiffies);
}

void Applier::end_adoption(std::uint32_t jiffies_now) {
  for (auto& [ifindex, record] : impl_->mirror.records) {
    auto& until = record.facts.adopt_until;
    if (until != 0 && static_cast<std::int32_t>(until - jiffies_now) <= 0) {
      until = 0;
      impl_->maps->store_facts(record.index, record.facts);
    }
  }
}

void Applier::drop_unused_standbys() {
  auto& impl = *impl_;
  if (!impl.cleanup.empty()) {
    return;  // the next transaction cleans up
  }
  forget_standbys(impl.mirror, of(impl.cleanup.erases, Map::kPolicy), true);
  if (auto result = impl.clean_up(); !result) {
    return;  // the next transaction tries again
  }
}

void Applier::on_effect(std::function<void()> effect) {
  impl_->effect = std::move(effect);
}

Result<void> Applier::retry() {
  return impl_->reconcile();
}

std::vector<Applier::Record> Applier::records() const {
  std::vector<Record> result;
  for (const auto& [ifindex, record] : impl_->mirror.records) {
    Record found{.ifindex = ifindex};
    if (record.facts.ipv4 != 0) {
      IpAddress ip;
      std::memcpy(ip.bytes.data(), &record.facts.ipv4,
                  sizeof(record.facts.ipv4));
      found.ips.push_back(ip);
    }
    if (record.facts.ipv6 != EndpointAddress6{}) {
      found.ips.push_back({.bytes = record.facts.ipv6, .v6 = true});
    }
    result.push_back(std::move(found));
  }
  return result;
}

bool Applier::in_force(const std::string& endpoint) const {
  const std::uint32_t ifindex = impl_->targets.interface_of(endpoint);
  return ifindex != 0 && impl_->mirror.records.contains(ifindex) &&
         impl_->targets.find(endpoint) != nullptr &&
         !impl_->targets.dirty().contains(ifindex);
}

const LeftOutSet* Applier::Impl::left_out_of(
    const std::string& endpoint) const {
  const auto* wanted_endpoint = targets.find(endpoint);
  const auto found = wanted_endpoint == nullptr
                         ? left_out.end()
                         : left_out.find(wanted_endpoint->policy_set);
  return found == left_out.end() ? nullptr : &found->second;
}

std::string Applier::shortfall(const std::string& endpoint) const {
  const auto* set = impl_->left_out_of(endpoint);
  if (set != nullptr) {
    return set->problem;
  }
  const auto* entry = impl_->targets.find(endpoint);
  return entry == nullptr ? std::string{}
                          : impl_->absent.problem(entry->policy_set,
                                                  impl_->mirror, *impl_->maps);
}

std::map<std::uint32_t, std::string> Applier::shortfalls() const {
  std::map<std::uint32_t, std::string> result;
  for (const auto& [id, set] : impl_->left_out) {
    result.emplace(id, set.problem);
  }
  for (const auto& [id, maps] : impl_->absent.lacking) {
    result.emplace(id, impl_->absent.problem(id, impl_->mirror, *impl_->maps));
  }
  return result;
}

std::uint32_t Applier::epoch() const {
  return impl_->maps->epoch();
}

std::size_t Applier::used(Map map) const {
  return impl_->mirror.count(map);
}

}  // namespace sluice::agent
