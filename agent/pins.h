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

// Objects that a load leaves in bpffs for the next one. They are opened by
// path, because opening programs and maps by id needs CAP_SYS_ADMIN.
namespace sluice::agent {

// Files created in bpffs by one load(); removed unless it succeeds.
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

// If the file does not exist, the descriptor is invalid.
Result<Fd> open_pin(const std::filesystem::path& path);
// Returns the folder under `pin_dir` for this version of the maps' layout, and
// creates it if needed. Fails if it is not in a bpffs.
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
// True if both sets have the same code and use the same maps.
Result<bool> same(const ProgramSet& a, const ProgramSet& b);

// If any of them is missing, `configuration` is invalid.
Result<ProgramSet> pinned_programs(const std::filesystem::path& folder);
// Replaces the pinned programs. After an interruption, programs and
// configuration do not match, and same() is false for any set.
Result<void> pin_programs(const ProgramSet& programs,
                          const std::filesystem::path& folder);

}  // namespace sluice::agent
