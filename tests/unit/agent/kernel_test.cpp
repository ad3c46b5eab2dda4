// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <bpf/bpf.h>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/apply.h"
#include "agent/datapath.h"
#include "agent/dns/lookups.h"
#include "agent/learned_maps.h"
#include "agent/learning.h"
#include "lib/base/fd.h"
#include "tests/unit/agent/world.h"

// The applier over the kernel's own maps, which nothing is attached to.
namespace sluice::agent::test {
namespace {

DatapathOptions small() {
  DatapathOptions options;
  options.policy_entries = 600;
  options.peers = 300;
  options.prefixes = 100;
  options.conntrack = 128;
  options.fragments = 128;
  options.event_bytes = 4096;
  options.names = 128;
  options.dns_bytes = 4096;
  return options;
}

class Kernel : public ::testing::Test {
 protected:
  // Loading takes the kernel's verifier long enough to do it once. Each test
  // leaves the maps empty.
  static void SetUpTestSuite() {
    auto loaded = Datapath::load(small());
    ASSERT_TRUE(loaded) << loaded.error().message;
    datapath = std::make_unique<Datapath>(std::move(*loaded));
    auto opened = kernel_maps(*datapath);
    ASSERT_TRUE(opened) << opened.error().message;
    maps = std::move(*opened);
  }
  static void TearDownTestSuite() {
    maps.reset();
    datapath.reset();
  }
  void TearDown() override {
    auto applier = Applier::create(*datapath);
    ASSERT_TRUE(applier) << applier.error().message;
    ASSERT_TRUE(applier->replace({}));
    ASSERT_EQ(difference(read_contents(*maps), {}, {}), "");
  }

