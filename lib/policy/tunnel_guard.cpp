// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/tunnel_guard.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include <netinet/in.h>

#include "lib/policy/identity.h"

namespace sluice::policy {
namespace {

// As is_tunnel() of bpf/link.bpf.h; the other tunnels have no ports.
constexpr std::array<std::uint16_t, 3> kTunnelPorts{8472, 4789, 6081};

bool leads_to_tunnel(const ServicePortView& port) {
  bool leads = false;
  port.visit_all([&](const Backend& backend) {
    leads = leads ||
            std::ranges::find(kTunnelPorts, backend.port) != kTunnelPorts.end();
  });
  return leads && port.protocol == IPPROTO_UDP;
}

// Adds the value, or takes it out; true if that changes the set.
bool put(std::set<std::string>& set, const std::string& value, bool present) {
  return present ? set.insert(value).second : set.erase(value) != 0;
}

}  // namespace

void TunnelGuard::look_at(const Services& services) {
  for (const auto& name : services.changes()) {
    const bool leads =
        std::ranges::any_of(services.ports(name), leads_to_tunnel);
    const bool was_empty = services_.empty();
    put(services_, name, leads);
    changed_ = changed_ || services_.empty() != was_empty;
  }
}

void TunnelGuard::permit(const std::string& ns, bool permitted) {
  changed_ = put(permitted_, ns, permitted) || changed_;
}

const PolicyKey& TunnelGuard::key() {
  static const PolicyKey key{
      .kind = "Sluice", .ns = "", .name = "tunnels-behind-services"};
  return key;
}

std::optional<Policy> TunnelGuard::policy() const {
  if (services_.empty()) {
    return std::nullopt;
  }
  Rule rule{.direction = Direction::kEgress,
            .action = Action::kDeny,
            .peers = {NodePeer{}},
            .path = "egress[0]"};
  for (const std::uint16_t port : kTunnelPorts) {
    rule.l4.ranges.push_back(
        {.protocol = IPPROTO_UDP, .first = port, .last = port});
  }
  Spec spec{.rules = {std::move(rule)}};
  if (!permitted_.empty()) {
    spec.subject.requirements = {
        {.key = std::string(kNamespaceKey),
         .op = Requirement::Op::kNotIn,
         .values = {permitted_.begin(), permitted_.end()}}};
  }
  Policy result{.key = key(),
                .tier = Tier::kAdmin,
                .priority = std::numeric_limits<std::int32_t>::min()};
  result.specs.push_back(std::move(spec));
  return result;
}

bool TunnelGuard::take_changed() {
  return std::exchange(changed_, false);
}

}  // namespace sluice::policy
