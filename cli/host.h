// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"

// What the programs that run on a node, `sluice run` and sluice-agent, need of
// the machine.
namespace sluice::cli {

std::string host_name();

// Addresses of this network namespace's interfaces, without loopback and
// link-local ones; sorted.
Result<std::vector<IpAddress>> local_addresses();

// Makes `pin_dir`, mounting a BPF file system at /sys/fs/bpf if none is there.
// An error if the folder would not be in one.
Result<void> ensure_bpffs(const std::filesystem::path& pin_dir);

// Takes the lock of a folder, or of a file, which is made. An error if another
// process has it; held while the descriptor is open.
Result<Fd> lock_folder(const std::filesystem::path& folder);
Result<Fd> lock_file(const std::filesystem::path& file);

// What keeps a second instance from a socket and from a folder of pins.
struct InstanceLocks {
  Fd socket;
  Fd pins;
};
// Takes both, with ensure_bpffs(). An error if another process has one.
Result<InstanceLocks> lock_instance(const std::filesystem::path& socket,
                                    const std::filesystem::path& pin_dir);
std::filesystem::path lock_path(const std::filesystem::path& socket);

}  // namespace sluice::cli
