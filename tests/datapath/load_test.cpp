// SPDX-License-Identifier: Apache-2.0
// Loading, pins, flows' records, events: what is seen from user space.
#include <cstring>
#include <filesystem>
#include <utility>

#include <bpf/bpf.h>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/datapath/front.h"
#include "tests/datapath/net.h"

namespace sluice::testing {
namespace {

using agent::Datapath;
using agent::DatapathOptions;
using agent::Map;

// A BPF file system of the test's own.
class PrivateBpffs {
 public:
  PrivateBpffs()
      : path_(std::filesystem::temp_directory_path() /
              ("sluice-test-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
    mounted_ = ::mount("bpf", path_.c_str(), "bpf", 0, nullptr) == 0;
  }
  ~PrivateBpffs() {
    if (mounted_) {
      ::umount2(path_.c_str(), MNT_DETACH);
    }
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  PrivateBpffs(const PrivateBpffs&) = delete;
  PrivateBpffs& operator=(const PrivateBpffs&) = delete;
  PrivateBpffs(PrivateBpffs&&) = delete;
  PrivateBpffs& operator=(PrivateBpffs&&) = delete;

  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] DatapathOptions options() const {
    DatapathOptions options = small_maps();
    options.pin_dir = path_ / "sluice";
    return options;
  }
  [[nodiscard]] std::filesystem::path pin(const char* name) const {
    return path_ / "sluice" / SLUICE_ABI_VERSION_DIR / name;
  }

 private:
  std::filesystem::path path_;
  bool mounted_ = false;
};

std::uint32_t program_id(int fd) {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  EXPECT_EQ(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
  return info.id;
}

std::uint32_t map_id(int fd) {
  bpf_map_info info{};
  __u32 size = sizeof(info);
  EXPECT_EQ(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
  return info.id;
}

std::uint32_t log_slot(const Datapath& datapath) {
  const std::uint32_t slot = SLUICE_JUMP_LOG;
  std::uint32_t id = 0;
  EXPECT_EQ(bpf_map_lookup_elem(datapath.map_fd(Map::kJumps), &slot, &id), 0);
  return id;
}

TEST(DatapathLoad, WithoutPinsEveryLoadIsItsOwn) {
  const auto one = Datapath::load(small_maps());
  const auto two = Datapath::load(small_maps());
  ASSERT_TRUE(one) << one.error().message;
  ASSERT_TRUE(two) << two.error().message;
  EXPECT_NE(map_id(one->map_fd(Map::kPolicy)),
            map_id(two->map_fd(Map::kPolicy)));
  one->state()->epoch = 5;
  EXPECT_EQ(two->state()->epoch, 0U);
  EXPECT_EQ(one->capacity(Map::kPolicy), small_maps().policy_entries);
  EXPECT_EQ(one->capacity(Map::kEndpoints), SLUICE_ENDPOINTS_MAX);
  EXPECT_GE(one->hz(), 100U);
  EXPECT_LE(one->hz(), 1000U);
}

TEST(DatapathLoad, ARestartKeepsMapsAndPrograms) {
  const PrivateBpffs bpffs;
  ASSERT_TRUE(bpffs.mounted());
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::uint32_t log = 0;
  std::array<std::uint32_t, agent::kMapCount> maps{};
  {
    const auto first = Datapath::load(bpffs.options());
    ASSERT_TRUE(first) << first.error().message;
    first->state()->epoch = 7;
    from = program_id(first->from_pod_fd());
    to = program_id(first->to_pod_fd());
    log = log_slot(*first);
    for (const Map map : agent::all_maps()) {
      maps.at(agent::index_of(map)) = map_id(first->map_fd(map));
    }
  }
  DatapathOptions larger = bpffs.options();
  larger.policy_entries *= 2;
  const auto second = Datapath::load(larger);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->state()->epoch, 7U);
  EXPECT_EQ(program_id(second->from_pod_fd()), from);
  EXPECT_EQ(program_id(second->to_pod_fd()), to);
  EXPECT_EQ(log_slot(*second), log);
  for (const Map map : agent::all_maps()) {
    EXPECT_EQ(map_id(second->map_fd(map)), maps.at(agent::index_of(map)))
        << agent::map_name(map);
  }
  EXPECT_EQ(second->capacity(Map::kPolicy), small_maps().policy_entries);
}

// Programs belong together: one that differs replaces all of them.
TEST(DatapathLoad, AnotherProgramReplacesThePins) {
  const PrivateBpffs bpffs;
  ASSERT_TRUE(bpffs.mounted());
  const auto first = Datapath::load(bpffs.options());
  ASSERT_TRUE(first) << first.error().message;
  // Stands for an older version's program.
  const std::filesystem::path pin = bpffs.pin("from_pod");
  ASSERT_EQ(::unlink(pin.c_str()), 0);
  ASSERT_EQ(bpf_obj_pin(first->to_pod_fd(), pin.c_str()), 0);
  const auto second = Datapath::load(bpffs.options());
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_NE(program_id(second->from_pod_fd()), program_id(first->to_pod_fd()));
  EXPECT_NE(program_id(second->to_pod_fd()), program_id(first->to_pod_fd()));
  const Fd from_pod(bpf_obj_get(pin.c_str()));
  ASSERT_TRUE(from_pod.valid());
  EXPECT_EQ(program_id(from_pod.get()), program_id(second->from_pod_fd()));
  const Fd to_pod(bpf_obj_get(bpffs.pin("to_pod").c_str()));
  ASSERT_TRUE(to_pod.valid());
  EXPECT_EQ(program_id(to_pod.get()), program_id(second->to_pod_fd()));
}

TEST(DatapathLoad, APinnedMapOfAnotherLayoutIsAnErrorThatNamesIt) {
  const PrivateBpffs bpffs;
  ASSERT_TRUE(bpffs.mounted());
  ASSERT_TRUE(Datapath::load(bpffs.options()));
  const std::filesystem::path pin = bpffs.pin("conntrack4");
  ASSERT_EQ(::unlink(pin.c_str()), 0);
  const Fd other(bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "conntrack4", 12, 48,
                                1024, nullptr));
  ASSERT_TRUE(other.valid());
  ASSERT_EQ(bpf_obj_pin(other.get(), pin.c_str()), 0);
  const auto loaded = Datapath::load(bpffs.options());
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("conntrack4"), std::string::npos);
  EXPECT_NE(loaded.error().message.find("layout"), std::string::npos);
  EXPECT_NE(loaded.error().message.find("key 12"), std::string::npos);
}

TEST(DatapathLoad, AFailureLeavesNoPins) {
  const PrivateBpffs bpffs;
  ASSERT_TRUE(bpffs.mounted());
  DatapathOptions impossible = bpffs.options();
  impossible.conntrack = 0xffffffff;  // more than the kernel makes
  const auto loaded = Datapath::load(impossible);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("conntrack4"), std::string::npos)
      << loaded.error().message;
  EXPECT_FALSE(std::filesystem::exists(bpffs.pin("policy")));
  EXPECT_FALSE(std::filesystem::exists(bpffs.pin("from_pod")));
}

TEST(DatapathLoad, PinsWantABpfFileSystem) {
  DatapathOptions options = small_maps();
  options.pin_dir = std::filesystem::temp_directory_path() /
                    ("sluice-no-bpffs-" + std::to_string(::getpid()));
  const auto loaded = Datapath::load(options);
  std::filesystem::remove_all(options.pin_dir);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("bpffs"), std::string::npos);
}

