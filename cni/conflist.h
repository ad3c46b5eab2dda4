// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "cni/input.h"
#include "lib/base/result.h"

// Adds sluice-cni to the text of a network configuration and removes it again.
// Pure: no I/O. Text written by others is kept byte for byte.
namespace sluice::cni {

inline constexpr std::string_view kPluginName = "sluice-cni";

struct PluginOptions {
  std::string socket{kDefaultSocket};
  std::chrono::milliseconds timeout = kDefaultTimeout;
  OnTimeout on_timeout = OnTimeout::kFail;
};

// How a container runtime reads a file, which depends on its name.
enum class FileKind : unsigned char {
  kNone,    // not at all
  kList,    // a chain of plugins: *.conflist
  kSingle,  // one plugin: *.conf, *.json
};
FileKind kind_of(std::string_view file_name);

// True if a runtime would load the text. A runtime skips files that it cannot
// load.
bool is_loadable(FileKind kind, const std::string& text);

// Returns the list with sluice-cni at its end, or at its present position if
// the list already has it. Fails if sluice-cni does not support the list's
// version.
Result<std::string> chain(const std::string& list,
                          const PluginOptions& options);
// Returns the list without sluice-cni; the same text if it does not contain
// sluice-cni.
std::string unchain(const std::string& list);
// Returns a list of two plugins: the single one configured in `file_name`, and
// sluice-cni.
Result<std::string> wrap(const std::string& single, std::string_view file_name,
                         const PluginOptions& options);
// For a list made by wrap(): the file from which it was made.
std::optional<std::string> wrapped_file(const std::string& list);

}  // namespace sluice::cni
