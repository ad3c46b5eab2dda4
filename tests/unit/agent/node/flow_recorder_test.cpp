// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_recorder.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sluice::node {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kRule = SLUICE_RULE_FIRST;
constexpr std::uint32_t kSet = 7;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

sluice_flow_event event(const std::string& from, const std::string& to,
                        std::uint16_t port) {
  sluice_flow_event event{};
  event.ifindex = 3;
  event.family = AF_INET;
  event.protocol = IPPROTO_TCP;
  event.direction = SLUICE_EGRESS;
  event.verdict = SLUICE_VERDICT_ALLOW;
  event.reason = SLUICE_REASON_POLICY_ALLOW;
  event.rule = kRule;
  event.policy_id = SLUICE_POLICY_ID(kSet, 1);
  event.dport = htons(port);
  std::ranges::copy_n(ip(from).bytes.begin(), 4, event.saddr);
  std::ranges::copy_n(ip(to).bytes.begin(), 4, event.daddr);
  return event;
}

State policies() {
  State state;
  state.rules.push_back({.id = kRule,
                         .policy = "NetworkPolicy/shop/web",
                         .path = "spec.egress[0]",
                         .action = "allow",
                         .log_value = "audit me"});
  PolicySetInfo set{.id = kSet, .policies = {}, .isolating = {}, .problem = {}};
  set.isolating[SLUICE_EGRESS] = {"NetworkPolicy/shop/web",
                                  "CiliumClusterwideNetworkPolicy/base"};
  state.sets.push_back(set);
  return state;
}

class NodeFlowRecorder : public ::testing::Test {
 protected:
  void know(const std::string& address, const std::string& pod) {
    flow::End end;
    end.ns = "shop";
    end.pod = pod;
    ends_.learn(ip(address), end, now_);
  }
  [[nodiscard]] std::vector<flow::Record> stored() const {
    return store_.read(1, 100).records;
  }

  Ends::Clock::time_point now_ = Ends::Clock::now();
  std::vector<IpAddress> asked_;
  bool reachable_ = true;
  Ends ends_{[this](const std::vector<IpAddress>& addresses) {
    asked_.insert(asked_.end(), addresses.begin(), addresses.end());
    return reachable_;
  }};
  Names names_{policies()};
  flow::Store store_{100, 1};
  std::vector<std::string> resolved_{"a.test"};  // 198.51.100.1
  FlowRecorder recorder_{
      store_,
      ends_,
      names_,
      {.name =
           [](std::uint32_t ifindex) {
             return ifindex == 3 ? std::string("shop/own") : std::string();
           },
       .names_of =
           [this](std::uint32_t ifindex, const IpAddress& address) {
             return ifindex == 3 && address == ip("198.51.100.1")
                        ? resolved_
                        : std::vector<std::string>();
           }}};
};

TEST_F(NodeFlowRecorder, WaitsForTheEndsOfAFlow) {
  recorder_.on_event(event("10.0.0.1", "10.0.0.2", 80), now_);
  recorder_.turn(now_);
  EXPECT_TRUE(stored().empty());
  EXPECT_EQ(std::set(asked_.begin(), asked_.end()),
            (std::set{ip("10.0.0.1"), ip("10.0.0.2")}));
  know("10.0.0.1", "web");
  recorder_.turn(now_);
  EXPECT_TRUE(stored().empty());
  know("10.0.0.2", "db");
  recorder_.turn(now_);
  const auto records = stored();
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].from->pod, "web");
  EXPECT_EQ(records[0].to->pod, "db");
  EXPECT_EQ(records[0].destination_port, 80);
  ASSERT_EQ(records[0].decision->policies.size(), 1U);
  EXPECT_EQ(
      records[0].decision->policies[0],
      (flow::PolicyName{.kind = "NetworkPolicy", .ns = "shop", .name = "web"}));
  EXPECT_EQ(records[0].decision->log, "audit me");
  recorder_.on_event(event("10.0.0.1", "10.0.0.2", 81), now_);
  EXPECT_EQ(stored().size(), 2U) << "known ends need no turn";
}

