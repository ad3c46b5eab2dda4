// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <gtest/gtest.h>
#include <poll.h>

#include "agent/attach.h"
#include "agent/interfaces.h"
#include "agent_net.h"

// The agent in network namespaces of its own, with real veths and packets.
namespace sluice::agent::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);

DatapathOptions small(const std::filesystem::path& pin_dir = {}) {
  DatapathOptions options;
  options.pin_dir = pin_dir;
  options.policy_entries = 1024;
  options.peers = 1024;
  options.prefixes = 1024;
  options.conntrack = 1024;
  options.fragments = 128;
  options.event_bytes = 65536;
  return options;
}

// A node: a namespace that forwards between its pods.
class Node : public ::testing::Test {
 protected:
  Node() : outside_(Namespace::current()), node_(Namespace::fresh()) {
    node_.enter();
    run("ip link set lo up");
    sysctl("net/ipv4/ip_forward", "1");
    sysctl("net/ipv6/conf/all/forwarding", "1");
  }
  ~Node() override { outside_.enter(); }

 private:
  Namespace outside_;
  Namespace node_;
};

EndpointEntry endpoint(const std::string& name,
                       const std::vector<std::string>& ips) {
  EndpointEntry entry{.name = name};
  for (const auto& ip : ips) {
    entry.ips.push_back(*parse_ip(ip));
  }
  return entry;
}

// Calls `step` whenever `fd` is readable until `done`; false if that takes too
// long.
bool wait_until(int fd, const std::function<void()>& step,
                const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  step();
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    poll(&wait, 1, 100);
    step();
  }
  return true;
}

// The program in a slot of clsact; 0 = none.
std::uint32_t program_at(std::uint32_t ifindex, bpf_tc_attach_point point,
                         std::uint32_t handle = kFilterHandle,
                         std::uint32_t priority = kFilterPriority) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = point);
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = handle, .priority = priority);
  return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

std::uint32_t program_id(int fd) {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

// A program that is not ours.
Fd foreign_program() {
  const std::array<bpf_insn, 2> code = {
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = -1},
      bpf_insn{.code = BPF_JMP | BPF_EXIT}};
  return Fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "somebody", "GPL",
                          code.data(), code.size(), nullptr));
}

bool attach_foreign(std::uint32_t ifindex, bpf_tc_attach_point point, int fd,
                    std::uint32_t handle, std::uint32_t priority) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = point);
  bpf_tc_hook_create(&hook);
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = fd, .handle = handle,
              .priority = priority);
  return bpf_tc_attach(&hook, &options) == 0;
}

// Whether an interface has the qdisc that filters hang on.
bool has_clsact(const std::string& interface) {
  return std::system(("tc qdisc show dev " + interface + " | grep -q clsact")
                         .c_str()) == 0;
}

// ---- attaching
// ----------------------------------------------------------------

TEST_F(Node, AttachesBothDirectionsAndLeavesWhatIsThere) {
  const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
  const auto ifindex = ifindex_of("veth0");
  const auto datapath = Datapath::load(small());
  ASSERT_TRUE(datapath) << datapath.error().message;
  const auto attacher = tc_attacher(*datapath);
  EXPECT_FALSE(attacher->attached(ifindex));
  for (int i = 0; i < 2; ++i) {
    const auto result = attacher->attach(ifindex);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(program_at(ifindex, BPF_TC_INGRESS),
              program_id(datapath->from_pod_fd()));
    EXPECT_EQ(program_at(ifindex, BPF_TC_EGRESS),
              program_id(datapath->to_pod_fd()));
  }
  EXPECT_TRUE(attacher->attached(ifindex));
}

TEST_F(Node, ReplacesAnOlderProgramInPlace) {
  const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
  const auto ifindex = ifindex_of("veth0");
  const auto older = Datapath::load(small());
  const auto newer = Datapath::load(small());
  ASSERT_TRUE(older && newer);
  ASSERT_TRUE(tc_attacher(*older)->attach(ifindex));
  ASSERT_TRUE(tc_attacher(*newer)->attach(ifindex));
  EXPECT_EQ(program_at(ifindex, BPF_TC_INGRESS),
            program_id(newer->from_pod_fd()));
  EXPECT_EQ(program_at(ifindex, BPF_TC_EGRESS), program_id(newer->to_pod_fd()));
}

