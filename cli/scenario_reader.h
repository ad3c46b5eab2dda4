// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include <nlohmann/json_fwd.hpp>

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

// The path itself, or where it is a folder the manifests in it and in its
// subfolders, sorted.
Result<std::vector<std::filesystem::path>> manifest_files(
    const std::filesystem::path& path);

}  // namespace sluice::cli
