// SPDX-License-Identifier: Apache-2.0
#include "agent/program/sibling.h"

#include <cstddef>

namespace sluice::agentd {
namespace {

// Of k8s.io/apimachinery/pkg/util/rand: what generated names end with, and what
// the decimal digits of a template's 32-bit hash are mapped to.
constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
constexpr std::size_t kSuffixLength = 5;
// One hash in 400 has fewer digits. A shorter word may be part of a name.
constexpr std::size_t kHashMin = 8;
constexpr std::size_t kHashMax = 10;

// The text after the last '-', if it is of that alphabet; else empty.
std::string_view last_word(std::string_view text) {
  const auto dash = text.rfind('-');
  if (dash == std::string_view::npos) {
    return {};
  }
  const auto word = text.substr(dash + 1);
  return word.find_first_not_of(kAlphabet) == std::string_view::npos
             ? word
             : std::string_view{};
}

}  // namespace

std::string_view pod_template(std::string_view pod) {
  if (last_word(pod).size() != kSuffixLength) {
    return {};
  }
  const auto rest = pod.substr(0, pod.size() - kSuffixLength - 1);
  const auto hash = last_word(rest).size();
  return hash >= kHashMin && hash <= kHashMax ? rest : std::string_view{};
}

std::optional<EndpointEntry> as_siblings(
    const std::string& pod, const std::vector<IpAddress>& ips,
    const std::vector<EndpointEntry>& endpoints) {
  const auto wanted = pod_template(pod);
  if (wanted.empty()) {
    return std::nullopt;
  }
  std::optional<EndpointEntry> result;
  for (const auto& endpoint : endpoints) {
    if (endpoint.name == pod || pod_template(endpoint.name) != wanted) {
      continue;
    }
    EndpointEntry sibling{.name = pod,
                          .policy_set = endpoint.policy_set,
                          .isolated = endpoint.isolated,
                          .ips = ips,
                          .interface = {},
                          .permits = endpoint.permits};
    if (result && *result != sibling) {
      return std::nullopt;
    }
    result = std::move(sibling);
  }
  return result;
}

}  // namespace sluice::agentd
