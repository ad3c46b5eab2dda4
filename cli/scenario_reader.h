// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "cli/scenario.h"
#include "lib/base/result.h"

// Internal to the scenario reader: files to JSON values.
namespace sluice::cli {

enum class ScenarioFormat : std::uint8_t {
  kUnknown,
  kJsonLines,  // with or without gzip
  kJson,
  kYaml,
};
ScenarioFormat scenario_format(const std::filesystem::path& path);
// What messages call the file: the path, or "stdin".
std::string scenario_file_name(const std::filesystem::path& path);

// A scenario and where it begins.
struct JsonScenario {
  const nlohmann::json* value = nullptr;  // not null
  int line = 0;
  // Where each of its probes begins; empty where a scenario is one line.
  std::vector<int> probe_lines = {};  // NOLINT(readability-redundant*)
};
// An error ends the reading.
using JsonHandler = std::function<Result<void>(const JsonScenario& scenario)>;

// The values of a file in order; a list in .json is taken apart. Errors of its
// own are "file: what" or "file:line: what".
Result<void> read_json_scenarios(const std::filesystem::path& path,
                                 const JsonHandler& handler);

// Fails at a member that is not among the known ones: a misspelt one would test
// nothing.
Result<void> only_known(const nlohmann::json& object,
                        std::span<const std::string_view> known);
// The member, or null where it is absent or null.
const nlohmann::json* member(const nlohmann::json& object, const char* key);
// The text of a member; empty where it is absent or null.
Result<std::string> text_of(const nlohmann::json& object, const char* key);
// The texts of a list, likewise.
Result<std::vector<std::string>> texts_of(const nlohmann::json& object,
                                          const char* key);

// A probe; its line is not set.
Result<Probe> parse_probe(const nlohmann::json& probe);
// One end of a probe: {pod: ns/name}, {service: ns/name}, {ip: address} or
// {entity: name}.
Result<ProbeEnd> parse_end(const nlohmann::json& probe, const char* key);
// An element of `probes` that is no probe: {dns: ...}, {question: ...} or
// {wait: seconds}; nullopt if it is one.
Result<std::optional<ScenarioStep>> parse_step(const nlohmann::json& element);

// The path itself, or where it is a folder the manifests in it and in its
// subfolders, sorted.
Result<std::vector<std::filesystem::path>> manifest_files(
    const std::filesystem::path& path);

}  // namespace sluice::cli
