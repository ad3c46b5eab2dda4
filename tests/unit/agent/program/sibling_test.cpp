// SPDX-License-Identifier: Apache-2.0
#include "agent/program/sibling.h"

#include <gtest/gtest.h>

namespace sluice::agentd {
namespace {

EndpointEntry endpoint(const std::string& name, std::uint32_t set) {
  return {.name = name,
          .policy_set = set,
          .isolated = {true, false},
          .ips = {*parse_ip("10.0.0.1")},
          .interface = "veth1",
          .permits = 0};
}

TEST(Sibling, TemplateIsInTheNameOfADeploymentsPod) {
  EXPECT_EQ(pod_template("x/web-5d4c9b7d6f-2xk9p"), "x/web-5d4c9b7d6f");
  EXPECT_EQ(pod_template("x/a-b-84f9c7c9b-ktr4z"), "x/a-b-84f9c7c9b");
  for (const auto* name :
       {"x/web", "x/web-0", "x/web-2xk9p", "x/web-cache-2xk9p",
        "x/web-5d4c9b7d6f", "x/web-5d4c9b7d6f-2xk9", "x/web-5d4c9b7d6f-2xk9a",
        "x/web-5d4c9b7-2xk9p", "x/web-5d4c9b7d6f99-2xk9p", "x/-2xk9p", "-", "",
        "x/db-2xk9p", "x/web-5d4c9b7d6e-2xk9p"}) {
    EXPECT_EQ(pod_template(name), "") << name;
  }
}

TEST(Sibling, PodGetsWhatItsSiblingsHave) {
  const std::vector<IpAddress> ips{*parse_ip("10.0.0.9")};
  const std::vector<EndpointEntry> endpoints{
      endpoint("x/db-0", 1), endpoint("x/web-5d4c9b7d6f-2xk9p", 7),
      endpoint("x/web-5d4c9b7d6f-zzzzz", 7), endpoint("y/web-5d4c9b7d6f-4", 8)};
  const auto found = as_siblings("x/web-5d4c9b7d6f-bcdfg", ips, endpoints);
  ASSERT_TRUE(found);
  auto expected = endpoint("x/web-5d4c9b7d6f-bcdfg", 7);
  expected.ips = ips;
  expected.interface.clear();
  EXPECT_EQ(*found, expected);
  for (const auto* stranger :
       {"y/web-5d4c9b7d6f-bcdfg", "x/web-5d4c9b7d66-bcdfg", "x/db-1"}) {
    EXPECT_FALSE(as_siblings(stranger, ips, endpoints)) << stranger;
  }
}

TEST(Sibling, SiblingsThatDifferDecideNothing) {
  const std::vector<IpAddress> ips{*parse_ip("10.0.0.9")};
  auto quarantined = endpoint("x/web-5d4c9b7d6f-zzzzz", 9);
  const std::vector<EndpointEntry> endpoints{
      endpoint("x/web-5d4c9b7d6f-2xk9p", 7), quarantined};
  EXPECT_FALSE(as_siblings("x/web-5d4c9b7d6f-bcdfg", ips, endpoints));
  // Its own entry is none of a sibling's.
  EXPECT_TRUE(as_siblings("x/web-5d4c9b7d6f-zzzzz", ips, endpoints));
}

}  // namespace
}  // namespace sluice::agentd
