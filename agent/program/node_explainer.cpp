// SPDX-License-Identifier: Apache-2.0
#include "agent/program/node_explainer.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <arpa/inet.h>

#include "lib/explain/ends.h"
#include "lib/policy/near_miss.h"

namespace sluice::agentd {
namespace {

// The protocols and ports that an entry covers, added to those of its rule.
void add_l4(policy::Candidate& l4, const sluice_policy_key& key) {
  if (key.prefixlen < SLUICE_PREFIX_PROTOCOL) {
    l4.any_l4 = true;
    return;
  }
  const auto bits = key.prefixlen - SLUICE_PREFIX_PROTOCOL;
  const auto span = static_cast<std::uint16_t>(0xffffU >> bits);
  const auto port = ntohs(key.port);
  l4.ranges.push_back({.protocol = key.protocol,
                       .first = static_cast<std::uint16_t>(port & ~span),
                       .last = static_cast<std::uint16_t>(port | span)});
}

// What the entries of a set show of one of its rules.
struct SeenRule {
  policy::Candidate for_peer;  // of entries for the peer in question
  policy::Candidate for_any;   // of all entries
  bool selects_peer = false;
};

}  // namespace

// One end of the question.
struct NodeExplainer::End : explain::ExplainEnd {
  const EndpointEntry* endpoint = nullptr;  // a pod of this node
};

NodeExplainer::NodeExplainer(const State& state, explain::PortArgument port,
                             LearnedOf learned_of)
    : state_(&state),
      learned_of_(std::move(learned_of)),
      port_(port),
      names_(state),
      model_(state) {}

Result<NodeExplainer::End> NodeExplainer::find_end(const std::string& text,
                                                   const char* option) const {
  const auto ip = parse_ip(text);
  const auto found = std::ranges::find_if(
      state_->endpoints, [&](const EndpointEntry& endpoint) {
        return ip ? std::ranges::find(endpoint.ips, *ip) != endpoint.ips.end()
                  : endpoint.name == text;
      });
  if (found != state_->endpoints.end()) {
    if (ip) {
      return End{{.text = explain::pod_at(found->name, *ip), .ips = {*ip}},
                 &*found};
    }
    return End{{.text = found->name, .ips = found->ips}, &*found};
  }
  if (!ip) {
    return fail(std::string(option) + ": " + text +
                " is not a pod of this node; give its address");
  }
  return End{{.text = text, .ips = {*ip}}, nullptr};
}

Result<node::ExplainView> NodeExplainer::explain(const std::string& from,
                                                 const std::string& to) const {
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
  return explain::explain_ends(
      *source, *destination, port_,
      [&](node::ExplainView& view, node::SideView side,
          sluice_direction direction, const IpAddress& own,
          const IpAddress& peer) {
        const auto& end = direction == SLUICE_EGRESS ? *source : *destination;
        if (end.endpoint == nullptr) {
          side.unknown =
              to_string(own) +
              " is no pod's of this node; if it is one's, ask its node";
        } else {
          describe(side, *end.endpoint,
                   static_cast<policy::Direction>(direction), peer, port_.port);
        }
        view.sides.push_back(std::move(side));
      });
}

void NodeExplainer::describe(node::SideView& view,
                             const EndpointEntry& endpoint,
                             policy::Direction direction, const IpAddress& peer,
                             std::uint16_t port) const {
  view.endpoint = endpoint.name;
  Learned learned;
  if (direction == policy::Direction::kEgress && learned_of_) {
    learned = learned_of_(endpoint.name, peer);
  }
  view.names = std::move(learned.names);
  const auto verdict = model_.lookup(endpoint, direction, peer, port_.protocol,
                                     port, learned.selectors);
  explain::set_verdict(view, verdict.allowed, verdict.reason,
                       model_.rule(verdict.rule), verdict.entry);
  if (verdict.entry && (verdict.entry->key.cidr_id & SLUICE_CIDR_NAME) != 0) {
    explain::set_pattern(view, names_.peers(verdict.entry->key.cidr_id));
  }
  if (verdict.reason != SLUICE_REASON_SELF) {
    add_set(view, endpoint, direction);
    add_near_misses(view, endpoint, verdict,
                    {.direction = direction,
                     .peer = peer,
                     .protocol = port_.protocol,
                     .port = port});
  }
}

bool NodeExplainer::is_own(const node::SideView& side) const {
  return model_.endpoint(side.endpoint) != nullptr;
}

node::ExplainView NodeExplainer::judge(node::ExplainView view) const {
  for (auto& side : view.sides) {
    const auto* endpoint = model_.endpoint(side.endpoint);
    const auto peer = parse_ip(side.peer);
    if (endpoint == nullptr || !peer || !side.judged) {
      continue;
    }
    // A backend of a Service has a port of its own.
    auto port = port_.port;
    if (const auto colon = side.backend.rfind(':');
        colon != std::string::npos) {
      port = explain::parse_port(side.backend.substr(colon + 1))
                 .value_or(port_)
                 .port;
    }
    const auto direction =
        side.direction == explain::direction_text(SLUICE_EGRESS)
            ? policy::Direction::kEgress
            : policy::Direction::kIngress;
    node::SideView own;
    own.direction = side.direction;
    own.node = side.node;
    own.peer = side.peer;
    own.backend = side.backend;
    own.behind = side.behind;
    describe(own, *endpoint, direction, *peer, port);
    // The operator does not know what the endpoint has learned.
    if (own.allowed != side.allowed && own.names.empty()) {
      own.reason +=
          " (this node has not yet what the operator says: " + side.reason +
          ")";
    } else if (own.policy == side.policy && own.path == side.path) {
      // The operator has the rules and not only what they became.
      own.near_misses = std::move(side.near_misses);
    }
    side = std::move(own);
  }
  view.allowed = std::ranges::all_of(view.sides, &node::SideView::allowed);
  return view;
}

void NodeExplainer::add_set(node::SideView& view, const EndpointEntry& endpoint,
                            policy::Direction direction) const {
  const auto side = static_cast<std::size_t>(direction);
  view.isolated = endpoint.isolated.at(side);
  const auto* set = names_.set(endpoint.policy_set);
  if (set != nullptr) {
    view.isolating = set->isolating.at(side);
  }
}

// A node has only the entries that rules became, so a rule is known by its
// entries: what another rule of the set overrides of it does not show.
void NodeExplainer::add_near_misses(node::SideView& view,
                                    const EndpointEntry& endpoint,
                                    const policy::Model::Verdict& verdict,
                                    const policy::Packet& packet) const {
  std::map<std::uint32_t, SeenRule> rules;
  for (const auto& [key, value] : state_->entries) {
    if (key.policy_id != endpoint.policy_set || value.rule == verdict.rule ||
        key.direction != static_cast<std::uint8_t>(packet.direction)) {
      continue;
    }
    auto& rule = rules[value.rule];
    rule.for_any.action = value.verdict == SLUICE_VERDICT_ALLOW
                              ? policy::Action::kAllow
                              : policy::Action::kDeny;
    add_l4(rule.for_any, key);
    if (key.cidr_id == verdict.cidr_id || key.cidr_id == SLUICE_CIDR_ANY) {
      rule.selects_peer = true;
      rule.for_peer.action = rule.for_any.action;
      add_l4(rule.for_peer, key);
    }
  }
  std::vector<policy::NearMiss> misses;
  for (auto& [id, rule] : rules) {
    const auto* info = model_.rule(id);
    auto& l4 = rule.selects_peer ? rule.for_peer : rule.for_any;
    policy::merge_ranges(l4.ranges);
    auto miss =
        policy::near_miss(l4, rule.selects_peer, packet, verdict.allowed);
    if (miss && info != nullptr) {
      miss->rule = *info;
      misses.push_back(std::move(*miss));
    }
  }
  policy::keep_nearest(misses);
  explain::add_near_misses(view, std::move(misses));
}

}  // namespace sluice::agentd
