// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <sys/un.h>

#include "lib/base/result.h"

// The socket of an instance, and the files that it has beside it.
namespace sluice::instance {

// An error if the path is too long for a socket's, or empty.
Result<sockaddr_un> socket_address(const std::filesystem::path& path);
std::filesystem::path lock_path(const std::filesystem::path& socket);
// Where the names of what is in force are kept.
std::filesystem::path names_file(const std::filesystem::path& socket);
// Where an agent keeps what its operator said last.
std::filesystem::path journal_file(const std::filesystem::path& socket);
// Where an agent keeps what the CNI plugin said of pods' interfaces.
std::filesystem::path pods_file(const std::filesystem::path& socket);

}  // namespace sluice::instance
