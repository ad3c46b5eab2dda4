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

Result<ExplainView> view_of(const nlohmann::json& json) {
  try {
    if (json.is_object() && json.contains("sides")) {
      return json.get<ExplainView>();
    }
    return fail("not an explanation");
  } catch (const std::exception& error) {
    return fail("not an explanation: " + std::string(error.what()));
  }
}

}  // namespace

std::string to_json_text(const ExplainView& view) {
  return dump(view);
}

std::string to_json_text(const std::vector<ExplainView>& views) {
  return dump({{"answers", views}});
}

Result<ExplainView> from_json_text(std::string_view text) {
  return view_of(nlohmann::json::parse(text, nullptr, false));
}

Result<std::vector<ExplainView>> views_from_json(const nlohmann::json& json) {
  if (!json.is_object() || !json.contains("answers")) {
    auto view = view_of(json);
    if (!view) {
      return std::unexpected(view.error());
    }
    return std::vector{std::move(*view)};
  }
  try {
    return json["answers"].get<std::vector<ExplainView>>();
  } catch (const std::exception& error) {
    return fail("not explanations: " + std::string(error.what()));
  }
}

Result<std::vector<ExplainView>> views_from_json_text(std::string_view text) {
  return views_from_json(nlohmann::json::parse(text, nullptr, false));
}

}  // namespace sluice::explain
