// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/occupant.h"
#include "lib/policy/selector_cache.h"
#include "sluice/state.h"

// Peer classes: every address and prefix that policies can distinguish, and the
// set of peer selectors that covers it.
namespace sluice::policy {

class StableHash;

struct ResolvedPort {
  std::string name;
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  auto operator<=>(const ResolvedPort&) const = default;
};

// The named ports of a pod that are in `names`, sorted by name. If several
// containers use a name, the last one's port counts.
template <typename Names>
std::vector<ResolvedPort> resolve_ports(const kube::Pod& pod,
                                        const Names& names) {
  std::map<std::string, ResolvedPort> last;
  for (const auto& port : pod.ports) {
    if (names.contains(port.name)) {
      last[port.name] = {
          .name = port.name, .protocol = port.protocol, .port = port.port};
    }
  }
  std::vector<ResolvedPort> result;
  result.reserve(last.size());
  for (auto& [name, port] : last) {
    result.push_back(std::move(port));
  }
  return result;
}

// The Services that an address stands for: those whose address it is, and on a
// node the node ports of all Services.
struct Frontend {
  std::vector<std::string> services;  // "namespace/name", sorted
  bool node_ports = false;
  bool v6 = false;  // backends are of the same family
  // Not 0: what is behind the address depends on the viewing node, or there are
  // host ports. A hash of what there is: places with the same share a class.
  std::uint64_t variant = 0;
  auto operator<=>(const Frontend&) const = default;
  [[nodiscard]] bool empty() const {
    return services.empty() && !node_ports && variant == 0;
  }
};

// A value that depends on the viewing node: by its name, else by its zone, else
// `otherwise`.
template <typename Value>
struct ByPlace {
  Value otherwise{};
  std::map<std::string, Value, std::less<>> by_node;
  std::map<std::string, Value, std::less<>> by_zone;
  bool operator==(const ByPlace&) const = default;
};

// The variants of a Service's address.
using Variants = ByPlace<std::uint64_t>;

// The key of a class: addresses with equal keys share one cidr_id.
struct ClassKey {
  std::vector<SelectorId> selectors;  // sorted
  std::vector<ResolvedPort> ports;    // names that egress rules use
  bool node = false;                  // an address of some node
  bool local_node = false;            // an address of the node itself
  Frontend frontend;                  // counts at egress only
  auto operator<=>(const ClassKey&) const = default;
  // True if the class has only the marks of a node.
  [[nodiscard]] bool plain() const {
    return selectors.empty() && ports.empty() && frontend.empty();
  }
  [[nodiscard]] bool empty() const { return plain() && !node; }
};

// The marks of node addresses in their class.
inline constexpr std::uint32_t kNodeMarks =
    SLUICE_CIDR_LOCAL_NODE | SLUICE_CIDR_NODE;

// The classes for which a node's policy sets have entries, each with the number
// of such sets. The node's sets treat all other classes like any peer.
using ClassRefs = std::unordered_map<std::uint32_t, std::uint32_t>;

// The properties of a node that node selectors and `kube-apiserver` use.
struct NodeKind {
  bool api = false;  // one of its addresses is the API server's
  std::vector<SelectorId> selectors;  // of its labels; sorted
  auto operator<=>(const NodeKind&) const = default;
};

class PeerClasses {
 public:
  // A node's relation to an address.
  struct Viewer {
    std::uint32_t kind = 0;  // not 0: it has the address
    // The node's agent reports the address. It then has an entry even if the
    // report is not accepted, because the agent takes addresses without an
    // entry for the node's.
    bool claims = false;
    std::string_view node;
    std::string_view zone;
  };

