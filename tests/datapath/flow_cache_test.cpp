// SPDX-License-Identifier: Apache-2.0
// What the flow cache holds, seen from user space; what it does to packets is
// in flow_scenarios.cpp.
#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/datapath/front.h"
#include "tests/datapath/net.h"
#include "tests/datapath/scenario.h"

namespace sluice::testing {
namespace {

constexpr Entry kAllowIn80 = {
    .direction = SLUICE_INGRESS, .protocol = kTcp, .port = 80, .port_bits = 16};
constexpr int kPackets = 20;

class FlowCache : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(runner_.set(net_.isolated({kAllowIn80})));
    ASSERT_TRUE(runner_.forget());
    for (int i = 0; i < kPackets; ++i) {
      ASSERT_TRUE(allowed(SLUICE_INGRESS, in_));
      ASSERT_TRUE(allowed(SLUICE_EGRESS, out_));
    }
  }
  bool allowed(sluice_direction direction, const Bytes& frame) {
    const auto verdict = runner_.verdict(direction, frame);
    EXPECT_TRUE(verdict) << verdict.error().message;
    return verdict && *verdict;
  }
  std::vector<sluice_flow_slot*> slots() {
    std::vector<sluice_flow_slot*> used;
    for (sluice_flow_slot& slot :
         std::span(runner_.datapath().flow_cache(), SLUICE_FLOW_CACHE_SLOTS)) {
      if (slot.flow.ip_version != 0) {
        used.push_back(&slot);
      }
    }
    return used;
  }

  Net net_ = make_net(GetParam());
  Runner& runner_ = shared_runner();
  Bytes in_ = net_.from(net_.b, kTcp, tcp(1000, 80, kAck));
  Bytes out_ = net_.to(net_.b, kTcp, tcp(80, 1000, kAck));
};

TEST_P(FlowCache, HoldsAFlowOnceAndCountsWhatConntrackDoesNot) {
  const auto used = slots();
  ASSERT_EQ(used.size(), 1U);
  const sluice_flow_slot& slot = *used.front();
  EXPECT_EQ(slot.flow.ip_version, GetParam() ? 6 : 4);
  EXPECT_EQ(slot.flow.opened_by, SLUICE_INGRESS);
  auto flows = runner_.flows(GetParam());
  ASSERT_TRUE(flows);
  ASSERT_EQ(flows->size(), 1U);
  EXPECT_GT(slot.packets[SLUICE_INGRESS], 0U);
  for (const auto direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
    EXPECT_EQ(flows->front().packets[direction] + slot.packets[direction],
              static_cast<unsigned>(kPackets));
    EXPECT_EQ(flows->front().bytes[direction] + slot.bytes[direction],
              kPackets * in_.size());
  }

  // A second later conntrack is asked, and told.
  ASSERT_TRUE(runner_.age_flows(GetParam(), 1));
  EXPECT_TRUE(allowed(SLUICE_INGRESS, in_));
  flows = runner_.flows(GetParam());
  ASSERT_TRUE(flows);
  ASSERT_EQ(flows->size(), 1U);
  EXPECT_EQ(flows->front().packets[SLUICE_INGRESS], kPackets + 1U);
  EXPECT_EQ(flows->front().packets[SLUICE_EGRESS],
            static_cast<unsigned>(kPackets));
  EXPECT_EQ(slot.packets[SLUICE_INGRESS], 0U);
}

TEST_P(FlowCache, BelievesNoSlotWhoseKeyAndTagDoNotBelongTogether) {
  const auto used = slots();
  ASSERT_EQ(used.size(), 1U);
  const sluice_flow_slot& slot = *used.front();
  // As if another flow's writer had been interrupted: every slot says that the
  // flow of port 81 is allowed, with a tag that is not that flow's.
  sluice_flow_slot forged = slot;
  forged.flow.local_port = __builtin_bswap16(81);
  std::ranges::fill(
      std::span(runner_.datapath().flow_cache(), SLUICE_FLOW_CACHE_SLOTS),
      forged);
  // Whatever the flow's hint is, it is among these.
  for (int hint = 0; hint < 256; ++hint) {
    sluice_flow_hints hints{};
    std::ranges::fill(hints.hint, static_cast<std::uint8_t>(hint));
    std::ranges::fill(
        std::span(runner_.datapath().flow_hints(), SLUICE_FLOW_HINTS_ELEMENTS),
        hints);
    ASSERT_FALSE(
        allowed(SLUICE_INGRESS, net_.from(net_.b, kTcp, tcp(1000, 81, kAck))))
        << "hint " << hint;
  }
  EXPECT_TRUE(allowed(SLUICE_INGRESS, in_));
}

TEST_P(FlowCache, GoesOnWhereTheHintsAreWrong) {
  std::ranges::fill(
      std::span(runner_.datapath().flow_hints(), SLUICE_FLOW_HINTS_ELEMENTS),
      sluice_flow_hints{});
  for (int i = 0; i < kPackets; ++i) {
    ASSERT_TRUE(allowed(SLUICE_INGRESS, in_));
    ASSERT_TRUE(allowed(SLUICE_EGRESS, out_));
  }
  ASSERT_TRUE(runner_.set(net_.isolated()));
  EXPECT_FALSE(allowed(SLUICE_INGRESS, in_));
  EXPECT_FALSE(allowed(SLUICE_EGRESS, out_));
}

TEST_P(FlowCache, GivesTheSlotOfAFlowThatStoppedToAnotherAndSettlesIt) {
  const auto used = slots();
  ASSERT_EQ(used.size(), 1U);
  // The flow has stopped; its slot, and every other, is wanted.
  const sluice_flow_slot stopped = *used.front();
  std::ranges::fill(
      std::span(runner_.datapath().flow_cache(), SLUICE_FLOW_CACHE_SLOTS),
      stopped);
  ASSERT_TRUE(runner_.age_flows(GetParam(), 3));
  const Bytes other = net_.from(net_.c, kTcp, tcp(1000, 80, kAck));
  for (int i = 0; i < kPackets; ++i) {
    ASSERT_TRUE(allowed(SLUICE_INGRESS, other));
  }
  const auto flows = runner_.flows(GetParam());
  ASSERT_TRUE(flows);
  ASSERT_EQ(flows->size(), 2U);
  const bool first_is_old = flows->front().packets[SLUICE_EGRESS] != 0;
  const sluice_conntrack& old = first_is_old ? flows->front() : flows->back();
  EXPECT_EQ(old.packets[SLUICE_INGRESS], static_cast<unsigned>(kPackets));
  EXPECT_EQ(old.packets[SLUICE_EGRESS], static_cast<unsigned>(kPackets));
}

INSTANTIATE_TEST_SUITE_P(Kernel, FlowCache, ::testing::Bool(),
                         [](const auto& value) {
                           return value.param ? std::string("V6")
                                              : std::string("V4");
                         });

}  // namespace
}  // namespace sluice::testing
