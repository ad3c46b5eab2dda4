// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <algorithm>
#include <filesystem>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_fixture.h"

// The agent in network namespaces of its own, with real veths and packets.
namespace sluice::agent::test {
namespace {

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
      agent->poll_fd(), [&] { EXPECT_TRUE(agent->dispatch()); },
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

// As if the kernel had closed them: what is left of them reads as an error.
void break_netlink() {
  const Fd nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    int domain = 0;
    socklen_t size = sizeof(domain);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
        domain == AF_NETLINK) {
      dup2(nothing.get(), fd);
    }
  }
}

TEST_F(Node, AnAgentThatCannotFollowInterfacesSaysSo) {
  routed_pod("vetha", "10.8.0.2", "fd08::2");
  routed_pod("vethb", "10.8.0.3", "fd08::3");
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(two_pods()));
  ASSERT_TRUE(agent->dispatch());
  ASSERT_TRUE(agent->retry());
  break_netlink();
  const auto followed = agent->dispatch();
  ASSERT_FALSE(followed);
  EXPECT_NE(followed.error().message, "");
  EXPECT_FALSE(agent->dispatch()) << "it lasts";
  EXPECT_FALSE(agent->retry());
  EXPECT_NE(agent->status().problem, "");
}

// The kernel's flows of the addresses of a pod in which nothing runs yet are an
// earlier pod's.
TEST_F(Node, APodThatStartsAdoptsNoFlows) {
  run("nft add table ip t");
  run("nft 'add chain ip t forward { type filter hook forward priority 0; }'");
  run("nft add rule ip t forward ct state new accept");
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  EXPECT_TRUE(reaches(b, a, false, 1001));
  auto state = two_pods();
  std::erase_if(state.endpoints,
                [](const auto& entry) { return entry.name != "ns/b"; });
  for (const bool starting : {true, false}) {
    auto agent = Agent::start(options());
    ASSERT_TRUE(agent) << agent.error().message;
    agent->announce("ns/b", ifindex_of("vethb"), starting);
    ASSERT_TRUE(agent->replace(state));
    EXPECT_TRUE(agent->is_enforced("ns/b", ifindex_of("vethb"),
                                   {*parse_ip(b.ipv4), *parse_ip(b.ipv6)}));
    const auto flows = agent->dump_conntrack();
    ASSERT_TRUE(flows);
    EXPECT_EQ(flows->empty(), starting);
  }
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
  const auto old_b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  ASSERT_TRUE(wait_attached(*agent, "ns/b"));
  EXPECT_FALSE(reaches(a, old_b, false, 1002));
  const auto first = ifindex_of("vethb");
  run("ip link delete vethb");
  ASSERT_TRUE(wait_until(
      agent->poll_fd(), [&] { EXPECT_TRUE(agent->dispatch()); },
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
  run("ip link set vetha type bridge_slave fdb_flush");
  run("ip link set vethb type bridge_slave fdb_flush");
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

// Names are what a pod's owner says; whose address a route leads to is not.
TEST_F(Node, NamingAnotherPodsInterfaceTakesNothingFromIt) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  auto state = two_pods();
  state.endpoints[0].interface = "vethb";
  const auto check = [](const Agent& agent) {
    EXPECT_TRUE(attached(agent, "ns/b"));
    EXPECT_EQ(status_of(agent.status(), "ns/b")->interface, "vethb");
    EXPECT_EQ(status_of(agent.status(), "ns/a")->problem,
              "interface vethb belongs to ns/b");
  };
  {
    auto agent = Agent::start(options());
    ASSERT_TRUE(agent) << agent.error().message;
    ASSERT_TRUE(agent->replace(state));
    check(*agent);
  }
  // Not by being first either.
  auto alone = state;
  alone.endpoints.pop_back();
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(alone));
  EXPECT_TRUE(attached(*agent, "ns/a"));
  Transaction change;
  change.revision = 2;
  change.endpoints = {{.name = "ns/b", .value = state.endpoints[1]}};
  ASSERT_TRUE(agent->apply(change));
  check(*agent);
}

// Nor can the node itself be cut off.
TEST_F(Node, WhatIsNoPodsInterfaceCannotBeNamed) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  auto how = options();
  how.pod_interfaces = {"veth*"};
  auto state = two_pods();
  state.endpoints[0].interface = "vetha";
  state.endpoints[1].interface = "lo";
  auto agent = Agent::start(how);
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(state));
  EXPECT_TRUE(attached(*agent, "ns/a"));
  EXPECT_EQ(status_of(agent->status(), "ns/b")->problem,
            "interface lo is no pod's");
}

// Between the two it would be open.
TEST_F(Node, OneThatWaitsForAnInterfaceTakesItOverInOneStep) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  auto state = two_pods();
  state.endpoints[1].interface = "vetha";
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(state));
  Transaction change;
  change.revision = 2;
  change.endpoints = {{.name = "ns/a", .value = std::nullopt}};
  ASSERT_TRUE(agent->apply(change));
  EXPECT_TRUE(attached(*agent, "ns/b"));
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
  ASSERT_TRUE(result) << result.error().message;
  auto status = agent->status();
  EXPECT_EQ(status.problem, "");
  ASSERT_TRUE(status.shortfalls.contains(5));
  EXPECT_NE(status.shortfalls.at(5).find("of 1024 entries are used"),
            std::string::npos)
      << status.shortfalls.at(5);
  EXPECT_EQ(status.revision, 9U);
  EXPECT_TRUE(reaches(a, b, false, 1000));
  EXPECT_FALSE(reaches(a, b, false, 1002));
  Transaction less;
  less.revision = 10;
  for (const auto& change : much.entries) {
    less.entries.push_back({change.key, std::nullopt});
  }
  ASSERT_TRUE(agent->apply(less));
  status = agent->status();
  EXPECT_TRUE(status.shortfalls.empty());
  EXPECT_EQ(status.revision, 10U);
  EXPECT_TRUE(reaches(a, b, false, 1000));
}

}  // namespace
}  // namespace sluice::agent::test
