// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/edges.h"

#include <algorithm>
#include <ranges>
#include <string_view>
#include <utility>

#include "lib/flow/entity.h"
#include "lib/flow/time.h"

namespace sluice::ui {
namespace {

namespace api = ::flow;

// Policies that are kept of an edge. A default deny may have any number.
constexpr int kPoliciesMax = 8;
// Bytes of a name that are kept; Kubernetes and DNS allow no longer ones.
constexpr std::size_t kNameBytesMax = 256;

std::string entity_of(const api::Endpoint& endpoint) {
  constexpr std::string_view kReserved = "reserved:";
  const auto* const known =
      std::ranges::find(sluice::flow::kEntities, endpoint.identity(),
                        &sluice::flow::Entity::identity);
  if (known != sluice::flow::kEntities.end()) {
    return std::string(known->name);
  }
  for (const auto& label : endpoint.labels()) {
    if (label.starts_with(kReserved)) {
      return label.substr(kReserved.size());
    }
  }
  return "unknown";
}

EdgeEnd end_of(const api::Endpoint& endpoint, const api::Service* service,
               const google::protobuf::RepeatedPtrField<std::string>& names) {
  if (!endpoint.pod_name().empty()) {
    const bool owned = endpoint.workloads_size() > 0;
    return {.type = "workload",
            .ns = endpoint.namespace_(),
            .kind = owned ? endpoint.workloads(0).kind() : "Pod",
            .name = owned ? endpoint.workloads(0).name() : endpoint.pod_name()};
  }
  if (service != nullptr && !service->name().empty()) {
    return {.type = "service",
            .ns = service->namespace_(),
            .kind = "Service",
            .name = service->name()};
  }
  if (!names.empty()) {
    return {.type = "name",
            .ns = {},
            .kind = {},
            .name = names.Get(0).substr(0, kNameBytesMax)};
  }
  return {.type = "entity", .ns = {}, .kind = {}, .name = entity_of(endpoint)};
}

// The protocol, and the port at the end that accepted the connection.
void set_port(const api::Layer4& l4, bool reply, Edge& edge) {
  const auto port = [&](const auto& of) {
    return reply ? of.source_port() : of.destination_port();
  };
  if (l4.has_tcp()) {
    edge.protocol = "TCP";
    edge.port = port(l4.tcp());
  } else if (l4.has_udp()) {
    edge.protocol = "UDP";
    edge.port = port(l4.udp());
  } else if (l4.has_sctp()) {
    edge.protocol = "SCTP";
    edge.port = port(l4.sctp());
  } else if (l4.has_icmpv4()) {
    edge.protocol = "ICMPv4";
    edge.port = l4.icmpv4().type();
  } else if (l4.has_icmpv6()) {
    edge.protocol = "ICMPv6";
    edge.port = l4.icmpv6().type();
  }
}

void set_policies(const api::Flow& flow, Edge& edge) {
  for (const auto* list :
       {&flow.egress_allowed_by(), &flow.egress_denied_by(),
        &flow.ingress_allowed_by(), &flow.ingress_denied_by()}) {
    for (const auto& policy : *list | std::views::take(kPoliciesMax)) {
      edge.policies.push_back(
          policy.kind() + "/" +
          (policy.namespace_().empty() ? "" : policy.namespace_() + "/") +
          policy.name());
    }
  }
}

std::string sample_of(const api::Endpoint& endpoint, const std::string& ip) {
  return endpoint.pod_name().empty()
             ? ip
             : endpoint.namespace_() + "/" + endpoint.pod_name();
}

Edge edge_of(const api::Flow& flow) {
  Edge edge;
  edge.from = end_of(flow.source(), nullptr, flow.source_names());
  edge.to = end_of(flow.destination(), &flow.destination_service(),
                   flow.destination_names());
  edge.source = sample_of(flow.source(), flow.ip().source());
  edge.destination = sample_of(flow.destination(), flow.ip().destination());
  const bool reply = flow.is_reply().value();
  if (reply) {  // belongs to the connection that the other end opened
    std::swap(edge.from, edge.to);
    std::swap(edge.source, edge.destination);
  }
  set_port(flow.l4(), reply, edge);
  edge.allowed = flow.verdict() == api::FORWARDED;
  edge.egress = flow.traffic_direction() == api::EGRESS;
  if (!edge.allowed) {
    edge.reason = api::DropReason_Name(flow.drop_reason_desc());
  }
  set_policies(flow, edge);
  edge.last = sluice::flow::nanoseconds(flow.time());
  edge.first = edge.last;
  return edge;
}

std::string key_of(const Edge& edge) {
  std::string key;
  const auto add = [&](std::string_view text) {
    key.append(text).append(1, 0);
  };
  for (const auto* end : {&edge.from, &edge.to}) {
    for (const auto* text : {&end->type, &end->ns, &end->kind, &end->name}) {
      add(*text);
    }
  }
  add(edge.protocol);
  add(std::to_string(edge.port));
  add(edge.allowed ? "+" : "-");
  add(edge.egress ? ">" : "<");
  add(edge.reason);
  std::ranges::for_each(edge.policies, add);
  return key;
}

}  // namespace

void EdgeTable::add(const api::Flow& flow) {
  auto edge = edge_of(flow);
  edge.changed = ++changes_;
  edge.id = edge.changed;
  edge.flows = 1;
  auto [found, is_new] = by_key_.try_emplace(key_of(edge));
  if (is_new) {
    edges_.push_front(std::move(edge));
    found->second = edges_.begin();
  } else {
    auto& known = *found->second;
    edge.id = known.id;
    edge.flows += known.flows;
    edge.first = known.first;
    known = std::move(edge);
    edges_.splice(edges_.begin(), edges_, found->second);
  }
  if (edges_.size() > max_) {
    full_ = true;
    by_key_.erase(key_of(edges_.back()));
    edges_.pop_back();
  }
}

std::vector<const Edge*> EdgeTable::after(std::uint64_t changes,
                                          std::size_t max) const {
  std::vector<const Edge*> result;
  for (const auto& edge : edges_) {
    if (edge.changed <= changes) {
      break;
    }
    result.push_back(&edge);
  }
  std::ranges::reverse(result);
  result.resize(std::min(result.size(), max));
  return result;
}

std::uint64_t EdgeTable::oldest() const {
  return full_ ? edges_.back().changed : 0;
}

}  // namespace sluice::ui
