// SPDX-License-Identifier: Apache-2.0
#include "agent/node/metrics.h"

#include <chrono>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::node {
namespace {

using std::chrono::microseconds;
using testing::HasSubstr;
using testing::Not;

std::string metrics_text(const Measured& measured) {
  health::MetricFamilies families;
  add_metrics(families, measured);
  return families.text();
}

TEST(Metrics, HoldTimesAreDistributedBelowAMillisecond) {
  Measured measured;
  auto& times = measured.agent.names.held.hold_times;
  for (const int each : {80, 200, 210, 700, 6'000'000}) {
    times.add(microseconds(each));
  }
  const auto text = "\n" + metrics_text(measured);
  EXPECT_THAT(text, HasSubstr("\n# TYPE sluice_agent_dns_hold_seconds histogram"
                              "\nsluice_agent_dns_hold_seconds_count 5\n"));
  const auto bucket = [](const char* bound, const char* count) {
    return std::string("\nsluice_agent_dns_hold_seconds_bucket{le=\"") + bound +
           "\"} " + count + "\n";
  };
  EXPECT_THAT(text, HasSubstr(bucket("0.0001", "1")));
  EXPECT_THAT(text, HasSubstr(bucket("0.00025", "3")));
  EXPECT_THAT(text, HasSubstr(bucket("0.0005", "3")));
  EXPECT_THAT(text, HasSubstr(bucket("0.001", "4")));
  EXPECT_THAT(text, HasSubstr(bucket("5", "4")));
  EXPECT_THAT(text, HasSubstr(bucket("+Inf", "5")));
}

TEST(Metrics, NamesTellWhatWasLearnedAndWhatMadeRoom) {
  Measured measured;
  auto& names = measured.agent.names;
  names.held.held = 10;
  names.held.resent = 8;
  names.held.lost = 1;
  names.learned = 20;
  names.without_room = 3;
  names.names_forgotten = 4;
  names.lookups_forgotten = 5;
  const auto text = "\n" + metrics_text(measured);
  for (const char* line :
       {"sluice_agent_dns_held_total 10", "sluice_agent_dns_held_lost_total 3",
        "sluice_agent_learned_addresses_total 20",
        "sluice_agent_learned_addresses_without_room 3",
        "sluice_agent_names_forgotten_total 4",
        "sluice_agent_lookups_forgotten_total 5"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + line + "\n"));
  }
}

TEST(Metrics, FlowsBeyondTheBoundAreOneSeries) {
  Measured measured;
  measured.flows.workloads.items = {{{.ns = "shop",
                                      .name = "db",
                                      .direction = SLUICE_INGRESS,
                                      .reason = SLUICE_REASON_DEFAULT_DENY,
                                      .allowed = false},
                                     3}};
  measured.flows.workloads.others = 4;
  const auto text = "\n" + metrics_text(measured);
  EXPECT_THAT(
      text,
      HasSubstr("\nsluice_agent_flows_total{workload_namespace=\"shop\","
                "workload=\"db\",direction=\"ingress\",verdict=\"denied\","
                "reason=\"default deny\"} 3\n"));
  EXPECT_THAT(
      text,
      HasSubstr("\nsluice_agent_flows_total{workload_namespace=\"other\","
                "workload=\"other\",direction=\"other\",verdict=\"other\","
                "reason=\"other\"} 4\n"));
  EXPECT_THAT(text, Not(HasSubstr("\nsluice_agent_policy_flows_total{")));
}

TEST(Metrics, AreBehindWhileSomethingReceivedIsNotInForce) {
  Measured measured;
  measured.applied.received = 7;
  measured.applied.applied = 7;
  const auto in_force = "\n" + metrics_text(measured);
  EXPECT_THAT(in_force, HasSubstr("\nsluice_agent_in_force 1\n"));
  EXPECT_THAT(in_force, HasSubstr("\nsluice_agent_behind_seconds 0\n"));
  measured.applied.received = 8;
  measured.applied.failures = 2;
  measured.applied.behind_since =
      Applied::Clock::now() - std::chrono::hours(1000);
  const auto behind = "\n" + metrics_text(measured);
  EXPECT_THAT(behind, HasSubstr("\nsluice_agent_in_force 0\n"));
  EXPECT_THAT(behind, HasSubstr("\nsluice_agent_behind_seconds 36000"));
  EXPECT_THAT(behind, HasSubstr("\nsluice_agent_apply_failures_total 2\n"));
}

}  // namespace
}  // namespace sluice::node
