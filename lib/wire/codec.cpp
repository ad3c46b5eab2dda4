// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/codec.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "lib/wire/l4.h"
#include "lib/wire/permits.h"

namespace sluice::wire {
namespace {

constexpr int kFailuresMax = 256;
constexpr std::size_t kFailureTextMax = 1024;

std::uint32_t number_of(const IpAddress& ip) {
  return std::uint32_t{ip.bytes[0]} << 24 | std::uint32_t{ip.bytes[1]} << 16 |
         std::uint32_t{ip.bytes[2]} << 8 | std::uint32_t{ip.bytes[3]};
}

constexpr std::size_t kBytes4 = 4;
constexpr std::size_t kBytes6 = 16;

}  // namespace

void append_bytes(std::string& to, const IpAddress& ip) {
  to.append(reinterpret_cast<const char*>(ip.bytes.data()),
            ip.v6 ? kBytes6 : kBytes4);
}

std::optional<IpAddress> ip_of(std::string_view bytes) {
  if (bytes.size() != kBytes4 && bytes.size() != kBytes6) {
    return std::nullopt;
  }
  IpAddress ip;
  ip.v6 = bytes.size() == kBytes6;
  std::ranges::copy(bytes, ip.bytes.begin());
  return ip;
}

// Adds items to a chunk one by one and watches its size.
class Encoder::Builder {
 public:
  Builder(v1::Chunk& chunk, std::size_t bytes) : chunk_(chunk), left_(bytes) {}

  [[nodiscard]] bool full() const { return left_ == 0; }

  void put(const PeerEntry& peer) { put_peer(peer.prefix, peer.cidr_id); }
  void put(const Transaction::PeerChange& change) {
    if (change.cidr_id) {
      put_peer(change.prefix, *change.cidr_id);
      return;
    }
    auto& peers = *chunk_.mutable_peers();
    const auto& ip = change.prefix.address;
    const auto length = static_cast<std::uint32_t>(change.prefix.length);
    if (ip.v6) {
      append_bytes(*peers.mutable_removed_address6(), ip);
      peers.add_removed_length6(length);
    } else {
      peers.add_removed_address4(number_of(ip));
      peers.add_removed_length4(length);
    }
    spend(18);
  }

  void put(const PolicyEntry& entry) { put_entry(entry.key, entry.value); }
  void put(const Transaction::EntryChange& change) {
    if (change.value) {
      put_entry(change.key, *change.value);
      return;
    }
    auto& group = group_of(change.key.policy_id);
    if (change.key.direction == SLUICE_QUESTION) {
      group.add_removed_asked_name(change.key.cidr_id);
      group.add_removed_asked_list(change.key.protocol);
      spend(6);
      return;
    }
    group.add_removed_cidr_id(change.key.cidr_id);
    group.add_removed_l4(pack_l4(change.key));
    spend(8);
  }

  void put(const EndpointEntry& endpoint) {
    auto& to = *chunk_.add_endpoints();
    to.set_name(endpoint.name);
    to.set_policy_set(endpoint.policy_set);
    to.set_isolated_ingress(endpoint.isolated[SLUICE_INGRESS]);
    to.set_isolated_egress(endpoint.isolated[SLUICE_EGRESS]);
    for (const auto& ip : endpoint.ips) {
      append_bytes(*to.add_ips(), ip);
    }
    to.set_interface(endpoint.interface);
    to.set_permits(encode_permits(endpoint.permits));
    spend(64 + endpoint.name.size() + endpoint.interface.size());
  }
  void put(const Transaction::EndpointChange& change) {
    if (change.value) {
      put(*change.value);
      return;
    }
    chunk_.add_removed_endpoints(change.name);
    spend(4 + change.name.size());
  }

  void put(const RuleInfo& rule) {
    auto& to = *chunk_.add_rules();
    to.set_id(rule.id);
    to.set_policy(index_of(rule.policy));
    to.set_path(index_of(rule.path));
    to.set_action(index_of(rule.action));
    to.set_log_value(index_of(rule.log_value));
    spend(24);
  }
  void put(const Transaction::RuleChange& change) {
    if (change.value) {
      put(*change.value);
      return;
    }
    chunk_.add_removed_rules(change.id);
    spend(4);
  }

  void put(const PolicySetInfo& set) {
    auto& to = *chunk_.add_sets();
    to.set_id(set.id);
    for (const auto& policy : set.policies) {
      to.add_policies(index_of(policy));
    }
    for (const auto& policy : set.isolating[SLUICE_INGRESS]) {
      to.add_isolating_ingress(index_of(policy));
    }
    for (const auto& policy : set.isolating[SLUICE_EGRESS]) {
      to.add_isolating_egress(index_of(policy));
    }
    if (!set.problem.empty()) {
      to.set_problem(index_of(set.problem));
    }
    spend(20 + (3 * (set.policies.size() + set.isolating[0].size() +
                     set.isolating[1].size())));
  }
  void put(const Transaction::SetChange& change) {
    if (change.value) {
      put(*change.value);
      return;
    }
    chunk_.add_removed_sets(change.id);
    spend(4);
  }

