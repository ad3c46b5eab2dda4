// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/selector_cache.h"

#include <algorithm>

#include "lib/base/sequence.h"
#include "lib/policy/hash.h"

namespace sluice::policy {
namespace {

// A composite index key: `key` among the pods of one namespace.
std::string in_namespace(std::string_view ns, std::string_view key) {
  std::string result(ns);
  result += '\x1f';
  result += key;
  return result;
}

void add_requirements(StableHash& hash, const LabelSelector& selector) {
  hash.add(selector.requirements.size());
  for (const auto& requirement : selector.requirements) {
    hash.add(requirement.key).add(static_cast<std::uint64_t>(requirement.op));
    hash.add(requirement.values.size());
    for (const auto& value : requirement.values) {
      hash.add(value);
    }
  }
}

void add_prefixes(StableHash& hash, const std::vector<IpPrefix>& prefixes) {
  hash.add(prefixes.size());
  for (const auto& prefix : prefixes) {
    hash.add(to_string(prefix));
  }
}

std::uint64_t content_hash(const PeerSelector& value) {
  StableHash hash;
  hash.add(value.index());
  if (const auto* labels = std::get_if<LabelSelector>(&value)) {
    add_requirements(hash, *labels);
  } else if (const auto* entity = std::get_if<Entity>(&value)) {
    hash.add(static_cast<std::uint64_t>(*entity));
  } else if (const auto* cidr = std::get_if<CidrPeer>(&value)) {
    hash.add(to_string(cidr->cidr)).add(cidr->external_only ? 1 : 0);
    add_prefixes(hash, cidr->except);
  } else if (const auto* group = std::get_if<CidrGroupPeer>(&value)) {
    hash.add(group->name).add(group->selector ? 1 : 0);
    if (group->selector) {
      add_requirements(hash, *group->selector);
    }
    add_prefixes(hash, group->except);
  } else if (const auto* node = std::get_if<NodePeer>(&value)) {
    add_requirements(hash, node->selector);
  } else if (const auto* name = std::get_if<NamePeer>(&value)) {
    hash.add(name->pattern.text()).add(name->external_only ? 1 : 0);
  }
  return hash.value();
}

void insert_sorted(std::vector<SelectorId>& ids, SelectorId id) {
  const auto it = std::ranges::lower_bound(ids, id);
  if (it == ids.end() || *it != id) {
    ids.insert(it, id);
  }
}

void erase_sorted(std::vector<SelectorId>& ids, SelectorId id) {
  const auto it = std::ranges::lower_bound(ids, id);
  if (it != ids.end() && *it == id) {
    ids.erase(it);
  }
}

template <typename Index, typename Key>
void append(std::vector<SelectorId>& out, const Index& index, const Key& key) {
  const auto it = index.find(key);
  if (it != index.end()) {
    out.insert(out.end(), it->second.begin(), it->second.end());
  }
}

template <typename Index, typename Key>
void change_index(Index& index, const Key& key, SelectorId id, bool add) {
  if (add) {
    index[key].push_back(id);
    return;
  }
  const auto it = index.find(key);
  if (it != index.end()) {
    std::erase(it->second, id);
    if (it->second.empty()) {
      index.erase(it);
    }
  }
}

const Requirement* find_in(const LabelSelector& selector, bool namespace_key) {
  const Requirement* best = nullptr;
  for (const auto& requirement : selector.requirements) {
    if (requirement.op != Requirement::Op::kIn ||
        requirement.key == kClusterKey ||
        (requirement.key == kNamespaceKey) != namespace_key) {
      continue;
    }
    if (best == nullptr || requirement.values.size() < best->values.size()) {
      best = &requirement;
    }
  }
  return best;
}

const Requirement* find_exists(const LabelSelector& selector) {
  for (const auto& requirement : selector.requirements) {
    if (requirement.op == Requirement::Op::kExists &&
        requirement.key != kClusterKey && requirement.key != kNamespaceKey) {
      return &requirement;
    }
  }
  return nullptr;
}

}  // namespace

SelectorId SelectorCache::acquire(const PeerSelector& value, Use use) {
  const auto [it, inserted] = ids_.try_emplace(value, 0);
  if (inserted) {
    if (free_.empty()) {
      it->second = static_cast<SelectorId>(selectors_.size());
      selectors_.emplace_back();
    } else {
      it->second = free_.back();
      free_.pop_back();
    }
    auto selector = std::make_unique<Selector>();
    selector->value = value;
    selector->hash = content_hash(value);
    selectors_[it->second] = std::move(selector);
    if (selectors_[it->second]->has_members()) {
      index(it->second, true);
      find_members(it->second);
    }
  }
  const SelectorId id = it->second;
  auto& selector = *selectors_[id];
  auto& refs = use == Use::kPeer ? selector.peer_refs : selector.subject_refs;
  if (refs++ == 0) {
    note_use(selector, id, use, true);
  }
  return id;
}

void SelectorCache::release(SelectorId id, Use use) {
  auto& selector = *selectors_[id];
  auto& refs = use == Use::kPeer ? selector.peer_refs : selector.subject_refs;
  if (--refs == 0) {
    note_use(selector, id, use, false);
    if (selector.peer_refs == 0 && selector.subject_refs == 0) {
      unused_.push_back(id);
    }
  }
}

// The selector's first use of this kind begins or its last one ends.
void SelectorCache::note_use(const Selector& selector, SelectorId id, Use use,
                             bool added) {
  if (use == Use::kSubject) {
    changes_.subjects.insert(selector.pods.begin(), selector.pods.end());
    return;
  }
  if (std::holds_alternative<NamePeer>(selector.value)) {
    return;  // matches no address before one is learned
  }
  if (!selector.has_members()) {
    // In the order of events: an id may be removed and added again.
    auto& cancelled = added ? changes_.removed : changes_.added;
    auto& noted = added ? changes_.added : changes_.removed;
    if (std::erase(cancelled, id) == 0) {
      noted.push_back(id);
    }
    return;
  }
  changes_.peers.insert(selector.pods.begin(), selector.pods.end());
  for (int kind = 0; kind < kReservedCount; ++kind) {
    if (selector.reserved[kind]) {
      changes_.reserved.insert(static_cast<Reserved>(kind));
    }
  }
}

void SelectorCache::clear_changes() {
  for (const SelectorId id : unused_) {
    auto& selector = selectors_[id];
    if (!selector || selector->peer_refs != 0 || selector->subject_refs != 0) {
      continue;
    }
    if (selector->has_members()) {
      index(id, false);
      for (auto* record : selector->pods) {
        erase_sorted(record->matched, id);
      }
      for (auto& ids : by_reserved_) {
        ids.erase(id);
      }
    }
    ids_.erase(selector->value);
    selector.reset();
    free_.push_back(id);
  }
  unused_.clear();
  changes_ = {};
}

SelectorCache::Anchors SelectorCache::anchors_of(
    const LabelSelector& selector) {
  constexpr std::size_t kMostPairs = 64;
  const auto* label = find_in(selector, false);
  const auto* ns = find_in(selector, true);
  const auto* exists = find_exists(selector);
  Anchors anchors;
  if (label != nullptr) {
    const bool composite =
        ns != nullptr && ns->values.size() * label->values.size() <= kMostPairs;
    for (const auto& value : label->values) {
      if (!composite) {
        anchors.values.emplace_back(label->key, value);
        continue;
      }
      for (const auto& space : ns->values) {
        anchors.values.emplace_back(in_namespace(space, label->key), value);
      }
    }
  } else if (exists != nullptr && ns != nullptr) {
    for (const auto& space : ns->values) {
      anchors.keys.push_back(in_namespace(space, exists->key));
    }
  } else if (exists != nullptr) {
    anchors.keys.push_back(exists->key);
  } else if (ns != nullptr) {
    for (const auto& space : ns->values) {
      anchors.values.emplace_back(kNamespaceKey, space);
    }
  }
  return anchors;
}

void SelectorCache::index(SelectorId id, bool add) {
  const auto& value = selectors_[id]->value;
  const auto* labels = std::get_if<LabelSelector>(&value);
  if (labels == nullptr) {
    change_index(by_key_, std::string(), id, add);  // entities: see candidates
    return;
  }
  const auto anchors = anchors_of(*labels);
  for (const auto& pair : anchors.values) {
    change_index(by_value_, pair, id, add);
  }
  for (const auto& key : anchors.keys) {
    change_index(by_key_, key, id, add);
  }
  if (anchors.values.empty() && anchors.keys.empty()) {
    const auto* in = find_in(*labels, false);
    if (in != nullptr && in->values.empty()) {
      return;  // In with no values matches nothing
    }
    if (add) {
      by_none_.push_back(id);
    } else {
      std::erase(by_none_, id);
    }
  }
}

SelectorCache::IdList SelectorCache::candidates(const PodRecord& record) const {
  IdList ids(by_none_);
  const auto& ns = record.pod.ns;
  const auto add_label = [&](const std::string& key, const std::string& value) {
    append(ids, by_value_, LabelPair(key, value));
    append(ids, by_key_, key);
    const auto composite = in_namespace(ns, key);
    append(ids, by_value_, LabelPair(composite, value));
    append(ids, by_key_, composite);
  };
  for (const auto& [key, value] : record.pod.labels) {
    add_label(key, value);
  }
  for (const auto& [key, value] : *record.namespace_labels) {
    add_label(std::string(kNamespaceLabelPrefix) + key, value);
  }
  add_label(std::string(kServiceAccountKey), record.pod.service_account);
  append(ids, by_value_, LabelPair(kNamespaceKey, ns));
  append(ids, by_key_, std::string());
  sort_unique(ids);
  return ids;
}

bool SelectorCache::matches_pod(const Selector& selector,
                                const PodRecord& record) const {
  if (const auto* entity = std::get_if<Entity>(&selector.value)) {
    return matches_pods(*entity);
  }
  const auto* labels = std::get_if<LabelSelector>(&selector.value);
  return labels != nullptr &&
         matches(*labels,
                 PodIdentity(record.pod, *record.namespace_labels, cluster_));
}

std::vector<PodRecord*> SelectorCache::possible_members(
    const LabelSelector& selector) const {
  std::vector<const std::unordered_set<PodRecord*>*> best;
  std::size_t best_size = pods_.size();
  bool found = false;
  for (const auto& requirement : selector.requirements) {
    if (requirement.op != Requirement::Op::kIn ||
        requirement.key == kClusterKey ||
        requirement.key.starts_with(kNamespaceLabelPrefix)) {
      continue;
    }
    std::vector<const std::unordered_set<PodRecord*>*> sets;
    std::size_t size = 0;
    for (const auto& value : requirement.values) {
      const auto it = pods_by_label_.find(LabelPair(requirement.key, value));
      if (it != pods_by_label_.end()) {
        sets.push_back(&it->second);
        size += it->second.size();
      }
    }
    if (!found || size < best_size) {
      found = true;
      best_size = size;
      best = std::move(sets);
    }
  }
  if (!found) {
    return {pods_.begin(), pods_.end()};
  }
  std::vector<PodRecord*> pods;
  for (const auto* set : best) {
    pods.insert(pods.end(), set->begin(), set->end());
  }
  return pods;
}

// Only called for a selector that nothing used before: its users are told by
// note_use().
void SelectorCache::find_members(SelectorId id) {
  auto& selector = *selectors_[id];
  const auto* labels = std::get_if<LabelSelector>(&selector.value);
  const auto* entity = std::get_if<Entity>(&selector.value);
  if (labels != nullptr || matches_pods(*entity)) {
    const auto possible = labels != nullptr
                              ? possible_members(*labels)
                              : std::vector(pods_.begin(), pods_.end());
    for (auto* record : possible) {
      if (matches_pod(selector, *record)) {
        selector.pods.insert(record);
        selector.matched = true;
        insert_sorted(record->matched, id);
      }
    }
  }
  for (int kind = 0; kind < kReservedCount; ++kind) {
    const auto reserved = static_cast<Reserved>(kind);
    selector.reserved[kind] = labels != nullptr ? matches(*labels, reserved)
                                                : matches(*entity, reserved);
    if (selector.reserved[kind]) {
      by_reserved_[kind].insert(id);
    }
  }
}

void SelectorCache::note_change(PodRecord& record, const Selector& selector) {
  if (selector.peer_refs != 0) {
    changes_.peers.insert(&record);
  }
  if (selector.subject_refs != 0) {
    changes_.subjects.insert(&record);
  }
}

void SelectorCache::reindex_labels(PodRecord& record, bool add) {
  for (const auto& it : record.indexed) {
    it->second.erase(&record);
    if (it->second.empty()) {
      pods_by_label_.erase(it);
    }
  }
  record.indexed.clear();
  if (!add) {
    return;
  }
  const auto insert = [&](std::string_view key, const std::string& value) {
    const auto it = pods_by_label_.try_emplace(LabelPair(key, value)).first;
    if (it->second.insert(&record).second) {
      record.indexed.push_back(it);
    }
  };
  insert(kNamespaceKey, record.pod.ns);
  insert(kServiceAccountKey, record.pod.service_account);
  for (const auto& [key, value] : record.pod.labels) {
    if (!key.starts_with(kGeneratedPrefix) && key != kNamespaceKey) {
      insert(key, value);
    }
  }
}

void SelectorCache::update_pod(PodRecord& record) {
  const bool managed = record.managed();
  reindex_labels(record, managed);
  std::vector<SelectorId> now;
  if (managed) {
    pods_.insert(&record);
    for (const SelectorId id : candidates(record)) {
      if (matches_pod(*selectors_[id], record)) {
        now.push_back(id);
      }
    }
  } else {
    pods_.erase(&record);
  }
  std::vector<SelectorId> changed;
  std::ranges::set_symmetric_difference(record.matched, now,
                                        std::back_inserter(changed));
  record.matched = std::move(now);
  for (const SelectorId id : changed) {
    auto& selector = *selectors_[id];
    if (std::ranges::binary_search(record.matched, id)) {
      selector.pods.insert(&record);
      selector.matched = true;
    } else {
      selector.pods.erase(&record);
    }
    note_change(record, selector);
  }
}

void SelectorCache::forget_pod(PodRecord& record) {
  reindex_labels(record, false);
  pods_.erase(&record);
  for (const SelectorId id : record.matched) {
    selectors_[id]->pods.erase(&record);
  }
  record.matched.clear();
  changes_.peers.erase(&record);
  changes_.subjects.erase(&record);
}

std::vector<SelectorId> SelectorCache::peers_of(const PodRecord& record) const {
  std::vector<SelectorId> ids;
  for (const SelectorId id : record.matched) {
    if (selectors_[id]->peer_refs != 0) {
      ids.push_back(id);
    }
  }
  return ids;
}

std::vector<SelectorId> SelectorCache::peers_of(Reserved kind) const {
  std::vector<SelectorId> ids;
  for (const SelectorId id : by_reserved_[static_cast<int>(kind)]) {
    if (selectors_[id]->peer_refs != 0) {
      ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace sluice::policy
