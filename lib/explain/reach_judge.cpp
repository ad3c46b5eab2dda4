// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/reach_judge.h"

#include <algorithm>

#include <netinet/in.h>

#include "lib/base/protocol.h"
#include "lib/explain/cluster.h"

namespace sluice::explain {
namespace {

using policy::Direction;

constexpr std::size_t kWordBits = 64;

void set_bit(PortBits& bits, std::size_t place) {
  bits[place / kWordBits] |= std::uint64_t{1} << (place % kWordBits);
}

// An entry without its set, class and rule.
std::uint64_t content_of(const sluice_policy_key& key,
                         const sluice_policy_value& value) {
  return std::uint64_t{key.direction} << 40U |
         std::uint64_t{key.protocol} << 32U | std::uint64_t{key.port} << 16U |
         std::uint64_t{key.prefixlen & 0xffU} << 8U | value.verdict;
}

bool goes_over(std::uint8_t protocol, bool v6) {
  return !is_icmp(protocol) || v6 == (protocol == IPPROTO_ICMPV6);
}

// Adds the ports of one family to those that are judged (`allowed`), and what
// one of the two sides denies of them.
void add_family(ReachJudge::Verdicts& verdicts, const PortBits& usable,
                const PortBits& egress, const PortBits& ingress) {
  for (std::size_t word = 0; word < usable.size(); ++word) {
    const auto denied = usable[word] & ~(egress[word] & ingress[word]);
    verdicts.denied[word] |= denied;
    verdicts.allowed[word] |= usable[word];
  }
}

// Allowed is what no family denies.
ReachJudge::Verdicts finished(ReachJudge::Verdicts verdicts) {
  for (std::size_t word = 0; word < verdicts.denied.size(); ++word) {
    verdicts.allowed[word] &= ~verdicts.denied[word];
  }
  return verdicts;
}

}  // namespace

ReachJudge::ReachJudge(const policy::Translator& translator,
                       const std::vector<const kube::Pod*>& pods)
    : translator_(&translator), regions_(translator) {
  for (const auto* pod : pods) {
    if (!nodes_.contains(pod->node)) {
      read_node(pod->node);
    }
    for (const auto& port : pod->ports) {
      collector_.add(port);
    }
  }
  pods_.reserve(pods.size());
  for (const auto* pod : pods) {
    add_pod(*pod);
  }
}

void ReachJudge::read_node(const std::string& name) {
  const auto state = translator_->snapshot(name);
  auto& view = nodes_
                   .try_emplace(name, NodeView{.model = policy::Model(state),
                                               .own = {},
                                               .remote = {},
                                               .own_alike = {},
                                               .remote_alike = {}})
                   .first->second;
  read_entries(state);
  for (const auto& set : state.sets) {
    isolating_.try_emplace(set.id, set.isolating);
  }
  uses_names_ = uses_names_ || !state.names.empty();
  read_peers(state, view);
}

// A set has the same entries on every node.
void ReachJudge::read_entries(const State& state) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, Content> added;
  for (const auto& [key, value] : state.entries) {
    const auto set = of_sets_.find(key.policy_id);
    if (set != of_sets_.end() && set->second.contains(key.cidr_id)) {
      continue;
    }
    collector_.add(key);
    added[{key.policy_id, key.cidr_id}].push_back(content_of(key, value));
  }
  for (auto& [place, content] : added) {
    std::ranges::sort(content);
    of_sets_[place.first][place.second] =
        &*contents_.insert(std::move(content)).first;
  }
}

bool ReachJudge::has_same_entries(const ReachJudge& other,
                                  std::uint32_t set) const {
  const auto ours = of_sets_.find(set);
  const auto theirs = other.of_sets_.find(set);
  if (ours == of_sets_.end() || theirs == other.of_sets_.end()) {
    return (ours == of_sets_.end()) == (theirs == other.of_sets_.end());
  }
  return ours->second.size() == theirs->second.size() &&
         std::ranges::all_of(ours->second, [&](const auto& content) {
           const auto same = theirs->second.find(content.first);
           return same != theirs->second.end() &&
                  *content.second == *same->second;
         });
}

void ReachJudge::read_peers(const State& state, NodeView& view) {
  for (const auto& [prefix, cidr_id] : state.peers) {
    const auto& address = prefix.address;
    const bool exact = prefix.length == address.bits();
    if (exact && (cidr_id & SLUICE_CIDR_LOCAL_NODE) != 0) {
      view.own.push_back({.address = address, .cidr_id = cidr_id});
    } else if (exact && (cidr_id & SLUICE_CIDR_NODE) != 0) {
      view.remote.push_back({.address = address, .cidr_id = cidr_id});
    } else if (!exact || regions_.is_free(address)) {
      regions_.add(prefix);
    } else if (const auto found = translator_->occupant(address);
               found.api_server && found.pod.empty() &&
               found.services.empty()) {
      api_servers_.insert(address);
    }
  }
}

