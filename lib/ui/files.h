// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

namespace sluice::ui {

// A file of the page, which is in the binary.
struct File {
  std::string_view path;  // "/index.html"
  std::string_view type;  // of its content, for HTTP
  std::string_view body;
};
std::span<const File> files();

}  // namespace sluice::ui
