// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <gtest/gtest.h>

#include "agent/attach.h"
#include "agent/interfaces.h"
#include "agent_fixture.h"

// Filters on real veths, and finding which veth is whose.
namespace sluice::agent::test {
namespace {

// ---- attaching

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

}  // namespace
}  // namespace sluice::agent::test
