// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/view_text.h"

#include <exception>
#include <string>
#include <utility>

#include "lib/explain/view_json.h"

namespace sluice::explain {

namespace {

// Names come from objects and may hold any bytes.
std::string dump(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string to_json_text(const ExplainView& view) {
  return dump(view);
}

std::string to_json_text(const std::vector<ExplainView>& views) {
  return dump({{"answers", views}});
}

Result<std::vector<ExplainView>> views_from_json_text(std::string_view text) {
  try {
    const auto parsed = nlohmann::json::parse(text, nullptr, false);
    if (parsed.is_object() && parsed.contains("answers")) {
      return parsed["answers"].get<std::vector<ExplainView>>();
    }
  } catch (const std::exception& error) {
    return fail("not explanations: " + std::string(error.what()));
  }
  auto view = from_json_text(text);
  if (!view) {
    return std::unexpected(view.error());
  }
  return std::vector{std::move(*view)};
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
