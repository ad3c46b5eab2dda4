// SPDX-License-Identifier: Apache-2.0
// The node's own addresses beside the operator's peers.
#include "agent/own_peers.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::agent {
namespace {

constexpr std::uint32_t kMark = OwnPeers::kMark;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

IpPrefix exact(const std::string& text) {
  return make_prefix(ip(text), ip(text).bits());
}

sluice_policy_key key(std::uint32_t set, std::uint32_t cidr_id,
                      std::uint16_t port = 80) {
  return {.prefixlen = SLUICE_PREFIX_PORT,
          .policy_id = set,
          .cidr_id = cidr_id,
          .direction = SLUICE_EGRESS,
          .protocol = 6,
          .port = port};
}

constexpr sluice_policy_value kAllow{.verdict = SLUICE_VERDICT_ALLOW,
                                     .rule = 20};
constexpr sluice_policy_value kDeny{.verdict = SLUICE_VERDICT_DENY, .rule = 21};

State sorted(State state) {
  std::ranges::sort(state.peers, {}, &PeerEntry::prefix);
  std::ranges::sort(state.entries, PolicyKeyLess{}, &PolicyEntry::key);
  return state;
}

// Operator and agent side by side: what the kernel would hold must follow.
class OwnPeersTest : public testing::Test {
 protected:
  void addresses(const std::vector<std::string>& texts) {
    now.clear();
    for (const auto& text : texts) {
      now.push_back(ip(text));
    }
    sluice::apply(kernel, with_own({}, own.set_addresses(now, wanted)));
  }
  void replace(State state) {
    wanted = sorted(std::move(state));
    own.replace(wanted);
    kernel = with_laid(own);
  }
  void apply(const Transaction& transaction) {
    sluice::apply(wanted, transaction);
    const auto changes =
        own.apply(transaction, [&]() -> const State& { return wanted; });
    sluice::apply(kernel, with_own(transaction, changes));
  }
  void peer(const std::string& text, std::optional<std::uint32_t> cidr_id) {
    Transaction transaction;
    transaction.peers.push_back(
        {.prefix = *parse_prefix(text), .cidr_id = cidr_id});
    apply(transaction);
  }
  void entry(const sluice_policy_key& entry,
             std::optional<sluice_policy_value> value) {
    Transaction transaction;
    transaction.entries.push_back({.key = entry, .value = value});
    apply(transaction);
  }
  void endpoint(const std::string& name, const std::vector<std::string>& ips) {
    Transaction transaction;
    EndpointEntry entry{.name = name};
    for (const auto& text : ips) {
      entry.ips.push_back(ip(text));
    }
    transaction.endpoints.push_back(
        {.name = name,
         .value = ips.empty() ? std::nullopt : std::optional(entry)});
    apply(transaction);
  }
  // The kernel holds the layer that would be written anew.
  void check() {
    OwnPeers anew;
    (void)anew.set_addresses(now, wanted);
    anew.replace(wanted);
    const auto expected = with_laid(anew);
    EXPECT_EQ(kernel.peers, expected.peers);
    EXPECT_EQ(kernel.entries, expected.entries);
  }
  // nullopt: the kernel has no exact peer.
  std::optional<std::uint32_t> has(const std::string& text) {
    check();
    const auto it =
        std::ranges::find(kernel.peers, exact(text), &PeerEntry::prefix);
    return it == kernel.peers.end() ? std::nullopt : std::optional(it->cidr_id);
  }
  std::optional<std::uint32_t> rule(const sluice_policy_key& of) {
    check();
    const auto it = std::ranges::find_if(
        kernel.entries,
        [&](const auto& entry) { return equal(entry.key, of); });
    return it == kernel.entries.end() ? std::nullopt
                                      : std::optional(it->value.rule);
  }

  OwnPeers own;
  State wanted;
  State kernel;
  std::vector<IpAddress> now;