TEST_F(Node, DetachesOnlyItsOwn) {
  const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
  const auto ifindex = ifindex_of("veth0");
  const Fd foreign = foreign_program();
  ASSERT_TRUE(attach_foreign(ifindex, BPF_TC_INGRESS, foreign.get(), 1, 1));
  const auto datapath = Datapath::load(small());
  ASSERT_TRUE(datapath);
  const auto attacher = tc_attacher(*datapath);
  ASSERT_TRUE(attacher->attach(ifindex));
  ASSERT_TRUE(attacher->detach(ifindex));
  EXPECT_EQ(program_at(ifindex, BPF_TC_INGRESS), 0U);
  EXPECT_EQ(program_at(ifindex, BPF_TC_EGRESS), 0U);
  EXPECT_EQ(program_at(ifindex, BPF_TC_INGRESS, 1, 1),
            program_id(foreign.get()));
  EXPECT_TRUE(attacher->detach(ifindex));
}

TEST_F(Node, AForeignProgramInOurSlotIsLeftAndReported) {
  const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
  const auto ifindex = ifindex_of("veth0");
  const Fd foreign = foreign_program();
  ASSERT_TRUE(attach_foreign(ifindex, BPF_TC_EGRESS, foreign.get(),
                             kFilterHandle, kFilterPriority));
  const auto datapath = Datapath::load(small());
  ASSERT_TRUE(datapath);
  const auto result = tc_attacher(*datapath)->attach(ifindex);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("taken by another program"),
            std::string::npos);
  ASSERT_TRUE(tc_detach(ifindex));
  EXPECT_EQ(program_at(ifindex, BPF_TC_EGRESS), program_id(foreign.get()));
}

TEST_F(Node, AnInterfaceThatIsGoneHasNothingToDetach) {
  EXPECT_TRUE(tc_detach(4242));
  const auto datapath = Datapath::load(small());
  ASSERT_TRUE(datapath);
  EXPECT_FALSE(tc_attacher(*datapath)->attach(4242));
}

// ---- finding interfaces
// -----------------------------------------------------------

TEST_F(Node, FindsARoutedPodByEitherAddress) {
  const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
  const auto interfaces = Interfaces::open();
  ASSERT_TRUE(interfaces) << interfaces.error().message;
  for (const std::string ip : {"10.8.0.2", "fd08::2"}) {
    const auto found = interfaces->find(endpoint("ns/a", {ip}));
    ASSERT_TRUE(found) << ip;
    EXPECT_EQ(found->ifindex, ifindex_of("veth0"));
    EXPECT_TRUE(found->trusted);
  }
  EXPECT_FALSE(interfaces->find(endpoint("ns/a", {"10.8.0.3", "fd08::3"})));
}

TEST_F(Node, FindsABridgedPodThatHasSentNothingByAsking) {
  for (const bool v6 : {false, true}) {
    const std::string number = v6 ? "6" : "4";
    if (!v6) {
      make_bridge("br0");
    }
    const auto pod = bridged_pod("br0", "veth" + number, "10.9.0." + number,
                                 "fd09::" + number);
    auto interfaces = Interfaces::open();
    ASSERT_TRUE(interfaces) << interfaces.error().message;
    const auto entry = endpoint("ns/a", {v6 ? pod.ipv6 : pod.ipv4});
    interfaces->solicit(entry);
    const bool found = wait_until(
        interfaces->fd(), [&] { ASSERT_TRUE(interfaces->dispatch()); },
        [&] { return interfaces->find(entry).has_value(); });
    ASSERT_TRUE(found) << pod.interface;
    EXPECT_EQ(interfaces->find(entry)->ifindex, ifindex_of(pod.interface));
    EXPECT_FALSE(interfaces->find(entry)->trusted);
  }
}