  // The data that determines which entry a node gets for an address or a
  // prefix. The rest is valid only if `shown` is true.
  struct Seen {
    bool shown = false;
    std::uint32_t cidr_id = 0;  // as seen by nodes that do not have it
    std::uint32_t cover = 0;    // of the enclosing prefix
    // The view of the nodes that have the address: kind of node and class.
    // Several nodes may have the same address (that of a bridge that none of
    // them routes).
    std::vector<std::pair<std::uint32_t, std::uint32_t>> own;
    // Not nullptr: nodes and zones with another view, which comes before the
    // others. Nodes that have the address are named. `otherwise` is unused.
    std::shared_ptr<const ByPlace<std::uint32_t>> places = nullptr;
    bool operator==(const Seen& other) const;
    [[nodiscard]] std::uint32_t as(const Viewer& viewer) const;
    // All classes above except `cover`; sorted, unique.
    [[nodiscard]] std::vector<std::uint32_t> ids() const;
  };
  // Changes since the last clear_changes(). `created` and `retired` are classes
  // that got their first or lost their last address; a retired class can be
  // read until clear_changes().
  struct Changes {
    std::unordered_map<IpPrefix, Seen> peers;  // how it was before
    // Addresses that nodes may see differently than before, and these nodes.
    std::unordered_map<IpPrefix, std::set<std::string>> moves;
    // Nodes whose zone changed, and what it was.
    std::map<std::string, std::string> rezoned;
    std::set<std::uint32_t> created;
    std::set<std::uint32_t> retired;
    // Services with a backend whose class changed.
    std::set<std::string> services;
  };

  PeerClasses(const SelectorCache& selectors, bool cidr_match_all)
      : selectors_(selectors), cidr_match_all_(cidr_match_all) {}

  // The pod gets or loses the address (also called when its ports change).
  void add_pod(const IpAddress& address, PodRecord* pod);
  void remove_pod(const IpAddress& address, PodRecord* pod);
  // Sets the object's data; the agent's report is kept.
  void set_node(const kube::Node& node);
  void remove_node(const std::string& name);
  // Sets all addresses that the node's agent has found on it; ignored for an
  // unknown node. Only addresses that can be the node's are accepted: see
  // believes().
  void set_reported(const std::string& node, std::set<IpAddress> addresses);
  // Sets the addresses of the API server, regardless of their owner.
  void set_api_addresses(const std::set<IpAddress>& addresses);
  void set_reserved(const IpAddress& address, std::optional<Entity> entity);
  // Reports that the address is the Service's, or a backend of one of its
  // ports.
  void add_service(const IpAddress& address, const std::string& service);
  void remove_service(const IpAddress& address, const std::string& service);
  void add_backend(const IpAddress& address, const std::string& service);
  void remove_backend(const IpAddress& address, const std::string& service);
  // Sets what is behind an address where this depends on the viewing node;
  // nullopt: it does not. Takes effect with update_variants().
  void set_variants(const IpAddress& address, std::optional<Variants> variants);
  // Sets whether any Service has node ports.
  void set_node_ports(bool any);
  void set_group(const kube::CidrGroup& group);
  void remove_group(const std::string& name);
  // Counts the uses of a port name in egress rules.
  void use_port_name(const std::string& name);
  void unuse_port_name(const std::string& name);

  // Updates the classes from all of the above and from the selector cache's
  // changes.
  void update();
  // Updates the classes from set_variants() after update().
  void update_variants();
  [[nodiscard]] const Changes& changes() const { return changes_; }
  void clear_changes();