  static std::unique_ptr<Datapath> datapath;
  static std::unique_ptr<Maps> maps;
};
std::unique_ptr<Datapath> Kernel::datapath;
std::unique_ptr<Maps> Kernel::maps;

IpPrefix host(bool v6, std::uint32_t number) {
  IpAddress ip;
  ip.v6 = v6;
  ip.bytes[0] = v6 ? 0xfd : 10;
  const int last = v6 ? 15 : 3;
  for (int i = 0; i < 3; ++i) {
    ip.bytes[last - i] = static_cast<std::uint8_t>(number >> (8 * i));
  }
  return {.address = ip, .length = ip.bits()};
}

IpPrefix net(bool v6, std::uint32_t number) {
  IpAddress ip;
  ip.v6 = v6;
  ip.bytes[0] = v6 ? 0xfd : 10;
  ip.bytes[1] = static_cast<std::uint8_t>(number >> 8);
  ip.bytes[2] = static_cast<std::uint8_t>(number);
  return {.address = ip, .length = 24};
}

TEST_F(Kernel, LoadsTheProgramsForNamesWhenAsked) {
  EXPECT_EQ(datapath->resend_fd(), -1);
  const auto loaded = datapath->load_names();
  ASSERT_TRUE(loaded) << loaded.error().message;
  const int resend = datapath->resend_fd();
  EXPECT_GE(resend, 0);
  EXPECT_TRUE(datapath->load_names());
  EXPECT_EQ(datapath->resend_fd(), resend);
}

// An operator that is newer than its agents may send what they cannot read.
TEST_F(Kernel, APatternThatIsNoneIsReportedOnceAndTheOthersAreInForce) {
  auto learning = Learning::open(*datapath, {}, {});
  ASSERT_TRUE(learning) << learning.error().message;
  State state;
  state.names = {{.id = 0x20000001, .pattern = "a..b"},
                 {.id = 0x20000002, .pattern = "a.com"}};
  (*learning)->replace(state);
  const auto prepared = (*learning)->prepare(*datapath, {});
  ASSERT_FALSE(prepared);
  EXPECT_NE(prepared.error().message.find("a..b"), std::string::npos)
      << prepared.error().message;
  EXPECT_EQ((*learning)->table().pattern(0x20000001), nullptr);
  EXPECT_NE((*learning)->table().pattern(0x20000002), nullptr);
  const auto again = (*learning)->prepare(*datapath, {});
  EXPECT_TRUE(again) << again.error().message;
}

// The value in the endpoint's map of learned addresses, by way of the outer map
// as the programs find it; nullopt if there is none.
std::optional<sluice_learned> learned_by(int outer, std::uint32_t ifindex,
                                         const sluice_learned_key& key) {
  std::uint32_t id = 0;
  if (bpf_map_lookup_elem(outer, &ifindex, &id) != 0) {
    return std::nullopt;
  }
  const Fd inner(bpf_map_get_fd_by_id(id));
  sluice_learned value{};
  if (!inner.valid() || bpf_map_lookup_elem(inner.get(), &key, &value) != 0) {
    return std::nullopt;
  }
  return value;
}

TEST_F(Kernel, GivesEndpointsTheirMapsOfLearnedAddresses) {
  constexpr std::uint32_t kEndpoint = 7;
  const int outer = datapath->map_fd(Map::kLearned);
  LearnedMaps maps_of_names(outer, {}, 64);
  ASSERT_TRUE(maps_of_names.open());
  const auto key = learned_key(host(false, 1).address);
  Lookups::Learned element{.key = key, .value = {}};
  element.value.slot[0] = {.selector = 0x20000001, .expires = 100};
  const std::vector<Lookups::Learned> first{element};
  ASSERT_TRUE(maps_of_names.give(kEndpoint, first, 10));
  element.value.slot[0] = {.selector = 0x20000002, .expires = 50};
  element.value.slot[1] = {.selector = 0x20000001, .expires = 90};
  const std::vector<Lookups::Learned> second{element};
  ASSERT_TRUE(maps_of_names.give(kEndpoint, second, 10));

  const auto value = learned_by(outer, kEndpoint, key);
  ASSERT_TRUE(value);
  std::map<std::uint32_t, std::uint32_t> slots;
  for (const auto& slot : value->slot) {
    if (slot.selector != 0) {
      slots[slot.selector] = slot.expires;
    }
  }
  // An expiry never becomes earlier.
  EXPECT_EQ(slots, (std::map<std::uint32_t, std::uint32_t>{{0x20000001, 100},
                                                           {0x20000002, 50}}));
  EXPECT_FALSE(learned_by(outer, kEndpoint + 1, key));
  EXPECT_EQ(maps_of_names.size(kEndpoint), 1U);
  EXPECT_TRUE(maps_of_names.take(kEndpoint));
  EXPECT_FALSE(maps_of_names.has(kEndpoint));
  EXPECT_FALSE(learned_by(outer, kEndpoint, key));
}

TEST_F(Kernel, HoldsTheWantedStateAfterRandomTransactions) {
  for (std::uint32_t seed = 100; seed < 104; ++seed) {
    World world(seed);
    auto applier = Applier::create(*datapath);
    ASSERT_TRUE(applier) << applier.error().message;
    ASSERT_TRUE(applier->replace({}));
    for (int i = 0; i < 50; ++i) {
      if (world.below(3) == 0) {
        const auto [name, ifindex] = world.rebind();
        applier->bind(name, ifindex);
      }
      const auto result =
          applier->apply(world.transaction(world.below(4) == 0 ? 60 : 8));
      ASSERT_TRUE(result) << result.error().message;
      const auto contents = read_contents(*maps);
      ASSERT_EQ(difference(contents, world.state, world.bindings), "")
          << "seed " << seed << " transaction " << i;
      ASSERT_EQ(view_of(contents, contents.epoch & 1),
                view_of(world.state, world.bindings));
    }
  }
}

TEST_F(Kernel, ARestartedApplierWritesOnlyWhatDiffers) {
  World world(7);
  {
    auto applier = Applier::create(*datapath);
    ASSERT_TRUE(applier);
    for (int i = 0; i < 10; ++i) {
      const auto [name, ifindex] = world.rebind();
      applier->bind(name, ifindex);
      ASSERT_TRUE(applier->apply(world.transaction(30)));
    }
  }
  const auto epoch = maps->epoch();
  auto applier = Applier::create(*datapath);
  ASSERT_TRUE(applier);
  for (const auto& [name, ifindex] : world.bindings) {
    applier->bind(name, ifindex);
  }
  ASSERT_TRUE(applier->replace(world.state));
  EXPECT_EQ(maps->epoch(), epoch);

  world.transaction(30);
  ASSERT_TRUE(applier->replace(world.state));
  EXPECT_EQ(maps->epoch(), epoch + 1);
  EXPECT_EQ(difference(read_contents(*maps), world.state, world.bindings), "");
}

struct FullCase {
  const char* name;
  Map map;
  std::uint32_t capacity;
  void (*add)(Transaction&, std::uint32_t number);
};

class KernelFull : public Kernel,
                   public ::testing::WithParamInterface<FullCase> {};

Transaction range(const FullCase& full, std::uint32_t from, std::uint32_t to) {
  Transaction result;
  for (std::uint32_t i = from; i < to; ++i) {
    full.add(result, i);
  }
  return result;
}

TEST_P(KernelFull, HoldsItsCapacityAndNotOneMore) {
  const auto& full = GetParam();
  auto applier = Applier::create(*datapath);
  ASSERT_TRUE(applier);
  const auto all = range(full, 0, full.capacity);
  State state;
  apply(state, all);
  const auto filled = applier->apply(all);
  ASSERT_TRUE(filled) << filled.error().message;
  ASSERT_EQ(difference(read_contents(*maps), state, {}), "");

  const auto result =
      applier->apply(range(full, full.capacity, full.capacity + 1));
  // It is left out: the set that is too large, or a peer that no set needs.
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(applier->shortfalls().size(), full.map == Map::kPolicy ? 1U : 0U);
  EXPECT_EQ(difference(read_contents(*maps), state, {}), "");
}

// Before Linux 6.13 a full trie refuses even to replace what it holds.
TEST_P(KernelFull, TakesChangesOfWhatItHoldsWhenFull) {
  const auto& full = GetParam();
  if (full.map == Map::kPolicy) {
    return;  // a set that changes is written beside the old one
  }
  auto applier = Applier::create(*datapath);
  ASSERT_TRUE(applier);
  auto changes = range(full, 0, full.capacity);
  ASSERT_TRUE(applier->apply(changes));
  for (auto& change : changes.peers) {
    *change.cidr_id += 1000;
  }
  const auto changed = applier->apply(changes);
  ASSERT_TRUE(changed) << changed.error().message;
  State state;
  apply(state, changes);
  EXPECT_EQ(difference(read_contents(*maps), state, {}), "");
}

// The kernel itself refuses a write in the middle of a batch: somebody else
// filled the map.
TEST_P(KernelFull, UndoesWhatWasWrittenWhenTheKernelRefuses) {
  const auto& full = GetParam();
  auto applier = Applier::create(*datapath);
  ASSERT_TRUE(applier);
  auto first = range(full, 0, 10);
  first.entries.push_back({key(9, 1, 1), sluice_policy_value{.rule = 77}});
  ASSERT_TRUE(applier->apply(first));
  State state;
  apply(state, first);

  auto other = Applier::create(*datapath);  // knows nothing of the first
  ASSERT_TRUE(other);
  const auto foreign = range(full, 1000, 1000 + full.capacity - 20);
  ASSERT_TRUE(other->apply(foreign));
  State with_foreign = state;
  apply(with_foreign, foreign);

  const auto more = range(full, 10, 60);
  const auto result = applier->apply(more);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ENOSPC);
  EXPECT_EQ(difference(read_contents(*maps), with_foreign, {}), "");

