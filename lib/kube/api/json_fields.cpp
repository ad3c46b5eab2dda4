// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/json_fields.h"

#include <nlohmann/json.hpp>

namespace sluice::kube {

std::string text_of(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string();
}

}  // namespace sluice::kube