 private:
  [[nodiscard]] State with_laid(const OwnPeers& peers) const {
    auto state = wanted;
    const auto layer = peers.layer();
    state.peers.insert(state.peers.end(), layer.peers.begin(),
                       layer.peers.end());
    state.entries.insert(state.entries.end(), layer.entries.begin(),
                         layer.entries.end());
    return sorted(std::move(state));
  }
};

TEST_F(OwnPeersTest, AddressesCountFromWhenTheyComeUntilTheyGo) {
  replace({});
  addresses({"10.0.0.1", "fe80::1"});
  EXPECT_EQ(has("10.0.0.1"), kMark);
  EXPECT_EQ(has("fe80::1"), kMark);
  addresses({"fe80::1"});
  EXPECT_EQ(has("10.0.0.1"), std::nullopt);
  EXPECT_EQ(has("fe80::1"), kMark);
}

// Otherwise whatever is allowed to one address of the node, be it by a rule for
// that address alone, would be allowed to all of them.
TEST_F(OwnPeersTest, TheyDoNotHaveTheClassOfTheNodesOtherAddresses) {
  addresses({"10.0.0.1"});
  replace({.peers = {{.prefix = exact("10.9.0.1"), .cidr_id = 0xc0000007}},
           .entries = {{.key = key(1, 0xc0000007), .value = kAllow}}});
  EXPECT_EQ(has("10.0.0.1"), kMark);
  EXPECT_EQ(kernel.entries.size(), 1U);
}

// As if the prefix around the address were its class still: neither a denial
// nor an allowance of it is lost.
TEST_F(OwnPeersTest, TheyKeepTheVerdictsOfThePrefixAroundThem) {
  addresses({"10.0.0.1", "10.1.0.1", "172.16.0.1"});
  replace({.peers = {{.prefix = *parse_prefix("10.0.0.0/8"), .cidr_id = 4},
                     {.prefix = *parse_prefix("10.1.0.0/16"), .cidr_id = 5},
                     {.prefix = exact("10.1.0.9"), .cidr_id = 6}},
           .entries = {{.key = key(1, 0), .value = kAllow},
                       {.key = key(1, 4), .value = kDeny},
                       {.key = key(2, 4, 81), .value = kAllow},
                       {.key = key(1, 5), .value = kAllow},
                       {.key = key(1, 6), .value = kAllow}}});
  EXPECT_EQ(has("10.0.0.1"), 4 | kMark);
  EXPECT_EQ(has("10.1.0.1"), 5 | kMark);
  EXPECT_EQ(has("172.16.0.1"), kMark);
  EXPECT_EQ(rule(key(1, 4 | kMark)), kDeny.rule);
  EXPECT_EQ(rule(key(2, 4 | kMark, 81)), kAllow.rule);
  EXPECT_EQ(rule(key(1, 5 | kMark)), kAllow.rule);
  EXPECT_EQ(kernel.entries.size(), 8U) << "nobody needs more";
}

TEST_F(OwnPeersTest, TheVerdictsFollowThoseOfThePrefix) {
  addresses({"10.0.0.1"});
  replace({.peers = {{.prefix = *parse_prefix("10.0.0.0/8"), .cidr_id = 4}},
           .entries = {{.key = key(1, 4), .value = kDeny},
                       {.key = key(1, 5), .value = kAllow}}});
  entry(key(1, 4), kAllow);
  EXPECT_EQ(rule(key(1, 4 | kMark)), kAllow.rule);
  entry(key(1, 4, 81), kAllow);
  EXPECT_EQ(rule(key(1, 4 | kMark, 81)), kAllow.rule);
  entry(key(1, 4), std::nullopt);
  EXPECT_EQ(rule(key(1, 4 | kMark)), std::nullopt);
  peer("10.0.0.0/8", 5);
  EXPECT_EQ(has("10.0.0.1"), 5 | kMark);
  EXPECT_EQ(rule(key(1, 4 | kMark, 81)), std::nullopt);
  EXPECT_EQ(rule(key(1, 5 | kMark)), kAllow.rule);
  peer("10.0.0.0/8", std::nullopt);
  EXPECT_EQ(has("10.0.0.1"), kMark);
  EXPECT_EQ(rule(key(1, 5 | kMark)), std::nullopt);
  peer("0.0.0.0/0", 5);
  EXPECT_EQ(rule(key(1, 5 | kMark)), kAllow.rule);
  addresses({});
  EXPECT_EQ(rule(key(1, 5 | kMark)), std::nullopt);
}

TEST_F(OwnPeersTest, OnePrefixComesWithItsEntries) {
  addresses({"10.0.0.1"});
  replace({});
  apply({.peers = {{.prefix = *parse_prefix("10.0.0.0/8"), .cidr_id = 4}},
         .entries = {{.key = key(1, 4), .value = kDeny}}});
  EXPECT_EQ(rule(key(1, 4 | kMark)), kDeny.rule);
  apply({.peers = {{.prefix = *parse_prefix("10.0.0.0/8"), .cidr_id = {}}},
         .entries = {{.key = key(1, 4), .value = {}}}});
  EXPECT_EQ(rule(key(1, 4 | kMark)), std::nullopt);
  EXPECT_EQ(has("10.0.0.1"), kMark);
}

TEST_F(OwnPeersTest, WhatTheStateHasExactlyIsLeftToIt) {
  addresses({"10.0.0.1"});
  replace({.peers = {{.prefix = exact("10.0.0.1"), .cidr_id = 3},
                     {.prefix = *parse_prefix("10.0.0.0/8"), .cidr_id = 4}}});
  EXPECT_EQ(has("10.0.0.1"), 3U);
  peer("10.0.0.1/32", 0);
  EXPECT_EQ(has("10.0.0.1"), 0U);
  peer("10.0.0.1/32", std::nullopt);
  EXPECT_EQ(has("10.0.0.1"), 4 | kMark) << "not a moment without";
  peer("10.0.0.1/32", 5);
  EXPECT_EQ(has("10.0.0.1"), 5U);
  addresses({});
  EXPECT_EQ(has("10.0.0.1"), 5U);
  peer("10.0.0.1/32", std::nullopt);
  EXPECT_EQ(has("10.0.0.1"), std::nullopt);
  peer("10.0.0.2/32", 5);
  addresses({"10.0.0.2"});
  EXPECT_EQ(has("10.0.0.2"), 5U);
}

TEST_F(OwnPeersTest, PeerThatTheStateTakesAwayTwiceStaysTheNodes) {
  addresses({"10.0.0.1"});
  replace({});
  peer("10.0.0.1/32", std::nullopt);
  EXPECT_EQ(has("10.0.0.1"), kMark);
  peer("10.0.0.1/32", std::nullopt);
  EXPECT_EQ(has("10.0.0.1"), kMark);
}

TEST_F(OwnPeersTest, AddressOfAnEndpointIsNotTheNodes) {
  addresses({"10.0.0.1", "fd00::1"});
  replace({});
  endpoint("x/a", {"10.0.0.1"});
  EXPECT_EQ(has("10.0.0.1"), std::nullopt);
  EXPECT_EQ(has("fd00::1"), kMark);
  endpoint("x/b", {"10.0.0.1", "fd00::1"});
  endpoint("x/a", {});
  EXPECT_EQ(has("10.0.0.1"), std::nullopt);
  endpoint("x/b", {"10.0.0.2"});
  EXPECT_EQ(has("10.0.0.1"), kMark);
  EXPECT_EQ(has("fd00::1"), kMark);
}

}  // namespace
}  // namespace sluice::agent