  void put(const NameSelector& name) {
    auto& to = *chunk_.add_names();
    to.set_id(name.id);
    to.set_pattern(index_of(name.pattern));
    spend(8);
  }
  void put(const Transaction::NameChange& change) {
    if (change.value) {
      put(*change.value);
      return;
    }
    chunk_.add_removed_names(change.id);
    spend(4);
  }

  void put(const Resolver& resolver) {
    put_resolver(resolver, *chunk_.add_resolvers());
  }
  void put(const Transaction::ResolverChange& change) {
    put_resolver(change.resolver, change.present
                                      ? *chunk_.add_resolvers()
                                      : *chunk_.add_removed_resolvers());
  }

 private:
  void spend(std::size_t bytes) { left_ -= std::min(left_, bytes); }

  void put_peer(const IpPrefix& prefix, std::uint32_t cidr_id) {
    auto& peers = *chunk_.mutable_peers();
    const auto length = static_cast<std::uint32_t>(prefix.length);
    if (prefix.address.v6) {
      append_bytes(*peers.mutable_address6(), prefix.address);
      peers.add_length6(length);
      peers.add_cidr_id6(cidr_id);
      spend(22);
    } else {
      peers.add_address4(number_of(prefix.address));
      peers.add_length4(length);
      peers.add_cidr_id4(cidr_id);
      spend(9);
    }
  }

  void put_resolver(const Resolver& resolver, v1::Resolver& to) {
    append_bytes(*to.mutable_address(), resolver.address);
    to.set_port(resolver.port);
    to.set_protocol(resolver.protocol);
    spend(28);
  }

  v1::Entries& group_of(std::uint32_t policy_set) {
    const int size = chunk_.entries_size();
    if (size > 0 && chunk_.entries(size - 1).policy_set() == policy_set) {
      return *chunk_.mutable_entries(size - 1);
    }
    auto& group = *chunk_.add_entries();
    group.set_policy_set(policy_set);
    spend(24);
    return group;
  }

  void put_entry(const sluice_policy_key& key,
                 const sluice_policy_value& value) {
    auto& group = group_of(key.policy_id);
    if (key.direction == SLUICE_QUESTION) {
      group.add_asked_name(key.cidr_id);
      group.add_asked_list(key.protocol);
      group.add_asked_rule(value.rule);
      spend(10);
      return;
    }
    group.add_cidr_id(key.cidr_id);
    group.add_l4(pack_l4(key));
    group.add_action(std::uint32_t{value.verdict} |
                     std::uint32_t{value.flags} << 8 |
                     std::uint32_t{value.jump} << 16);
    group.add_rule(value.rule);
    spend(14);
  }

  std::uint32_t index_of(const std::string& text) {
    if (text.empty()) {
      return 0;
    }
    // Views of the state, which outlives this.
    const auto [it, added] = indices_.try_emplace(
        text, static_cast<std::uint32_t>(chunk_.strings_size() + 1));
    if (added) {
      chunk_.add_strings(text);
      spend(4 + text.size());
    }
    return it->second;
  }

