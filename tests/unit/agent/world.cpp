// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/agent/world.h"

#include <algorithm>
#include <cstring>

namespace sluice::agent::test {
namespace {

constexpr std::uint32_t kClasses = 6;
constexpr std::uint32_t kSets = 4;
constexpr int kEndpoints = 6;
constexpr std::array<int, 4> kLengths4{32, 30, 28, 24};
constexpr std::array<int, 4> kLengths6{128, 126, 124, 64};
constexpr std::array<std::uint32_t, 3> kPolicyLengths{
    SLUICE_PREFIX_PORT, SLUICE_PREFIX_PROTOCOL, SLUICE_PREFIX_ANY};
constexpr std::array<std::uint8_t, 2> kProtocols{6, 17};
constexpr std::array<std::uint16_t, 2> kPorts{80, 443};

IpAddress address(bool v6, std::uint8_t last) {
  IpAddress result;
  result.v6 = v6;
  if (v6) {
    result.bytes[0] = 0xfd;
    result.bytes[15] = last;
  } else {
    result.bytes = {10, 0, 0, last};
  }
  return result;
}

// Interfaces of the world: direct ones and some beyond.
std::uint32_t interface(std::uint32_t number) {
  return number % 3 == 2 ? SLUICE_ENDPOINTS_DIRECT + 100 + number : 2 + number;
}
constexpr std::uint32_t kInterfaces = 8;

std::uint32_t class_of(const Contents& contents, const IpAddress& ip,
                       unsigned slot) {
  for (int length = ip.bits(); length >= 0; --length) {
    const auto it = contents.peers.find(make_prefix(ip, length));
    if (it != contents.peers.end()) {
      return it->second[slot];
    }
  }
  return SLUICE_CIDR_ANY;
}

// The value's rule, or 0.
std::uint32_t lookup(const Contents& contents, sluice_policy_key key) {
  for (const std::uint32_t length : kPolicyLengths) {
    key.prefixlen = length;
    if (length < SLUICE_PREFIX_PORT) {
      key.port = 0;
    }
    if (length < SLUICE_PREFIX_PROTOCOL) {
      key.protocol = 0;
    }
    const auto it = contents.policy.find(key);
    if (it != contents.policy.end()) {
      return it->second.rule;
    }
  }
  return 0;
}

std::uint32_t decide(const Contents& contents,
                     const sluice_endpoint_policy& policy, int direction,
                     std::uint32_t cidr_id, std::uint8_t protocol,
                     std::uint16_t port) {
  sluice_policy_key key{};
  key.policy_id = policy.policy_id;
  key.direction = static_cast<std::uint8_t>(direction);
  key.protocol = protocol;
  key.port = port;
  std::uint32_t rule = 0;
  if (cidr_id != 0 && (policy.flags & SLUICE_EP_CLASS(direction)) != 0) {
    key.cidr_id = cidr_id;
    rule = lookup(contents, key);
  }
  if (rule == 0 && (policy.flags & SLUICE_EP_ANY(direction)) != 0) {
    key.cidr_id = SLUICE_CIDR_ANY;
    rule = lookup(contents, key);
  }
  if (rule != 0) {
    return rule;
  }
  return (policy.flags & SLUICE_EP_ISOLATED(direction)) != 0 ? 1 : 3;
}

void view_record(const Contents& contents, const sluice_endpoint& record,
                 unsigned slot, View& view) {
  const auto& policy = record.gen[slot];
  for (const bool v6 : {false, true}) {
    for (std::uint8_t last = 0; last < 20; ++last) {
      const auto cidr_id = class_of(contents, address(v6, last), slot);
      for (const int direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
        for (const auto protocol : kProtocols) {
          for (const auto port : kPorts) {
            view.push_back(
                decide(contents, policy, direction, cidr_id, protocol, port));
          }
        }
      }
    }
  }
}

std::optional<std::uint32_t> index_of(const Contents& contents,
                                      std::uint32_t ifindex) {
  if (ifindex < SLUICE_ENDPOINTS_DIRECT) {
    return ifindex;
  }
  const auto it = contents.overflow.find(ifindex);
  return it == contents.overflow.end() ? std::nullopt
                                       : std::optional(it->second);
}

sluice_endpoint wanted_record(const State& state, const EndpointEntry& endpoint,
                              unsigned bit) {
  sluice_endpoint record{};
  std::uint32_t flags = SLUICE_EP_MANAGED;
  for (const int direction : {0, 1}) {
    flags |= endpoint.isolated[direction] ? SLUICE_EP_ISOLATED(direction) : 0;
  }
  for (const auto& entry : state.entries) {
    if (endpoint.policy_set != 0 &&
        entry.key.policy_id == endpoint.policy_set) {
      flags |= entry.key.cidr_id != 0 ? SLUICE_EP_CLASS(entry.key.direction)
                                      : SLUICE_EP_ANY(entry.key.direction);
    }
  }
  for (auto& policy : record.gen) {
    policy.flags = flags;
    policy.policy_id = endpoint.policy_set != 0
                           ? SLUICE_POLICY_ID(endpoint.policy_set, bit)
                           : 0;
  }
  for (const auto& ip : endpoint.ips) {
    if (ip.v6) {
      std::ranges::copy(ip.bytes, record.ipv6);
    } else {
      std::memcpy(&record.ipv4, ip.bytes.data(), 4);
    }
  }
  return record;
}

const EndpointEntry* find_endpoint(const State& state,
                                   const std::string& name) {
  for (const auto& endpoint : state.endpoints) {
    if (endpoint.name == name) {
      return &endpoint;
    }
  }
  return nullptr;
}

// The bit of each set, by its endpoints' records, else by its entries.
std::map<std::uint32_t, unsigned> bits_of(const Contents& contents) {
  std::map<std::uint32_t, unsigned> bits;
  for (const auto& [index, record] : contents.records) {
    bits[SLUICE_POLICY_SET(record.gen[0].policy_id)] =
        record.gen[0].policy_id & 1;
  }
  for (const auto& [key, value] : contents.policy) {
    bits.try_emplace(SLUICE_POLICY_SET(key.policy_id), key.policy_id & 1);
  }
  return bits;
}

std::string endpoint_difference(const Contents& contents, const State& state,
                                const Bindings& bindings,
                                const std::map<std::uint32_t, unsigned>& bits) {
  std::size_t records = 0;
  std::size_t beyond = 0;
  for (const auto& [name, ifindex] : bindings) {
    const auto* endpoint = find_endpoint(state, name);
    if (endpoint == nullptr) {
      continue;
    }
    ++records;
    beyond += ifindex >= SLUICE_ENDPOINTS_DIRECT ? 1 : 0;
    const auto index = index_of(contents, ifindex);
    const auto bit = bits.find(endpoint->policy_set);
    const auto expected =
        wanted_record(state, *endpoint, bit == bits.end() ? 0 : bit->second);
    const auto it =
        index ? contents.records.find(*index) : contents.records.end();
    if (it == contents.records.end() || !same_record(it->second, expected)) {
      return "record of " + name;
    }
  }
  if (records != contents.records.size()) {
    return "records: " + std::to_string(contents.records.size()) + ", not " +
           std::to_string(records);
  }
  if (beyond != contents.overflow.size()) {
    return "overflow: " + std::to_string(contents.overflow.size()) + ", not " +
           std::to_string(beyond);
  }
  return {};
}

}  // namespace

IpPrefix prefix(const char* text) {
  return *parse_prefix(text);
}

sluice_policy_key key(std::uint32_t set, std::uint32_t cidr_id,
                      std::uint16_t port) {
  sluice_policy_key result{};
  result.prefixlen = SLUICE_PREFIX_PORT;
  result.policy_id = set;
  result.cidr_id = cidr_id;
  result.protocol = 6;
  result.port = port;
  return result;
}

View view_of(const Contents& contents, unsigned slot) {
  View view;
  for (std::uint32_t i = 0; i < kInterfaces; ++i) {
    const auto index = index_of(contents, interface(i));
    const auto it =
        index ? contents.records.find(*index) : contents.records.end();
    if (it == contents.records.end() ||
        (it->second.gen[slot].flags & SLUICE_EP_MANAGED) == 0) {
      view.push_back(0);
      continue;
    }
    view.push_back(1);
    view_record(contents, it->second, slot, view);
  }
  return view;
}

View view_of(const State& state, const Bindings& bindings) {
  Contents contents;
  for (const auto& peer : state.peers) {
    contents.peers[peer.prefix] = {peer.cidr_id, peer.cidr_id};
  }
  for (const auto& entry : state.entries) {
    auto key = entry.key;
    key.policy_id = SLUICE_POLICY_ID(key.policy_id, 0);
    contents.policy[key] = entry.value;
  }
  std::uint32_t next = SLUICE_ENDPOINTS_DIRECT;
  for (const auto& [name, ifindex] : bindings) {
    const auto* endpoint = find_endpoint(state, name);
    if (endpoint == nullptr) {
      continue;
    }
    if (ifindex >= SLUICE_ENDPOINTS_DIRECT) {
      contents.overflow[ifindex] = next++;
    }
    contents.records[*index_of(contents, ifindex)] =
        wanted_record(state, *endpoint, 0);
  }
  return view_of(contents, 0);
}

std::string difference(const Contents& contents, const State& state,
                       const Bindings& bindings) {
  if (contents.peers.size() != state.peers.size()) {
    return "peers: " + std::to_string(contents.peers.size()) + ", not " +
           std::to_string(state.peers.size());
  }
  for (const auto& peer : state.peers) {
    const auto it = contents.peers.find(peer.prefix);
    if (it == contents.peers.end() || it->second[0] != peer.cidr_id ||
        it->second[1] != peer.cidr_id) {
      return "peer " + to_string(peer.prefix);
    }
  }
  const auto bits = bits_of(contents);
  if (contents.policy.size() != state.entries.size()) {
    return "entries: " + std::to_string(contents.policy.size()) + ", not " +
           std::to_string(state.entries.size());
  }
  for (const auto& entry : state.entries) {
    auto key = entry.key;
    const auto bit = bits.find(key.policy_id);
    key.policy_id =
        SLUICE_POLICY_ID(key.policy_id, bit == bits.end() ? 0 : bit->second);
    const auto it = contents.policy.find(key);
    if (it == contents.policy.end() || !equal(it->second, entry.value)) {
      return "entry of set " + std::to_string(entry.key.policy_id) + " class " +
             std::to_string(entry.key.cidr_id);
    }
  }
  return endpoint_difference(contents, state, bindings, bits);
}

IpPrefix World::prefix() {
  const bool v6 = below(3) == 0;
  const auto last = static_cast<std::uint8_t>(below(20));
  const int length = v6 ? kLengths6[below(4)] : kLengths4[below(4)];
  return make_prefix(address(v6, last), length);
}

sluice_policy_key World::key() {
  sluice_policy_key key{};
  key.prefixlen = kPolicyLengths[below(3)];
  key.policy_id = 1 + below(kSets);
  key.cidr_id = below(kClasses);
  if (nodes && key.cidr_id == kClasses - 1) {
    key.cidr_id |= SLUICE_CIDR_LOCAL_NODE;
  }
  key.direction = static_cast<std::uint8_t>(below(2));
  if (key.prefixlen >= SLUICE_PREFIX_PROTOCOL) {
    key.protocol = kProtocols[below(2)];
  }
  if (key.prefixlen == SLUICE_PREFIX_PORT) {
    key.port = kPorts[below(2)];
  }
  return key;
}

EndpointEntry World::endpoint(const std::string& name) {
  EndpointEntry entry{.name = name, .policy_set = below(kSets + 1)};
  entry.isolated = {below(2) == 0, below(2) == 0};
  const auto last = static_cast<std::uint8_t>(below(3) + (name.back() * 3));
  entry.ips.push_back(address(false, last));
  if (below(2) == 0) {
    entry.ips.push_back(address(true, last));
  }
  return entry;
}

Transaction World::transaction(int size) {
  Transaction result;
  const int count = 1 + static_cast<int>(below(size));
  for (int i = 0; i < count; ++i) {
    switch (below(6)) {
      case 0:
      case 1: {
        auto cidr_id = below(kClasses);
        if (nodes && cidr_id == kClasses - 1) {
          cidr_id |= SLUICE_CIDR_LOCAL_NODE;
        }
        result.peers.push_back(
            {prefix(), below(3) == 0 ? std::nullopt : std::optional(cidr_id)});
        break;
      }
      case 2:
      case 3:
      case 4: {
        const sluice_policy_value value{.verdict = SLUICE_VERDICT_ALLOW,
                                        .rule = SLUICE_RULE_FIRST + below(50)};
        result.entries.push_back(
            {key(), below(3) == 0 ? std::nullopt : std::optional(value)});
        break;
      }
      default: {
        const auto name = "ns/pod" + std::to_string(below(kEndpoints));
        auto entry = endpoint(name);
        result.endpoints.push_back(
            {name,
             below(4) == 0 ? std::nullopt : std::optional(std::move(entry))});
      }
    }
  }
  apply(state, result);
  return result;
}

std::pair<std::string, std::uint32_t> World::rebind() {
  const auto name = "ns/pod" + std::to_string(below(kEndpoints));
  const std::uint32_t ifindex =
      below(4) == 0 ? 0 : interface(below(kInterfaces));
  std::erase_if(bindings,
                [&](const auto& binding) { return binding.second == ifindex; });
  bindings.erase(name);
  if (ifindex != 0) {
    bindings[name] = ifindex;
  }
  return {name, ifindex};
}

Bindings bindings_of(const World& world, const Applier& applier, bool lacking) {
  const auto held = applier.shortfalls();
  Bindings result;
  for (const auto& endpoint : world.state.endpoints) {
    const auto binding = world.bindings.find(endpoint.name);
    if (binding != world.bindings.end() &&
        held.contains(endpoint.policy_set) == lacking) {
      result.insert(*binding);
    }
  }
  return result;
}

Contents without(Contents contents, const Bindings& bindings) {
  for (const auto& [name, ifindex] : bindings) {
    const auto over = contents.overflow.find(ifindex);
    contents.records.erase(over == contents.overflow.end() ? ifindex
                                                           : over->second);
  }
  return contents;
}

}  // namespace sluice::agent::test
