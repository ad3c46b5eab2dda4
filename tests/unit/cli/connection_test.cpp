// SPDX-License-Identifier: Apache-2.0
// Probes of whole connections: `verdict`, Services, names and ranges of ports.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cli/judge.h"
#include "cli/scenario.h"

namespace sluice::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Two databases behind a Service, of which one takes nothing but the web's
// connections, and the other nothing at all.
constexpr const char* kWorld = R"(
objects:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, labels: {app: web}}
  spec: {nodeName: node1, containers: [{name: main}]}
  status: {phase: Running, podIPs: [{ip: 10.1.0.10}, {ip: "fd00::10"}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: a, namespace: shop, labels: {app: db}}
  spec:
    nodeName: node1
    containers:
    - name: main
      ports: [{name: sql, containerPort: 5432}, {name: dns, containerPort: 53, protocol: UDP}]
  status: {phase: Running, podIPs: [{ip: 10.1.0.20}, {ip: "fd00::20"}], conditions: [{type: Ready, status: "True"}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: b, namespace: shop, labels: {app: db, closed: "yes"}}
  spec: {nodeName: node2, containers: [{name: main, ports: [{name: sql, containerPort: 5433}]}]}
  status: {phase: Running, podIPs: [{ip: 10.1.0.21}, {ip: "fd00::21"}], conditions: [{type: Ready, status: "True"}]}
- apiVersion: v1
  kind: Service
  metadata: {name: all, namespace: shop}
  spec: {selector: {app: db}, clusterIPs: [10.96.0.1, "fd00:96::1"], ports: [{name: main, port: 80, targetPort: sql}]}
- apiVersion: v1
  kind: Service
  metadata: {name: open, namespace: shop}
  spec: {selector: {none: such}, clusterIPs: [10.96.0.2], ports: [{port: 80}]}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: db, namespace: shop}
  spec:
    podSelector: {matchLabels: {app: db}}
    policyTypes: [Ingress]
    ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}, {port: 8000, endPort: 8005}]}]
)";

class ConnectionProbe : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = ::testing::TempDir() + "connection-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // The report on the world with these probes, each a line of YAML.
  ScenarioReport judge(const std::string& probes) {
    const auto file = folder_ / "s.yaml";
    std::ofstream(file) << kWorld << "probes:\n" << probes;
    ScenarioReport report;
    const auto read = read_scenarios(file, [&](const Scenario& scenario) {
      report = judge_scenario(scenario, nullptr);
      return Result<void>();
    });
    EXPECT_TRUE(read) << read.error().message;
    return report;
  }
  // "what: expected allow, got deny" of each failure.
  std::vector<std::string> failures(const std::string& probes) {
    std::vector<std::string> result;
    for (const auto& failure : judge(probes).failures) {
      result.push_back(failure.what + ": " +
                       (failure.expected.empty()
                            ? ""
                            : "expected " + failure.expected + ", got ") +
                       failure.actual);
    }
    return result;
  }

  std::filesystem::path folder_;
};

TEST_F(ConnectionProbe, IsAllowedIfNoEndDeniesIt) {
  const auto report = judge(
      "- {from: {pod: shop/web}, to: {pod: shop/a}, port: 5432, "
      "verdict: allow}\n"
      "- {from: {pod: shop/b}, to: {pod: shop/a}, port: 5432, verdict: deny}\n"
      "- {from: {ip: 192.0.2.1}, to: {pod: shop/a}, port: 5432, "
      "verdict: deny}\n"
      "- {from: {pod: shop/a}, to: {pod: shop/web}, port: 1, verdict: allow}\n"
      "- {from: {pod: shop/a}, to: {ip: 192.0.2.1}, port: 1, "
      "verdict: allow}\n");
  EXPECT_THAT(report.failures, IsEmpty());
  EXPECT_EQ(report.probes, 5U);
  // Both ends in both families, and where one end is an address, one of each.
  EXPECT_EQ(report.questions, 4U + 4U + 1U + 4U + 1U);
}

TEST_F(ConnectionProbe, FailsInEachFamilyByTheVerdictThatDecides) {
  EXPECT_THAT(
      failures("- {from: {pod: shop/b}, to: {pod: shop/a}, port: 1, "
               "verdict: allow}\n"
               "- {from: {pod: shop/web}, to: {pod: shop/a}, port: 5432, "
               "verdict: deny}\n"),
      ElementsAre("shop/b -> shop/a 1/TCP: expected allow, got deny",
                  "shop/b -> shop/a 1/TCP: expected allow, got deny",
                  "shop/web -> shop/a 5432/TCP: expected deny, got allow",
                  "shop/web -> shop/a 5432/TCP: expected deny, got allow"));
}

