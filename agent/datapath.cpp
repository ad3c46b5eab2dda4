// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <linux/bpf.h>
#include <linux/magic.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <sys/random.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/kernel_clock.h"
#include "agent/kernel_layout.h"
#include "agent/libbpf_log.h"
#include "agent/mapping.h"
#include "agent/pins.h"
#include "lib/base/fd.h"
#include "pod.skel.h"

namespace sluice::agent {
namespace {

// True if a map may have been refused because this kernel charges it to
// RLIMIT_MEMLOCK, which could not be raised.
bool maps_may_be_locked_out() {
  utsname system{};
  int major = 0;
  int minor = 0;
  rlimit limit{};
  return ::uname(&system) == 0 &&
         std::sscanf(system.release, "%d.%d", &major, &minor) == 2 &&
         std::pair(major, minor) < std::pair(5, 11) &&
         ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
         limit.rlim_cur != RLIM_INFINITY;
}

// ---- maps ----

std::string layout(std::uint32_t type, std::uint32_t key, std::uint32_t value,
                   std::uint32_t flags) {
  return "type " + std::to_string(type) + ", key " + std::to_string(key) +
         " bytes, value " + std::to_string(value) + " bytes, flags " +
         std::to_string(flags);
}

Result<void> check_layout(const bpf_map* map, const bpf_map_info& pinned,
                          const std::filesystem::path& path) {
  const std::string wanted =
      layout(bpf_map__type(map), bpf_map__key_size(map),
             bpf_map__value_size(map), bpf_map__map_flags(map));
  const std::string found =
      layout(pinned.type, pinned.key_size, pinned.value_size, pinned.map_flags);
  if (wanted != found) {
    return fail(path.string() + ": the pinned map has another layout (" +
                found + ") than this version needs (" + wanted + ")");
  }
  return {};
}

struct SkeletonDeleter {
  void operator()(pod_bpf* skeleton) const { pod_bpf::destroy(skeleton); }
};

}  // namespace

// ---- loading ----

struct Datapath::Impl {
  // Owns the maps' descriptors and the programs that this load made.
  std::unique_ptr<pod_bpf, SkeletonDeleter> skeleton;
  std::array<int, kMapCount> map_fds{};
  std::array<std::uint32_t, kMapCount> capacities{};
  // Owns the programs for names, once they are loaded.
  std::unique_ptr<pod_bpf, SkeletonDeleter> names;
  // The programs in use: pinned ones that were kept, or those of this load.
  ProgramSet programs;
  bool kept = false;  // they are pinned already
  Mapping<sluice_state> state;
  Mapping<sluice_endpoint> endpoints;
  Mapping<sluice_flow_slot> flow_cache;
  Mapping<sluice_flow_hints> flow_hints;

  // The steps of load(), in order.
  Result<void> open(const DatapathOptions& options);
  [[nodiscard]] Result<void> reuse_maps(
      const std::filesystem::path& folder) const;
  Result<void> load_object();
  Result<void> pin_maps(const std::filesystem::path& folder, NewPins& pins);
  Result<void> choose_programs(const std::filesystem::path& folder);
  Result<void> fill_jumps();
  Result<void> load_names();
  [[nodiscard]] Result<ProgramSet> fresh_programs() const;

