// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <sys/un.h>

#include "lib/base/result.h"

// The socket of a running program, and the files beside it.
namespace sluice::node {

// An error if the path is too long for a socket's, or empty.
Result<sockaddr_un> socket_address(const std::filesystem::path& path);
std::filesystem::path lock_path(const std::filesystem::path& socket);
// The file with the names of what is in force.
std::filesystem::path names_file(const std::filesystem::path& socket);
// The journal of the operator's latest state; see lib/wire/journal.h.
std::filesystem::path journal_file(const std::filesystem::path& socket);
// The file with the CNI plugin's announcements.
std::filesystem::path pods_file(const std::filesystem::path& socket);

}  // namespace sluice::node