TEST(DatapathFlow, ARecordSaysWhoOpenedItAndHowMuchWentEachWay) {
  for (const bool v6 : {false, true}) {
    const Net net = make_net(v6);
    Runner& runner = shared_runner();
    ASSERT_TRUE(runner.forget());
    ASSERT_TRUE(runner.set(net.isolated({{.direction = SLUICE_EGRESS,
                                          .protocol = kUdp,
                                          .port = 53,
                                          .port_bits = 16,
                                          .rule = 77}})));
    const Bytes query = net.to(net.b, kUdp, udp(999, 53, 10));
    const Bytes answer = net.from(net.b, kUdp, udp(53, 999, 100));
    ASSERT_TRUE(runner.verdict(SLUICE_EGRESS, query));
    ASSERT_TRUE(runner.verdict(SLUICE_INGRESS, answer));
    ASSERT_TRUE(runner.verdict(SLUICE_INGRESS, answer));
    const auto flows = runner.flows(v6);
    ASSERT_TRUE(flows);
    ASSERT_EQ(flows->size(), 1U);
    const sluice_conntrack& flow = flows->front();
    EXPECT_EQ(flow.opened_by, SLUICE_EGRESS);
    EXPECT_EQ(flow.rule, 77U);
    EXPECT_EQ(flow.reason, SLUICE_REASON_POLICY_ALLOW);
    EXPECT_EQ(flow.epoch, runner.datapath().state()->epoch);
    EXPECT_EQ(flow.state, SLUICE_CT_REPLIED);
    EXPECT_EQ(flow.packets[SLUICE_EGRESS], 1U);
    EXPECT_EQ(flow.packets[SLUICE_INGRESS], 2U);
    EXPECT_EQ(flow.bytes[SLUICE_EGRESS], query.size());
    EXPECT_EQ(flow.bytes[SLUICE_INGRESS], 2 * answer.size());
  }
}