TEST_F(NodeFlowRecorder, KeepsTheOrderOfEvents) {
  know("10.0.0.1", "web");
  recorder_.on_event(event("10.0.0.1", "10.0.0.9", 1), now_);
  recorder_.on_event(event("10.0.0.1", "10.0.0.1", 2), now_);
  recorder_.turn(now_);
  EXPECT_TRUE(stored().empty());
  know("10.0.0.1", "web");
  know("10.0.0.9", "late");
  recorder_.turn(now_);
  const auto records = stored();
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].destination_port, 1);
  EXPECT_EQ(records[1].destination_port, 2);
}

TEST_F(NodeFlowRecorder, StoresWhatIsLostInItsPlace) {
  recorder_.on_lost(0, now_);
  recorder_.on_event(event("10.0.0.1", "10.0.0.1", 1), now_);
  recorder_.on_lost(12, now_);
  recorder_.on_lost(0, now_);
  recorder_.on_lost(3, now_);
  EXPECT_TRUE(stored().empty());
  know("10.0.0.1", "web");
  recorder_.turn(now_);
  const auto records = stored();
  ASSERT_EQ(records.size(), 3U) << "nothing is told of none";
  EXPECT_EQ(records[0].lost, 0U);
  EXPECT_EQ(records[1].lost, 12U);
  EXPECT_GT(records[1].lost_since, 0);
  EXPECT_LE(records[1].lost_since, records[1].time);
  EXPECT_GE(records[2].lost_since, records[1].time);
  EXPECT_FALSE(records[1].ip);
  ASSERT_TRUE(records[1].from && records[1].to && records[1].decision);
}

TEST_F(NodeFlowRecorder, DoesNotWaitForever) {
  reachable_ = false;
  recorder_.on_event(event("10.0.0.1", "10.0.0.2", 80), now_);
  recorder_.turn(now_ + 900ms);
  EXPECT_TRUE(stored().empty());
  recorder_.turn(now_ + 1100ms);
  ASSERT_EQ(stored().size(), 1U);
  EXPECT_EQ(stored()[0].from->ns, "shop");
  EXPECT_EQ(stored()[0].from->pod, "own") << "the node knows its own pods";
  ASSERT_TRUE(stored()[0].to);
  EXPECT_TRUE(stored()[0].to->pod.empty());
}

TEST_F(NodeFlowRecorder, AsksAgainUntilItIsHeard) {
  reachable_ = false;
  recorder_.on_event(event("10.0.0.1", "10.0.0.2", 80), now_);
  recorder_.turn(now_);
  recorder_.turn(now_ + 100ms);
  EXPECT_EQ(asked_.size(), 4U);
  reachable_ = true;
  asked_.clear();
  recorder_.turn(now_ + 200ms);
  EXPECT_EQ(asked_.size(), 2U);
  recorder_.turn(now_ + 300ms);
  EXPECT_EQ(asked_.size(), 2U) << "it has been heard";
}

TEST_F(NodeFlowRecorder, AnOldAnswerMayBeAboutAnotherPod) {
  recorder_.on_event(event("10.0.0.1", "10.0.0.1", 1), now_);
  know("10.0.0.1", "job-a");
  recorder_.turn(now_);
  now_ += 31s;
  recorder_.on_event(event("10.0.0.1", "10.0.0.1", 2), now_);
  recorder_.turn(now_);
  EXPECT_EQ(stored().size(), 1U) << "waits for a new answer";
  know("10.0.0.1", "job-b");
  recorder_.turn(now_);
  ASSERT_EQ(stored().size(), 2U);
  EXPECT_EQ(stored()[1].from->pod, "job-b");
}

TEST_F(NodeFlowRecorder, FlowsToOneNameShareIt) {
  recorder_.on_event(event("10.0.0.1", "198.51.100.1", 1), now_);
  know("10.0.0.1", "web");
  ends_.learn(ip("198.51.100.1"), flow::End{}, now_);
  recorder_.turn(now_);
  recorder_.on_event(event("10.0.0.1", "198.51.100.1", 2), now_);
  resolved_ = {"b.test", "a.test"};
  recorder_.on_event(event("10.0.0.1", "198.51.100.1", 3), now_);
  const auto records = stored();
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].to, records[1].to);
  EXPECT_EQ(records[0].to->names, (std::vector<std::string>{"a.test"}));
  EXPECT_EQ(records[2].to->names, resolved_);
}