  // The class that `node`'s kernel must hold for a peer; nullopt = no entry.
  // Classes that do not matter there (not in `refs`) are equivalent to class 0,
  // except for the marks of nodes, so that only addresses that must be
  // distinguished have an entry. Addresses of nodes always have one.
  [[nodiscard]] std::optional<std::uint32_t> entry(const IpPrefix& prefix,
                                                   const std::string& node,
                                                   const ClassRefs& refs) const;
  // Returns all entries of a node, sorted. The cost is proportional to the
  // members of the classes in `refs` and the addresses of all nodes.
  [[nodiscard]] std::vector<PeerEntry> entries(const std::string& node,
                                               const ClassRefs& refs) const;
  // The same for an earlier view of a prefix.
  template <typename Matters>
  [[nodiscard]] static std::optional<std::uint32_t> entry(
      const Seen& seen, Viewer viewer, const Matters& matters);
  [[nodiscard]] Seen seen(const IpPrefix& prefix) const;
  // `before`: by the zone that the node had at the last clear_changes().
  [[nodiscard]] Viewer viewer(const IpPrefix& prefix, const std::string& node,
                              bool before = false) const;
  // Empty if the node is unknown or has none.
  [[nodiscard]] const std::string& zone_of(const std::string& node) const;
  // Addresses with variants.
  [[nodiscard]] const std::map<IpAddress, Variants>& variants() const {
    return variants_;
  }
  // The names of what is behind the address: Services, and for every node that
  // has it host_ports_of() the node.
  [[nodiscard]] std::vector<std::string> behind(const IpAddress& address) const;
  // The addresses that the node has.
  [[nodiscard]] std::vector<IpAddress> addresses_of(
      const std::string& node) const;
  // A hash of the class without what is behind it; the same in every process.
  [[nodiscard]] std::uint64_t plain_hash(std::uint32_t cidr_id) const;
  // The addresses of the class, each with the places that see it so: node,
  // zone. Both are empty for all other places. One address only if the class
  // has no variant, because all have the same behind them.
  struct Place {
    IpAddress address;
    std::string_view node;
    std::string_view zone;
  };
  [[nodiscard]] std::vector<Place> places_of(std::uint32_t cidr_id) const;
  // True if packets from the node to the place's address are seen so.
  [[nodiscard]] bool is_subject_to(const Place& place,
                                   const std::string& node) const;
  // The nodes whose agents report the address.
  [[nodiscard]] const std::set<std::string>& claimants(
      const IpPrefix& prefix) const;
  // Reports of agents do not count.
  [[nodiscard]] bool is_in_object_of_node(const IpAddress& address) const;
  // Visits the members of the class and the entries directly enclosed by them.
  template <typename Visit>
  void visit(std::uint32_t cidr_id, const Visit& visit) const;
  // The classes that a packet to this address may have: two or more for a
  // node's address, which has another class on its own node than on others, and
  // for one with variants. Sorted.
  [[nodiscard]] std::vector<std::uint32_t> classes_of(
      const IpAddress& address) const;
  // "namespace/pod" of the pod that has the address; empty if none does.
  [[nodiscard]] std::string pod_name(const IpAddress& address) const;
  [[nodiscard]] Occupant occupant(const IpAddress& address) const;
  // An address of the family that the node's object names.
  [[nodiscard]] std::optional<IpAddress> node_address(const std::string& node,
                                                      bool v6) const;
  // The pods that claim the address.
  [[nodiscard]] const std::vector<PodRecord*>& pods_at(
      const IpAddress& address) const;
  [[nodiscard]] const std::set<std::uint32_t>& with_service(
      const std::string& name) const;
  [[nodiscard]] const std::set<std::uint32_t>& with_node_ports() const {
    return with_node_ports_;
  }
  // The class of any address as seen by `node`.
  [[nodiscard]] std::uint32_t class_of(const IpAddress& address,
                                       const std::string& node) const;
  [[nodiscard]] const ClassKey& key(std::uint32_t cidr_id) const;
  [[nodiscard]] const std::set<std::uint32_t>& with_selector(
      SelectorId id) const;
  [[nodiscard]] const std::set<std::uint32_t>& with_ports() const {
    return with_ports_;
  }

 private:
  struct AddressRecord {
    std::vector<PodRecord*> pods;
    std::set<std::string> nodes;      // whose objects name it
    std::set<std::string> claimants;  // whose agents do
    std::set<std::string> owners;     // the nodes that have it
    std::optional<Entity> reserved;
    bool api = false;
    bool api_told = false;  // the owners have been evaluated since it changed
    std::vector<std::string> services;  // whose address it is; sorted
    std::set<std::string> backend_of;
    Seen seen;

    [[nodiscard]] bool owned() const {
      return !pods.empty() || !nodes.empty() || !claimants.empty() ||
             reserved || api || !services.empty() || !backend_of.empty();
    }
    // Returns which of the claiming pods has the address; there must be one.
    [[nodiscard]] const PodRecord* owner() const;
    [[nodiscard]] bool is_node() const { return !owners.empty(); }
    // An external address although the API server has it: CIDR peers match it.
    [[nodiscard]] bool is_world() const {
      return pods.empty() && owners.empty() && !reserved;
    }
  };
  struct NodeRecord {
    bool known = false;  // the object is there
    kube::Labels labels;
    std::string zone;
    std::set<IpAddress> addresses;  // of the object
    std::set<IpAddress> reported;   // by the agent
    std::vector<IpPrefix> pod_cidrs;
    std::uint32_t kind = 0;
  };
  struct KindRecord {
    std::uint32_t id = 0;
    std::uint32_t refs = 0;
  };
  struct PrefixRecord {
    std::uint32_t refs = 0;
    std::uint32_t cidr_id = 0;  // also where an owned address hides it
    Seen seen;
  };
  struct ClassRecord {
    const ClassKey* key = nullptr;
    std::uint32_t refs = 0;
    std::set<IpPrefix> members;
  };
  // The data of one address family. Prefixes and addresses are in address
  // order, so a prefix covers a range.
  struct Family {
    std::map<IpPrefix, PrefixRecord> prefixes;
    std::map<IpAddress, AddressRecord> addresses;
    std::map<IpPrefix, std::vector<SelectorId>> cidrs;
    std::array<std::uint32_t, 129> prefix_lengths{};  // in use, by length
    std::array<std::uint32_t, 129> cidr_lengths{};
    std::set<IpPrefix> dirty_prefixes;
    std::set<IpAddress> dirty_addresses;
    // The class is unchanged, but it may now equal or differ from the enclosing
    // prefix's.
    std::set<IpAddress> dirty_entries;
    bool root = false;  // the whole family is a prefix: something selects world
  };
  struct Excepted {
    const std::vector<IpPrefix>* except = nullptr;
    bool external_only = true;
  };
  // A CIDR or CIDR group in use.
  struct Registered {
    std::vector<IpPrefix> cidrs;
    std::vector<IpPrefix> except;  // sorted
    std::bitset<129> lengths;      // of `except`
    bool external_only = true;

