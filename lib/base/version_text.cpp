// SPDX-License-Identifier: Apache-2.0
#include "lib/base/version_text.h"

#include "lib/base/commit.h"

namespace sluice {

std::string version_text(std::string_view program, std::string_view version) {
  std::string text(program);
  text.append(" ").append(version);
  if (const std::string_view commit = built_commit(); !commit.empty()) {
    text.append(" (").append(commit).append(")");
  }
  return text;
}

}  // namespace sluice