TEST(DatapathFlow, DeniedPacketsMakeNoState) {
  const Net net = make_net(false);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  ASSERT_TRUE(runner.set(net.isolated()));
  ASSERT_TRUE(runner.verdict(SLUICE_EGRESS, net.to(net.b, kTcp, tcp(1, 2))));
  ASSERT_TRUE(runner.set(net.open()));
  ASSERT_TRUE(runner.verdict(
      SLUICE_EGRESS, ip_frame({.from = net.c, .to = net.b}, kTcp, tcp(1, 2))));
  const auto flows = runner.flows(false);
  ASSERT_TRUE(flows);
  EXPECT_TRUE(flows->empty());
}

TEST(DatapathGeneration, ThePacketUsesTheSlotsOfItsEpoch) {
  const Net net = make_net(false);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  ASSERT_TRUE(runner.set(net.open()));
  sluice_state& state = *runner.datapath().state();
  sluice_endpoint& endpoint = runner.datapath().endpoints()[1];
  const Bytes syn = net.from(net.b, kTcp, tcp(1, 80));
  // The slot that is not in force may say what it likes.
  endpoint.gen[(state.epoch + 1) & 1].flags =
      SLUICE_EP_MANAGED | SLUICE_EP_ISOLATED_INGRESS;
  EXPECT_TRUE(runner.verdict(SLUICE_INGRESS, syn).value_or(false));
  state.epoch += 1;
  EXPECT_FALSE(runner.verdict(SLUICE_INGRESS, syn).value_or(true));
  state.epoch += 1;
  EXPECT_TRUE(runner.verdict(SLUICE_INGRESS, syn).value_or(false));
}

TEST(DatapathEvents, BeyondTheBudgetTheyAreCounted) {
  const Net net = make_net(false);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  ASSERT_TRUE(runner.set(net.isolated()));
  const Bytes syn = net.from(net.b, kTcp, tcp(1, 80));
  sluice_state& state = *runner.datapath().state();
  const std::uint32_t budget = std::exchange(state.events_per_second, 0);
  const auto before = runner.lost_events();
  const auto silent = runner.run(SLUICE_INGRESS, syn);
  const auto after = runner.lost_events();
  state.events_per_second = budget;
  ASSERT_TRUE(before && silent && after);
  EXPECT_TRUE(silent->events.empty());
  EXPECT_EQ(*after, *before + 1);
}