TEST_F(NodeFlowRecorder, ADefaultDenyHasThePoliciesThatIsolate) {
  auto denied = event("10.0.0.1", "10.0.0.2", 80);
  denied.verdict = SLUICE_VERDICT_DENY;
  denied.reason = SLUICE_REASON_DEFAULT_DENY;
  denied.rule = SLUICE_RULE_DEFAULT_DENY_EGRESS;
  recorder_.on_event(denied, now_);
  know("10.0.0.1", "web");
  know("10.0.0.2", "db");
  recorder_.turn(now_);
  ASSERT_EQ(stored().size(), 1U);
  const auto& policies = stored()[0].decision->policies;
  ASSERT_EQ(policies.size(), 2U);
  EXPECT_EQ(
      policies[1],
      (flow::PolicyName{
          .kind = "CiliumClusterwideNetworkPolicy", .ns = {}, .name = "base"}));
}

TEST_F(NodeFlowRecorder, TheOtherEndHasTheNamesThatThePodKnows) {
  for (const char* address : {"10.0.0.1", "198.51.100.1", "198.51.100.2"}) {
    (void)ends_.find(ip(address), now_);
    ends_.learn(ip(address), {}, now_);
  }
  recorder_.on_event(event("10.0.0.1", "198.51.100.1", 443), now_);
  recorder_.on_event(event("10.0.0.1", "198.51.100.2", 443), now_);
  ASSERT_EQ(stored().size(), 2U);
  EXPECT_EQ(stored()[0].to->names, std::vector<std::string>{"a.test"});
  EXPECT_TRUE(stored()[0].from->names.empty());
  EXPECT_TRUE(stored()[1].to->names.empty());
}

TEST_F(NodeFlowRecorder, WhatIsNoIpHasNoEnds) {
  sluice_flow_event arp{};
  arp.ifindex = 3;
  arp.verdict = SLUICE_VERDICT_DENY;
  arp.reason = SLUICE_REASON_ETHERTYPE;
  recorder_.on_event(arp, now_);
  ASSERT_EQ(stored().size(), 1U);
  EXPECT_FALSE(stored()[0].ip);
  EXPECT_TRUE(asked_.empty());
}

TEST_F(NodeFlowRecorder, RulesThatChangeAreReadAgain) {
  for (const char* address : {"10.0.0.1", "10.0.0.2"}) {
    (void)ends_.find(ip(address), now_);
    ends_.learn(ip(address), {}, now_);
  }
  recorder_.on_event(event("10.0.0.1", "10.0.0.2", 80), now_);
  auto state = policies();
  state.rules[0].policy = "NetworkPolicy/shop/other";
  names_ = Names(state);
  recorder_.forget_rules();
  recorder_.on_event(event("10.0.0.1", "10.0.0.2", 80), now_);
  ASSERT_EQ(stored().size(), 2U);
  EXPECT_EQ(stored()[0].decision->policies[0].name, "web");
  EXPECT_EQ(stored()[1].decision->policies[0].name, "other");
}

TEST_F(NodeFlowRecorder, AskedAgainAfterAWhile) {
  (void)ends_.find(ip("10.0.0.1"), now_);
  ends_.turn();
  (void)ends_.find(ip("10.0.0.1"), now_ + 1s);
  ends_.turn();
  EXPECT_EQ(asked_.size(), 1U) << "no answer yet";
  (void)ends_.find(ip("10.0.0.1"), now_ + 3s);
  ends_.turn();
  EXPECT_EQ(asked_.size(), 2U);
  now_ += 3s;
  know("10.0.0.1", "web");
  EXPECT_EQ(ends_.find(ip("10.0.0.1"), now_ + 9s)->pod, "web");
  ends_.turn();
  EXPECT_EQ(asked_.size(), 2U);
  EXPECT_EQ(ends_.find(ip("10.0.0.1"), now_ + 11s)->pod, "web");
  ends_.turn();
  EXPECT_EQ(asked_.size(), 3U);
  ends_.forget(ip("10.0.0.1"));
  EXPECT_FALSE(ends_.find(ip("10.0.0.1"), now_ + 11s));
}

}  // namespace
}  // namespace sluice::node
