// SPDX-License-Identifier: Apache-2.0
#include "agent/pins.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include <linux/capability.h>
#include <bpf/bpf.h>

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/datapath.h"

// What one load leaves for the next, and that this takes no capability which
// deploy/ does not give.
namespace sluice::agent::test {
namespace {

namespace fs = std::filesystem;

// CAP_SYS_ADMIN is out of effect for this thread while it lives.
class WithoutSysAdmin {
 public:
  WithoutSysAdmin() {
    EXPECT_EQ(call(SYS_capget), 0);
    data_[CAP_SYS_ADMIN / 32].effective &= ~bit();
    EXPECT_EQ(call(SYS_capset), 0);
  }
  ~WithoutSysAdmin() {
    data_[CAP_SYS_ADMIN / 32].effective |= bit();
    EXPECT_EQ(call(SYS_capset), 0);
  }
  WithoutSysAdmin(const WithoutSysAdmin&) = delete;
  WithoutSysAdmin& operator=(const WithoutSysAdmin&) = delete;
  WithoutSysAdmin(WithoutSysAdmin&&) = delete;
  WithoutSysAdmin& operator=(WithoutSysAdmin&&) = delete;

 private:
  static std::uint32_t bit() { return 1U << (CAP_SYS_ADMIN % 32); }
  long call(long number) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3,
                                    .pid = 0};
    return syscall(number, &header, data_.data());
  }
  std::array<__user_cap_data_struct, 2> data_{};
};

// A bpffs of the test's own.
class Pins : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/sluice-pins-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    mount_ = name;
    ASSERT_EQ(::mount("bpf", name.c_str(), "bpf", 0, nullptr), 0);
    folder_ = mount_ / "pins" / SLUICE_ABI_VERSION_DIR;
  }
  void TearDown() override {
    ::umount2(mount_.c_str(), MNT_DETACH);
    fs::remove(mount_);
  }

  struct Loaded {
    std::uint32_t from_pod = 0;  // ids
    std::uint32_t to_pod = 0;
    std::uint32_t policy_map = 0;
    bool operator==(const Loaded&) const = default;
  };
  // What a start finds or makes; what it made stays by its pins.
  Loaded load() {
    DatapathOptions options;
    options.pin_dir = mount_ / "pins";
    options.policy_entries = options.peers = options.prefixes = 128;
    options.conntrack = options.fragments = 128;
    options.event_bytes = 4096;
    const auto datapath = Datapath::load(options);
    EXPECT_TRUE(datapath) << datapath.error().message;
    if (!datapath) {
      return {};
    }
    const auto policy = map_info(datapath->map_fd(Map::kPolicy));
    return {.from_pod = program_id(datapath->from_pod_fd()),
            .to_pod = program_id(datapath->to_pod_fd()),
            .policy_map = policy ? policy->id : 0};
  }
  static std::uint32_t program_id(int fd) {
    bpf_prog_info info{};
    __u32 size = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
    return info.id;
  }

  fs::path mount_;
  fs::path folder_;
};

TEST_F(Pins, the_next_load_keeps_all_without_CAP_SYS_ADMIN) {
  const WithoutSysAdmin without;
  // That it is out of effect: this is what the kernel refuses then.
  EXPECT_LT(bpf_prog_get_fd_by_id(1), 0);
  EXPECT_EQ(errno, EPERM);
  const auto first = load();
  EXPECT_NE(first.from_pod, 0U);
  EXPECT_EQ(load(), first);
}

// Both are what an older version, or a load that was interrupted, leaves.
TEST_F(Pins, programs_whose_configuration_is_not_there_are_replaced) {
  const auto first = load();
  for (const char* missing : {"configuration", "from_pod"}) {
    ASSERT_TRUE(fs::remove(folder_ / missing));
    const WithoutSysAdmin without;
    const auto next = load();
    EXPECT_NE(next.from_pod, first.from_pod) << missing;
    EXPECT_NE(next.to_pod, first.to_pod) << missing;
    EXPECT_EQ(next.policy_map, first.policy_map) << "maps are kept";
    EXPECT_EQ(load(), next) << missing;
  }
}

