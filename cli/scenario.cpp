// SPDX-License-Identifier: Apache-2.0
#include "cli/scenario.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "cli/scenario_reader.h"
#include "lib/kube/manifest.h"

namespace sluice::cli {
namespace {

using nlohmann::json;
// Fields that carry information for people or for other tools. Everything else
// that is not known is an error: a misspelt `ingress` would test nothing.
// The `stage` of invalid objects that Sluice may accept.
constexpr std::string_view kMayPass = "preflight-only";
constexpr std::array kScenarioFields{
    std::string_view("name"),      std::string_view("source"),
    std::string_view("features"),  std::string_view("note"),
    std::string_view("objects"),   std::string_view("invalid"),
    std::string_view("enforced"),  std::string_view("probes"),
    std::string_view("manifests"),
};

}  // namespace

Result<void> only_known(const json& object,
                        std::span<const std::string_view> known) {
  for (const auto& item : object.items()) {
    if (std::ranges::find(known, item.key()) == known.end()) {
      return fail(item.key() + ": unknown field");
    }
  }
  return {};
}

// The member, or null where it is absent or null.
const json* member(const json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<std::string> text_of(const json& object, const char* key) {
  const json* value = member(object, key);
  if (value == nullptr) {
    return std::string();
  }
  if (!value->is_string()) {
    return fail(std::string(key) + ": not a string");
  }
  return value->get<std::string>();
}

Result<std::vector<std::string>> texts_of(const json& object, const char* key) {
  std::vector<std::string> result;
  const json* value = member(object, key);
  if (value == nullptr) {
    return result;
  }
  if (!value->is_array()) {
    return fail(std::string(key) + ": not a list");
  }
  for (const auto& element : *value) {
    if (!element.is_string()) {
      return fail(std::string(key) + ": not a list of strings");
    }
    result.push_back(element.get<std::string>());
  }
  return result;
}

namespace {

std::string at(const char* list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

// The list `key` of the scenario; empty where it is absent and may be.
Result<const json*> list_of(const json& scenario, const char* key,
                            bool required) {
  static const json empty = json::array();
  const json* value = member(scenario, key);
  if (value == nullptr) {
    return required ? Result<const json*>(fail(std::string(key) + ": missing"))
                    : &empty;
  }
  if (!value->is_array()) {
    return fail(std::string(key) + ": not a list");
  }
  return value;
}

Result<void> parse_texts(const json& from, Scenario& scenario) {
  struct Field {
    const char* key;
    std::string* target;
  };
  for (const Field& field :
       {Field{"name", &scenario.name}, Field{"source", &scenario.source},
        Field{"note", &scenario.note}}) {
    auto text = text_of(from, field.key);
    if (!text) {
      return std::unexpected(text.error());
    }
    *field.target = std::move(*text);
  }
  auto features = texts_of(from, "features");
  if (!features) {
    return std::unexpected(features.error());
  }
  scenario.features = std::move(*features);
  if (scenario.name.empty()) {
    scenario.name = "line " + std::to_string(scenario.line);
  }
  return {};
}

// `items` of a List, and of what kubectl calls PodList and the like, are
// objects as well.
Result<void> parse_object_list(const json& list, const std::string& name,
                               Scenario& scenario) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const json& object = list[i];
    const auto place = at(name.c_str(), i);
    if (!object.is_object()) {
      return fail(place + ": not an object");
    }
    for (const char* key : {"apiVersion", "kind"}) {
      const json* text = member(object, key);
      if (text == nullptr || !text->is_string()) {
        return fail(place + "." + key + ": missing");
      }
    }
    const json* items = member(object, "items");
    if (object["kind"].get_ref<const std::string&>().ends_with("List") &&
        items != nullptr && items->is_array()) {
      if (auto parsed = parse_object_list(*items, place + ".items", scenario);
          !parsed) {
        return parsed;
      }
      continue;
    }
    scenario.objects.push_back(
        {std::make_shared<const json>(object), scenario.line});
  }
  return {};
}

Result<void> parse_objects(const json& from, Scenario& scenario) {
  const bool required = member(from, "manifests") == nullptr;
  const auto objects = list_of(from, "objects", required);
  if (!objects) {
    return std::unexpected(objects.error());
  }
  return parse_object_list(**objects, "objects", scenario);
}

// Files of manifests, and folders of them; relative to the scenario's file.
Result<void> read_manifests(const json& from, Scenario& scenario) {
  const auto paths = texts_of(from, "manifests");
  if (!paths) {
    return std::unexpected(paths.error());
  }
  const auto folder = std::filesystem::path(scenario.file).parent_path();
  for (const auto& path : *paths) {
    const auto files = manifest_files(folder / path);
    if (!files) {
      return with_context("manifests", files.error());
    }
    for (const auto& file : *files) {
      auto manifest = kube::read_manifest(file);
      if (!manifest || !manifest->errors.empty()) {
        return with_context("manifests", manifest ? manifest->errors.front()
                                                  : manifest.error());
      }
      for (auto& object : manifest->objects) {
        scenario.objects.push_back({std::move(object.object), scenario.line});
      }
    }
  }
  return {};
}

Result<void> parse_invalid(const json& from, Scenario& scenario) {
  const auto invalid = list_of(from, "invalid", false);
  if (!invalid) {
    return std::unexpected(invalid.error());
  }
  for (std::size_t i = 0; i < (*invalid)->size(); ++i) {
    const json& element = (**invalid)[i];
    if (!element.is_object() || member(element, "object") == nullptr) {
      return fail(at("invalid", i) + ".object: missing");
    }
    auto object = text_of(element, "object");
    auto stage = text_of(element, "stage");
    if (!object || !stage) {
      return with_context(at("invalid", i),
                          object ? stage.error() : object.error());
    }
    if (object->starts_with('/')) {  // cluster-wide: no namespace
      object->erase(0, 1);
    }
    scenario.invalid.push_back(
        {.object = std::move(*object), .may_pass = *stage == kMayPass});
  }
  return {};
}

// Where a probe begins that is called by its place in the list.
int line_of(const std::vector<int>& lines, std::size_t i, int otherwise) {
  return i < lines.size() ? lines[i] : otherwise;
}

void set_line(decltype(ScenarioStep::what)& step, int line) {
  std::visit(
      [line](auto& what) {
        if constexpr (requires { what.asked; }) {
          what.asked.probe.line = line;
        }
      },
      step);
}

// An error is where the probe is.
Result<void> parse_probes(const json& from, const std::vector<int>& lines,
                          Scenario& scenario) {
  const auto probes = list_of(from, "probes", true);
  if (!probes) {
    return std::unexpected(probes.error());
  }
  for (std::size_t i = 0; i < (*probes)->size(); ++i) {
    const int line = line_of(lines, i, scenario.line);
    auto step = parse_step((**probes)[i]);
    if (!step) {
      scenario.line = line;
      return with_context(at("probes", i), step.error());
    }
    if (*step) {
      (*step)->probe = scenario.probes.size();
      set_line((*step)->what, line);
      scenario.steps.push_back(std::move(**step));
      continue;
    }
    auto probe = parse_probe((**probes)[i]);
    if (!probe) {
      scenario.line = line;
      // "probes[3].port: missing"
      return fail(at("probes", i) + "." + probe.error().message);
    }
    probe->line = line;
    scenario.probes.push_back(std::move(*probe));
  }
  return {};
}

Result<void> parse_all(const json& from, const std::vector<int>& probe_lines,
                       Scenario& scenario) {
  if (!from.is_object()) {
    return fail("a scenario is an object with objects and probes");
  }
  if (auto known = only_known(from, kScenarioFields); !known) {
    return known;
  }
  for (auto* const part :
       {parse_texts, parse_objects, read_manifests, parse_invalid}) {
    if (auto parsed = part(from, scenario); !parsed) {
      return parsed;
    }
  }
  return parse_probes(from, probe_lines, scenario);
}

}  // namespace

Result<Scenario> parse_scenario(const json& json_scenario,
                                const std::string& file, int line,
                                const std::vector<int>& probe_lines) {
  Scenario scenario;
  scenario.file = file;
  scenario.line = line;
  if (auto parsed = parse_all(json_scenario, probe_lines, scenario); !parsed) {
    return with_context(file + ":" + std::to_string(scenario.line),
                        parsed.error());
  }
  return scenario;
}

bool is_scenario_file(const std::filesystem::path& path) {
  return scenario_format(path) != ScenarioFormat::kUnknown;
}

Result<void> read_scenarios(const std::filesystem::path& path,
                            const ScenarioHandler& handler) {
  bool some = false;
  const auto read =
      read_json_scenarios(path, [&](const JsonScenario& one) -> Result<void> {
        some = true;
        const auto scenario = parse_scenario(
            *one.value, scenario_file_name(path), one.line, one.probe_lines);
        return scenario ? handler(*scenario)
                        : std::unexpected(scenario.error());
      });
  // Must not look like tests that pass.
  return !read || some ? read
                       : fail(scenario_file_name(path) + ": holds no scenario");
}

}  // namespace sluice::cli
