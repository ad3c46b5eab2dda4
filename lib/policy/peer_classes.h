// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/selector_cache.h"
#include "sluice/state.h"

// Peer classes: every address and prefix that policies can tell apart, and the
// set of peer selectors that covers it.
namespace sluice::policy {

struct ResolvedPort {
  std::string name;
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  auto operator<=>(const ResolvedPort&) const = default;
};

// The named ports of a pod that are in `names`, sorted by name. A name that
// several containers use means the last one's port.
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

// What an address stands for at the ports of Services: the Services whose
// address it is, and on a node the node ports of all of them.
struct Frontend {
  std::vector<std::string> services;  // "namespace/name", sorted
  bool node_ports = false;
  bool v6 = false;  // backends are of the same family
  auto operator<=>(const Frontend&) const = default;
  [[nodiscard]] bool empty() const { return services.empty() && !node_ports; }
};

// What makes a class: addresses with equal keys share one cidr_id.
struct ClassKey {
  std::vector<SelectorId> selectors;  // sorted
  std::vector<ResolvedPort> ports;    // names that egress rules use
  bool node = false;                  // an address of some node
  bool local_node = false;            // an address of the node itself
  Frontend frontend;                  // counts at egress only
  auto operator<=>(const ClassKey&) const = default;
  // Nothing but the marks of a node.
  [[nodiscard]] bool plain() const {
    return selectors.empty() && ports.empty() && frontend.empty();
  }
  [[nodiscard]] bool empty() const { return plain() && !node; }
};

// The marks that addresses of nodes carry in their class.
inline constexpr std::uint32_t kNodeMarks =
    SLUICE_CIDR_LOCAL_NODE | SLUICE_CIDR_NODE;

// The classes for which a node's policy sets have entries, with how many of
// its sets do. To all others the node's sets say what they say of any peer.
using ClassRefs = std::unordered_map<std::uint32_t, std::uint32_t>;

class PeerClasses {
 public:
  // What decides which entry a node gets for an address or a prefix. `shown`:
  // it is there; else the rest means nothing.
  struct Seen {
    bool shown = false;
    std::uint32_t cidr_id = 0;  // as other nodes see it
    std::uint32_t local = 0;    // a node's address, as that node sees it
    std::uint32_t cover = 0;    // of the prefix around it
    bool operator==(const Seen&) const = default;
  };

  // Since the last clear_changes(). `created` and `retired` are classes that
  // got their first or lost their last address; a retired one can be read
  // until then.
  struct Changes {
    std::unordered_map<IpPrefix, Seen> peers;  // how it was before
    // Addresses that came to or left nodes, and these.
    std::unordered_map<IpPrefix, std::set<std::string>> moves;
    std::set<std::uint32_t> created;
    std::set<std::uint32_t> retired;
    // Services with a backend whose class changed.
    std::set<std::string> services;
  };

  PeerClasses(const SelectorCache& selectors, bool cidr_match_all)
      : selectors_(selectors), cidr_match_all_(cidr_match_all) {}

  // The pod owns the address, or ceases to (also when its ports change).
  void add_pod(const IpAddress& address, PodRecord* pod);
  void remove_pod(const IpAddress& address, PodRecord* pod);
  void add_node(const IpAddress& address, const std::string& node);
  void remove_node(const IpAddress& address, const std::string& node);
  // Addresses of the API server, whoever has them.
  void set_api_addresses(const std::set<IpAddress>& addresses);
  void set_reserved(const IpAddress& address, std::optional<Entity> entity);
  // The address is the Service's, or a backend of one of its ports.
  void add_service(const IpAddress& address, const std::string& service);
  void remove_service(const IpAddress& address, const std::string& service);
  void add_backend(const IpAddress& address, const std::string& service);
  void remove_backend(const IpAddress& address, const std::string& service);
  // Whether any Service has node ports.
  void set_node_ports(bool any);
  void set_group(const kube::CidrGroup& group);
  void remove_group(const std::string& name);
  // A port name that egress rules use, counted.
  void use_port_name(const std::string& name);
  void unuse_port_name(const std::string& name);

  // Brings classes up to date with all of the above and with the selector
  // cache's changes.
  void update();
  [[nodiscard]] const Changes& changes() const { return changes_; }
  void clear_changes();

  // The class that `node`'s kernel must hold for a peer; nullopt = no entry.
  // Classes that do not matter there (`refs`) are as good as class 0, but for
  // the marks of nodes, so that only what must be told apart has an entry.
  // Addresses of nodes always have one.
  [[nodiscard]] std::optional<std::uint32_t> entry(const IpPrefix& prefix,
                                                   const std::string& node,
                                                   const ClassRefs& refs) const;
  // All entries of a node, sorted; costs in proportion to the members of the
  // classes in `refs` and to the addresses of all nodes.
  [[nodiscard]] std::vector<PeerEntry> entries(const std::string& node,
                                               const ClassRefs& refs) const;
  // The same for what was seen of a prefix at some time. `own`: it is an
  // address of the node that looks.
  template <typename Matters>
  [[nodiscard]] static std::optional<std::uint32_t> entry(
      const Seen& seen, bool own, const Matters& matters);
  [[nodiscard]] Seen seen(const IpPrefix& prefix) const;
  // The nodes whose address it is.
  [[nodiscard]] const std::set<std::string>& owners(
      const IpPrefix& prefix) const;
  [[nodiscard]] bool is_own(const IpPrefix& prefix,
                            const std::string& node) const;
  // Everything of the class, and what differs from it alone by standing in it.
  template <typename Visit>
  void visit(std::uint32_t cidr_id, const Visit& visit) const;
  // The classes that a packet to this address may be of: two for a node's
  // address, which is another one's to every node but its own.
  [[nodiscard]] std::vector<std::uint32_t> classes_of(
      const IpAddress& address) const;
  // "namespace/pod" of the pod that has the address; empty if none has.
  [[nodiscard]] std::string pod_name(const IpAddress& address) const;
  // The pods that claim the address.
  [[nodiscard]] const std::vector<PodRecord*>& pods_at(
      const IpAddress& address) const;
  [[nodiscard]] const std::set<std::uint32_t>& with_service(
      const std::string& name) const;
  [[nodiscard]] const std::set<std::uint32_t>& with_node_ports() const {
    return with_node_ports_;
  }
  // The class of any address, as `node` sees it.
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
    std::set<std::string> nodes;
    std::optional<Entity> reserved;
    bool api = false;
    std::vector<std::string> services;  // whose address it is; sorted
    std::set<std::string> backend_of;
    Seen seen;

