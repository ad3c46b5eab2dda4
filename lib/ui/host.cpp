// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/host.h"

#include <algorithm>
#include <cstddef>
#include <optional>

namespace sluice::ui {
namespace {

// Without the port. nullopt if there is something behind it that is none.
std::optional<std::string_view> without_port(std::string_view host) {
  const bool bracket = host.starts_with('[');
  const auto end = bracket ? host.find(']') : host.find(':');
  if (bracket && end == std::string_view::npos) {
    return std::nullopt;
  }
  const auto name = host.substr(bracket ? 1 : 0, end - (bracket ? 1 : 0));
  const auto rest = end == std::string_view::npos
                        ? std::string_view()
                        : host.substr(end + (bracket ? 1 : 0));
  const bool is_port =
      rest.size() > 1 && rest.front() == ':' &&
      rest.find_first_not_of("0123456789", 1) == std::string_view::npos;
  return rest.empty() || is_port ? std::optional(name) : std::nullopt;
}

}  // namespace

bool is_own_host(std::string_view host, const IpAddress& listen) {
  const auto name = without_port(host);
  if (!name) {
    return false;
  }
  constexpr std::string_view kLocalhost = "localhost";
  const bool is_localhost = std::ranges::equal(
      *name, kLocalhost,
      [](char left, char right) { return (left | 0x20) == right; });
  const auto address = parse_ip(*name);
  const bool everywhere = listen.bytes == IpAddress{}.bytes;
  return is_localhost || (address && (everywhere || is_loopback(*address) ||
                                      *address == listen));
}

}  // namespace sluice::ui
