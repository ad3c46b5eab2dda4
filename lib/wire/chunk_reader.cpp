// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/chunk_reader.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <netinet/in.h>

#include "lib/wire/codec.h"
#include "lib/wire/l4.h"
#include "lib/wire/permits.h"

namespace sluice::wire {
namespace {

// Kubernetes and Linux have no longer names.
constexpr std::size_t kNameMax = 512;
constexpr std::size_t kInterfaceMax = 15;
constexpr std::size_t kTextMax = 65'536;
constexpr std::uint32_t kPolicySetMax = 0x7fffffff;

bool is_name(std::string_view text, std::size_t most) {
  return !text.empty() && text.size() <= most &&
         std::ranges::none_of(text, [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte <= 0x20 || byte == 0x7f;
         });
}

IpAddress address4(std::uint32_t number) {
  IpAddress ip;
  for (std::size_t i = 0; i < 4; ++i) {
    ip.bytes[i] = static_cast<std::uint8_t>(number >> (24 - 8 * i));
  }
  return ip;
}

IpAddress address6(std::string_view bytes) {
  IpAddress ip{.bytes = {}, .v6 = true};
  std::memcpy(ip.bytes.data(), bytes.data(), ip.bytes.size());
  return ip;
}

Result<IpPrefix> prefix_of(const IpAddress& ip, std::uint32_t length) {
  if (length > static_cast<std::uint32_t>(ip.bits())) {
    return fail("peers: prefix length " + std::to_string(length));
  }
  auto prefix = make_prefix(ip, static_cast<int>(length));
  if (prefix.address != ip) {
    return fail("peers: " + to_string(prefix) + " with bits behind the prefix");
  }
  return prefix;
}

// Moves the parts of one chunk into a transaction.
class ChunkReader {
 public:
  ChunkReader(const v1::Chunk& chunk, Transaction& to, std::size_t& bytes,
              std::size_t bytes_max)
      : chunk_(chunk), to_(to), bytes_(bytes), bytes_max_(bytes_max) {}

  Result<void> read() {
    using Step = Result<void> (ChunkReader::*)();
    for (const Step step :
         {&ChunkReader::strings, &ChunkReader::peers4, &ChunkReader::peers6,
          &ChunkReader::removed_peers, &ChunkReader::entries,
          &ChunkReader::endpoints, &ChunkReader::rules, &ChunkReader::sets,
          &ChunkReader::names, &ChunkReader::resolvers}) {
      if (auto result = (this->*step)(); !result) {
        return result;
      }
    }
    return {};
  }

 private:
  // Many small items in a message can become something large, for example by
  // naming one long string often. Therefore memory is counted.
  Result<void> spend(std::size_t bytes) {
    bytes_ += bytes;
    if (bytes_ > bytes_max_) {
      return fail("more than " + std::to_string(bytes_max_) +
                  " bytes in one update");
    }
    return {};
  }

  Result<void> strings() {
    for (const auto& text : chunk_.strings()) {
      if (text.empty() || text.size() > kTextMax) {
        return fail("strings: one of " + std::to_string(text.size()) +
                    " bytes");
      }
    }
    return {};
  }

  Result<std::string> text(std::uint32_t index) {
    if (index == 0) {
      return std::string{};
    }
    if (index > static_cast<std::uint32_t>(chunk_.strings_size())) {
      return fail("strings: there is no number " + std::to_string(index));
    }
    const auto& found = chunk_.strings(static_cast<int>(index - 1));
    if (auto room = spend(sizeof(std::string) + found.size()); !room) {
      return std::unexpected(room.error());
    }
    return found;
  }

  Result<void> add_peer(const IpAddress& ip, std::uint32_t length,
                        std::optional<std::uint32_t> cidr_id) {
    auto prefix = prefix_of(ip, length);
    if (!prefix) {
      return std::unexpected(prefix.error());
    }
    to_.peers.push_back({.prefix = *prefix, .cidr_id = cidr_id});
    return spend(sizeof(Transaction::PeerChange));
  }

  Result<void> peers4() {
    const auto& peers = chunk_.peers();
    if (peers.length4_size() != peers.address4_size() ||
        peers.cidr_id4_size() != peers.address4_size()) {
      return fail("peers: IPv4 columns of different lengths");
    }
    for (int i = 0; i < peers.address4_size(); ++i) {
      if (auto added = add_peer(address4(peers.address4(i)), peers.length4(i),
                                peers.cidr_id4(i));
          !added) {
        return added;
      }
    }
    return {};
  }