TEST_F(Node, FindsAPodByTheInterfaceItNames) {
  const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
  const auto other = routed_pod("veth1", "10.8.0.3", "fd08::3");
  const auto interfaces = Interfaces::open();
  ASSERT_TRUE(interfaces);
  auto entry = endpoint("ns/a", {"10.8.0.2"});
  entry.interface = "veth1";
  EXPECT_EQ(interfaces->find(entry)->ifindex, ifindex_of("veth1"));
  entry.interface = "veth2";
  EXPECT_FALSE(interfaces->find(entry));
}

TEST_F(Node, ANeighbourBehindAPortThatIsNoVethIsNoPodHere) {
  make_bridge("br0");
  run("ip link add inner type bridge");
  run("ip link set inner up");
  run("ip tuntap add dev uplink mode tap");
  run("ip link set uplink master br0 up");
  run("ip neighbour add 10.9.0.7 lladdr 02:00:00:00:00:07 dev br0");
  run("bridge fdb add 02:00:00:00:00:07 dev uplink master static");
  const auto interfaces = Interfaces::open();
  ASSERT_TRUE(interfaces);
  EXPECT_FALSE(interfaces->find(endpoint("ns/a", {"10.9.0.7"})));
}

TEST_F(Node, FollowsRoutesAndLinksThatComeAndGo) {
  auto interfaces = Interfaces::open();
  ASSERT_TRUE(interfaces);
  const auto entry = endpoint("ns/a", {"10.8.0.2", "fd08::2"});
  std::vector<std::uint32_t> gone;
  const auto dispatch = [&] {
    const auto changes = interfaces->dispatch();
    ASSERT_TRUE(changes);
    gone.insert(gone.end(), changes->gone.begin(), changes->gone.end());
  };
  const auto found = [&] {
    const auto result = interfaces->find(entry);
    return result ? result->ifindex : 0;
  };
  std::uint32_t first = 0;
  {
    const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
    first = ifindex_of("veth0");
    ASSERT_TRUE(wait_until(interfaces->fd(), dispatch,
                           [&] { return found() == first; }));
    // A replaced route says where the pod is now, with no word of the old one.
    const auto other = routed_pod("veth1", "10.8.0.3", "fd08::3");
    run("ip -6 route del fd08::2/128 dev veth0");
    run("ip route replace 10.8.0.2/32 dev veth1");
    ASSERT_TRUE(wait_until(interfaces->fd(), dispatch,
                           [&] { return found() == ifindex_of("veth1"); }));
    run("ip link set veth1 down");
    ASSERT_TRUE(
        wait_until(interfaces->fd(), dispatch, [&] { return found() == 0; }));
    run("ip link delete veth0");
  }
  ASSERT_TRUE(wait_until(interfaces->fd(), dispatch, [&] {
    return std::ranges::find(gone, first) != gone.end();
  }));
}

TEST_F(Node, ReadsEverythingAgainWhenEventsWereLost) {
  auto interfaces = Interfaces::open(4096);
  ASSERT_TRUE(interfaces) << interfaces.error().message;
  for (int i = 0; i < 40; ++i) {
    run("ip link add dummy" + std::to_string(i) + " type bridge");
  }
  const auto pod = routed_pod("veth0", "10.8.0.2", "fd08::2");
  const auto changes = interfaces->dispatch();
  ASSERT_TRUE(changes) << changes.error().message;
  EXPECT_TRUE(changes->resynced);
  const auto found = interfaces->find(endpoint("ns/a", {"10.8.0.2"}));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->ifindex, ifindex_of("veth0"));
}

// ---- the agent
// -------------------------------------------------------------------

sluice_policy_key key(std::uint32_t set, std::uint32_t cidr_id,
                      std::uint16_t port) {
  sluice_policy_key result{};
  result.prefixlen = SLUICE_PREFIX_PORT;
  result.policy_id = set;
  result.cidr_id = cidr_id;
  result.direction = SLUICE_INGRESS;
  result.protocol = 17;
  result.port = __builtin_bswap16(port);
  return result;
}