TEST_F(Pins, programs_with_the_configuration_of_others_are_replaced) {
  const auto first = load();
  ASSERT_TRUE(fs::remove(folder_ / "configuration"));
  const auto second = load();
  // As if the renaming had been interrupted before the last pin.
  {
    const auto programs = pinned_programs(folder_);
    ASSERT_TRUE(programs);
    ASSERT_TRUE(fs::remove(folder_ / "configuration"));
    ASSERT_NE(load(), second);
    const std::array<std::pair<ProgramIndex, const char*>, kPinnedPrograms>
        pins = {{{kFromPod, "from_pod"},
                 {kToPod, "to_pod"},
                 {kLog, "log"},
                 {kReset, "reset"},
                 {kFrom4, "from_4"},
                 {kFrom6, "from_6"},
                 {kTo4, "to_4"},
                 {kTo6, "to_6"},
                 {kLink, "link"}}};
    for (const auto& [program, name] : pins) {
      ASSERT_TRUE(fs::remove(folder_ / name));
      ASSERT_EQ(bpf_obj_pin(programs->programs.at(program).get(),
                            (folder_ / name).c_str()),
                0);
    }
  }
  const auto third = load();
  EXPECT_NE(third.from_pod, second.from_pod);
  EXPECT_NE(third.from_pod, first.from_pod);
  EXPECT_EQ(load(), third);
}

// ---- comparing

Fd array_map(std::uint32_t content) {
  Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", sizeof(std::uint32_t),
                        sizeof(content), 1, nullptr));
  const std::uint32_t zero = 0;
  EXPECT_EQ(bpf_map_update_elem(map.get(), &zero, &content, BPF_ANY), 0);
  return map;
}

// Uses both maps and returns `result`.
Fd program(int configuration, int shared, std::int32_t result) {
  const auto load = [](int map, std::uint8_t to) {
    return bpf_insn{.code = BPF_LD | BPF_IMM | BPF_DW,
                    .dst_reg = to,
                    .src_reg = BPF_PSEUDO_MAP_FD,
                    .imm = map};
  };
  const std::array<bpf_insn, 6> code = {
      load(configuration, BPF_REG_1),
      bpf_insn{},
      load(shared, BPF_REG_2),
      bpf_insn{},
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = result},
      bpf_insn{.code = BPF_JMP | BPF_EXIT}};
  Fd fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "test", "GPL", code.data(),
                      code.size(), nullptr));
  EXPECT_TRUE(fd.valid());
  return fd;
}

ProgramSet program_set(std::uint32_t content, int shared,
                       std::int32_t result = 0) {
  ProgramSet set;
  set.configuration = array_map(content);
  for (auto& fd : set.programs) {
    fd = program(set.configuration.get(), shared, result);
  }
  return set;
}

TEST(Programs, are_the_same_if_code_configuration_and_maps_are) {
  const auto shared = array_map(0);
  const auto other = array_map(0);
  const auto set = program_set(7, shared.get());
  EXPECT_TRUE(same(set, program_set(7, shared.get())).value());
  EXPECT_FALSE(same(set, program_set(8, shared.get())).value())
      << "configuration";
  EXPECT_FALSE(same(set, program_set(7, other.get())).value()) << "maps";
  EXPECT_FALSE(same(set, program_set(7, shared.get(), 1)).value()) << "code";
  auto mixed = program_set(7, shared.get());
  auto another = program_set(7, shared.get());
  mixed.programs[kLog] = std::move(another.programs[kLog]);
  EXPECT_FALSE(same(set, mixed).value()) << "one has another's configuration";
}

}  // namespace
}  // namespace sluice::agent::test
