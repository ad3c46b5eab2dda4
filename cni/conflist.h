// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "cni/input.h"
#include "lib/base/result.h"

// Texts of network configurations, with and without sluice-cni. Pure. What
// others wrote stays as it is, byte for byte.
namespace sluice::cni {

inline constexpr std::string_view kPluginName = "sluice-cni";

struct PluginOptions {
  std::string socket{kDefaultSocket};
  std::chrono::milliseconds timeout = kDefaultTimeout;
  OnTimeout on_timeout = OnTimeout::kFail;
};

// How a runtime reads a file, by its name.
enum class FileKind : unsigned char {
  kNone,    // not at all
  kList,    // a chain of plugins: *.conflist
  kSingle,  // one plugin: *.conf, *.json
};
FileKind kind_of(std::string_view file_name);

// Whether a runtime would load a text: one that it cannot, it passes over.
bool is_loadable(FileKind kind, const std::string& text);

// The list with sluice-cni at its end, or where it stands already. An error if
// the list is of a version that knows no chains or that sluice-cni does not
// know.
Result<std::string> chain(const std::string& list,
                          const PluginOptions& options);
// The list without sluice-cni; the same text if that is not in it.
std::string unchain(const std::string& list);
// A list of the single plugin of `file_name` and sluice-cni.
Result<std::string> wrap(const std::string& single, std::string_view file_name,
                         const PluginOptions& options);
// Of a list that wrap() made: the file that it was made of.
std::optional<std::string> wrapped_file(const std::string& list);

}  // namespace sluice::cni
