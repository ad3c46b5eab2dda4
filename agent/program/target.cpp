// SPDX-License-Identifier: Apache-2.0
#include "agent/program/target.h"

#include <algorithm>
#include <charconv>

#include "lib/base/ip.h"

namespace sluice::agentd {

Result<std::string> operator_target(std::string_view text) {
  const auto wrong = [&](const std::string& why) {
    return fail("--operator: " + std::string(text) + ": " + why);
  };
  if (text.find("$(") != std::string_view::npos) {
    return wrong(
        "a variable that is not set; Kubernetes sets it for pods that start "
        "after the operator's Service was created, in the same namespace");
  }
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    return wrong("must be HOST:PORT");
  }
  const auto port = text.substr(colon + 1);
  unsigned number = 0;
  const auto [end, error] =
      std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number == 0 ||
      number > 65535) {
    return wrong("the port must be a number from 1 to 65535");
  }
  auto host = text.substr(0, colon);
  const bool bracketed = host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  if (host.find(':') == std::string_view::npos && !bracketed) {
    return std::string(text);
  }
  const auto address = parse_ip(host);
  if (!address || !address->v6) {
    return wrong(std::string(host) + " is no IPv6 address");
  }
  return "[" + std::string(host) + "]:" + std::string(port);
}

}  // namespace sluice::agentd
