// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/scenario.h"

#include <algorithm>
#include <cctype>

#include <gtest/gtest.h>

namespace sluice::testing {
namespace {

struct Case {
  bool v6 = false;
  Scenario scenario;
};

void PrintTo(const Case& value, std::ostream* out) {  // NOLINT: GoogleTest's
  *out << value.scenario.sentence();
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const bool v6 : {false, true}) {
    const Net net = make_net(v6);
    for (const auto topic :
         {policy_scenarios, flow_scenarios, icmp_scenarios, fragment_scenarios,
          parse_scenarios, link_scenarios, tcp_scenarios}) {
      for (Scenario& scenario : topic(net)) {
        cases.push_back({.v6 = v6, .scenario = std::move(scenario)});
      }
    }
  }
  return cases;
}

class DatapathScenario : public ::testing::TestWithParam<Case> {};

constexpr const char* kCannotSay =
    "this kernel's test runs cannot say by which interface a packet has come";

bool comes_from_outside(const Step& step) {
  return step.direction == SLUICE_INGRESS && step.ingress_ifindex != kNodeStack;
}

// Skips all other tests where packets cannot be told to come from outside: each
// sends some to the endpoint.
class SkipWherePacketsCannotEnter : public ::testing::EmptyTestEventListener {
 public:
  void OnTestStart(const ::testing::TestInfo& test) override {
    const std::string suite = test.test_suite_name();
    if (suite.find("DatapathScenario") == std::string::npos &&
        !can_say_where_packets_enter()) {
      GTEST_SKIP() << kCannotSay;
    }
  }
};

const bool kListens = [] {
  // GoogleTest owns it.
  // NOLINTBEGIN(cppcoreguidelines-owning-memory)
  ::testing::UnitTest::GetInstance()->listeners().Append(
      new SkipWherePacketsCannotEnter);
  // NOLINTEND(cppcoreguidelines-owning-memory)
  return true;
}();

void check_events(const Step& step, const Outcome& outcome) {
  if (!allows(step.reason) || step.rule) {
    ASSERT_EQ(outcome.events.size(), 1U) << "events";
  }
  for (const sluice_flow_event& event : outcome.events) {
    EXPECT_EQ(event.reason, step.reason);
    EXPECT_EQ(event.direction, step.direction);
    EXPECT_EQ(event.length, step.frame.size());
    EXPECT_EQ(event.ifindex, 1U);
    EXPECT_EQ(event.verdict == SLUICE_VERDICT_ALLOW, allows(step.reason));
    EXPECT_NE(event.timestamp_ns, 0U);
    if (step.rule) {
      EXPECT_EQ(event.rule, *step.rule);
    }
  }
}

TEST_P(DatapathScenario, Holds) {
  if (!can_say_where_packets_enter() &&
      std::ranges::any_of(GetParam().scenario.steps(), comes_from_outside)) {
    GTEST_SKIP() << kCannotSay;
  }
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  int number = 0;
  for (const Step& step : GetParam().scenario.steps()) {
    SCOPED_TRACE("packet " + std::to_string(++number));
    if (step.forget) {
      ASSERT_TRUE(runner.forget());
    }
    if (step.evict) {
      runner.evict_flows();
    }
    if (step.world) {
      ASSERT_TRUE(runner.set(*step.world));
    }
    if (step.idle_seconds != 0) {
      ASSERT_TRUE(runner.age_flows(GetParam().v6, step.idle_seconds));
    }
    const auto outcome = runner.run(step.direction, step.frame,
                                    {.ingress_ifindex = step.ingress_ifindex});
    ASSERT_TRUE(outcome) << outcome.error().message;
    ASSERT_TRUE(outcome->reason) << "not exactly one counter grew";
    EXPECT_EQ(reason_name(*outcome->reason), reason_name(step.reason));
    EXPECT_EQ(outcome->allowed, allows(step.reason));
    EXPECT_TRUE(outcome->answer.empty());
    check_events(step, *outcome);
  }
}

std::string test_name(const ::testing::TestParamInfo<Case>& info) {
  // Sentences may be told more than once.
  std::string name =
      std::to_string(info.index) + (info.param.v6 ? "_V6_" : "_V4_");
  for (const char c : info.param.scenario.sentence()) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Kernel, DatapathScenario,
                         ::testing::ValuesIn(all_cases()), test_name);

}  // namespace
}  // namespace sluice::testing