  v1::Chunk& chunk_;
  std::size_t left_;
  std::unordered_map<std::string_view, std::uint32_t> indices_;
};

template <typename Range>
bool Encoder::walk(const Range& range, Section section, Builder& builder) {
  if (section_ != section) {
    return section_ > section;
  }
  for (; index_ < range.size(); ++index_) {
    if (builder.full()) {
      return false;
    }
    builder.put(range[index_]);
  }
  section_ = static_cast<std::uint8_t>(section + 1);
  index_ = 0;
  return true;
}

template <typename Source>
void Encoder::fill(const Source& source, Builder& builder) {
  // Sections after an unfinished one wait for the next chunk.
  [[maybe_unused]] const bool all =
      walk(source.peers, kPeers, builder) &&
      walk(source.entries, kEntries, builder) &&
      walk(source.endpoints, kEndpoints, builder) &&
      walk(source.rules, kRules, builder) &&
      walk(source.sets, kSets, builder) &&
      walk(source.names, kNames, builder) &&
      walk(source.resolvers, kResolvers, builder);
}

void Encoder::next(std::size_t bytes, v1::Chunk& chunk) {
  chunk.set_kind(snapshot() ? v1::Chunk::KIND_SNAPSHOT
                            : v1::Chunk::KIND_TRANSACTION);
  chunk.set_origin(origin_);
  chunk.set_revision(revision_);
  chunk.set_index(chunks_++);
  Builder builder(chunk, std::max<std::size_t>(bytes, 1));
  if (snapshot()) {
    fill(*state_, builder);
  } else {
    fill(*transaction_, builder);
  }
  chunk.set_last(done());
}

v1::ProtocolVersion encode(const Version& version) {
  v1::ProtocolVersion result;
  result.set_major(version.major);
  result.set_minor(version.minor);
  return result;
}

Version decode(const v1::ProtocolVersion& version) {
  return {.major = version.major(), .minor = version.minor()};
}

v1::Settings::OnUnknown encode(OnUnknown value) {
  switch (value) {
    case OnUnknown::kAllow:
      return v1::Settings::ON_UNKNOWN_ALLOW;
    case OnUnknown::kDeny:
      return v1::Settings::ON_UNKNOWN_DENY;
    case OnUnknown::kAgentDefault:
      break;
  }
  return v1::Settings::ON_UNKNOWN_UNSPECIFIED;
}

OnUnknown decode(v1::Settings::OnUnknown value) {
  switch (value) {
    case v1::Settings::ON_UNKNOWN_ALLOW:
      return OnUnknown::kAllow;
    case v1::Settings::ON_UNKNOWN_DENY:
      return OnUnknown::kDeny;
    default:
      return OnUnknown::kAgentDefault;
  }
}

namespace {

// Failures beyond a number, and text beyond a length, are left out.
template <typename Message>
void add_failures(const std::vector<Failure>& failures, Message& message) {
  for (const auto& failure : failures) {
    if (message.failures_size() == kFailuresMax) {
      break;
    }
    auto& to = *message.add_failures();
    to.set_policy_set(failure.policy_set);
    to.set_endpoint(failure.endpoint.substr(0, kFailureTextMax));
    to.set_message(failure.message.substr(0, kFailureTextMax));
  }
}

template <typename Message>
Result<std::vector<Failure>> failures_of(const Message& message) {
  if (message.failures_size() > kFailuresMax) {
    return fail("progress: too many failures");
  }
  std::vector<Failure> failures;
  for (const auto& failure : message.failures()) {
    for (const auto* text : {&failure.endpoint(), &failure.message()}) {
      if (text->size() > kFailureTextMax) {
        return fail("progress: the text of a failure is too long");
      }
    }
    failures.push_back({.policy_set = failure.policy_set(),
                        .endpoint = failure.endpoint(),
                        .message = failure.message()});
  }
  return failures;
}

}  // namespace

v1::NodeAddresses encode_addresses(const std::vector<IpAddress>& addresses) {
  v1::NodeAddresses result;
  for (const auto& address : addresses) {
    if (static_cast<std::size_t>(result.addresses_size()) ==
        kNodeAddressesMax) {
      break;
    }
    append_bytes(*result.add_addresses(), address);
  }
  return result;
}

Result<std::vector<IpAddress>> decode(const v1::NodeAddresses& message) {
  if (static_cast<std::size_t>(message.addresses_size()) > kNodeAddressesMax) {
    return fail(
        "addresses of a node: " + std::to_string(message.addresses_size()) +
        ", more than " + std::to_string(kNodeAddressesMax));
  }
  std::vector<IpAddress> result;
  for (const auto& bytes : message.addresses()) {
    const auto address = ip_of(bytes);
    if (!address) {
      return fail("addresses of a node: one has " +
                  std::to_string(bytes.size()) + " bytes");
    }
    result.push_back(*address);
  }
  return result;
}

v1::Progress encode(const Ack& ack, std::uint64_t origin) {
  v1::Progress result;
  result.set_origin(origin);
  result.set_received(ack.received);
  result.set_applied(ack.applied);
  add_failures(ack.failures, result);
  return result;
}

Result<Ack> decode(const v1::Progress& progress) {
  auto failures = failures_of(progress);
  if (!failures) {
    return std::unexpected(failures.error());
  }
  if (progress.applied() > progress.received()) {
    return fail("progress: applied more than was received");
  }
  return Ack{.received = progress.received(),
             .applied = progress.applied(),
             .failures = std::move(*failures)};
}

void encode(const NodeReport& report, v1::NodeReport& message) {
  message.set_node(report.node);
  message.set_connected(report.connected);
  for (const auto version : report.in_force) {
    message.add_in_force(version);
  }
  for (const auto& held : report.held) {
    auto& to = *message.add_held();
    to.set_namespace_(held.ns);
    to.set_kind(held.kind);
    to.set_version(held.version);
  }
  add_failures(report.failures, message);
  if (report.addresses) {
    *message.mutable_addresses() = encode_addresses(*report.addresses);
  }
}

Result<NodeReport> decode(const v1::NodeReport& message) {
  auto failures = failures_of(message);
  if (!failures) {
    return std::unexpected(failures.error());
  }
  NodeReport report{
      .node = message.node(),
      .connected = message.connected(),
      .in_force = {message.in_force().begin(), message.in_force().end()},
      .failures = std::move(*failures)};
  if (message.held_size() > static_cast<int>(kHeldMax)) {
    return fail("progress: too many versions are held");
  }
  for (const auto& held : message.held()) {
    report.held.push_back({.ns = held.namespace_(),
                           .kind = held.kind(),
                           .version = held.version()});
  }
  if (message.has_addresses()) {
    auto addresses = decode(message.addresses());
    if (!addresses) {
      return std::unexpected(addresses.error());
    }
    report.addresses = std::move(*addresses);
  }
  return report;
}

}  // namespace sluice::wire