  Transaction away;
  for (const auto& change : foreign.peers) {
    away.peers.push_back({change.prefix, std::nullopt});
  }
  for (const auto& change : foreign.entries) {
    away.entries.push_back({change.key, std::nullopt});
  }
  ASSERT_TRUE(other->apply(away));
  const auto again = applier->retry();
  ASSERT_TRUE(again) << again.error().message;
  apply(state, more);
  EXPECT_EQ(difference(read_contents(*maps), state, {}), "");
}

INSTANTIATE_TEST_SUITE_P(
    EachMap, KernelFull,
    ::testing::Values(
        FullCase{"peers4", Map::kPeers4, 300,
                 [](Transaction& to, std::uint32_t number) {
                   to.peers.push_back({host(false, number), number + 1});
                 }},
        FullCase{"peers6", Map::kPeers6, 300,
                 [](Transaction& to, std::uint32_t number) {
                   to.peers.push_back({host(true, number), number + 1});
                 }},
        FullCase{"prefixes4", Map::kPrefixes4, 100,
                 [](Transaction& to, std::uint32_t number) {
                   to.peers.push_back({net(false, number), number + 1});
                 }},
        FullCase{"prefixes6", Map::kPrefixes6, 100,
                 [](Transaction& to, std::uint32_t number) {
                   to.peers.push_back({net(true, number), number + 1});
                 }},
        FullCase{"policy", Map::kPolicy, 600,
                 [](Transaction& to, std::uint32_t number) {
                   to.entries.push_back(
                       {key(1 + (number / 100), 5,
                            static_cast<std::uint16_t>(number)),
                        sluice_policy_value{.rule = number + 16}});
                 }}),
    [](const auto& test) { return std::string(test.param.name); });

// Two states that have nothing in common but the names.
State crash_state(std::uint32_t seed) {
  World world(seed);
  for (int i = 0; i < 30; ++i) {
    world.transaction(30);
  }
  for (std::uint16_t i = 0; i < 100; ++i) {
    world.state.entries.push_back(
        {key(50 + seed, 1 + (i % 7), i), {.rule = seed}});
    world.state.peers.push_back({host(false, 1000 + (i * seed)), seed});
  }
  State state;
  apply(state, diff({}, world.state));
  return state;
}

// Writes a byte to `begun` when it begins to go from one state to the other.
[[noreturn]] void apply_until_killed(const Datapath& datapath,
                                     const Bindings& bindings,
                                     const State& first, const State& second,
                                     const Fd& begun) {
  auto applier = Applier::create(datapath);
  if (!applier) {
    _exit(1);
  }
  for (const auto& [name, ifindex] : bindings) {
    applier->bind(name, ifindex);
  }
  const auto there = diff(first, second);
  const auto back = diff(second, first);
  if (!applier->replace(first)) {
    _exit(2);
  }
  if (write(begun.get(), "", 1) != 1) {
    _exit(4);
  }
  for (;;) {
    if (!applier->apply(there) || !applier->apply(back)) {
      _exit(3);
    }
  }
}

TEST_F(Kernel, AKillAtAnyMomentLeavesTheOldOrTheNewState) {
  constexpr int kKills = 200;
  const State first = crash_state(1);
  const State second = crash_state(2);
  const Bindings bindings{{"ns/pod0", 2},
                          {"ns/pod1", 3},
                          {"ns/pod2", SLUICE_ENDPOINTS_DIRECT + 102},
                          {"ns/pod3", 5}};
  const auto first_view = view_of(first, bindings);
  const auto second_view = view_of(second, bindings);
  ASSERT_NE(first_view, second_view);
  {
    auto applier = Applier::create(*datapath);
    ASSERT_TRUE(applier);
    for (const auto& [name, ifindex] : bindings) {
      applier->bind(name, ifindex);
    }
    const auto result = applier->replace(first);
    ASSERT_TRUE(result) << result.error().message;
  }
  World random(3);
  int left_over = 0;
  int seen_second = 0;
  for (int i = 0; i < kKills; ++i) {
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    const Fd begun(ends[0]);
    Fd begins(ends[1]);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      apply_until_killed(*datapath, bindings, first, second, begins);
    }
    begins.reset();
    // Some are killed while they take over what the last one left.
    if (char byte = 0; i % 4 != 3) {
      ASSERT_EQ(read(begun.get(), &byte, 1), 1);
    }
    const timespec delay{
        .tv_sec = 0,
        .tv_nsec = 1000L * random.below(i % 2 == 0 ? 4000 : 40000)};
    nanosleep(&delay, nullptr);
    ASSERT_EQ(kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "exit " << WEXITSTATUS(status);

    const auto contents = read_contents(*maps);
    const auto view = view_of(contents, contents.epoch & 1);
    ASSERT_TRUE(view == first_view || view == second_view) << "kill " << i;
    seen_second += view == second_view ? 1 : 0;
    left_over += !difference(contents, first, bindings).empty() &&
                         !difference(contents, second, bindings).empty()
                     ? 1
                     : 0;
    // The next child starts from what this one left.
  }
  auto applier = Applier::create(*datapath);
  ASSERT_TRUE(applier);
  for (const auto& [name, ifindex] : bindings) {
    applier->bind(name, ifindex);
  }
  const auto result = applier->replace(second);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(difference(read_contents(*maps), second, bindings), "");
  std::printf(
      "%d of %d kills left something to clean up, %d the second state\n",
      left_over, kKills, seen_second);
  EXPECT_GT(left_over, 0) << "no kill met a transaction under way";
}

// From here on membarrier() answers EPERM in this process.
bool forbid_membarrier() {
  std::array<sock_filter, 4> code = {
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                           offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program{.len = code.size(), .filter = code.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_F(Kernel, AGracePeriodPassesWithAndWithoutMembarrier) {
  ASSERT_TRUE(maps->grace_period());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool forbidden =
        forbid_membarrier() && syscall(SYS_membarrier, 0, 0, 0) == -1;
    _exit(forbidden && maps->grace_period() && maps->grace_period() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace sluice::agent::test
