// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "lib/base/fd.h"
#include "lib/base/result.h"

// Locks that keep a second program from a socket and from a folder of pins.
namespace sluice::node {

// Takes the lock of a folder, or of a file, which is created. Fails if another
// process has it. The lock is held while the descriptor is open.
Result<Fd> lock_folder(const std::filesystem::path& folder);
Result<Fd> lock_file(const std::filesystem::path& file);

struct Locks {
  Fd socket;
  Fd pins;
};
// Takes both locks. Creates `pin_dir`, and mounts a BPF file system at
// /sys/fs/bpf if there is none. Fails if the folder would not be in a BPF file
// system, or if another process has a lock.
Result<Locks> take_locks(const std::filesystem::path& socket,
                         const std::filesystem::path& pin_dir);

}  // namespace sluice::node
