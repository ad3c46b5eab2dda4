// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_hub.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::node {
namespace {

sluice_flow_event event_with(std::uint8_t verdict) {
  sluice_flow_event event{};
  event.verdict = verdict;
  return event;
}

TEST(FlowHubTest, NamesAreLookedUpOnceAndOnlyIfSomebodyWantsTheFlow) {
  int made = 0;
  FlowHub hub([&](const sluice_flow_event&) {
    ++made;
    FlowView flow;
    flow.endpoint = "x/a";
    return flow;
  });
  hub.on_event(event_with(SLUICE_VERDICT_ALLOW));
  bool wanted = false;
  std::vector<std::string> taken;
  for (const std::string who : {"one ", "two "}) {
    hub.add({.wants = [&] { return wanted; },
             .take =
                 [&taken, who](const FlowView& flow, bool denied) {
                   taken.push_back(who + flow.endpoint +
                                   (denied ? " denied" : " allowed"));
                 }});
  }
  hub.on_event(event_with(SLUICE_VERDICT_ALLOW));
  EXPECT_EQ(made, 0);
  wanted = true;
  hub.on_event(event_with(SLUICE_VERDICT_DENY));
  hub.on_event(event_with(SLUICE_VERDICT_ALLOW));
  EXPECT_EQ(made, 2);
  EXPECT_EQ(taken,
            (std::vector<std::string>{"one x/a denied", "two x/a denied",
                                      "one x/a allowed", "two x/a allowed"}));
}

}  // namespace
}  // namespace sluice::node
