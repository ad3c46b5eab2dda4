// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/kube/manifest.h"

// For compare_test.py: reads texts from standard input, each behind its length
// in four bytes, and prints a line of JSON for each.
namespace {

using nlohmann::json;
using sluice::Error;

json texts(const std::vector<Error>& errors) {
  json result = json::array();
  for (const Error& error : errors) {
    result.push_back(error.message);
  }
  return result;
}

}  // namespace

int main() {
  std::uint32_t size = 0;
  // NOLINTNEXTLINE(*-reinterpret-cast): bytes of a number
  while (std::cin.read(reinterpret_cast<char*>(&size), sizeof size)) {
    std::string text(size, '\0');
    std::cin.read(text.data(), size);
    const auto manifest = sluice::kube::parse_manifest(text, "f");
    json objects = json::array();
    for (const auto& object : manifest.objects) {
      objects.push_back(*object.object);
    }
    const json line{{"objects", objects},
                    {"errors", texts(manifest.errors)},
                    {"notes", texts(manifest.notes)}};
    std::puts(
        line.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
  }
}
