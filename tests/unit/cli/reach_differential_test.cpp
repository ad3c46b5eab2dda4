// SPDX-License-Identifier: Apache-2.0
// The reachability table says what `explain` says of every pair of pods.

#include <algorithm>
#include <set>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/reference/generator.h"
#include "tests/unit/cli/manifests.h"
#include "tests/unit/cli/reach_asker.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

// Gives most pods of a random cluster owners, so that workloads have several.
json with_owners(json objects) {
  int number = 0;
  for (auto& object : objects) {
    if (object["kind"] == "Pod" && ++number % 4 != 0) {
      object["metadata"]["ownerReferences"] =
          json::array({{{"apiVersion", "apps/v1"},
                        {"kind", number % 3 == 0 ? "DaemonSet" : "StatefulSet"},
                        {"name", "w" + std::to_string(number % 2)},
                        {"controller", true},
                        {"uid", "u"}}});
    }
  }
  return objects;
}

TEST(ReachDifferential, EveryCellOfRandomClustersIsWhatExplainSays) {
  std::size_t compared = 0;
  std::size_t some = 0;
  std::size_t outside = 0;
  std::size_t questions = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const auto cluster =
        cluster_of(with_owners(reference::random_scenario(seed)["objects"]));
    const auto view = reach(cluster, {});
    ASSERT_TRUE(view) << view.error().message;
    compared += compare(cluster, *view);
    for (const auto& cell : view->cells) {
      some += cell.some.size();
      outside += view->ends[cell.from].pods.empty() ? 1 : 0;
    }
    questions += view->questions;
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  // The clusters have all that the comparison is about.
  EXPECT_GT(compared, 10'000U);
  EXPECT_GT(some, 100U);
  EXPECT_GT(outside, 100U);
  EXPECT_GT(questions, 0U);
}

TEST(ReachDifferential, PortsThatAreTogetherHaveTheSameVerdict) {
  std::size_t compared = 0;
  for (std::uint64_t seed = 100; seed < 110; ++seed) {
    const auto cluster =
        cluster_of(with_owners(reference::random_scenario(seed)["objects"]));
    const auto view = reach(cluster, {.outside = false}).value();
    const auto other =
        std::ranges::find(view.ports, "other/TCP", &explain::ReachPort::name);
    if (other == view.ports.end()) {
      continue;  // rules name every port
    }
    const auto place = static_cast<std::size_t>(other - view.ports.begin());
    // Neighbours of what has a name, which have none themselves.
    std::set<int> named;
    for (const auto& port : view.ports) {
      if (port.name.ends_with("/TCP") && &port != &*other) {
        for (int i = std::stoi(port.asked); i <= std::stoi(last_of(port));
             ++i) {
          named.insert(i);
        }
      }
    }
    const Asker asker(cluster);
    for (const auto& cell : view.cells) {
      const auto pairs = asker.pairs(view, cell.from, cell.to);
      for (const auto& port : view.ports) {
        const int next = std::stoi(last_of(port)) + 1;
        if (port.name.ends_with("/TCP") && next < 65536 &&
            !named.contains(next)) {
          ++compared;
          EXPECT_EQ(shown(&cell, place),
                    asker.verdict(pairs, std::to_string(next) + "/TCP"))
              << "seed " << seed << " port " << next;
        }
      }
    }
  }
  EXPECT_GT(compared, 200U);
}

// Workloads with a policy each, whose pods are on all nodes.
json large(int workloads, int replicas, int nodes) {
  json objects = json::array();
  for (int i = 0; i < workloads * replicas; ++i) {
    const int workload = i / replicas;
    const auto name = "w" + std::to_string(workload);
    objects.push_back(
        {{"apiVersion", "v1"},
         {"kind", "Pod"},
         {"metadata",
          {{"namespace", "ns" + std::to_string(workload % 10)},
           {"name", name + "-" + std::to_string(i % replicas)},
           {"labels", {{"app", name}, {"tier", std::to_string(workload % 5)}}},
           {"ownerReferences",
            {{{"apiVersion", "apps/v1"},
              {"kind", "StatefulSet"},
              {"name", name},
              {"controller", true},
              {"uid", "u"}}}}}},
         {"spec", {{"nodeName", "n" + std::to_string(i % nodes)}}},
         {"status",
          {{"phase", "Running"},
           {"podIPs",
            {{{"ip", "10.1." + std::to_string(i / 200) + "." +
                         std::to_string((i % 200) + 1)}}}}}}});
  }
  for (int i = 0; i < nodes; ++i) {
    objects.push_back(
        {{"apiVersion", "v1"},
         {"kind", "Node"},
         {"metadata", {{"name", "n" + std::to_string(i)}}},
         {"status",
          {{"addresses",
            {{{"type", "InternalIP"},
              {"address", "10.2.0." + std::to_string(i + 1)}}}}}}});
  }
  for (int i = 0; i < workloads; ++i) {
    objects.push_back(
        {{"apiVersion", "networking.k8s.io/v1"},
         {"kind", "NetworkPolicy"},
         {"metadata",
          {{"namespace", "ns" + std::to_string(i % 10)},
           {"name", "p" + std::to_string(i)}}},
         {"spec",
          {{"podSelector",
            {{"matchLabels", {{"app", "w" + std::to_string(i)}}}}},
           {"ingress",
            {{{"from",
               {{{"namespaceSelector", json::object()},
                 {"podSelector",
                  {{"matchLabels", {{"tier", std::to_string(i % 5)}}}}}}}},
              {"ports", {{{"port", 8000 + (i % 20)}}}}}}}}}});
  }
  return objects;
}

TEST(ReachScale, TheWorkIsThatOfTheWorkloadsAndNotOfThePods) {
  const auto few = cluster_of(large(100, 1, 50));
  const auto many = cluster_of(large(100, 10, 50));
  const auto small = reach(few, {}).value();
  const auto view = reach(many, {}).value();
  ASSERT_EQ(view.ends.size() - small.ends.size(), 0U);
  std::size_t pods = 0;
  for (const auto& end : view.ends) {
    pods += end.pods.size();
  }
  EXPECT_EQ(pods, 1000U);
  EXPECT_EQ(view.questions, 0U);
  EXPECT_EQ(view.lookups, small.lookups);
  // 1,000,000 pairs of pods at 22 ports; each set with each class once.
  EXPECT_LE(view.lookups, std::size_t{2} * 100 * 101 * view.ports.size());
  const Asker asker(many);
  for (const std::size_t place : {0U, 777U, 4321U, 9999U}) {
    const auto& cell = view.cells[place];
    for (std::size_t port = 0; port < view.ports.size(); ++port) {
      EXPECT_EQ(shown(&cell, port),
                asker.verdict(asker.pairs(view, cell.from, cell.to),
                              view.ports[port].asked));
    }
  }
}

}  // namespace
}  // namespace sluice::cli