    [[nodiscard]] bool owned() const {
      return !pods.empty() || !nodes.empty() || reserved || api ||
             !services.empty() || !backend_of.empty();
    }
    // Which of the pods that claim it has it; there must be one.
    [[nodiscard]] const PodRecord* owner() const;
    [[nodiscard]] bool is_node() const {
      return pods.empty() && !nodes.empty();
    }
    // External, for all that the API server has it: CIDR peers match it.
    [[nodiscard]] bool is_world() const {
      return pods.empty() && nodes.empty() && !reserved;
    }
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
  // One address family's share; prefixes and addresses are in address order,
  // so what a prefix covers is a range.
  struct Family {
    std::map<IpPrefix, PrefixRecord> prefixes;
    std::map<IpAddress, AddressRecord> addresses;
    std::map<IpPrefix, std::vector<SelectorId>> cidrs;
    std::array<std::uint32_t, 129> prefix_lengths{};  // in use, by length
    std::array<std::uint32_t, 129> cidr_lengths{};
    std::set<IpPrefix> dirty_prefixes;
    std::set<IpAddress> dirty_addresses;
    // The class stands; whether it differs from the prefix around it may not.
    std::set<IpAddress> dirty_entries;
    bool root = false;  // the whole family is a prefix: something selects world
  };
  struct Excepted {
    const std::vector<IpPrefix>* except = nullptr;
    bool external_only = true;
  };

  Family& family(bool v6) { return families_[v6 ? 1 : 0]; }
  [[nodiscard]] const Family& family(bool v6) const {
    return families_[v6 ? 1 : 0];
  }
  AddressRecord& touch(const IpAddress& address);
  // Everything in the prefix may have changed; addresses of pods and nodes
  // keep their class unless `pods_too`.
  void mark_range(const IpPrefix& prefix, bool pods_too);
  void reference_prefix(const IpPrefix& prefix, bool add);
  void register_cidrs(SelectorId id, bool add);
  [[nodiscard]] std::vector<IpPrefix> cidrs_of(SelectorId id) const;
  [[nodiscard]] Excepted excepted(SelectorId id) const;
  [[nodiscard]] std::vector<SelectorId> covering(const IpPrefix& prefix,
                                                 bool external) const;
  [[nodiscard]] ClassKey key_of(const IpPrefix& prefix) const;
  [[nodiscard]] ClassKey plain_key_of(const IpAddress& address,
                                      const AddressRecord& record,
                                      bool local) const;
  [[nodiscard]] ClassKey key_of(const IpAddress& address,
                                const AddressRecord& record, bool local) const;
  // The class of the longest prefix shorter than `below` bits that holds it.
  [[nodiscard]] std::uint32_t covering_class(const IpAddress& address,
                                             int below) const;
  // Called before a change of what is seen of the prefix.
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
  [[nodiscard]] std::uint32_t hash_id(const ClassKey& key) const;

  const SelectorCache& selectors_;
  bool cidr_match_all_;
  std::array<Family, 2> families_;
  std::map<SelectorId, std::vector<IpPrefix>> registered_;
  std::map<std::string, kube::CidrGroup> groups_;
  std::set<IpAddress> api_addresses_;
  std::set<IpAddress> node_addresses_;  // those seen as nodes' addresses
  std::map<std::string, std::uint32_t> port_names_;
  std::map<ClassKey, std::uint32_t> ids_;
  std::unordered_map<std::uint32_t, ClassRecord> classes_;
  std::unordered_map<SelectorId, std::set<std::uint32_t>> with_selector_;
  std::set<std::uint32_t> with_ports_;
  std::map<std::string, std::set<std::uint32_t>> with_service_;
  std::set<std::uint32_t> with_node_ports_;
  bool node_ports_ = false;
  Changes changes_;
};

template <typename Matters>
std::optional<std::uint32_t> PeerClasses::entry(const Seen& seen, bool own,
                                                const Matters& matters) {
  if (!seen.shown) {
    return std::nullopt;
  }
  const auto told = [&](std::uint32_t cidr_id) {
    return matters(cidr_id) ? cidr_id : cidr_id & kNodeMarks;
  };
  const auto wanted = told(own ? seen.local : seen.cidr_id);
  return wanted == told(seen.cover) ? std::nullopt : std::optional(wanted);
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
