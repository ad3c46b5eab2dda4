// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

// The files that an instance has beside its socket.
namespace sluice::instance {

std::filesystem::path lock_path(const std::filesystem::path& socket);
// Where the names of what is in force are kept.
std::filesystem::path names_file(const std::filesystem::path& socket);
// Where an agent keeps what its operator said last.
std::filesystem::path journal_file(const std::filesystem::path& socket);

}  // namespace sluice::instance