// Pod b takes UDP 1000 from pod a and nothing else; pod a takes everything.
State two_pods() {
  State state;
  auto a = endpoint("ns/a", {"10.8.0.2", "fd08::2"});
  auto b = endpoint("ns/b", {"10.8.0.3", "fd08::3"});
  b.policy_set = 5;
  b.isolated = {true, false};
  state.endpoints = {a, b};
  state.entries = {
      {key(5, 100, 1000), {.verdict = SLUICE_VERDICT_ALLOW, .rule = 20}}};
  state.peers = {{{.address = *parse_ip("10.8.0.2"), .length = 32}, 100},
                 {{.address = *parse_ip("fd08::2"), .length = 128}, 100}};
  return state;
}

AgentOptions options(const std::filesystem::path& pin_dir = {}) {
  AgentOptions result;
  result.datapath = small(pin_dir);
  return result;
}

const EndpointStatus* status_of(const AgentStatus& status,
                                const std::string& name) {
  for (const auto& endpoint : status.endpoints) {
    if (endpoint.name == name) {
      return &endpoint;
    }
  }
  return nullptr;
}

bool attached(const Agent& agent, const std::string& name) {
  const auto status = agent.status();
  const auto* found = status_of(status, name);
  return found != nullptr && found->attached;
}

bool wait_attached(Agent& agent, const std::string& name) {
  return wait_until(
      agent.poll_fd(), [&] { agent.dispatch(); },
      [&] { return attached(agent, name); });
}

TEST_F(Node, EnforcesOnRealPackets) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  std::vector<sluice_flow_event> events;
  agent->on_event([&](const auto& event) { events.push_back(event); });
  for (const bool v6 : {false, true}) {
    EXPECT_TRUE(reaches(a, b, v6, 1001)) << "before any policy";
  }
  const auto replaced = agent->replace(two_pods());
  ASSERT_TRUE(replaced) << replaced.error().message;
  for (const bool v6 : {false, true}) {
    EXPECT_TRUE(reaches(a, b, v6, 1000));
    EXPECT_FALSE(reaches(a, b, v6, 1002));
    EXPECT_TRUE(reaches(b, a, v6, 1002));
  }
  EXPECT_EQ(agent->endpoint_name(ifindex_of("vethb")), "ns/b");
  EXPECT_TRUE(wait_until(
      agent->poll_fd(), [&] { agent->dispatch(); },
      [&] {
        return std::ranges::any_of(events, [](const auto& event) {
          return event.verdict == SLUICE_VERDICT_DENY &&
                 event.dport == __builtin_bswap16(1002);
        });
      }));
  const auto status = agent->status();
  EXPECT_TRUE(std::ranges::any_of(status.reasons, [](const auto& reason) {
    return reason.reason == "default deny" && reason.direction == "ingress" &&
           reason.packets >= 2;
  }));
  const auto policy = agent->dump_policy();
  ASSERT_TRUE(policy);
  EXPECT_EQ(policy->size(), 1U);
  const auto flows = agent->dump_conntrack();
  ASSERT_TRUE(flows);
  EXPECT_TRUE(std::ranges::any_of(*flows, [&](const auto& flow) {
    return flow.ifindex == ifindex_of("vethb") && flow.local_port == 1000 &&
           flow.remote == *parse_ip("10.8.0.2");
  }));

  Transaction open;
  open.revision = 2;
  open.entries = {
      {key(5, 100, 1002),
       sluice_policy_value{.verdict = SLUICE_VERDICT_ALLOW, .rule = 21}}};
  ASSERT_TRUE(agent->apply(open));
  EXPECT_TRUE(reaches(a, b, false, 1002));
  EXPECT_EQ(agent->status().revision, 2U);
  EXPECT_EQ(agent->wanted().entries.size(), 2U);
}

TEST_F(Node, APodWaitsForItsInterfaceAndIsFollowedToANewOne) {
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(two_pods()));
  const auto pending = agent->status();
  EXPECT_FALSE(attached(*agent, "ns/b"));
  EXPECT_EQ(status_of(pending, "ns/b")->problem,
            "no interface found for 10.8.0.3 fd08::3");

  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  {
    const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
    ASSERT_TRUE(wait_attached(*agent, "ns/b"));
    EXPECT_FALSE(reaches(a, b, false, 1002));
  }
  const auto first = ifindex_of("vethb");
  run("ip link delete vethb");
  ASSERT_TRUE(wait_until(
      agent->poll_fd(), [&] { agent->dispatch(); },
      [&] { return !attached(*agent, "ns/b"); }));
  EXPECT_EQ(agent->endpoint_name(first), "");

  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  ASSERT_NE(ifindex_of("vethb"), first);
  ASSERT_TRUE(wait_attached(*agent, "ns/b"));
  EXPECT_FALSE(reaches(a, b, false, 1002));
  EXPECT_TRUE(reaches(a, b, false, 1000));
}

