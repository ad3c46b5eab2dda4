// SPDX-License-Identifier: Apache-2.0
#include "cli/test_report.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ScenarioReport passed() {
  ScenarioReport report;
  report.probes = 2;
  return report;
}

ScenarioReport failed() {
  auto report = passed();
  report.failures.push_back({.scenario = "<b>&\" # x",
                             .source = "f.yaml:9",
                             .what = "a/b -> c/d 80/TCP",
                             .direction = "ingress",
                             .subject = "c/d",
                             .peer = "10.0.0.1",
                             .expected = "deny",
                             .actual = "allow",
                             .reason = "default allow"});
  return report;
}

// Two scenarios, whose reports come in the wrong order.
std::string print(TestFormat format, int code) {
  std::ostringstream out;
  TestReport report(out, format);
  report.add(1, "<b>&\" # x", "f.yaml:9", failed());
  report.add(0, "first", "f.yaml:1", passed());
  EXPECT_EQ(report.finish(), code);
  return out.str();
}

TEST(TestReport, Text) {
  EXPECT_EQ(print(TestFormat::kText, 1),
            "FAILED f.yaml:9 <b>&\" # x\n"
            "  a/b -> c/d 80/TCP\n"
            "  ingress of c/d, peer 10.0.0.1: expected deny, got allow "
            "(default allow)\n"
            "2 scenarios, 4 probes, 1 failed\n");
}

TEST(TestReport, Tap) {
  EXPECT_EQ(print(TestFormat::kTap, 1),
            "ok 1 - f.yaml:1 first\n"
            "not ok 2 - f.yaml:9 <b>&\" \\# x\n"
            "#   a/b -> c/d 80/TCP\n"
            "#   ingress of c/d, peer 10.0.0.1: expected deny, got allow "
            "(default allow)\n"
            "1..2\n");
}

TEST(TestReport, Junit) {
  const auto text = print(TestFormat::kJunit, 1);
  EXPECT_THAT(text, HasSubstr("tests=\"2\" failures=\"1\""));
  EXPECT_THAT(text, HasSubstr("<testcase classname=\"f.yaml:9\" "
                              "name=\"&lt;b&gt;&amp;&quot; # x\">"));
  EXPECT_THAT(text, HasSubstr("<failure message=\"a/b -&gt; c/d 80/TCP\">"));
  EXPECT_THAT(text, Not(HasSubstr("<b>")));
}

TEST(TestReport, WhatCannotGoOnIsNeverASuccess) {
  for (const auto format : {TestFormat::kText, TestFormat::kJson,
                            TestFormat::kJunit, TestFormat::kTap}) {
    std::ostringstream out;
    TestReport report(out, format);
    report.add(0, "first", "f.yaml:1", passed());
    report.fail("f.yaml:9: no probes");
    EXPECT_TRUE(report.broken());
    EXPECT_EQ(report.finish(), 2);
    EXPECT_THAT(out.str(), Not(HasSubstr("1..1")));
  }
}

}  // namespace
}  // namespace sluice::cli