    [[nodiscard]] bool excludes(const IpPrefix& prefix) const;
  };

  Family& family(bool v6) { return families_[v6 ? 1 : 0]; }
  [[nodiscard]] const Family& family(bool v6) const {
    return families_[v6 ? 1 : 0];
  }
  AddressRecord& touch(const IpAddress& address);
  // nullptr: it is not a single address, or nothing is known about it.
  [[nodiscard]] const AddressRecord* find(const IpPrefix& prefix) const;
  void set_pod_cidrs(const std::string& node, NodeRecord& record,
                     const std::vector<IpPrefix>& cidrs);
  [[nodiscard]] bool is_in_pod_cidr_of_another(const IpAddress& address,
                                               const std::string& node) const;
  [[nodiscard]] bool believes(const IpAddress& address,
                              const AddressRecord& record,
                              const std::string& node) const;
  [[nodiscard]] std::set<std::string> owners_of(
      const IpAddress& address, const AddressRecord& record) const;
  // Those of the node's addresses that it owns.
  template <typename Visit>
  void visit_own(const std::string& name, const NodeRecord& record,
                 const Visit& visit);
  void use_node_selector(SelectorId id, bool add);
  void update_nodes();
  void update_owners(const IpAddress& address);
  void update_kind(const std::string& name, NodeRecord& record);
  [[nodiscard]] NodeKind kind_of(const std::string& name,
                                 const NodeRecord& record);
  std::uint32_t acquire_kind(const NodeKind& kind);
  void release_kind(std::uint32_t id);
  // The combined data of all nodes that have the address.
  [[nodiscard]] NodeKind kind_of_owners(const AddressRecord& record) const;
  // Marks everything in the prefix as changed; addresses of pods and nodes keep
  // their class unless `pods_too`.
  void mark_range(const IpPrefix& prefix, bool pods_too);
  void reference_prefix(const IpPrefix& prefix, bool add);
  void register_cidrs(SelectorId id, bool add);
  [[nodiscard]] std::vector<IpPrefix> cidrs_of(SelectorId id) const;
  [[nodiscard]] Excepted excepted(SelectorId id) const;
  [[nodiscard]] std::vector<SelectorId> covering(const IpPrefix& prefix,
                                                 bool external) const;
  [[nodiscard]] ClassKey key_of(const IpPrefix& prefix) const;
  // `own`: the view of nodes of this kind that have the address.
  [[nodiscard]] ClassKey plain_key_of(const IpAddress& address,
                                      const AddressRecord& record,
                                      const NodeKind* own) const;
  [[nodiscard]] ClassKey key_of(const IpAddress& address,
                                const AddressRecord& record,
                                const NodeKind* own,
                                std::uint64_t variant) const;
  [[nodiscard]] std::shared_ptr<const ByPlace<std::uint32_t>> acquire_places(
      const IpAddress& address, const AddressRecord& record,
      const Variants& variants);
  void release(const Seen& seen);
  void set_zone(const std::string& node, NodeRecord& record,
                const kube::Labels& labels);
  // The class of the longest prefix shorter than `below` bits that contains the
  // address.
  [[nodiscard]] std::uint32_t covering_class(const IpAddress& address,
                                             int below) const;
  // To be called before a change of the view of the prefix.
  void note_change(const IpPrefix& prefix);
  void move_member(const IpPrefix& prefix, const Seen& before, const Seen& now);
  void apply_selector_changes();
  void update_root(bool v6);
  void update_prefix(Family& f, const IpPrefix& prefix);
  void update_address(Family& f, const IpAddress& address);
  void update_cover(const IpAddress& address, AddressRecord& record);
  std::uint32_t acquire(const ClassKey& key);
  void release(std::uint32_t cidr_id);
  void index_class(std::uint32_t cidr_id, const ClassKey& key, bool add);
  [[nodiscard]] StableHash plain_hash_of(const ClassKey& key) const;
  [[nodiscard]] std::uint32_t hash_id(const ClassKey& key) const;