  [[nodiscard]] bpf_map* map(Map which) const {
    return bpf_object__find_map_by_name(skeleton->obj,
                                        std::string(map_name(which)).c_str());
  }
};

namespace {

// By map: the option that has its size; null if the size is fixed.
constexpr auto kSizeOptions = std::to_array<std::uint32_t DatapathOptions::*>({
#define SLUICE_SIZE_fixed(number) nullptr
#define SLUICE_SIZE_option(member) &DatapathOptions::member
#define SLUICE_X(id, name, type, flags, size, ...) SLUICE_SIZE_##size,
#define SLUICE_RING(id, name, size) SLUICE_SIZE_##size,
#define SLUICE_PERF(id, name) nullptr,
#define SLUICE_OUTER(id, name, size, ...) SLUICE_SIZE_##size,
    SLUICE_MAPS(SLUICE_X, SLUICE_RING, SLUICE_PERF, SLUICE_OUTER)
#undef SLUICE_OUTER
#undef SLUICE_PERF
#undef SLUICE_RING
#undef SLUICE_X
#undef SLUICE_SIZE_option
#undef SLUICE_SIZE_fixed
});

// Number of elements that must stay free so that existing ones can be replaced.
std::uint32_t reserve(Map map) {
  return describe(map).type == BPF_MAP_TYPE_LPM_TRIE ? 1 : 0;
}

// The programs for names, and the slots of `jumps` by which the others reach
// them.
struct NamesProgram {
  bpf_program* program = nullptr;
  std::optional<std::uint32_t> slot;
};
std::array<NamesProgram, 7> names_programs(const pod_bpf& skeleton) {
  const auto& programs = skeleton.progs;
  return {
      {{programs.sluice_dns_answer, SLUICE_JUMP_DNS_ANSWER},
       {programs.sluice_dns_question, SLUICE_JUMP_DNS_QUESTION},
       {programs.sluice_names_from_4, SLUICE_JUMP_NAMES(SLUICE_EGRESS, false)},
       {programs.sluice_names_from_6, SLUICE_JUMP_NAMES(SLUICE_EGRESS, true)},
       {programs.sluice_names_to_4, SLUICE_JUMP_NAMES(SLUICE_INGRESS, false)},
       {programs.sluice_names_to_6, SLUICE_JUMP_NAMES(SLUICE_INGRESS, true)},
       {programs.sluice_resend, std::nullopt}}};
}

// libbpf frees what a skeleton allocates; the analyzer does not see that, and
// takes the generated code for a leak.
#ifdef __clang_analyzer__
pod_bpf* open_skeleton();
#else
pod_bpf* open_skeleton() {
  return pod_bpf::open();
}
#endif

}  // namespace

Result<void> Datapath::Impl::open(const DatapathOptions& options) {
  skeleton.reset(open_skeleton());
  if (!skeleton) {
    return fail_errno("opening the BPF object");
  }
  // A map that the programs declare beside the table would not be pinned.
  const bpf_map* declared = nullptr;
  bpf_object__for_each_map(declared, skeleton->obj) {
    const std::string_view name = bpf_map__name(declared);
    if (!bpf_map__is_internal(declared) &&
        std::ranges::find(kMapTable, name, &MapDescription::name) ==
            kMapTable.end()) {
      return fail("map " + std::string(name) +
                  " of the BPF object is not in sluice/maps.h");
    }
  }
  for (const auto& names_program : names_programs(*skeleton)) {
    bpf_program__set_autoload(names_program.program, false);
  }
  for (const Map which : all_maps()) {
    const auto option = kSizeOptions[index_of(which)];
    if (option != nullptr &&
        bpf_map__set_max_entries(map(which),
                                 options.*option + reserve(which)) != 0) {
      return fail_errno("setting the size of map " +
                        std::string(map_name(which)));
    }
  }
  const auto clock = KernelClock::open();
  const auto hz = clock ? clock->measure_hz()
                        : Result<std::uint32_t>(std::unexpected(clock.error()));
  if (!hz) {
    return std::unexpected(hz.error());
  }
  skeleton->rodata->sluice_hz = *hz;
  if (const auto layout = find_conntrack_layout()) {
    skeleton->rodata->sluice_nfct_offset = layout->nfct;
    skeleton->rodata->sluice_tuple_offset = layout->tuple;
  }
  return {};
}

Result<void> Datapath::Impl::reuse_maps(
    const std::filesystem::path& folder) const {
  for (const Map which : all_maps()) {
    const std::filesystem::path path = folder / map_name(which);
    const auto pinned = open_pin(path);
    if (!pinned) {
      return std::unexpected(pinned.error());
    }
    if (!pinned->valid()) {
      continue;
    }
    const auto info = map_info(pinned->get());
    if (!info) {
      return with_context(path.string(), info.error());
    }
    if (auto checked = check_layout(map(which), *info, path); !checked) {
      return checked;
    }
    if (bpf_map__reuse_fd(map(which), pinned->get()) != 0) {
      return fail_errno("using " + path.string());
    }
  }
  return {};
}

Result<void> Datapath::Impl::load_object() {
  // If the kernel charges maps to RLIMIT_MEMLOCK (before 5.11), libbpf raises
  // the limit if it is permitted to; newer kernels do not need this.
  if (pod_bpf::load(skeleton.get()) != 0) {
    return fail_errno(
        errno == EPERM && maps_may_be_locked_out()
            ? "loading the BPF object: a kernel before 5.11 needs "
              "CAP_SYS_RESOURCE or a higher RLIMIT_MEMLOCK"
            : "loading the BPF object");
  }
  for (const Map which : all_maps()) {
    map_fds[index_of(which)] = bpf_map__fd(map(which));
    capacities[index_of(which)] =
        bpf_map__max_entries(map(which)) - reserve(which);
  }
  if (auto mapped = state.map(map_fds[index_of(Map::kState)], 1, "state");
      !mapped) {
    return mapped;
  }
  const auto set_random = [](auto& value, __u64 mask = ~0ULL) -> Result<void> {
    while (value == 0) {
      if (::getrandom(&value, sizeof(value), 0) < 0) {
        return fail_errno("reading random bytes");
      }
      value &= mask;
    }
    return {};
  };
  if (auto done = set_random(state.get()->flow_seed); !done) {
    return done;
  }
  if (auto done = set_random(state.get()->reset_mark); !done) {
    return done;
  }
  if (auto done = set_random(state.get()->dns_mark, ~1ULL); !done) {
    return done;
  }
  for (__u64& key : state.get()->name_key) {
    if (auto done = set_random(key); !done) {
      return done;
    }
  }
  if (auto mapped = flow_cache.map(map_fds[index_of(Map::kFlowCache)],
                                   SLUICE_FLOW_CACHE_SLOTS, "flow_cache");
      !mapped) {
    return mapped;
  }
  if (auto mapped = flow_hints.map(map_fds[index_of(Map::kFlowHints)],
                                   SLUICE_FLOW_HINTS_ELEMENTS, "flow_hints");
      !mapped) {
    return mapped;
  }
  return endpoints.map(map_fds[index_of(Map::kEndpoints)], SLUICE_ENDPOINTS_MAX,
                       "endpoints");
}

Result<void> Datapath::Impl::pin_maps(const std::filesystem::path& folder,
                                      NewPins& pins) {
  for (const Map which : all_maps()) {
    const std::filesystem::path path = folder / map_name(which);
    if (::access(path.c_str(), F_OK) == 0) {
      continue;
    }
    if (auto pinned = pins.pin(map_fds[index_of(which)], path); !pinned) {
      return pinned;
    }
  }
  return {};
}

Result<ProgramSet> Datapath::Impl::fresh_programs() const {
  const std::array<const bpf_program*, kPinnedPrograms> programs_of_ours = {
      skeleton->progs.sluice_from_pod, skeleton->progs.sluice_to_pod,
      skeleton->progs.sluice_log,      skeleton->progs.sluice_reset,
      skeleton->progs.sluice_from_4,   skeleton->progs.sluice_from_6,
      skeleton->progs.sluice_to_4,     skeleton->progs.sluice_to_6,
      skeleton->progs.sluice_link};
  ProgramSet fresh;
  for (int i = 0; i < kPinnedPrograms; ++i) {
    fresh.programs[i].reset(::dup(bpf_program__fd(programs_of_ours[i])));
    if (!fresh.programs[i].valid()) {
      return fail_errno("dup");
    }
  }
  fresh.configuration.reset(::dup(bpf_map__fd(skeleton->maps.rodata)));
  if (!fresh.configuration.valid()) {
    return fail_errno("dup");
  }
  return fresh;
}

// Pinned programs with the same code and maps are kept, so that a restart
// changes nothing; otherwise the new programs are used. If they cannot be
// compared, they count as different.
Result<void> Datapath::Impl::choose_programs(
    const std::filesystem::path& folder) {
  auto fresh = fresh_programs();
  if (!fresh) {
    return std::unexpected(fresh.error());
  }
  programs = std::move(*fresh);
  if (folder.empty()) {
    return {};
  }
  auto pinned = pinned_programs(folder);
  if (!pinned) {
    return std::unexpected(pinned.error());
  }
  if (pinned->configuration.valid() &&
      same(*pinned, programs).value_or(false)) {
    programs = std::move(*pinned);
    kept = true;
  }
  return {};
}

Result<void> Datapath::Impl::fill_jumps() {
  constexpr std::array<std::pair<std::uint32_t, ProgramIndex>, 7> kJumps = {
      {{SLUICE_JUMP_LOG, kLog},
       {SLUICE_JUMP_RESET, kReset},
       {SLUICE_JUMP_LINK_FROM_POD, kLink},
       {SLUICE_JUMP_UNCOMMON(SLUICE_EGRESS, false), kFrom4},
       {SLUICE_JUMP_UNCOMMON(SLUICE_EGRESS, true), kFrom6},
       {SLUICE_JUMP_UNCOMMON(SLUICE_INGRESS, false), kTo4},
       {SLUICE_JUMP_UNCOMMON(SLUICE_INGRESS, true), kTo6}}};
  for (const auto& [slot, program] : kJumps) {
    const int fd = programs.programs.at(program).get();
    if (bpf_map_update_elem(map_fds[index_of(Map::kJumps)], &slot, &fd,
                            BPF_ANY) != 0) {
      return fail_errno("filling map jumps");
    }
  }
  return {};
}

Result<void> Datapath::Impl::load_names() {
  std::unique_ptr<pod_bpf, SkeletonDeleter> loaded(open_skeleton());
  if (!loaded) {
    return fail_errno("opening the BPF object");
  }
  *loaded->rodata = *skeleton->rodata;
  for (const Map which : all_maps()) {
    if (bpf_map__reuse_fd(
            bpf_object__find_map_by_name(loaded->obj,
                                         std::string(map_name(which)).c_str()),
            map_fds[index_of(which)]) != 0) {
      return fail_errno("using map " + std::string(map_name(which)));
    }
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, loaded->obj) {
    bpf_program__set_autoload(program, false);
  }
  const auto all = names_programs(*loaded);
  for (const auto& names_program : all) {
    bpf_program__set_autoload(names_program.program, true);
  }
  if (pod_bpf::load(loaded.get()) != 0) {
    return fail_errno("loading the BPF programs for names");
  }
  for (const auto& [of_ours, slot] : all) {
    const int fd = bpf_program__fd(of_ours);
    if (slot && bpf_map_update_elem(map_fds[index_of(Map::kJumps)], &*slot, &fd,
                                    BPF_ANY) != 0) {
      return fail_errno("filling map jumps");
    }
  }
  names = std::move(loaded);
  return {};
}

Datapath::Datapath() : impl_(std::make_unique<Impl>()) {}
Datapath::Datapath(Datapath&&) noexcept = default;
Datapath& Datapath::operator=(Datapath&&) noexcept = default;
Datapath::~Datapath() = default;

Result<Datapath> Datapath::load(const DatapathOptions& options) {
  Datapath datapath;
  Impl& impl = *datapath.impl_;
  const LibbpfLog log;
  NewPins pins;
  std::filesystem::path folder;

  const auto steps = [&]() -> Result<void> {
    if (auto done = impl.open(options); !done) {
      return done;
    }
    if (!options.pin_dir.empty()) {
      auto made = make_pin_folder(options.pin_dir);
      if (!made) {
        return std::unexpected(made.error());
      }
      folder = *made;
      if (auto done = impl.reuse_maps(folder); !done) {
        return done;
      }
    }
    if (auto done = impl.load_object(); !done) {
      return log.fail(done.error().message, done.error().code);
    }
    if (!folder.empty()) {
      if (auto done = impl.pin_maps(folder, pins); !done) {
        return done;
      }
    }
    if (auto done = impl.choose_programs(folder); !done) {
      return done;
    }
    if (auto done = impl.fill_jumps(); !done) {
      return done;
    }
    return folder.empty() || impl.kept ? Result<void>()
                                       : pin_programs(impl.programs, folder);
  };
  if (auto done = steps(); !done) {
    return std::unexpected(done.error());
  }
  pins.keep();
  return datapath;
}

int Datapath::map_fd(Map map) const {
  return impl_->map_fds.at(index_of(map));
}

std::uint32_t Datapath::capacity(Map map) const {
  return impl_->capacities.at(index_of(map));
}

int Datapath::from_pod_fd() const {
  return impl_->programs.programs[kFromPod].get();
}
int Datapath::to_pod_fd() const {
  return impl_->programs.programs[kToPod].get();
}
Result<void> Datapath::load_names() {
  if (impl_->names) {
    return {};
  }
  const LibbpfLog log;
  auto done = impl_->load_names();
  return done ? done : log.fail(done.error().message, done.error().code);
}
int Datapath::resend_fd() const {
  return impl_->names ? bpf_program__fd(impl_->names->progs.sluice_resend) : -1;
}
std::uint32_t Datapath::hz() const {
  return impl_->skeleton->rodata->sluice_hz;
}
sluice_state* Datapath::state() const {
  return impl_->state.get();
}
sluice_endpoint* Datapath::endpoints() const {
  return impl_->endpoints.get();
}
sluice_flow_slot* Datapath::flow_cache() const {
  return impl_->flow_cache.get();
}
sluice_flow_hints* Datapath::flow_hints() const {
  return impl_->flow_hints.get();
}

}  // namespace sluice::agent
