// SPDX-License-Identifier: Apache-2.0
#include "lib/base/read_file.h"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

namespace sluice {

Result<std::string> read_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return fail_errno(path.string(), EISDIR);
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    return fail_errno(path.string());
  }
  std::string text(std::istreambuf_iterator<char>(stream), {});
  if (stream.bad()) {
    return fail_errno(path.string());
  }
  return text;
}

Result<std::string> read_file(const std::filesystem::path& path,
                              std::uintmax_t bytes_max) {
  std::error_code code;
  const auto size = std::filesystem::file_size(path, code);
  if (code) {
    return fail_errno(path.string(), code.value());
  }
  if (size > bytes_max) {
    return fail(path.string() + ": larger than " +
                std::to_string(bytes_max >> 20U) + " MiB");
  }
  return read_file(path);
}

}  // namespace sluice
