// SPDX-License-Identifier: Apache-2.0
#include "cli/preview_text.h"

#include <algorithm>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "cli/output.h"
#include "cli/reach_text.h"
#include "lib/base/printable.h"
#include "lib/base/sequence.h"

namespace sluice::cli {
namespace {

using preview::Change;
using preview::Decision;
using preview::View;
using Ends = std::pair<std::size_t, std::size_t>;
using Places = std::vector<std::size_t>;

// "ingress: NetworkPolicy/shop/db spec.ingress[0]", "ingress: default deny of
// NetworkPolicy/shop/db" or "ingress: default allow".
std::string decision_text(const Decision& decision) {
  if (decision.direction.empty()) {
    return "-";
  }
  auto text = decision.direction + ": ";
  if (!decision.policy.empty()) {
    return text + decision.policy + " " + decision.path;
  }
  text += decision.reason;
  if (!decision.isolating.empty()) {
    text += " of " + joined(decision.isolating, " and ");
  }
  return text;
}

void add_ports(const explain::ReachCell& cell, Places& places) {
  places.insert(places.end(), cell.allowed.begin(), cell.allowed.end());
  places.insert(places.end(), cell.denied.begin(), cell.denied.end());
  for (const auto& some : cell.some) {
    places.push_back(some.port);
  }
}

// By pair of ends, the ports that both have a verdict for.
std::map<Ends, Places> judged_ports(const View& view) {
  std::map<Ends, Places> result;
  for (const auto& change : view.changes) {
    add_ports(change.ports, result[{change.from, change.to}]);
  }
  for (const auto& cell : view.stays) {
    add_ports(cell, result[{cell.from, cell.to}]);
  }
  for (auto& [ends, places] : result) {
    sort_unique(places);
  }
  return result;
}

// "any/TCP but 80/TCP, 53/UDP (2 of 6 pairs of pods)".
std::string ports_of(const View& view, const Change& change,
                     const Places& judged) {
  std::vector<std::size_t> others;
  std::ranges::set_difference(judged, change.ports.allowed,
                              std::back_inserter(others));
  std::vector<std::string> parts;
  if (!change.ports.allowed.empty()) {
    parts.push_back(ports_text(view.ports, change.ports.allowed, others));
  }
  // Those of which as many pairs of pods change are named together.
  std::map<std::string, std::vector<std::string>> some;
  for (const auto& [port, changed, pairs] : change.ports.some) {
    some[std::to_string(changed) + " of " + std::to_string(pairs)].push_back(
        view.ports[port].name);
  }
  for (const auto& [number, names] : some) {
    parts.push_back(joined(names) + " (" + number + " pairs of pods)");
  }
  return joined(parts);
}

const char* verdict_of(bool allowed) {
  return allowed ? "allowed" : "denied";
}

// What is denied stands first. Decisions are their places.
using Row = std::tuple<bool, std::string, std::size_t, std::size_t>;

void print_expanded(std::ostream& out, const View& view) {
  Table table(
      {"BECOMES", "FROM", "TO", "PORTS", "DECIDES NOW", "DECIDED BEFORE"});
  auto judged = judged_ports(view);
  for (const bool allowed : {false, true}) {
    for (const auto& change : view.changes) {
      if (change.allowed == allowed) {
        table.row({verdict_of(allowed), view.ends[change.from].name,
                   view.ends[change.to].name,
                   ports_of(view, change, judged[{change.from, change.to}]),
                   decision_text(view.decisions[change.after]),
                   decision_text(view.decisions[change.before])});
      }
    }
  }
  table.print(out);
}

void print_collapsed(std::ostream& out, const View& view) {
  auto judged = judged_ports(view);
  std::map<Row, std::vector<const Change*>> rows;
  for (const auto& change : view.changes) {
    rows[{change.allowed,
          ports_of(view, change, judged[{change.from, change.to}]),
          change.after, change.before}]
        .push_back(&change);
  }
  Table table({"BECOMES", "PAIRS", "FOR EXAMPLE", "PORTS", "DECIDES NOW",
               "DECIDED BEFORE"});
  for (const auto& [row, changes] : rows) {
    const auto& [allowed, ports, now, before] = row;
    const auto& first = *changes.front();
    table.row({verdict_of(allowed), std::to_string(changes.size()),
               view.ends[first.from].name + " -> " + view.ends[first.to].name,
               ports, decision_text(view.decisions[now]),
               decision_text(view.decisions[before])});
  }
  table.print(out);
}

std::string pairs_text(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " pair" : " pairs");
}

}  // namespace

PreviewCounts count_pairs(const View& view) {
  std::set<Ends> allowed;
  std::set<Ends> denied;
  for (const auto& change : view.changes) {
    (change.allowed ? allowed : denied).emplace(change.from, change.to);
  }
  return {.allowed = allowed.size(), .denied = denied.size()};
}

void print_preview(std::ostream& out, const View& view, bool expand) {
  if (!view.changes.empty() && expand) {
    print_expanded(out, view);
  } else if (!view.changes.empty()) {
    print_collapsed(out, view);
  }
  const auto counts = count_pairs(view);
  out << "deny: " << pairs_text(counts.denied)
      << ", allow: " << pairs_text(counts.allowed) << "; of "
      << pairs_text(view.pairs) << " of workloads, " << view.unchanged
      << " stay as they are\n";
}

void print(std::ostream& out, const std::vector<preview::Warning>& warnings) {
  for (const auto& warning : warnings) {
    out << "warning: ";
    for (const auto& part : {warning.source, warning.object}) {
      if (!part.empty()) {
        out << printable(part) << ": ";
      }
    }
    out << printable(warning.message) << '\n';
  }
}

void print(std::ostream& out, const preview::FlowsView& view) {
  std::uint64_t denied = 0;
  std::uint64_t allowed = 0;
  Table table({"BECOMES", "FLOWS", "LAST SEEN", "FROM", "TO", "PORT", "NAMES",
               "DECIDES NOW", "DECIDED BEFORE"});
  for (const auto& change : view.changes) {
    const auto& flows = change.flows;
    (change.allowed ? allowed : denied) += flows.count;
    table.row({verdict_of(change.allowed), std::to_string(flows.count),
               flows.last_seen, flows.from, flows.to, flows.port,
               join(flows.names), decision_text(change.after),
               decision_text(change.before)});
  }
  if (!table.empty()) {
    table.print(out);
  }
  out << "flows: " << denied << " would be denied, " << allowed
      << " allowed; of " << view.seen << " seen, " << view.unknown
      << " have ends that are not there\n";
}

}  // namespace sluice::cli
