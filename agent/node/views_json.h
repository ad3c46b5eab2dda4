// SPDX-License-Identifier: Apache-2.0
#pragma once

// Views to JSON and back. Only for source files: the JSON library is heavy.

#include <nlohmann/json.hpp>

#include "agent/node/views.h"

namespace sluice::node {

// The macro declares a variable that could be const.
// NOLINTBEGIN(misc-const-correctness)

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ProblemView, severity, source,
                                                object, message)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(MapView, name, used, capacity)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ReasonView, reason, direction,
                                                packets, bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    StatusView, version, node, source, enforced, problem, revision, epoch,
    objects, policies, policies_invalid, endpoints, endpoints_attached,
    endpoints_problem, events_lost, maps, reasons, problems)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(EndpointView, name, interface,
                                                ifindex, ips, attached,
                                                isolated_ingress,
                                                isolated_egress, policy_set,
                                                policies, problem)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(EndpointListView, endpoints)

inline void to_json(nlohmann::json& out, const PolicyView& view) {
  out = {{"kind", view.kind},         {"namespace", view.ns},
         {"name", view.name},         {"valid", view.valid},
         {"in_force", view.in_force}, {"source", view.source},
         {"reason", view.reason},     {"warnings", view.warnings}};
}
inline void from_json(const nlohmann::json& in, PolicyView& view) {
  view = {.kind = in.value("kind", ""),
          .ns = in.value("namespace", ""),
          .name = in.value("name", ""),
          .valid = in.value("valid", false),
          .in_force = in.value("in_force", false),
          .source = in.value("source", ""),
          .reason = in.value("reason", ""),
          .warnings = in.value("warnings", std::vector<std::string>{})};
}
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PolicyListView, policies,
                                                problems)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(EntryView, prefixlen, policy_id,
                                                cidr_id, direction, protocol,
                                                port, verdict, flags, jump,
                                                rule, endpoints, peers, l4,
                                                decides, policy, path)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PolicyDumpView, entries)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PeerView, prefix, cidr_id)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PeerListView, peers)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    ConntrackView, endpoint, ifindex, protocol, direction, remote, remote_name,
    origin, origin_name, local_port, remote_port, echo_id, state, reason, rule,
    rule_id, policy, epoch, current, packets_ingress, packets_egress,
    bytes_ingress, bytes_egress)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ConntrackListView,
                                                names_problem, entries)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ResolvedNameView, endpoint,
                                                name, address, expires_in,
                                                selectors, policies)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ResolvedNameListView, names)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    FlowView, time, verdict, reason, direction, endpoint, from, from_name,
    origin, origin_name, to, to_name, protocol, source_port, port, icmp, policy,
    path, log, isolating, rule, rule_id, policy_id, cidr_id, length)

// NOLINTEND(misc-const-correctness)

}  // namespace sluice::node
