// SPDX-License-Identifier: Apache-2.0
#include "agent/instance/files.h"

namespace sluice::instance {

std::filesystem::path lock_path(const std::filesystem::path& socket) {
  auto file = socket;
  return file.replace_extension(".lock");
}

std::filesystem::path names_file(const std::filesystem::path& socket) {
  auto file = socket;
  return file.replace_extension(".names.json");
}

std::filesystem::path journal_file(const std::filesystem::path& socket) {
  auto file = socket;
  return file.replace_extension(".journal");
}

}  // namespace sluice::instance
