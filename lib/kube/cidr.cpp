// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/cidr.h"

#include <string>

#include "lib/kube/field.h"

namespace sluice::kube {

Result<Cidr> parse_cidr(std::string_view text) {
  const std::string_view before = text.substr(0, text.find('/'));
  const auto address = parse_ip(before);
  if (address && before.size() == text.size()) {
    return fail("no prefix length in CIDR " + in_quotes(text) + ", write \"" +
                to_string(*address) + "/" + std::to_string(address->bits()) +
                "\"");
  }
  const auto prefix = parse_prefix(text);
  if (!address || !prefix) {
    return fail("unable to parse CIDR " + in_quotes(text));
  }
  if (!address->v6 && before.find(':') != std::string_view::npos) {
    return fail("unable to parse CIDR " + in_quotes(text) +
                ": write the IPv4 address as such");
  }
  return Cidr{.prefix = *prefix, .address = *address};
}

}  // namespace sluice::kube
