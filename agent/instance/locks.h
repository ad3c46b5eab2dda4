// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "lib/base/fd.h"
#include "lib/base/result.h"

// What keeps a second instance from a socket and from a folder of pins.
namespace sluice::instance {

// Takes the lock of a folder, or of a file, which is made. An error if another
// process has it; held while the descriptor is open.
Result<Fd> lock_folder(const std::filesystem::path& folder);
Result<Fd> lock_file(const std::filesystem::path& file);

struct Locks {
  Fd socket;
  Fd pins;
};
// Takes both. Makes `pin_dir`, mounting a BPF file system at /sys/fs/bpf if
// none is there. An error if the folder would not be in one, or if another
// process has a lock.
Result<Locks> take_locks(const std::filesystem::path& socket,
                         const std::filesystem::path& pin_dir);

}  // namespace sluice::instance
