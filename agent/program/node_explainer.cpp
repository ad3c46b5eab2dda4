// SPDX-License-Identifier: Apache-2.0
#include "agent/program/node_explainer.h"

#include <algorithm>
#include <set>
#include <utility>

#include <arpa/inet.h>

#include "agent/instance/explain.h"

namespace sluice::agentd {
namespace {

constexpr std::size_t kNearMissesMax = 5;

// True if the entry covers the protocol and port of the question.
bool covers(const sluice_policy_key& key, const instance::PortArgument& port) {
  if (key.prefixlen < SLUICE_PREFIX_PROTOCOL) {
    return true;
  }
  const auto bits = key.prefixlen - SLUICE_PREFIX_PROTOCOL;
  const auto mask = static_cast<std::uint16_t>(0xffff0000U >> bits);
  return key.protocol == port.protocol &&
         ((ntohs(key.port) ^ port.port) & mask) == 0;
}

}  // namespace

// One end of the question.
struct NodeExplainer::End : instance::ExplainEnd {
  const EndpointEntry* endpoint = nullptr;  // a pod of this node
};

NodeExplainer::NodeExplainer(const State& state, instance::PortArgument port)
    : state_(&state), port_(port), names_(state), model_(state) {}

Result<NodeExplainer::End> NodeExplainer::find_end(const std::string& text,
                                                   const char* option) const {
  const auto ip = parse_ip(text);
  const auto found = std::ranges::find_if(
      state_->endpoints, [&](const EndpointEntry& endpoint) {
        return ip ? std::ranges::find(endpoint.ips, *ip) != endpoint.ips.end()
                  : endpoint.name == text;
      });
  if (found != state_->endpoints.end()) {
    return End{{.text = found->name, .ips = ip ? std::vector{*ip} : found->ips},
               &*found};
  }
  if (!ip) {
    return fail(std::string(option) + ": " + text +
                " is not a pod of this node; give its address");
  }
  return End{{.text = text, .ips = {*ip}}, nullptr};
}

Result<instance::ExplainView> NodeExplainer::explain(
    const std::string& from, const std::string& to) const {
  const auto source = find_end(from, "--from");
  if (!source) {
    return std::unexpected(source.error());
  }
  const auto destination = find_end(to, "--to");
  if (!destination) {
    return std::unexpected(destination.error());
  }
  if (source->endpoint == nullptr && destination->endpoint == nullptr) {
    return fail("neither end is a pod of this node");
  }
  return instance::explain_ends(
      *source, *destination, port_,
      [&](instance::SideView& side, sluice_direction direction,
          const IpAddress& own, const IpAddress& peer) {
        const auto& end = direction == SLUICE_EGRESS ? *source : *destination;
        if (end.endpoint == nullptr) {
          side.unknown =
              to_string(own) +
              " is no pod's of this node; if it is one's, ask its node";
          return;
        }
        describe(side, *end.endpoint, static_cast<policy::Direction>(direction),
                 peer);
      });
}

void NodeExplainer::describe(instance::SideView& view,
                             const EndpointEntry& endpoint,
                             policy::Direction direction,
                             const IpAddress& peer) const {
  const auto verdict =
      model_.lookup(endpoint, direction, peer, port_.protocol, port_.port);
  instance::set_verdict(view, verdict.allowed, verdict.reason,
                        model_.rule(verdict.rule), verdict.entry);
  if (verdict.reason != SLUICE_REASON_SELF) {
    add_set(view, endpoint, direction);
    add_near_misses(view, endpoint, direction, verdict.cidr_id);
  }
}

void NodeExplainer::add_set(instance::SideView& view,
                            const EndpointEntry& endpoint,
                            policy::Direction direction) const {
  const auto side = static_cast<std::size_t>(direction);
  view.isolated = endpoint.isolated.at(side);
  const auto* set = names_.set(endpoint.policy_set);
  if (set != nullptr) {
    view.isolating = set->isolating.at(side);
  }
}

void NodeExplainer::add_near_misses(instance::SideView& view,
                                    const EndpointEntry& endpoint,
                                    policy::Direction direction,
                                    std::uint32_t peer_class) const {
  std::set<std::uint32_t> told;
  for (const auto& entry : state_->entries) {
    const auto& key = entry.key;
    const bool allows = entry.value.verdict == SLUICE_VERDICT_ALLOW;
    if (view.near_misses.size() == kNearMissesMax) {
      return;
    }
    if (key.policy_id != endpoint.policy_set || allows == view.allowed ||
        key.direction != static_cast<std::uint8_t>(direction)) {
      continue;
    }
    const bool same_peer =
        key.cidr_id == peer_class || key.cidr_id == SLUICE_CIDR_ANY;
    const auto* rule = model_.rule(entry.value.rule);
    if (same_peer == covers(key, port_) || rule == nullptr ||
        !told.insert(rule->id).second) {
      continue;
    }
    view.near_misses.push_back(
        {.policy = rule->policy,
         .path = rule->path,
         .action = rule->action,
         .differs = same_peer ? "port" : "peer",
         .detail = same_peer ? "it has " + instance::l4_text(key)
                             : "it has " + names_.peers(key.cidr_id)});
  }
}

}  // namespace sluice::agentd
