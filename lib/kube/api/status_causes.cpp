// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/status_causes.h"

#include <nlohmann/json.hpp>

#include "lib/kube/api/json_fields.h"

namespace sluice::kube {

using nlohmann::json;

std::vector<std::string> causes_of(const json& status) {
  static const json::json_pointer place("/details/causes");
  std::vector<std::string> result;
  if (!status.is_object() || !status.contains(place)) {
    return result;
  }
  for (const auto& cause : status[place]) {
    if (cause.is_object()) {
      result.push_back(text_of(cause, "reason"));
    }
  }
  return result;
}

}  // namespace sluice::kube
