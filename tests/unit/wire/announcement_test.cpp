// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/announcement.h"

#include <map>
#include <utility>

#include <gtest/gtest.h>

#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

PodAddress pod(const std::string& name, const std::string& ip) {
  PodAddress result{.ns = "x", .name = name, .uid = "u", .interface = "veth1"};
  if (!ip.empty()) {
    result.ips = {*parse_ip(ip)};
  }
  return result;
}

// What an operator knows after all that it was told.
using Known = std::map<std::string, std::vector<IpAddress>>;

class WireAnnouncement : public testing::Test {
 protected:
  WireAnnouncement() : agent(Agent::plain(op, folder)) {}

  bool run_until_known(const Known& wanted) {
    return run_until({&op}, {&agent}, [&] {
      Known known;
      for (const auto& [begins, pods] : op.announced) {
        if (begins) {
          known.clear();
        }
        for (const auto& each : pods) {
          known[each.name] = each.ips;
          if (each.ips.empty()) {
            known.erase(each.name);
          }
        }
      }
      return known == wanted && !op.announced.empty();
    });
  }

  TemporaryFolder folder;
  Operator op;
  Agent agent;
};

TEST_F(WireAnnouncement, WhatIsSaidBeforeAndAfterTheWelcomeArrives) {
  const auto a = *parse_ip("10.0.0.1");
  const auto b = *parse_ip("fd00::2");
  EXPECT_TRUE(agent.client->announce(pod("a", "10.0.0.1")));
  ASSERT_TRUE(run_until_known({{"a", {a}}}));
  EXPECT_TRUE(op.announced.front().first) << "begins";
  EXPECT_TRUE(agent.client->announce(pod("b", "fd00::2")));
  ASSERT_TRUE(run_until_known({{"a", {a}}, {"b", {b}}}));
  EXPECT_TRUE(agent.client->announce(pod("a", "")));
  ASSERT_TRUE(run_until_known({{"b", {b}}}));
  EXPECT_EQ(agent.client->stats().version, kVersion);
}

TEST_F(WireAnnouncement, NoSnapshotIsAskedForBeforeThePodsAreAnnounced) {
  for (const std::string name : {"a", "b"}) {
    agent.client->announce(pod(name, "10.0.0.1"));
    op.announced.clear();
    op.snapshot_needed.clear();
    ASSERT_TRUE(run_until({&op}, {&agent}, [&] {
      EXPECT_LE(op.snapshot_needed.size(), op.announced.size());
      return !op.snapshot_needed.empty();
    }));
    op.server->disconnect("a", "for the test");
    agent.client->announce(pod(name, ""));
    ASSERT_TRUE(run_until({&op}, {&agent},
                          [&] { return op.disconnected.size() == 1; }));
    op.disconnected.clear();
  }
}

TEST_F(WireAnnouncement, AllOfItIsToldAgainAfterAReconnect) {
  Known all;
  for (int i = 1; i <= 600; ++i) {  // more than a message takes
    const auto ip =
        "10.0." + std::to_string(i / 250) + "." + std::to_string((i % 250) + 1);
    const auto name = "p" + std::to_string(i);
    agent.client->announce(pod(name, ip));
    all[name] = {*parse_ip(ip)};
  }
  ASSERT_TRUE(run_until_known(all));
  op.announced.clear();
  op.server->disconnect("a", "for the test");
  ASSERT_TRUE(run_until_known(all));
  EXPECT_TRUE(op.announced.front().first);
  EXPECT_GT(op.announced.size(), 1U);
}

TEST(WireAnnouncementText, WhatNoPodHasIsRefused) {
  const auto decoded = [](const PodAddress& what) {
    v1::PodAddresses message;
    *message.add_pods() = encode(what);
    return decode(message);
  };
  const auto good = pod("a", "10.0.0.1");
  ASSERT_TRUE(decoded(good));
  EXPECT_EQ(decoded(good)->front(), good);
  for (const char* ip :
       {"0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "ff02::1"}) {
    EXPECT_FALSE(decoded(pod("a", ip))) << ip;
  }
  for (const auto& change : std::vector<void (*)(PodAddress&)>{
           [](PodAddress& p) { p.ns = ""; },
           [](PodAddress& p) { p.name = "a/b"; },
           [](PodAddress& p) { p.name = std::string(254, 'a'); },
           [](PodAddress& p) { p.uid = "\n"; },
           [](PodAddress& p) { p.interface = std::string(16, 'v'); },
           [](PodAddress& p) { p.ips.push_back(p.ips.front()); }}) {
    auto wrong = good;
    change(wrong);
    EXPECT_FALSE(decoded(wrong));
  }
  v1::PodAddresses message;
  *message.add_pods() = encode(good);
  message.mutable_pods(0)->set_ips(0, "12345");
  EXPECT_FALSE(decode(message));
}

}  // namespace
}  // namespace sluice::wire::test
