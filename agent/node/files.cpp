// SPDX-License-Identifier: Apache-2.0
#include "agent/node/files.h"

#include <cstring>

#include <sys/socket.h>

namespace sluice::node {

Result<sockaddr_un> socket_address(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto text = path.string();
  if (text.empty() || text.size() >= sizeof(address.sun_path)) {
    return fail(text + ": a socket's path has 1 to 107 bytes");
  }
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

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

std::filesystem::path pods_file(const std::filesystem::path& socket) {
  auto file = socket;
  return file.replace_extension(".pods.json");
}

}  // namespace sluice::node