TEST(DatapathEvents, AnEventDescribesThePacket) {
  for (const bool v6 : {false, true}) {
    const Net net = make_net(v6);
    Runner& runner = shared_runner();
    ASSERT_TRUE(runner.forget());
    ASSERT_TRUE(runner.set(net.isolated({{.cidr_id = kClassB,
                                          .protocol = kTcp,
                                          .port = 80,
                                          .port_bits = 16,
                                          .verdict = SLUICE_VERDICT_DENY,
                                          .rule = 55}})));
    const auto outcome =
        runner.run(SLUICE_INGRESS, net.from(net.b, kTcp, tcp(1000, 80)));
    ASSERT_TRUE(outcome);
    ASSERT_EQ(outcome->events.size(), 1U);
    const sluice_flow_event& event = outcome->events.front();
    EXPECT_EQ(event.family, v6 ? AF_INET6 : AF_INET);
    EXPECT_EQ(ntohs(event.ethertype), v6 ? 0x86dd : 0x0800);
    EXPECT_EQ(event.protocol, kTcp);
    EXPECT_EQ(event.tcp_flags, kSyn);
    EXPECT_EQ(ntohs(event.sport), 1000);
    EXPECT_EQ(ntohs(event.dport), 80);
    EXPECT_EQ(event.rule, 55U);
    EXPECT_EQ(event.cidr_id, kClassB);
    EXPECT_EQ(event.policy_id, SLUICE_POLICY_ID(1, 0));
    EXPECT_EQ(std::memcmp(event.saddr, net.b.bytes.data(), 16), 0);
    EXPECT_EQ(std::memcmp(event.daddr, net.own.bytes.data(), 16), 0);
  }
}

TEST(DatapathEvents, AnEntryThatLogsReportsItsFlowsAndNoOthers) {
  const Net net = make_net(false);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  Entry logged = {.protocol = kTcp, .port = 80, .port_bits = 16, .rule = 60};
  Entry quiet = logged;
  logged.jump = SLUICE_JUMP_LOG;
  quiet.port = 81;
  Entry nowhere = logged;
  nowhere.port = 82;
  nowhere.jump = SLUICE_JUMP_MAX - 1;
  Entry denied = logged;
  denied.port = 83;
  denied.verdict = SLUICE_VERDICT_DENY;
  ASSERT_TRUE(runner.set(net.isolated({logged, quiet, nowhere, denied})));
  sluice_state& state = *runner.datapath().state();
  state.events_new_flows = 0;
  const auto events_of = [&](std::uint16_t port, std::uint8_t flags = kSyn) {
    const auto outcome =
        runner.run(SLUICE_INGRESS, net.from(net.b, kTcp, tcp(1, port, flags)));
    EXPECT_TRUE(outcome && outcome->reason);
    EXPECT_EQ(outcome->allowed, port != 83);
    return outcome->events;
  };
  const auto of_logged = events_of(80);
  ASSERT_EQ(of_logged.size(), 1U);
  EXPECT_EQ(of_logged.front().rule, 60U);
  EXPECT_EQ(of_logged.front().verdict, SLUICE_VERDICT_ALLOW);
  EXPECT_EQ(of_logged.front().reason, SLUICE_REASON_POLICY_ALLOW);
  EXPECT_EQ(ntohs(of_logged.front().dport), 80);
  EXPECT_TRUE(events_of(80, kAck).empty());  // established
  EXPECT_TRUE(events_of(81).empty());
  EXPECT_TRUE(events_of(82).empty());   // an empty slot changes nothing
  EXPECT_EQ(events_of(83).size(), 1U);  // a drop is reported once
  state.events_new_flows = 1;
  ASSERT_TRUE(runner.forget());
  EXPECT_EQ(events_of(80).size(), 1U);  // and an allowed flow, too
}

TEST(DatapathVlan, ATagBesideThePacketIsAnUnknownEthertype) {
  const Net net = make_net(false);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  const auto front = Front::tag(runner.datapath().to_pod_fd());
  ASSERT_TRUE(front) << front.error().message;
  const Bytes syn = net.from(net.b, kTcp, tcp(1, 80));
  const auto tagged = [&] {
    const auto outcome =
        runner.run_through(front->fd(), 0, SLUICE_INGRESS, syn, syn.size());
    return outcome && outcome->reason ? reason_name(*outcome->reason) : "?";
  };
  ASSERT_TRUE(runner.set(net.isolated(
      {{.protocol = kTcp, .port = 80, .port_bits = 16, .rule = 20}})));
  EXPECT_TRUE(runner.verdict(SLUICE_INGRESS, syn).value_or(false));
  EXPECT_EQ(tagged(), "ETHERTYPE");
  ASSERT_TRUE(runner.set(net.open()));
  EXPECT_EQ(tagged(), "UNPARSED_ALLOW");
}

}  // namespace
}  // namespace sluice::testing
