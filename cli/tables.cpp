// SPDX-License-Identifier: Apache-2.0
#include "cli/tables.h"

#include <algorithm>
#include <iterator>
#include <ostream>
#include <sstream>
#include <utility>

#include "cli/output.h"
#include "lib/base/printable.h"
#include "lib/base/sequence.h"
#include "lib/explain/text.h"

namespace sluice::cli {
namespace {

std::string dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string isolation(bool ingress, bool egress) {
  if (ingress && egress) {
    return "ingress, egress";
  }
  if (ingress) {
    return "ingress";
  }
  return egress ? "egress" : "none";
}

std::string with_name(const std::string& address, const std::string& name) {
  return name.empty() ? address : name + " (" + address + ")";
}

std::string with_port(const std::string& text, std::uint32_t port) {
  return port == 0 ? text : text + ":" + std::to_string(port);
}

std::string local_text(const node::ConntrackView& flow) {
  return flow.protocol.starts_with("ICMP")
             ? "id " + std::to_string(flow.echo_id)
             : std::to_string(flow.local_port);
}

std::string rule_of(const std::string& policy, const std::string& path) {
  return path.empty() ? policy : policy + " " + path;
}

// A side as text: what comes before and after the peer's address. Sides that
// differ in nothing else, as those of two families usually do, are one.
struct SideText {
  std::string before;
  std::vector<std::string> peers;
  std::string after;
};

// The detail without the address, so that it is the same in both families.
std::string about_this_peer(std::string detail, const std::string& peer) {
  if (!peer.empty() && detail.ends_with(" " + peer)) {
    detail.replace(detail.size() - peer.size(), peer.size(), "this peer");
  }
  return detail;
}

SideText text_of(const node::SideView& side, bool verbose) {
  if (!side.unknown.empty()) {
    return {.before = "  " + side.direction + ": " + printable(side.unknown),
            .peers = {},
            .after = "\n"};
  }
  if (!side.judged) {
    return {.before = "  " + side.direction + ": " + printable(side.endpoint) +
                      " has no policy of its own",
            .peers = {},
            .after = "\n"};
  }
  std::string before =
      "  " + side.direction + " of " + printable(side.endpoint);
  if (!side.backend.empty() && side.backend != side.endpoint) {
    before += " (backend " + printable(side.backend) + ")";
  }
  before += side.direction == "egress" ? " to " : " from ";
  std::ostringstream after;
  after << ": " << (side.allowed ? "allowed" : "denied") << ", "
        << printable(side.reason) << '\n';
  if (!side.names.empty()) {
    after << "    resolved as " << printable(join(side.names)) << '\n';
  }
  if (!side.policy.empty()) {
    after << "    by " << printable(rule_of(side.policy, side.path)) << '\n';
  }
  if (!side.pattern.empty()) {
    after << "    for " << printable(side.pattern);
    if (!side.matched.empty() && side.matched != std::vector{side.pattern}) {
      after << ", which matches " << printable(join(side.matched));
    }
    after << '\n';
  }
  if (verbose && !side.entry.empty()) {
    after << "    entry policy " << side.policy_id << ' '
          << printable(side.entry) << '\n';
  }
  if (!side.isolating.empty()) {
    after << "    isolated by " << printable(join(side.isolating)) << '\n';
  }
  for (const auto& line : side.behind) {
    after << "    " << printable(line) << '\n';
  }
  for (const auto& miss : side.near_misses) {
    after << "    near miss: " << printable(rule_of(miss.policy, miss.path))
          << " differs in " << printable(miss.differs) << ": "
          << printable(about_this_peer(miss.detail, side.peer)) << '\n';
  }
  return {.before = std::move(before),
          .peers = {printable(side.peer)},
          .after = after.str()};
}

// In the order of the first side of each.
std::vector<SideText> folded(const std::vector<node::SideView>& sides,
                             bool verbose) {
  std::vector<SideText> texts;
  for (const auto& side : sides) {
    auto text = text_of(side, verbose);
    const auto same = std::ranges::find_if(texts, [&](const SideText& earlier) {
      return earlier.before == text.before && earlier.after == text.after;
    });
    if (same == texts.end()) {
      texts.push_back(std::move(text));
    } else {
      std::ranges::move(text.peers, std::back_inserter(same->peers));
    }
  }
  return texts;
}

}  // namespace

void print(std::ostream& out, const std::vector<node::ProblemView>& problems) {
  for (const auto& problem : problems) {
    out << printable(problem.severity) << ": " << printable(problem.source)
        << ": ";
    if (!problem.object.empty()) {
      out << printable(problem.object) << ": ";
    }
    out << printable(problem.message) << '\n';
  }
}

void print(std::ostream& out, const node::StatusView& view) {
  out << "version      " << printable(view.version) << '\n'
      << "node         " << printable(view.node) << '\n'
      << "source       " << printable(view.source) << '\n'
      << "enforced     " << (view.enforced ? "yes" : "no");
  if (!view.problem.empty()) {
    out << ": " << printable(view.problem);
  } else if (!view.endpoints_problem.empty()) {
    out << ", except for " << printable(view.endpoints_problem);
  }
  out << "\nrevision     " << view.revision << " (epoch " << view.epoch << ")\n"
      << "policies     " << view.policies;
  if (view.policies_invalid > 0) {
    out << ", " << view.policies_invalid << " not valid";
  }
  out << "\nendpoints    " << view.endpoints << ", " << view.endpoints_attached
      << " attached\n"
      << "events lost  " << view.events_lost << '\n';
  if (!view.maps.empty()) {
    out << '\n';
    Table maps({"MAP", "USED", "CAPACITY"});
    for (const auto& map : view.maps) {
      maps.row(
          {map.name, std::to_string(map.used), std::to_string(map.capacity)});
    }
    maps.print(out);
  }
  if (!view.reasons.empty()) {
    out << '\n';
    Table reasons({"REASON", "DIRECTION", "PACKETS", "BYTES"});
    for (const auto& reason : view.reasons) {
      reasons.row({reason.reason, reason.direction,
                   std::to_string(reason.packets),
                   std::to_string(reason.bytes)});
    }
    reasons.print(out);
  }
  if (!view.problems.empty()) {
    out << '\n';
    print(out, view.problems);
  }
}

void print(std::ostream& out, const node::EndpointListView& view,
           const std::vector<std::string>& nodes) {
  std::vector<std::string> headers{"ENDPOINT", "INTERFACE", "ADDRESSES",
                                   "ISOLATED", "POLICIES",  "STATE"};
  if (!nodes.empty()) {
    headers.insert(headers.begin(), "NODE");
  }
  Table table(std::move(headers));
  for (std::size_t i = 0; i < view.endpoints.size(); ++i) {
    const auto& endpoint = view.endpoints[i];
    const std::string state = endpoint.attached ? "attached" : "not attached";
    std::vector<std::string> cells{
        endpoint.name,
        dash(endpoint.interface),
        join(endpoint.ips),
        isolation(endpoint.isolated_ingress, endpoint.isolated_egress),
        join(endpoint.policies),
        endpoint.problem.empty() ? state : state + ": " + endpoint.problem};
    if (!nodes.empty()) {
      cells.insert(cells.begin(), nodes[i]);
    }
    table.row(std::move(cells));
  }
  table.print(out);
}

void print(std::ostream& out, const node::PolicyListView& view) {
  Table table(
      {"KIND", "NAMESPACE", "NAME", "VALID", "IN FORCE", "SOURCE", "REASON"});
  for (const auto& policy : view.policies) {
    std::string in_force = policy.in_force ? "yes" : "no";
    if (policy.in_force && !policy.valid) {
      in_force = "last valid";
    }
    table.row({policy.kind, dash(policy.ns), policy.name,
               policy.valid ? "yes" : "no", in_force, policy.source,
               dash(policy.reason)});
  }
  table.print(out);
  for (const auto& policy : view.policies) {
    for (const auto& warning : policy.warnings) {
      out << "warning: " << printable(policy.source) << ": "
          << printable(policy.kind) << '/'
          << (policy.ns.empty() ? "" : printable(policy.ns) + "/")
          << printable(policy.name) << ": " << printable(warning) << '\n';
    }
  }
  print(out, view.problems);
}

void print(std::ostream& out, const node::PolicyDumpView& view) {
  Table table({"POLICY ID", "ENDPOINTS", "DIRECTION", "PEERS", "CLASS", "PORT",
               "VERDICT", "RULE"});
  for (const auto& entry : view.entries) {
    table.row({std::to_string(entry.policy_id), join(entry.endpoints),
               std::string(explain::direction_text(entry.direction)),
               entry.peers, std::to_string(entry.cidr_id), entry.l4,
               entry.decides,
               entry.policy.empty() ? "rule " + std::to_string(entry.rule)
                                    : rule_of(entry.policy, entry.path)});
  }
  table.print(out);
}

void print(std::ostream& out, const node::PeerListView& view) {
  Table table({"ADDRESSES", "CLASS"});
  for (const auto& peer : view.peers) {
    table.row({peer.prefix, std::to_string(peer.cidr_id)});
  }
  table.print(out);
}

void print(std::ostream& out, const node::ConntrackListView& view) {
  Table table({"ENDPOINT", "OPENED BY", "PROTOCOL", "LOCAL", "REMOTE", "STATE",
               "REASON", "PACKETS IN/OUT", "RULE"});
  for (const auto& entry : view.entries) {
    table.row(
        {entry.endpoint.empty() ? "ifindex " + std::to_string(entry.ifindex)
                                : entry.endpoint,
         entry.direction, entry.protocol, local_text(entry),
         with_port(with_name(entry.remote, entry.remote_name),
                   entry.remote_port) +
             (entry.origin.empty()
                  ? ""
                  : " (" + with_name(entry.origin, entry.origin_name) + ")"),
         entry.state + (entry.current ? "" : ", older policies"), entry.reason,
         std::to_string(entry.packets_ingress) + "/" +
             std::to_string(entry.packets_egress),
         dash(entry.rule)});
  }
  table.print(out);
}

void print(std::ostream& out, const node::ResolvedNameListView& view) {
  Table table(
      {"ENDPOINT", "NAME", "ADDRESS", "EXPIRES IN", "SELECTORS", "POLICIES"});
  for (const auto& resolved : view.names) {
    table.row(
        {resolved.endpoint, resolved.name, resolved.address,
         resolved.expires_in < 0 ? "expired"
                                 : std::to_string(resolved.expires_in) + " s",
         dash(joined(resolved.selectors)), dash(joined(resolved.policies))});
  }
  table.print(out);
}

void print(std::ostream& out, const node::ExplainView& view, bool verbose) {
  out << printable(view.from) << " -> " << printable(view.to) << " "
      << printable(view.port) << ": " << (view.allowed ? "allowed" : "denied");
  if (!view.summary.empty()) {
    out << " (" << printable(view.summary) << ')';
  }
  out << '\n';
  for (const auto& side : folded(view.sides, verbose)) {
    out << side.before << joined(side.peers) << side.after;
  }
}

void print(std::ostream& out, const node::FlowView& view) {
  out << printable(view.time) << ' ' << printable(view.verdict) << ' '
      << view.direction << ' '
      << printable(
             with_port(with_name(view.from, view.from_name), view.source_port))
      << printable(view.origin.empty()
                       ? ""
                       : " (masqueraded, from " +
                             with_name(view.origin, view.origin_name) + ")")
      << " -> "
      << printable(with_port(with_name(view.to, view.to_name), view.port))
      << ' ' << printable(view.protocol);
  if (!view.icmp.empty()) {
    out << ' ' << view.icmp;
  }
  out << ' ' << printable(view.reason);
  if (!view.policy.empty()) {
    out << " by " << printable(rule_of(view.policy, view.path));
  }
  if (!view.isolating.empty()) {
    out << " (isolated by " << printable(join(view.isolating)) << ')';
  }
  if (!view.log.empty()) {
    out << " [" << printable(view.log) << ']';
  }
  out << '\n';
}

}  // namespace sluice::cli
