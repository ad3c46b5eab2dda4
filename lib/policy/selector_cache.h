// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/identity.h"
#include "lib/policy/rule.h"

// Which pods and other addresses the selectors in use select: distinct
// selectors, their members, and an inverted index so that a pod event asks
// only selectors that can match the pod.
namespace sluice::policy {

using SelectorId = std::uint32_t;

struct PodRecord;
using LabelPair = std::pair<std::string, std::string>;
using PodIndex = std::map<LabelPair, std::unordered_set<PodRecord*>>;

// What the translator keeps of a pod. The address of a record is stable.
struct PodRecord {
  kube::Pod pod;
  const kube::Labels* namespace_labels = nullptr;  // never null once known
  std::vector<PodIndex::iterator> indexed;         // the selector cache's own
  std::vector<SelectorId> matched;  // sorted; label selectors and entities
  std::uint32_t policy_set = 0;     // 0 = none
  std::uint64_t sequence = 0;       // rises with every pod that gets an address
  std::uint64_t seen_getting = 0;   // the same; 0: it had it from the beginning

  // Has an identity of its own: selectable, and a subject of policy.
  [[nodiscard]] bool managed() const {
    return !pod.host_network && !pod.finished && !pod.ips.empty();
  }
  [[nodiscard]] std::string name() const { return pod.ns + "/" + pod.name; }
  // Of several pods that claim an address, the one that got it last has it: the
  // others' objects are what is left of pods that are gone, or that have not
  // got their new address yet after their node has started anew. Where nobody
  // has seen who got it last, it is the one that was made last.
  [[nodiscard]] bool newer_than(const PodRecord& other) const {
    return std::tie(seen_getting, pod.created, sequence) >
           std::tie(other.seen_getting, other.pod.created, other.sequence);
  }
};

// A distinct selector. Peers: it tells addresses apart. Subjects: it gives
// pods their policies. Selectors of CIDRs and of nodes have no members;
// PeerClasses resolves them.
struct Selector {
  PeerSelector value;
  std::uint64_t hash = 0;  // of the content
  std::uint32_t peer_refs = 0;
  std::uint32_t subject_refs = 0;
  std::unordered_set<PodRecord*> pods;
  bool matched = false;                         // some pod, at some time
  std::array<bool, kReservedCount> reserved{};  // which of these it matches

  [[nodiscard]] bool has_members() const {
    return std::holds_alternative<LabelSelector>(value) ||
           std::holds_alternative<Entity>(value);
  }
};

class SelectorCache {
 public:
  enum class Use : std::uint8_t { kPeer, kSubject };

  // What changed since the last clear_changes().
  struct Changes {
    std::unordered_set<PodRecord*> peers;     // other peer selectors match
    std::unordered_set<PodRecord*> subjects;  // other subject selectors match
    std::set<Reserved> reserved;              // other peer selectors match
    // Selectors without members: first use as a peer, and last use gone (still
    // readable).
    std::vector<SelectorId> added;
    std::vector<SelectorId> removed;
  };

  explicit SelectorCache(std::string cluster) : cluster_(std::move(cluster)) {}

  SelectorId acquire(const PeerSelector& value, Use use);
  void release(SelectorId id, Use use);
  [[nodiscard]] const Selector& get(SelectorId id) const {
    return *selectors_[id];
  }

  // The record is new or changed, or its namespace's labels have. Records must
  // be forgotten before they are destroyed.
  void update_pod(PodRecord& record);
  void forget_pod(PodRecord& record);

  // Sorted ids of the peer selectors that match.
  [[nodiscard]] std::vector<SelectorId> peers_of(const PodRecord& record) const;
  [[nodiscard]] std::vector<SelectorId> peers_of(Reserved kind) const;

  [[nodiscard]] const Changes& changes() const { return changes_; }
  // Also frees the selectors that nothing uses any more.
  void clear_changes();

 private:
  using IdList = std::vector<SelectorId>;

  // Where a label selector stands in the inverted index: under a label that
  // its pods must carry, or a key, or, if it has only negative terms, with all
  // pods. Where it names the namespace too, that is part of the key, so that
  // the same label in other namespaces' policies costs nothing.
  struct Anchors {
    std::vector<LabelPair> values;
    std::vector<std::string> keys;
  };
  static Anchors anchors_of(const LabelSelector& selector);
  void index(SelectorId id, bool add);
  [[nodiscard]] IdList candidates(const PodRecord& record) const;
  void find_members(SelectorId id);
  // The smallest set of pods that is known to hold all members.
  [[nodiscard]] std::vector<PodRecord*> possible_members(
      const LabelSelector& selector) const;
  [[nodiscard]] bool matches_pod(const Selector& selector,
                                 const PodRecord& record) const;
  void note_change(PodRecord& record, const Selector& selector);
  void note_use(const Selector& selector, SelectorId id, Use use, bool added);
  void reindex_labels(PodRecord& record, bool add);

  std::string cluster_;
  std::vector<std::unique_ptr<Selector>> selectors_;  // by id; null = free
  std::vector<SelectorId> free_;
  std::vector<SelectorId> unused_;  // to be freed by clear_changes()
  std::map<PeerSelector, SelectorId> ids_;
  std::map<LabelPair, IdList> by_value_;
  std::map<std::string, IdList, std::less<>> by_key_;
  IdList by_none_;
  std::array<std::set<SelectorId>, kReservedCount> by_reserved_;
  std::unordered_set<PodRecord*> pods_;  // all managed ones
  PodIndex pods_by_label_;
  Changes changes_;
};

}  // namespace sluice::policy
