// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/parse_names.h"

#include <algorithm>
#include <array>
#include <utility>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "lib/base/sequence.h"
#include "lib/policy/parse_l4.h"

namespace sluice::policy {
namespace {

using dns::NamePattern;

constexpr std::uint16_t kMaxPort = 65535;
constexpr std::array<std::uint8_t, 2> kTransports{IPPROTO_TCP, IPPROTO_UDP};

using Parse = Result<NamePattern> (*)(std::string_view text);

// nullopt, with a problem, if it is no pattern.
std::optional<NamePattern> parse_pattern(const Field& field, Parse parse,
                                         Problems& problems) {
  const auto* text = kube::as_string(field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  auto pattern = parse(*text);
  if (!pattern) {
    problems.add(field, in_quotes(*text) + " " + pattern.error().message);
    return std::nullopt;
  }
  return *pattern;
}

// Parses {matchName, matchPattern} and gives each member to `take`. Returns how
// many there are, whether they are valid or not.
template <typename Take>
int parse_selector(const Field& field, Problems& problems, Take take) {
  if (!kube::is_object(field, problems)) {
    return 0;
  }
  kube::only(field, {"matchName", "matchPattern"}, problems);
  constexpr std::array<std::pair<std::string_view, Parse>, 2> kMembers{
      {{"matchName", NamePattern::match_name},
       {"matchPattern", NamePattern::match_pattern}}};
  int count = 0;
  for (const auto& [name, parse] : kMembers) {
    const auto member = field.get(name);
    if (!member) {
      continue;
    }
    ++count;
    if (auto pattern = parse_pattern(*member, parse, problems)) {
      take(std::move(*pattern));
    }
  }
  if (count == 0) {
    problems.add(field, "must have matchName or matchPattern");
  }
  return count;
}

// True if the port allows one number of a transport that DNS uses.
bool check_dns_ports(const Field& port, const L4& ports, Problems& problems) {
  const std::size_t before = problems.count();
  const auto protocol = port.get("protocol");
  if (protocol && protocol->value() == "SCTP") {
    problems.add(*protocol, "DNS rules are for TCP and UDP, is \"SCTP\"");
  }
  for (const PortRange& range : ports.ranges) {
    if (range.first == 0 && range.last == kMaxPort) {
      problems.add(port, "DNS rules are for one port, 0 is every port");
      break;
    }
    if (range.first != range.last) {
      problems.add(port, "DNS rules do not support port ranges");
      break;
    }
  }
  if (std::ranges::any_of(ports.named, [](const NamedPort& named) {
        return named.end_port != 0;
      })) {
    problems.add(port, "DNS rules do not support port ranges");
  }
  return problems.count() == before;
}

}  // namespace

void parse_fqdn(const Field& field, Rule& rule, ParseContext& context) {
  const int members =
      parse_selector(field, context.problems, [&](NamePattern&& pattern) {
        rule.peers.emplace_back(
            NamePeer{.pattern = std::move(pattern), .external_only = true});
      });
  if (members > 1) {
    context.problems.add(field,
                         "must have only one of matchName and matchPattern");
  }
}

std::optional<DnsRule> parse_port_rules(const Field& rules, Direction direction,
                                        ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(rules, problems)) {
    return std::nullopt;
  }
  std::string others;
  for (const auto& member : rules.value().items()) {
    if (member.key() != "dns") {
      others += (others.empty() ? "" : ", ") + in_quotes(member.key());
    }
  }
  if (!others.empty()) {
    problems.add(rules, "not supported: " + others);
  }
  const auto list = rules.get("dns");
  if (!list || !kube::is_list(*list, problems)) {
    return std::nullopt;
  }
  if (direction == Direction::kIngress) {
    problems.add(*list, "DNS rules are only possible at egress");
    return std::nullopt;
  }
  if (list->value().empty()) {
    context.warn(*list, "an empty list restricts no questions");
    return std::nullopt;
  }
  DnsRule result{.names = {}, .path = list->path()};
  for (std::size_t i = 0; i < list->value().size(); ++i) {
    parse_selector(list->at(i), problems, [&](NamePattern&& pattern) {
      result.names.push_back(std::move(pattern));
    });
  }
  sort_unique(result.names);
  return result;
}

void parse_dns_port(const Field& port, L4& out, ParseContext& context) {
  const std::size_t before = context.problems.count();
  L4 ports;
  parse_cilium_port(port, ports, context);
  if (context.problems.count() != before ||
      !check_dns_ports(port, ports, context.problems)) {
    return;
  }
  for (const PortRange& range : ports.ranges) {
    if (range.protocol != IPPROTO_SCTP) {
      out.ranges.push_back(range);
    }
  }
  for (const NamedPort& named : ports.named) {
    for (const std::uint8_t protocol : kTransports) {
      if (named.protocol == 0 || named.protocol == protocol) {
        out.named.push_back({.name = named.name, .protocol = protocol});
      }
    }
  }
}

void parse_domain_name(const Field& field, Rule& rule, Problems& problems) {
  if (auto pattern = parse_pattern(field, NamePattern::domain_name, problems)) {
    rule.peers.emplace_back(NamePeer{.pattern = std::move(*pattern)});
  }
}

}  // namespace sluice::policy
