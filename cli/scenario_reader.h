// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
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

// `line` is where the value begins. An error ends the reading.
using JsonHandler =
    std::function<Result<void>(const nlohmann::json& value, int line)>;

// The values of a file in order; a list in .json is taken apart. Errors of its
// own are "file: what" or "file:line: what".
Result<void> read_json_scenarios(const std::filesystem::path& path,
                                 const JsonHandler& handler);

// One end of a probe: {pod: ns/name}, {ip: address} or {entity: name}.
Result<ProbeEnd> parse_end(const nlohmann::json& probe, const char* key);
// An element of `probes` that is no probe: {dns: ...}, {question: ...} or
// {wait: seconds}; nullopt if it is one.
Result<std::optional<ScenarioStep>> parse_step(const nlohmann::json& element);

// The path itself, or where it is a folder the manifests in it and in its
// subfolders, sorted.
Result<std::vector<std::filesystem::path>> manifest_files(
    const std::filesystem::path& path);

}  // namespace sluice::cli