  Result<void> peers6() {
    const auto& peers = chunk_.peers();
    const auto count = static_cast<std::size_t>(peers.length6_size());
    if (peers.address6().size() != 16 * count ||
        peers.cidr_id6_size() != peers.length6_size()) {
      return fail("peers: IPv6 columns of different lengths");
    }
    const std::string_view bytes = peers.address6();
    for (int i = 0; i < peers.length6_size(); ++i) {
      const auto at = 16 * static_cast<std::size_t>(i);
      if (auto added = add_peer(address6(bytes.substr(at, 16)),
                                peers.length6(i), peers.cidr_id6(i));
          !added) {
        return added;
      }
    }
    return {};
  }

  Result<void> removed_peers() {
    const auto& peers = chunk_.peers();
    const auto count6 = static_cast<std::size_t>(peers.removed_length6_size());
    if (peers.removed_length4_size() != peers.removed_address4_size() ||
        peers.removed_address6().size() != 16 * count6) {
      return fail("peers: columns of removed ones of different lengths");
    }
    for (int i = 0; i < peers.removed_length4_size(); ++i) {
      if (auto added = add_peer(address4(peers.removed_address4(i)),
                                peers.removed_length4(i), std::nullopt);
          !added) {
        return added;
      }
    }
    const std::string_view bytes = peers.removed_address6();
    for (int i = 0; i < peers.removed_length6_size(); ++i) {
      const auto at = 16 * static_cast<std::size_t>(i);
      if (auto added = add_peer(address6(bytes.substr(at, 16)),
                                peers.removed_length6(i), std::nullopt);
          !added) {
        return added;
      }
    }
    return {};
  }

  static Result<sluice_policy_key> key_of(std::uint32_t set,
                                          std::uint32_t cidr_id,
                                          std::uint32_t l4) {
    auto key = unpack_l4(l4);
    if (!key) {
      return fail("entries: no such protocol and port: " + std::to_string(l4));
    }
    key->policy_id = set;
    key->cidr_id = cidr_id;
    return *key;
  }

  static Result<sluice_policy_value> value_of(std::uint32_t action,
                                              std::uint32_t rule) {
    sluice_policy_value value{};
    value.verdict = action & 0xff;
    value.flags = action >> 8 & 0xff;
    value.jump = static_cast<std::uint16_t>(action >> 16);
    value.rule = rule;
    if (value.verdict != SLUICE_VERDICT_ALLOW &&
        value.verdict != SLUICE_VERDICT_DENY) {
      return fail("entries: no such verdict: " + std::to_string(value.verdict));
    }
    if (value.jump != SLUICE_JUMP_NONE && value.jump != SLUICE_JUMP_LOG) {
      return fail("entries: no such jump: " + std::to_string(value.jump));
    }
    return value;
  }

  Result<void> entries() {
    for (const auto& group : chunk_.entries()) {
      if (auto added = add_group(group); !added) {
        return added;
      }
    }
    return {};
  }

  Result<void> add_group(const v1::Entries& group) {
    const std::uint32_t set = group.policy_set();
    if (set == 0 || set > kPolicySetMax) {
      return fail("entries: no such policy set: " + std::to_string(set));
    }
    const int count = group.cidr_id_size();
    if (group.l4_size() != count || group.action_size() != count ||
        group.rule_size() != count ||
        group.removed_l4_size() != group.removed_cidr_id_size()) {
      return fail("entries: columns of different lengths");
    }
    for (int i = 0; i < count; ++i) {
      const auto key = key_of(set, group.cidr_id(i), group.l4(i));
      const auto value = value_of(group.action(i), group.rule(i));
      if (!key || !value) {
        return std::unexpected(key ? value.error() : key.error());
      }
      to_.entries.push_back({.key = *key, .value = *value});
    }
    for (int i = 0; i < group.removed_l4_size(); ++i) {
      const auto key =
          key_of(set, group.removed_cidr_id(i), group.removed_l4(i));
      if (!key) {
        return std::unexpected(key.error());
      }
      to_.entries.push_back({.key = *key, .value = std::nullopt});
    }
    if (auto asked = add_asked(group); !asked) {
      return asked;
    }
    return spend(sizeof(Transaction::EntryChange) *
                 static_cast<std::size_t>(count + group.removed_l4_size()));
  }

  static Result<sluice_policy_key> asked_key(std::uint32_t set,
                                             std::uint32_t name,
                                             std::uint32_t list) {
    if ((name & SLUICE_CIDR_NAME) == 0 || name >= 2 * SLUICE_CIDR_NAME ||
        list == 0 || list >= SLUICE_DNS_ANY) {
      return fail("entries: no list of names: " + std::to_string(name) +
                  " in " + std::to_string(list));
    }
    sluice_policy_key key{};
    key.prefixlen = SLUICE_PREFIX_PROTOCOL;
    key.policy_id = set;
    key.cidr_id = name;
    key.direction = SLUICE_QUESTION;
    key.protocol = static_cast<std::uint8_t>(list);
    return key;
  }