void ReachJudge::add_pod(const kube::Pod& pod) {
  const auto name = pod.ns + "/" + pod.name;
  const auto& node = nodes_.at(pod.node);
  PodView view{.pod = &pod,
               .node = &node,
               .endpoint = node.model.endpoint(name),
               .peers = {},
               .plain = true};
  view.plain = view.endpoint != nullptr;
  for (const auto& address : pod.ips) {
    auto& peer = view.peers[address.v6 ? 1 : 0];
    const auto found = translator_->occupant(address);
    view.plain = view.plain && !peer && found.pod == name &&
                 found.node.empty() && found.services.empty();
    peer = {.address = address, .cidr_id = class_of(address)};
  }
  pods_.push_back(view);
}

// An address that is one thing only has one class on all nodes; where the class
// does not matter, it is that of any peer.
std::uint32_t ReachJudge::class_of(const IpAddress& address) const {
  for (const auto& [name, node] : nodes_) {
    if (const auto cidr_id = node.model.peer_class(address); cidr_id != 0) {
      return cidr_id;
    }
  }
  return SLUICE_CIDR_ANY;
}

ReachJudge::Peer ReachJudge::outside(const IpAddress& address) const {
  return {.address = address, .cidr_id = class_of(address)};
}

PortBits ReachJudge::none() const {
  return PortBits((ports_.size() + kWordBits - 1) / kWordBits);
}

void ReachJudge::set_ports(std::vector<ReachPorts> ports) {
  ports_ = std::move(ports);
  judged_.clear();
  leads_on_.clear();
  of_family_ = {none(), none()};
  all_ = none();
  for (std::size_t place = 0; place < ports_.size(); ++place) {
    set_bit(all_, place);
    for (const bool v6 : {false, true}) {
      if (goes_over(ports_[place].protocol, v6)) {
        set_bit(of_family_[v6 ? 1 : 0], place);
      }
    }
  }
  for (auto& [name, node] : nodes_) {
    node.own_alike = alike(node.own, name);
    node.remote_alike = alike(node.remote, name);
  }
}

// What the pod's policies allow for a peer.
const PortBits& ReachJudge::one_side(Direction direction, const PodView& pod,
                                     const Peer& peer) {
  const auto set = pod.set();
  if (set == 0) {
    return all_;
  }
  Key key{.of_class = nullptr,
          .of_any = nullptr,
          .direction = direction,
          .isolated =
              pod.endpoint->isolated.at(static_cast<std::size_t>(direction)),
          .own_node = (peer.cidr_id & SLUICE_CIDR_LOCAL_NODE) != 0};
  if (const auto of_set = of_sets_.find(set); of_set != of_sets_.end()) {
    const auto content = [&](std::uint32_t cidr_id) {
      const auto found = of_set->second.find(cidr_id);
      return found == of_set->second.end() ? nullptr : found->second;
    };
    key.of_class = content(peer.cidr_id);
    key.of_any = content(SLUICE_CIDR_ANY);
  }
  const auto [found, added] = judged_.try_emplace(key);
  auto& bits = found->second;
  if (!added) {
    return bits;
  }
  bits = none();
  for (std::size_t place = 0; place < ports_.size(); ++place) {
    const auto port = ports_[place].argument();
    ++lookups_;
    if (pod.node->model
            .lookup(*pod.endpoint, direction, peer.address, port.protocol,
                    port.port)
            .allowed) {
      set_bit(bits, place);
    }
  }
  return bits;
}

std::uint32_t ReachJudge::class_to(std::uint32_t set,
                                   std::uint32_t cidr_id) const {
  const auto found = of_sets_.find(set);
  return found != of_sets_.end() && found->second.contains(cidr_id)
             ? cidr_id
             : cidr_id & SLUICE_CIDR_LOCAL_NODE;
}

ReachJudge::Decision ReachJudge::decide(Direction direction, const PodView& pod,
                                        const Peer& peer,
                                        std::size_t place) const {
  const auto port = ports_[place].argument();
  const auto verdict = pod.node->model.lookup(
      *pod.endpoint, direction, peer.address, port.protocol, port.port);
  Decision decision{.allowed = verdict.allowed,
                    .reason = verdict.reason,
                    .rule = pod.node->model.rule(verdict.rule)};
  if (const auto found = isolating_.find(pod.set());
      found != isolating_.end()) {
    const auto& names = found->second.at(static_cast<std::size_t>(direction));
    decision.isolating = names.empty() ? nullptr : &names;
  }
  return decision;
}

