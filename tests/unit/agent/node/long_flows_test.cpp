// SPDX-License-Identifier: Apache-2.0
#include "agent/node/long_flows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace sluice::node {
namespace {

using agent::ConntrackEntry;
using testing::ElementsAre;
using testing::IsEmpty;

// A connection of the pod to that port, which has had so many packets.
ConntrackEntry entry(std::uint16_t port, std::uint64_t packets,
                     std::uint8_t state = SLUICE_CT_REPLIED,
                     std::uint8_t protocol = IPPROTO_TCP) {
  ConntrackEntry result;
  result.ifindex = 3;
  result.remote = *parse_ip("10.0.0.9");
  result.local_port = 40'000;
  result.remote_port = port;
  result.protocol = protocol;
  result.value.opened_by = SLUICE_EGRESS;
  result.value.state = state;
  result.value.reason = SLUICE_REASON_POLICY_ALLOW;
  result.value.packets[SLUICE_EGRESS] = packets;
  result.value.bytes[SLUICE_EGRESS] = 100 * packets;
  return result;
}

// "80 open 7" for each report.
std::vector<std::string> read(LongFlows& flows,
                              const std::vector<ConntrackEntry>& entries,
                              std::size_t max = 100) {
  std::vector<std::string> result;
  for (const auto& report : flows.read(entries, max)) {
    result.push_back(std::to_string(report.entry.remote_port) +
                     (report.ended ? " ended " : " open ") +
                     std::to_string(report.entry.value.packets[SLUICE_EGRESS]));
  }
  return result;
}

constexpr std::uint8_t kClosed = SLUICE_CT_FIN_INGRESS | SLUICE_CT_FIN_EGRESS;

TEST(LongFlows, AFlowThatGoesOnIsToldAndAnIdleOneIsNot) {
  LongFlows flows;
  EXPECT_THAT(read(flows, {entry(80, 1), entry(81, 1)}), IsEmpty());
  EXPECT_THAT(read(flows, {entry(80, 5), entry(81, 1)}),
              ElementsAre("80 open 5"));
  EXPECT_THAT(read(flows, {entry(80, 5), entry(81, 2), entry(82, 9)}),
              ElementsAre("81 open 2"));
}

TEST(LongFlows, TheEndIsToldOnce) {
  LongFlows flows;
  read(flows, {entry(80, 1), entry(81, 2), entry(82, 3)});
  EXPECT_THAT(read(flows, {entry(80, 7, kClosed), entry(82, 3)}),
              ElementsAre("80 ended 7", "81 ended 2"));
  EXPECT_THAT(read(flows, {entry(80, 7, kClosed)}), ElementsAre("82 ended 3"));
  EXPECT_THAT(read(flows, {}), IsEmpty());
}

TEST(LongFlows, AFlowThatWasClosedBetweenTwoReadsIsNotTold) {
  LongFlows flows;
  read(flows, {});
  EXPECT_THAT(read(flows, {entry(80, 7, kClosed)}), IsEmpty());
  EXPECT_THAT(read(flows, {}), IsEmpty());
}

TEST(LongFlows, DatagramsEndWhenThereAreNoMore) {
  LongFlows flows;
  const auto udp = [](std::uint64_t packets) {
    return entry(53, packets, SLUICE_CT_REPLIED, IPPROTO_UDP);
  };
  read(flows, {udp(1)});
  EXPECT_THAT(read(flows, {udp(2)}), ElementsAre("53 open 2"));
  EXPECT_THAT(read(flows, {udp(2)}), ElementsAre("53 ended 2"));
  EXPECT_THAT(read(flows, {udp(2)}), IsEmpty());
  EXPECT_THAT(read(flows, {udp(3)}), ElementsAre("53 open 3"));
}

TEST(LongFlows, ANewFlowWithTheSamePortsBeginsAnew) {
  LongFlows flows;
  read(flows, {entry(80, 9)});
  EXPECT_THAT(read(flows, {entry(80, 2)}), IsEmpty());
  EXPECT_THAT(read(flows, {entry(80, 3)}), ElementsAre("80 open 3"));
}

TEST(LongFlows, EndsAndTheLargestCountIfThereAreTooMany) {
  LongFlows flows;
  read(flows, {entry(80, 1), entry(81, 1), entry(82, 1), entry(83, 1)});
  EXPECT_THAT(read(flows,
                   {entry(80, 500), entry(81, 2, kClosed), entry(82, 900),
                    entry(83, 300)},
                   2),
              testing::UnorderedElementsAre("81 ended 2", "82 open 900"));
}

TEST(LongFlows, ARecordIsSeenFromThePodThatOpenedTheFlowOrGotIt) {
  const auto local = *parse_ip("10.0.0.1");
  auto opened = entry(443, 4);
  const auto egress = traffic_record({.entry = opened, .ended = true}, local);
  ASSERT_TRUE(egress.has_value());
  EXPECT_EQ(egress->source, local);
  EXPECT_EQ(egress->destination_port, 443);
  EXPECT_EQ(egress->traffic->bytes[SLUICE_EGRESS], 400U);
  EXPECT_TRUE(egress->traffic->ended);
  opened.value.opened_by = SLUICE_INGRESS;
  opened.origin = *parse_ip("10.0.0.77");
  const auto ingress = traffic_record({.entry = opened, .ended = false}, local);
  ASSERT_TRUE(ingress.has_value());
  EXPECT_EQ(ingress->source, *parse_ip("10.0.0.77")) << "before masquerading";
  EXPECT_EQ(ingress->destination, local);
  EXPECT_EQ(ingress->destination_port, 40'000);
  opened.value.reason = SLUICE_REASON_POLICY_DENY;
  EXPECT_FALSE(traffic_record({.entry = opened, .ended = true}, local));
}

}  // namespace
}  // namespace sluice::node
