// SPDX-License-Identifier: Apache-2.0
#include "cni/conflist.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cni/raw_json.h"

namespace sluice::cni {
namespace {

using nlohmann::json;

constexpr const char* kSource = "source";

bool has_text(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() &&
         !found->get_ref<const std::string&>().empty();
}

json entry(const PluginOptions& options, std::string_view source) {
  json result{{"type", kPluginName},
              {"socket", options.socket},
              {"timeoutSeconds",
               std::chrono::duration<double>(options.timeout).count()},
              {"onTimeout", to_string(options.on_timeout)}};
  if (!source.empty()) {
    result[kSource] = source;
  }
  return result;
}

// The plugins of a list: their positions in its text, and which of them is
// ours.
struct Plugins {
  Extent array;
  std::vector<Extent> elements;
  std::optional<std::size_t> ours;
};

std::optional<Plugins> plugins_of(const std::string& list) {
  if (!is_loadable(FileKind::kList, list)) {
    return std::nullopt;
  }
  const auto array = find_member(list, "plugins");
  if (!array) {
    return std::nullopt;
  }
  Plugins result{
      .array = *array, .elements = find_elements(list, *array), .ours = {}};
  for (std::size_t i = 0; i < result.elements.size(); ++i) {
    auto plugin = json::parse(result.elements[i].of(list), nullptr, false);
    if (plugin["type"] == kPluginName) {
      result.ours = i;
    }
  }
  return result;
}

Result<void> check_version(const json& object) {
  const auto found = object.find("cniVersion");
  const std::string version = found != object.end() && found->is_string()
                                  ? found->get<std::string>()
                                  : std::string{};
  if (!is_supported_version(version)) {
    return fail("cniVersion \"" + version +
                "\": sluice-cni can be chained in versions 0.3.0 to 1.1.0");
  }
  return {};
}

}  // namespace

FileKind kind_of(std::string_view file_name) {
  if (file_name.starts_with('.')) {
    return FileKind::kNone;  // being written
  }
  if (file_name.ends_with(".conflist")) {
    return FileKind::kList;
  }
  return file_name.ends_with(".conf") || file_name.ends_with(".json")
             ? FileKind::kSingle
             : FileKind::kNone;
}

bool is_loadable(FileKind kind, const std::string& text) {
  const auto object = json::parse(text, nullptr, false);
  if (!object.is_object() || !has_text(object, "name")) {
    return false;
  }
  if (kind == FileKind::kSingle) {
    return has_text(object, "type");
  }
  const auto plugins = object.find("plugins");
  if (plugins == object.end() || !plugins->is_array() || plugins->empty()) {
    return false;
  }
  return std::ranges::all_of(*plugins, [](const json& plugin) {
    return plugin.is_object() && has_text(plugin, "type");
  });
}

Result<std::string> chain(const std::string& list,
                          const PluginOptions& options) {
  const auto plugins = plugins_of(list);
  if (!plugins) {
    return fail("is no list of plugins");
  }
  if (auto good = check_version(json::parse(list, nullptr, false)); !good) {
    return std::unexpected(good.error());
  }
  auto result = list;
  if (!plugins->ours) {
    result.insert(plugins->elements.back().end,
                  ",\n    " + entry(options, {}).dump());
    return result;
  }
  const auto place = plugins->elements[*plugins->ours];
  const auto wanted = entry(options, wrapped_file(list).value_or(""));
  if (json::parse(place.of(list), nullptr, false) != wanted) {
    result.replace(place.begin, place.end - place.begin, wanted.dump());
  }
  return result;
}

std::string unchain(const std::string& list) {
  auto result = list;
  // The plugin may be in the list twice.
  for (auto plugins = plugins_of(result); plugins && plugins->ours;
       plugins = plugins_of(result)) {
    const auto index = *plugins->ours;
    const auto& elements = plugins->elements;
    if (elements.size() == 1) {
      break;  // a list must have one
    }
    const std::size_t begin =
        index > 0 ? elements[index - 1].end : elements[0].begin;
    const std::size_t end = index > 0 ? elements[index].end : elements[1].begin;
    result.erase(begin, end - begin);
  }
  return result;
}

Result<std::string> wrap(const std::string& single, std::string_view file_name,
                         const PluginOptions& options) {
  const auto object = json::parse(single, nullptr, false);
  if (!is_loadable(FileKind::kSingle, single)) {
    return fail("is no configuration of a plugin");
  }
  if (auto good = check_version(object); !good) {
    return std::unexpected(good.error());
  }
  constexpr std::string_view kSpace = " \t\r\n";
  const auto begin = single.find_first_not_of(kSpace);
  const auto end = single.find_last_not_of(kSpace) + 1;
  return "{\n  \"cniVersion\": " + object["cniVersion"].dump() +
         ",\n  \"name\": " + object["name"].dump() +
         ",\n  \"plugins\": [\n    " + single.substr(begin, end - begin) +
         ",\n    " + entry(options, file_name).dump() + "\n  ]\n}\n";
}

std::optional<std::string> wrapped_file(const std::string& list) {
  const auto plugins = plugins_of(list);
  if (!plugins || !plugins->ours) {
    return std::nullopt;
  }
  const auto plugin =
      json::parse(plugins->elements[*plugins->ours].of(list), nullptr, false);
  if (!has_text(plugin, kSource)) {
    return std::nullopt;
  }
  return plugin[kSource].get<std::string>();
}

}  // namespace sluice::cni