// One that asks nobody must not look like a passed test.
TEST_F(ConnectionProbe, FailsWhereNoPodWithPolicyTakesPart) {
  EXPECT_THAT(failures("- {from: {ip: 192.0.2.1}, to: {ip: 192.0.2.2}, port: "
                       "1, verdict: allow}\n"),
              ElementsAre(HasSubstr("has no verdict")));
  EXPECT_THAT(
      failures("- {from: {pod: shop/web}, to: {pod: shop/a}, port: 1}\n"),
      ElementsAre(HasSubstr("has no expectation")));
}

TEST_F(ConnectionProbe, OfAServiceIsJudgedAtEveryBackend) {
  const std::string to = "to: {service: shop/all}, port: 80, verdict: ";
  EXPECT_THAT(failures("- {from: {pod: shop/web}, " + to + "allow}\n" +
                       "- {from: {pod: shop/web}, " + to + "deny}\n"),
              ElementsAre(HasSubstr("got allow; 1 of 2 backends accept"),
                          HasSubstr("got allow; 1 of 2 backends accept"),
                          HasSubstr("got allow; 1 of 2 backends accept"),
                          HasSubstr("got allow; 1 of 2 backends accept")));
  EXPECT_THAT(failures("- {from: {ip: 192.0.2.1}, " + to + "deny}\n"),
              IsEmpty());
  EXPECT_THAT(failures("- {from: {pod: shop/web}, to: {service: shop/open}, "
                       "port: 80, verdict: deny}\n"),
              IsEmpty())
      << "nothing is behind it";
  EXPECT_THAT(failures("- {from: {pod: shop/web}, to: {service: shop/none}, "
                       "port: 80, verdict: deny}\n"),
              ElementsAre(HasSubstr("there is no Service shop/none")));
}

TEST_F(ConnectionProbe, PortsHaveNames) {
  EXPECT_THAT(failures("- {from: {pod: shop/web}, to: {pod: shop/a}, port: "
                       "sql, verdict: allow}\n"
                       "- {from: {pod: shop/web}, to: {pod: shop/a}, port: "
                       "dns, verdict: deny}\n"
                       "- {from: {ip: 192.0.2.1}, to: {service: shop/all}, "
                       "port: main/TCP, verdict: deny}\n"),
              IsEmpty());
  EXPECT_THAT(failures("- {from: {pod: shop/web}, to: {pod: shop/a}, port: "
                       "dns/TCP, verdict: deny}\n"
                       "- {from: {pod: shop/web}, to: {service: shop/all}, "
                       "port: sql, verdict: deny}\n"),
              ElementsAre("shop/web -> shop/a dns/TCP: shop/a has no port with "
                          "the name dns",
                          "shop/web -> shop/all sql: shop/all has no port with "
                          "the name sql"));
}

TEST_F(ConnectionProbe, EveryPortOfARangeIsAskedUpToTheFirstThatFails) {
  const std::string ends = "- {from: {pod: shop/web}, to: {pod: shop/a}, ";
  EXPECT_THAT(failures(ends + "port: 8000-8005, ingress: allow}\n" + ends +
                       "port: 8006-8010/TCP, verdict: deny}\n" + ends +
                       "port: 8000-8005/UDP, verdict: deny}\n"),
              IsEmpty());
  EXPECT_THAT(failures(ends + "port: 8000-8010, verdict: allow}\n"),
              ElementsAre(HasSubstr("8006/TCP"), HasSubstr("8006/TCP")));
  EXPECT_THAT(failures(ends + "port: 65535-65535, verdict: deny}\n"),
              IsEmpty());
}

TEST_F(ConnectionProbe, AFailureNamesTheProbesLine) {
  const auto report = judge(
      "- {from: {pod: shop/web}, to: {pod: shop/a}, port: 1, verdict: deny}\n"
      "# a comment\n"
      "- from: {pod: shop/web}\n"
      "  to: {pod: shop/a}\n"
      "  port: 1\n"
      "  ingress: allow\n");
  ASSERT_EQ(report.failures.size(), 2U);
  const std::string world = kWorld;
  const auto before = std::ranges::count(world, '\n') + 1;  // and "probes:"
  EXPECT_EQ(report.failures[0].source,
            (folder_ / "s.yaml").string() + ":" + std::to_string(before + 3));
}

}  // namespace
}  // namespace sluice::cli
