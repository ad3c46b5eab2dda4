// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <linux/bpf.h>

#include "lib/base/fd.h"
#include "lib/base/result.h"

// What a load leaves in bpffs for the next one. All of it is opened by its
// path: opening programs and maps by their ids takes CAP_SYS_ADMIN.
namespace sluice::agent {

// Files made in bpffs by one load(); taken back unless it succeeds.
class NewPins {
 public:
  NewPins() = default;
  NewPins(const NewPins&) = delete;
  NewPins& operator=(const NewPins&) = delete;
  NewPins(NewPins&&) = delete;
  NewPins& operator=(NewPins&&) = delete;
  ~NewPins();
  Result<void> pin(int fd, const std::filesystem::path& path);
  void keep() { paths_.clear(); }

 private:
  std::vector<std::string> paths_;
};

// Absence is a descriptor that is not valid.
Result<Fd> open_pin(const std::filesystem::path& path);
// The folder under `pin_dir` of this version of the maps' layout. An error if
// it is not in a bpffs.
Result<std::filesystem::path> make_pin_folder(
    const std::filesystem::path& pin_dir);
Result<bpf_map_info> map_info(int fd);

enum ProgramIndex : std::uint8_t {
  kFromPod,
  kToPod,
  kLog,
  kReset,
  kFrom4,
  kFrom6,
  kTo4,
  kTo6,
  kLink
};
inline constexpr int kPinnedPrograms = 9;

// The programs of one load, with their .rodata.
struct ProgramSet {
  std::array<Fd, kPinnedPrograms> programs;
  Fd configuration;
};
// Whether both do the same to the same maps.
Result<bool> same(const ProgramSet& a, const ProgramSet& b);

// If any is missing, `configuration` is not valid.
Result<ProgramSet> pinned_programs(const std::filesystem::path& folder);
// In place of those that are there. If it is interrupted, programs and
// configuration do not belong together, and are not same() as any.
Result<void> pin_programs(const ProgramSet& programs,
                          const std::filesystem::path& folder);

}  // namespace sluice::agent
