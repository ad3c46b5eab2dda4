// SPDX-License-Identifier: Apache-2.0
#include "agent/pins.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <linux/magic.h>
#include <bpf/bpf.h>

#include <sys/vfs.h>
#include <unistd.h>

#include "sluice/abi.h"

namespace sluice::agent {
namespace {

constexpr std::array<const char*, kPinnedPrograms> kPins = {
    "from_pod", "to_pod", "log",  "reset", "from_4",
    "from_6",   "to_4",   "to_6", "link"};
constexpr const char* kConfigurationPin = "configuration";

// A program's maps except its configuration, and whether it has one.
struct ProgramFacts {
  std::array<std::uint8_t, BPF_TAG_SIZE> tag{};
  std::vector<std::uint32_t> shared_maps;  // ids, sorted
  bool configured = false;

  bool operator==(const ProgramFacts&) const = default;
};

Result<std::vector<std::uint32_t>> map_ids(int program, bpf_prog_info& info) {
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) {
    return fail_errno("reading a program's description");
  }
  std::vector<std::uint32_t> ids(info.nr_map_ids);
  bpf_prog_info again{};
  again.nr_map_ids = info.nr_map_ids;
  again.map_ids = reinterpret_cast<std::uintptr_t>(ids.data());
  size = sizeof(again);
  if (bpf_obj_get_info_by_fd(program, &again, &size) != 0) {
    return fail_errno("reading a program's maps");
  }
  return ids;
}

Result<ProgramFacts> facts_of(int program, std::uint32_t configuration) {
  bpf_prog_info info{};
  auto ids = map_ids(program, info);
  if (!ids) {
    return std::unexpected(ids.error());
  }
  ProgramFacts facts;
  std::ranges::copy(info.tag, facts.tag.begin());
  facts.configured = std::erase(*ids, configuration) > 0;
  facts.shared_maps = std::move(*ids);
  std::ranges::sort(facts.shared_maps);
  return facts;
}

// The programs' .rodata.
struct Configuration {
  std::uint32_t map = 0;  // id
  std::vector<std::uint8_t> bytes;
};

Result<Configuration> read_configuration(int map) {
  const auto info = map_info(map);
  if (!info) {
    return std::unexpected(info.error());
  }
  Configuration result{.map = info->id, .bytes = {}};
  result.bytes.resize(info->value_size);
  const std::uint32_t zero = 0;
  if (bpf_map_lookup_elem(map, &zero, result.bytes.data()) != 0) {
    return fail_errno("reading the programs' configuration");
  }
  return result;
}

// A pin cannot be overwritten, so a new one is created beside it and renamed.
Result<void> replace_pin(int fd, const std::filesystem::path& path) {
  const std::filesystem::path next = path.string() + "_next";
  ::unlink(next.c_str());
  if (bpf_obj_pin(fd, next.c_str()) != 0) {
    return fail_errno("pinning " + next.string());
  }
  if (::rename(next.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(next.c_str());
    return fail_errno("renaming " + next.string(), code);
  }
  return {};
}

}  // namespace

NewPins::~NewPins() {
  for (const std::string& path : paths_) {
    ::unlink(path.c_str());
  }
}

Result<void> NewPins::pin(int fd, const std::filesystem::path& path) {
  if (bpf_obj_pin(fd, path.c_str()) != 0) {
    return fail_errno("pinning " + path.string());
  }
  paths_.push_back(path.string());
  return {};
}

Result<Fd> open_pin(const std::filesystem::path& path) {
  Fd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid() && errno != ENOENT) {
    return fail_errno("opening " + path.string());
  }
  return fd;
}

Result<std::filesystem::path> make_pin_folder(
    const std::filesystem::path& pin_dir) {
  std::filesystem::path folder = pin_dir / SLUICE_ABI_VERSION_DIR;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return fail_errno("making " + folder.string(), error.value());
  }
  struct statfs info{};
  if (statfs(folder.c_str(), &info) != 0) {
    return fail_errno(folder.string());
  }
  if (static_cast<std::uint64_t>(info.f_type) != BPF_FS_MAGIC) {
    return fail(pin_dir.string() + ": not in a BPF file system (bpffs)");
  }
  return folder;
}

Result<bpf_map_info> map_info(int fd) {
  bpf_map_info info{};
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return fail_errno("reading a map's description");
  }
  return info;
}

Result<bool> same(const ProgramSet& a, const ProgramSet& b) {
  const auto first = read_configuration(a.configuration.get());
  const auto second = read_configuration(b.configuration.get());
  if (!first || !second) {
    return std::unexpected(first ? second.error() : first.error());
  }
  if (first->bytes != second->bytes) {
    return false;
  }
  for (std::size_t i = 0; i < kPinnedPrograms; ++i) {
    const auto one = facts_of(a.programs[i].get(), first->map);
    const auto other = facts_of(b.programs[i].get(), second->map);
    if (!one || !other) {
      return std::unexpected(one ? other.error() : one.error());
    }
    if (*one != *other) {
      return false;
    }
  }
  return true;
}

Result<ProgramSet> pinned_programs(const std::filesystem::path& folder) {
  ProgramSet pinned;
  for (int i = 0; i < kPinnedPrograms; ++i) {
    auto program = open_pin(folder / kPins[i]);
    if (!program || !program->valid()) {
      return program ? ProgramSet{}
                     : Result<ProgramSet>(std::unexpected(program.error()));
    }
    pinned.programs[i] = std::move(*program);
  }
  auto configuration = open_pin(folder / kConfigurationPin);
  if (!configuration) {
    return std::unexpected(configuration.error());
  }
  pinned.configuration = std::move(*configuration);
  return pinned;
}

Result<void> pin_programs(const ProgramSet& programs,
                          const std::filesystem::path& folder) {
  for (int i = 0; i < kPinnedPrograms; ++i) {
    if (auto done = replace_pin(programs.programs[i].get(), folder / kPins[i]);
        !done) {
      return done;
    }
  }
  return replace_pin(programs.configuration.get(), folder / kConfigurationPin);
}

}  // namespace sluice::agent
