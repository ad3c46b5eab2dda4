// SPDX-License-Identifier: Apache-2.0
#include "agent/node/names.h"

#include <filesystem>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "agent/node/json_text.h"
#include "agent/node/views_json.h"
#include "lib/explain/text.h"

namespace sluice::node {
namespace {

TEST(PortArgumentTest, ReadsPortsAndIcmpTypes) {
  EXPECT_EQ(explain::parse_port("80")->protocol, 6);
  EXPECT_EQ(explain::parse_port("53/udp")->protocol, 17);
  EXPECT_EQ(explain::parse_port("53/udp")->port, 53);
  EXPECT_EQ(explain::parse_port("8/ICMP")->port, 8 << 8);
  EXPECT_EQ(explain::parse_port("128/ICMPv6")->protocol, 58);
}

TEST(PortArgumentTest, RefusesTheRest) {
  for (const auto* text : {"", "/TCP", "65536/TCP", "-1", "80/", "80/GRE",
                           "256/ICMP", "8x", " 80", "80/TCP/UDP"}) {
    EXPECT_FALSE(explain::parse_port(text).has_value()) << text;
  }
}

sluice_policy_key key(std::uint32_t prefixlen, std::uint8_t protocol,
                      std::uint16_t port) {
  return {.prefixlen = prefixlen,
          .policy_id = 1,
          .cidr_id = 0,
          .direction = SLUICE_INGRESS,
          .protocol = protocol,
          .port = htons(port)};
}

TEST(L4Text, SaysWhatAnEntryMatches) {
  EXPECT_EQ(explain::l4_text(key(72, 0, 0)), "any");
  EXPECT_EQ(explain::l4_text(key(80, 6, 0)), "TCP");
  EXPECT_EQ(explain::l4_text(key(96, 17, 53)), "53/UDP");
  EXPECT_EQ(explain::l4_text(key(92, 6, 8080)), "8080-8095/TCP");
  EXPECT_EQ(explain::l4_text(key(88, 1, 8 << 8)), "type 8/ICMP");
  EXPECT_EQ(explain::l4_text(key(96, 1, 3 << 8 | 4)), "type 3 code 4/ICMP");
}

TEST(ReasonText, EveryReasonHasItsVerdict) {
  EXPECT_EQ(explain::reason_text(SLUICE_REASON_DEFAULT_DENY), "default deny");
  EXPECT_FALSE(explain::reason_allows(SLUICE_REASON_DEFAULT_DENY));
  EXPECT_TRUE(explain::reason_allows(SLUICE_REASON_LOCAL_NODE));
  EXPECT_EQ(explain::reason_text(SLUICE_REASON_COUNT), "unknown reason");
}

TEST(NamesTest, SurviveTheirFile) {
  State state;
  state.rules.push_back({.id = 20,
                         .policy = "NetworkPolicy/x/p",
                         .path = "spec.ingress[0]",
                         .action = "allow",
                         .log_value = ""});
  state.sets.push_back({.id = 7,
                        .policies = {"NetworkPolicy/x/p"},
                        .isolating = {std::vector<std::string>{"p"}, {}}});
  state.endpoints.push_back({.name = "x/a", .policy_set = 7});
  const auto file = std::filesystem::temp_directory_path() /
                    ("sluice-names-" + std::to_string(::getpid()));
  ASSERT_TRUE(Names(state).save(file).has_value());
  const auto loaded = Names::load(file);
  std::filesystem::remove(file);
  ASSERT_TRUE(loaded.has_value());
  ASSERT_NE(loaded->rule(20), nullptr);
  EXPECT_EQ(*loaded->rule(20), state.rules[0]);
  ASSERT_NE(loaded->set(7), nullptr);
  EXPECT_EQ(*loaded->set(7), state.sets[0]);
  EXPECT_EQ(loaded->endpoints_of(7), std::vector<std::string>{"x/a"});
}

TEST(NamesTest, FollowChanges) {
  Names names;
  Transaction transaction;
  transaction.rules.push_back({.id = 20, .value = RuleInfo{.id = 20}});
  names.apply(transaction);
  EXPECT_NE(names.rule(20), nullptr);
  transaction.rules[0].value.reset();
  names.apply(transaction);
  EXPECT_EQ(names.rule(20), nullptr);
}

TEST(NamesTest, ManyPeersAreCounted) {
  Names names;
  std::vector<PeerEntry> peers;
  for (int i = 1; i <= 5; ++i) {
    peers.push_back(
        {.prefix = *parse_prefix("10.0.0." + std::to_string(i) + "/32"),
         .cidr_id = 9});
  }
  names.set_peers(peers);
  EXPECT_EQ(names.peers(9), "10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more");
  EXPECT_EQ(names.peers(SLUICE_CIDR_ANY), "any");
}

TEST(ViewsTest, TextOfAnyBytesIsJson) {
  const ProblemView view{.message = "\xff\x1b"};
  EXPECT_TRUE(nlohmann::json::accept(dump(nlohmann::json(view))));
}

}  // namespace
}  // namespace sluice::node