TEST_F(Node, ARemovedEndpointIsLeftAloneAndCleanupLeavesNothing) {
  const PrivateBpffs bpffs;
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  const auto host_side = ifindex_of("vethb");
  {
    auto agent = Agent::start(options(bpffs.pin_dir()));
    ASSERT_TRUE(agent) << agent.error().message;
    ASSERT_TRUE(agent->replace(two_pods()));
    ASSERT_FALSE(reaches(a, b, false, 1002));
    Transaction remove;
    remove.endpoints = {{"ns/b", std::nullopt}};
    ASSERT_TRUE(agent->apply(remove));
    EXPECT_TRUE(reaches(a, b, false, 1002));
    EXPECT_EQ(program_at(host_side, BPF_TC_EGRESS), 0U);
    EXPECT_TRUE(has_clsact("vethb")) << "it goes with cleanup()";
    EXPECT_NE(program_at(ifindex_of("vetha"), BPF_TC_EGRESS), 0U);
  }
  EXPECT_NE(program_at(ifindex_of("vetha"), BPF_TC_EGRESS), 0U);
  const auto result = cleanup(bpffs.pin_dir());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(program_at(ifindex_of("vetha"), BPF_TC_EGRESS), 0U);
  EXPECT_FALSE(has_clsact("vetha"));
  EXPECT_FALSE(has_clsact("vethb"));
  EXPECT_FALSE(std::filesystem::exists(bpffs.pin_dir()));
  EXPECT_TRUE(cleanup(bpffs.pin_dir()));
}

TEST_F(Node, CleanupLeavesAQdiscThatOthersUse) {
  const PrivateBpffs bpffs;
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  const auto c = routed_pod("vethc", "10.8.0.4", "fd08::4");
  const auto ingress = ifindex_of("vetha");
  const auto egress = ifindex_of("vethb");
  const Fd foreign = foreign_program();
  ASSERT_TRUE(attach_foreign(ingress, BPF_TC_INGRESS, foreign.get(), 1, 1));
  ASSERT_TRUE(attach_foreign(egress, BPF_TC_EGRESS, foreign.get(), 1, 1));
  run("tc qdisc add dev vethc ingress");
  {
    auto agent = Agent::start(options(bpffs.pin_dir()));
    ASSERT_TRUE(agent) << agent.error().message;
    ASSERT_TRUE(agent->replace(two_pods()));
  }
  const auto result = cleanup(bpffs.pin_dir());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(program_at(ingress, BPF_TC_EGRESS), 0U);
  EXPECT_EQ(program_at(egress, BPF_TC_EGRESS), 0U);
  EXPECT_EQ(program_at(ingress, BPF_TC_INGRESS, 1, 1),
            program_id(foreign.get()));
  EXPECT_EQ(program_at(egress, BPF_TC_EGRESS, 1, 1), program_id(foreign.get()));
  run("tc qdisc show dev vethc | grep -q ingress");
}

