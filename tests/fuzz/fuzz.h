// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

// What the fuzz targets share.
namespace sluice::fuzz {

// Ends the program where a property does not hold, in every kind of build:
// that is how a fuzzer learns of it.
inline void check(bool holds, const char* property) {
  if (!holds) {
    std::fprintf(stderr, "does not hold: %s\n", property);
    std::abort();
  }
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// JSON text that is not nested deeper than manifests may be.
std::optional<nlohmann::json> parse_bounded(std::string_view text);

}  // namespace sluice::fuzz

// The target: one input. Called by libFuzzer or by replay.cpp.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size);