PortBits ReachJudge::leading_on(const IpAddress& address) const {
  auto bits = none();
  for (std::size_t place = 0; place < ports_.size(); ++place) {
    const auto port = ports_[place].argument();
    if (!translator_->destination(address, port.protocol, port.port, {})
             .empty()) {
      set_bit(bits, place);
    }
  }
  return bits;
}

ReachJudge::Verdicts ReachJudge::between(const PodView& from,
                                         const PodView& to) {
  if (!from.plain || !to.plain) {
    return ask(from.pod->ns + "/" + from.pod->name,
               to.pod->ns + "/" + to.pod->name);
  }
  Verdicts verdicts{.allowed = none(), .denied = none()};
  for (std::size_t family = 0; family < of_family_.size(); ++family) {
    const auto& source = from.peers[family];
    const auto& destination = to.peers[family];
    if (source && destination) {
      const auto& egress = one_side(Direction::kEgress, from, *destination);
      const auto& ingress = one_side(Direction::kIngress, to, *source);
      add_family(verdicts, of_family_[family], egress, ingress);
    }
  }
  return finished(std::move(verdicts));
}

ReachJudge::Verdicts ReachJudge::to_outside(const PodView& from,
                                            const Peer& to) {
  return leads_on(from.pod->node, to.address)
             ? ask(from.pod->ns + "/" + from.pod->name, to_string(to.address))
             : to_plain_outside(from, to);
}

ReachJudge::Verdicts ReachJudge::to_plain_outside(const PodView& from,
                                                  const Peer& to) {
  if (!from.plain) {
    return ask(from.pod->ns + "/" + from.pod->name, to_string(to.address));
  }
  Verdicts verdicts{.allowed = none(), .denied = none()};
  const std::size_t family = to.address.v6 ? 1 : 0;
  if (from.peers[family]) {
    add_family(verdicts, of_family_[family],
               one_side(Direction::kEgress, from, to), all_);
  }
  return finished(std::move(verdicts));
}

ReachJudge::Verdicts ReachJudge::from_outside(const Peer& from,
                                              const PodView& to) {
  if (!to.plain) {
    return ask(to_string(from.address), to.pod->ns + "/" + to.pod->name);
  }
  Verdicts verdicts{.allowed = none(), .denied = none()};
  const std::size_t family = from.address.v6 ? 1 : 0;
  if (to.peers[family]) {
    add_family(verdicts, of_family_[family], all_,
               one_side(Direction::kIngress, to, from));
  }
  return finished(std::move(verdicts));
}

std::vector<ReachJudge::Peers> ReachJudge::alike(const std::vector<Peer>& peers,
                                                 const std::string& node) {
  std::vector<Peers> result;
  std::map<std::pair<std::uint32_t, bool>, std::size_t> places;
  for (const auto& peer : peers) {
    if (leads_on(node, peer.address)) {
      result.push_back({.first = peer, .count = 1});
      continue;
    }
    const auto [found, added] =
        places.try_emplace({peer.cidr_id, peer.address.v6}, result.size());
    if (added) {
      result.push_back({.first = peer, .count = 0});
    }
    ++result[found->second].count;
  }
  return result;
}

// It does so for the clients of all nodes.
bool ReachJudge::leads_on(const std::string& node, const IpAddress& address) {
  const auto [found, added] = leads_on_.try_emplace(address, false);
  if (added) {
    found->second = std::ranges::any_of(ports_, [&](const ReachPorts& ports) {
      const auto port = ports.argument();
      return !translator_->destination(address, port.protocol, port.port, node)
                  .empty();
    });
  }
  return found->second;
}

ReachJudge::Verdicts ReachJudge::ask(const std::string& from,
                                     const std::string& to) {
  Verdicts verdicts{.allowed = none(), .denied = none()};
  for (std::size_t place = 0; place < ports_.size(); ++place) {
    ++questions_;
    const auto answer = explain_cluster(
        *translator_,
        {.from = from, .to = to, .port = ports_[place].view().asked});
    if (answer) {  // otherwise they share no family for it
      set_bit(answer->allowed ? verdicts.allowed : verdicts.denied, place);
    }
  }
  return verdicts;
}

}  // namespace sluice::explain