  const SelectorCache& selectors_;
  bool cidr_match_all_;
  std::array<Family, 2> families_;
  std::map<SelectorId, Registered> registered_;
  std::map<std::string, kube::CidrGroup> groups_;
  std::set<IpAddress> api_addresses_;
  std::map<std::string, NodeRecord> nodes_;
  std::map<NodeKind, KindRecord> kinds_;
  std::map<std::uint32_t, const NodeKind*> kinds_by_id_;
  std::uint32_t last_kind_ = 0;
  std::set<SelectorId> node_selectors_;  // in use as peers
  std::map<IpPrefix, std::set<std::string>> pod_cidrs_;
  std::set<std::string> dirty_nodes_;
  std::set<IpAddress> node_addresses_;  // those seen as nodes' addresses
  std::map<std::string, std::uint32_t> port_names_;
  std::map<ClassKey, std::uint32_t> ids_;
  std::unordered_map<std::uint32_t, ClassRecord> classes_;
  std::unordered_map<SelectorId, std::set<std::uint32_t>> with_selector_;
  std::set<std::uint32_t> with_ports_;
  std::map<std::string, std::set<std::uint32_t>> with_service_;
  std::set<std::uint32_t> with_node_ports_;
  bool node_ports_ = false;
  std::map<IpAddress, Variants> variants_;
  std::set<IpAddress> dirty_variants_;
  Changes changes_;
};

inline bool PeerClasses::Seen::operator==(const Seen& other) const {
  const bool same_places =
      places == other.places || (places != nullptr && other.places != nullptr &&
                                 *places == *other.places);
  return same_places && shown == other.shown && cidr_id == other.cidr_id &&
         cover == other.cover && own == other.own;
}

inline std::uint32_t PeerClasses::Seen::as(const Viewer& viewer) const {
  if (places != nullptr) {
    if (const auto it = places->by_node.find(viewer.node);
        it != places->by_node.end()) {
      return it->second;
    }
    if (const auto it = places->by_zone.find(viewer.zone);
        it != places->by_zone.end()) {
      return it->second;
    }
  }
  const auto it = std::ranges::find(
      own, viewer.kind, &std::pair<std::uint32_t, std::uint32_t>::first);
  return viewer.kind == 0 || it == own.end() ? cidr_id : it->second;
}

template <typename Matters>
std::optional<std::uint32_t> PeerClasses::entry(const Seen& seen, Viewer viewer,
                                                const Matters& matters) {
  if (!seen.shown) {
    return std::nullopt;
  }
  const auto told = [&](std::uint32_t cidr_id) {
    return matters(cidr_id) ? cidr_id : cidr_id & kNodeMarks;
  };
  const auto wanted = told(seen.as(viewer));
  return wanted == told(seen.cover) && !viewer.claims ? std::nullopt
                                                      : std::optional(wanted);
}

template <typename Visit>
void PeerClasses::visit(std::uint32_t cidr_id, const Visit& visit) const {
  const auto it = classes_.find(cidr_id);
  if (it == classes_.end()) {
    return;
  }
  for (const auto& member : it->second.members) {
    visit(member);
    const auto& f = family(member.address.v6);
    if (member.length == member.address.bits()) {
      continue;
    }
    for (auto p = f.prefixes.lower_bound(member);
         p != f.prefixes.end() && member.contains(p->first); ++p) {
      if (p->second.seen.cover == cidr_id) {
        visit(p->first);
      }
    }
    for (auto a = f.addresses.lower_bound(member.address);
         a != f.addresses.end() && member.contains(a->first); ++a) {
      if (a->second.seen.cover == cidr_id) {
        visit(IpPrefix{.address = a->first, .length = a->first.bits()});
      }
    }
  }
}

}  // namespace sluice::policy
