// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/view_text.h"

#include <exception>
#include <string>

#include "lib/explain/view_json.h"

namespace sluice::explain {

std::string to_json_text(const ExplainView& view) {
  // Names come from objects and may hold any bytes.
  return nlohmann::json(view).dump(-1, ' ', false,
                                   nlohmann::json::error_handler_t::replace);
}

Result<ExplainView> from_json_text(std::string_view text) {
  try {
    const auto parsed = nlohmann::json::parse(text, nullptr, false);
    if (parsed.is_object() && parsed.contains("sides")) {
      return parsed.get<ExplainView>();
    }
    return fail("not an explanation");
  } catch (const std::exception& error) {
    return fail("not an explanation: " + std::string(error.what()));
  }
}

}  // namespace sluice::explain