  Result<void> add_asked(const v1::Entries& group) {
    const int count = group.asked_name_size();
    const int removed = group.removed_asked_name_size();
    if (group.asked_list_size() != count || group.asked_rule_size() != count ||
        group.removed_asked_list_size() != removed) {
      return fail("entries: columns of questions of different lengths");
    }
    for (int i = 0; i < count; ++i) {
      const auto key = asked_key(group.policy_set(), group.asked_name(i),
                                 group.asked_list(i));
      if (!key) {
        return std::unexpected(key.error());
      }
      sluice_policy_value value{};
      value.verdict = SLUICE_VERDICT_ALLOW;
      value.rule = group.asked_rule(i);
      to_.entries.push_back({.key = *key, .value = value});
    }
    for (int i = 0; i < removed; ++i) {
      const auto key =
          asked_key(group.policy_set(), group.removed_asked_name(i),
                    group.removed_asked_list(i));
      if (!key) {
        return std::unexpected(key.error());
      }
      to_.entries.push_back({.key = *key, .value = std::nullopt});
    }
    return spend(sizeof(Transaction::EntryChange) *
                 static_cast<std::size_t>(count + removed));
  }

  static Result<std::vector<IpAddress>> ips_of(const v1::Endpoint& endpoint) {
    std::vector<IpAddress> ips;
    for (const auto& bytes : endpoint.ips()) {
      if (bytes.size() != 4 && bytes.size() != 16) {
        return fail("an address of " + std::to_string(bytes.size()) + " bytes");
      }
      IpAddress ip{.bytes = {}, .v6 = bytes.size() == 16};
      std::memcpy(ip.bytes.data(), bytes.data(), bytes.size());
      if (ip.bytes == IpAddress{}.bytes) {
        return fail("the unspecified address");
      }
      if (std::ranges::any_of(
              ips, [&](const IpAddress& other) { return other.v6 == ip.v6; })) {
        return fail("two addresses of one family");
      }
      ips.push_back(ip);
    }
    return ips;
  }

  Result<void> add_endpoint(const v1::Endpoint& from) {
    if (!is_name(from.name(), kNameMax)) {
      return fail("endpoints: one that has no valid name");
    }
    auto ips = ips_of(from);
    if (!ips) {
      return with_context("endpoint " + from.name(), ips.error());
    }
    if (!from.interface().empty() &&
        !is_name(from.interface(), kInterfaceMax)) {
      return fail("endpoint " + from.name() + ": not an interface's name");
    }
    if (from.policy_set() > kPolicySetMax) {
      return fail("endpoint " + from.name() + ": no such policy set");
    }
    EndpointEntry entry{.name = from.name(),
                        .policy_set = from.policy_set(),
                        .isolated = {},
                        .ips = std::move(*ips),
                        .interface = from.interface(),
                        .permits = decode_permits(from.permits())};
    entry.isolated[SLUICE_INGRESS] = from.isolated_ingress();
    entry.isolated[SLUICE_EGRESS] = from.isolated_egress();
    to_.endpoints.push_back({.name = from.name(), .value = std::move(entry)});
    return spend(sizeof(Transaction::EndpointChange) +
                 (2 * (from.name().size() + sizeof(IpAddress))));
  }

  Result<void> endpoints() {
    for (const auto& endpoint : chunk_.endpoints()) {
      if (auto added = add_endpoint(endpoint); !added) {
        return added;
      }
    }
    for (const auto& name : chunk_.removed_endpoints()) {
      if (!is_name(name, kNameMax)) {
        return fail("removed endpoints: one that has no valid name");
      }
      to_.endpoints.push_back({.name = name, .value = std::nullopt});
      if (auto room = spend(sizeof(Transaction::EndpointChange) + name.size());
          !room) {
        return room;
      }
    }
    return {};
  }

  Result<void> rules() {
    for (const auto& from : chunk_.rules()) {
      auto policy = text(from.policy());
      auto path = text(from.path());
      auto action = text(from.action());
      auto log_value = text(from.log_value());
      for (const auto* part : {&policy, &path, &action, &log_value}) {
        if (!*part) {
          return with_context("rule " + std::to_string(from.id()),
                              part->error());
        }
      }
      to_.rules.push_back(
          {.id = from.id(),
           .value = RuleInfo{.id = from.id(),
                             .policy = std::move(*policy),
                             .path = std::move(*path),
                             .action = std::move(*action),
                             .log_value = std::move(*log_value)}});
      if (auto room = spend(sizeof(Transaction::RuleChange)); !room) {
        return room;
      }
    }
    for (const auto id : chunk_.removed_rules()) {
      to_.rules.push_back({.id = id, .value = std::nullopt});
    }
    return spend(sizeof(Transaction::RuleChange) *
                 static_cast<std::size_t>(chunk_.removed_rules_size()));
  }

