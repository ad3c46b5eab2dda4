// SPDX-License-Identifier: Apache-2.0
#include "agent/node/cleanup.h"

#include <system_error>
#include <utility>

#include "agent/agent.h"
#include "agent/node/files.h"
#include "agent/node/locks.h"

namespace sluice::node {

Result<void> clean_up(const std::filesystem::path& pin_dir,
                      const std::filesystem::path& socket) {
  std::error_code ignored;
  Locks locks;
  const auto lock = lock_path(socket);
  if (std::filesystem::exists(pin_dir, ignored)) {
    auto locked = lock_folder(pin_dir);
    if (!locked) {
      return std::unexpected(locked.error());
    }
    locks.pins = std::move(*locked);
  }
  if (std::filesystem::exists(lock, ignored)) {
    auto locked = lock_file(lock);
    if (!locked) {
      return std::unexpected(locked.error());
    }
    locks.socket = std::move(*locked);
  }
  if (auto done = agent::cleanup(pin_dir); !done) {
    return done;
  }
  for (const auto& file : {socket, names_file(socket), journal_file(socket),
                           pods_file(socket), lock}) {
    std::filesystem::remove(file, ignored);
  }
  // This removes the folder only if it is empty; other programs may use it.
  std::filesystem::remove(pin_dir, ignored);
  return {};
}

}  // namespace sluice::node
