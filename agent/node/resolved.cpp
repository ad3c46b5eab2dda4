// SPDX-License-Identifier: Apache-2.0
#include "agent/node/resolved.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/dns/name.h"

namespace sluice::node {
namespace {

// The name, if the text is one and no "namespace/pod" or address.
std::optional<dns::Name> as_name(const std::string& text) {
  if (!text.contains('.') || text.contains('/') || parse_ip(text)) {
    return std::nullopt;
  }
  auto name = dns::Name::from_text(text);
  return name ? std::optional(std::move(*name)) : std::nullopt;
}

}  // namespace

std::vector<ResolvedName> resolved_names(const agent::Agent& agent) {
  const auto& learning = agent.learning();
  const std::int64_t now = agent::Learning::now();
  std::vector<ResolvedName> result;
  for (const std::uint32_t ifindex : learning.lookups().endpoints()) {
    for (auto& row : learning.lookups().rows(ifindex, learning.table())) {
      result.push_back({.endpoint = agent.endpoint_name(ifindex),
                        .name = row.name.text(),
                        .address = row.address,
                        .expires_in = row.expires - now,
                        .selectors = std::move(row.selectors)});
    }
  }
  std::ranges::stable_sort(result, {}, &ResolvedName::endpoint);
  return result;
}

std::vector<std::string> names_of(const agent::Agent& agent,
                                  std::uint32_t ifindex,
                                  const IpAddress& address, std::size_t max) {
  std::vector<std::string> result;
  for (const auto& name :
       agent.learning().lookups().names_of(ifindex, address, max)) {
    result.push_back(name.text());
  }
  return result;
}

std::string owner_or_name(const PolicyInfo& policies, const agent::Agent& agent,
                          std::uint32_t ifindex, const IpAddress& address) {
  auto owner = policies.name_of(address);
  if (!owner.empty()) {
    return owner;
  }
  auto names = names_of(agent, ifindex, address, 1);
  return names.empty() ? std::string() : std::move(names.front());
}

Result<explain::ExplainRequest> with_names(const agent::Agent& agent,
                                           explain::ExplainRequest request) {
  const auto& learning = agent.learning();
  const auto rows =
      learning.lookups().rows(agent.ifindex_of(request.from), learning.table());
  if (const auto name = as_name(request.to)) {
    const agent::Lookups::Row* last = nullptr;
    for (const auto& row : rows) {
      if (row.name == *name &&
          (last == nullptr || row.expires > last->expires)) {
        last = &row;
      }
    }
    if (last == nullptr) {
      return fail("--to: " + request.from + " has not resolved " + request.to +
                  "; `sluice fqdn list` shows what it has");
    }
    request.to = to_string(last->address);
  }
  const auto now = agent::Learning::now();
  for (const auto& row : rows) {
    if (to_string(row.address) == request.to && row.expires >= now) {
      request.to_names.push_back(row.name.text());
    }
  }
  return request;
}

}  // namespace sluice::node