  template <typename Indices>
  Result<void> texts(const Indices& indices, std::vector<std::string>& to) {
    for (const auto index : indices) {
      auto found = text(index);
      if (!found) {
        return std::unexpected(found.error());
      }
      to.push_back(std::move(*found));
    }
    return {};
  }

  Result<void> sets() {
    for (const auto& from : chunk_.sets()) {
      if (from.id() == 0 || from.id() > kPolicySetMax) {
        return fail("sets: no such policy set: " + std::to_string(from.id()));
      }
      PolicySetInfo set{
          .id = from.id(), .policies = {}, .isolating = {}, .problem = {}};
      auto read = texts(from.policies(), set.policies);
      if (read) {
        read = texts(from.isolating_ingress(), set.isolating[SLUICE_INGRESS]);
      }
      if (read) {
        read = texts(from.isolating_egress(), set.isolating[SLUICE_EGRESS]);
      }
      if (read) {
        auto problem = text(from.problem());
        read = problem ? Result<void>{} : std::unexpected(problem.error());
        set.problem = std::move(problem).value_or(std::string{});
      }
      if (read) {
        read = spend(sizeof(Transaction::SetChange));
      }
      if (!read) {
        return with_context("set " + std::to_string(from.id()), read.error());
      }
      to_.sets.push_back({.id = from.id(), .value = std::move(set)});
    }
    for (const auto id : chunk_.removed_sets()) {
      to_.sets.push_back({.id = id, .value = std::nullopt});
    }
    return spend(sizeof(Transaction::SetChange) *
                 static_cast<std::size_t>(chunk_.removed_sets_size()));
  }

  Result<void> names() {
    for (const auto& from : chunk_.names()) {
      const auto where = "name selector " + std::to_string(from.id());
      if ((from.id() & SLUICE_CIDR_NAME) == 0 ||
          from.id() >= 2 * SLUICE_CIDR_NAME) {
        return fail(where + ": not an id of one");
      }
      auto pattern = text(from.pattern());
      if (!pattern) {
        return with_context(where, pattern.error());
      }
      if (pattern->empty() || pattern->size() > kNamePatternMax) {
        return fail(where + ": a pattern of " +
                    std::to_string(pattern->size()) + " bytes");
      }
      to_.names.push_back(
          {.id = from.id(),
           .value =
               NameSelector{.id = from.id(), .pattern = std::move(*pattern)}});
      if (auto room = spend(sizeof(Transaction::NameChange)); !room) {
        return room;
      }
    }
    for (const auto id : chunk_.removed_names()) {
      to_.names.push_back({.id = id, .value = std::nullopt});
    }
    return spend(sizeof(Transaction::NameChange) *
                 static_cast<std::size_t>(chunk_.removed_names_size()));
  }

  Result<void> resolvers() {
    for (const auto* list :
         {&chunk_.resolvers(), &chunk_.removed_resolvers()}) {
      for (const auto& from : *list) {
        const auto address = ip_of(from.address());
        if (!address) {
          return fail("resolvers: an address of " +
                      std::to_string(from.address().size()) + " bytes");
        }
        if (from.port() == 0 || from.port() > 0xffff ||
            (from.protocol() != IPPROTO_UDP &&
             from.protocol() != IPPROTO_TCP)) {
          return fail("resolvers: no such port and protocol: " +
                      std::to_string(from.port()) + ", " +
                      std::to_string(from.protocol()));
        }
        to_.resolvers.push_back(
            {.resolver = {.address = *address,
                          .port = static_cast<std::uint16_t>(from.port()),
                          .protocol =
                              static_cast<std::uint8_t>(from.protocol())},
             .present = list == &chunk_.resolvers()});
      }
    }
    return spend(sizeof(Transaction::ResolverChange) *
                 static_cast<std::size_t>(chunk_.resolvers_size() +
                                          chunk_.removed_resolvers_size()));
  }

  const v1::Chunk& chunk_;
  Transaction& to_;
  std::size_t& bytes_;
  std::size_t bytes_max_;
};

}  // namespace

Result<void> read_chunk(const v1::Chunk& chunk, Transaction& to,
                        std::size_t& bytes, std::size_t bytes_max) {
  return ChunkReader(chunk, to, bytes, bytes_max).read();
}

}  // namespace sluice::wire
