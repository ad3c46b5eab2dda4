// SPDX-License-Identifier: Apache-2.0
#include "agent/node/policy_name.h"

namespace sluice::node {

flow::PolicyName policy_name(std::string_view text) {
  flow::PolicyName name;
  const auto kind = text.find('/');
  name.kind = text.substr(0, kind);
  if (kind == std::string_view::npos) {
    return name;
  }
  text.remove_prefix(kind + 1);
  const auto slash = text.find('/');
  if (slash != std::string_view::npos) {
    name.ns = text.substr(0, slash);
    text.remove_prefix(slash + 1);
  }
  name.name = text;
  return name;
}

}  // namespace sluice::node