TEST_F(Node, ARestartTouchesNothingThatIsRight) {
  const PrivateBpffs bpffs;
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  const auto host_side = ifindex_of("vethb");
  std::uint32_t epoch = 0;
  {
    auto agent = Agent::start(options(bpffs.pin_dir()));
    ASSERT_TRUE(agent) << agent.error().message;
    ASSERT_TRUE(agent->replace(two_pods()));
    epoch = agent->status().epoch;
  }
  // Nobody is there, and it is enforced.
  EXPECT_FALSE(reaches(a, b, false, 1002));
  EXPECT_TRUE(reaches(a, b, false, 1000));
  const auto program = program_at(host_side, BPF_TC_EGRESS);
  {
    auto agent = Agent::start(options(bpffs.pin_dir()));
    ASSERT_TRUE(agent) << agent.error().message;
    ASSERT_TRUE(agent->replace(two_pods()));
    EXPECT_EQ(agent->status().epoch, epoch);
    EXPECT_EQ(program_at(host_side, BPF_TC_EGRESS), program);
    EXPECT_TRUE(attached(*agent, "ns/b"));
  }
  // While nobody was there, pod b went away, and its interface with it.
  run("ip link delete vethb");
  auto without = two_pods();
  without.endpoints.pop_back();
  auto agent = Agent::start(options(bpffs.pin_dir()));
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(without));
  const auto status = agent->status();
  EXPECT_EQ(status.endpoints.size(), 1U);
  EXPECT_TRUE(std::ranges::any_of(status.maps, [](const auto& map) {
    return map.name == "endpoints" && map.used == 1;
  }));
}

// A bridge forgets pods that are silent. What was enforced stays enforced.
TEST_F(Node, ARestartFindsASilentBridgedPodByItsRecord) {
  const PrivateBpffs bpffs;
  make_bridge("br0");
  const auto a = bridged_pod("br0", "vetha", "10.9.0.2", "fd09::2");
  const auto b = bridged_pod("br0", "vethb", "10.9.0.3", "fd09::3");
  auto state = two_pods();
  state.endpoints[0].ips = {*parse_ip("10.9.0.2")};
  state.endpoints[1].ips = {*parse_ip("10.9.0.3")};
  state.peers = {{{.address = *parse_ip("10.9.0.2"), .length = 32}, 100}};
  std::uint32_t epoch = 0;
  {
    auto agent = Agent::start(options(bpffs.pin_dir()));
    ASSERT_TRUE(agent) << agent.error().message;
    ASSERT_TRUE(agent->replace(state));
    ASSERT_TRUE(wait_attached(*agent, "ns/a"));
    ASSERT_TRUE(wait_attached(*agent, "ns/b"));
    EXPECT_FALSE(reaches(a, b, false, 1002));
    EXPECT_TRUE(reaches(a, b, false, 1000));
    epoch = agent->status().epoch;
  }
  run("ip link set br0 arp off");  // and nobody answers either
  run("ip neighbour flush dev br0 nud all");
  run("bridge fdb flush dev br0 dynamic");
  auto agent = Agent::start(options(bpffs.pin_dir()));
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(state));
  EXPECT_EQ(agent->status().epoch, epoch);
  EXPECT_TRUE(attached(*agent, "ns/b"));
  EXPECT_FALSE(reaches(a, b, false, 1002));
}

TEST_F(Node, TwoPodsCannotHaveOneInterface) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  auto state = two_pods();
  state.endpoints[1].interface = "vetha";
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(state));
  const auto status = agent->status();
  EXPECT_TRUE(attached(*agent, "ns/a"));
  EXPECT_EQ(status_of(status, "ns/b")->problem,
            "interface vetha belongs to ns/a");
}

TEST_F(Node, AFullMapIsReportedAndRetried) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(two_pods()));
  Transaction much;
  much.revision = 9;
  for (std::uint16_t port = 2000; port < 4000; ++port) {
    much.entries.push_back(
        {key(5, 100, port), sluice_policy_value{.rule = 30}});
  }
  const auto result = agent->apply(much);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message,
            "map policy is full: 1024 entries, 2002 needed");
  auto status = agent->status();
  EXPECT_EQ(status.problem, result.error().message);
  EXPECT_EQ(status.revision, 0U);
  EXPECT_TRUE(reaches(a, b, false, 1000));
  EXPECT_FALSE(reaches(a, b, false, 1002));
  Transaction less;
  less.revision = 10;
  for (const auto& change : much.entries) {
    less.entries.push_back({change.key, std::nullopt});
  }
  ASSERT_TRUE(agent->apply(less));
  status = agent->status();
  EXPECT_EQ(status.problem, "");
  EXPECT_EQ(status.revision, 10U);
  EXPECT_TRUE(reaches(a, b, false, 1000));
}

}  // namespace
}  // namespace sluice::agent::test
