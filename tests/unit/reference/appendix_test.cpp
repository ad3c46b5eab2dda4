// SPDX-License-Identifier: Apache-2.0
// Rows of Appendix A that a scenario file cannot say: options of the
// translator, changes in time, numbers of entries.
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/policy/model.h"
#include "lib/policy/translator.h"
#include "tests/unit/reference/differential.h"

namespace sluice::testing {
namespace {

using nlohmann::json;
using policy::Direction;
using policy::Model;
using policy::Translator;

json pod(const std::string& ns, const std::string& name,
         const std::string& node, const std::string& ip) {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata",
           {{"namespace", ns}, {"name", name}, {"labels", {{"pod", name}}}}},
          {"spec", {{"nodeName", node}}},
          {"status", {{"phase", "Running"}, {"podIP", ip}}}};
}

json space(const std::string& name, const std::string& team) {
  return {{"apiVersion", "v1"},
          {"kind", "Namespace"},
          {"metadata", {{"name", name}, {"labels", {{"team", team}}}}}};
}

json cilium(const std::string& name, const json& spec) {
  json policy{{"apiVersion", "cilium.io/v2"},
              {"kind", "CiliumNetworkPolicy"},
              {"metadata", {{"namespace", "x"}, {"name", name}}},
              {"spec", spec}};
  policy["spec"]["endpointSelector"] = {{"matchLabels", {{"pod", "a"}}}};
  return policy;
}

// The appendix's world, as far as these rows need it; x/a is the subject.
class Appendix : public ::testing::Test {
 protected:
  void set(const json& object) {
    const auto result = set_object(translator_, object);
    ASSERT_TRUE(result) << result.error().message;
  }
  void set_world() {
    set(space("x", "red"));
    set(space("y", "blue"));
    set(pod("x", "a", "node1", "10.0.0.11"));
    set(pod("x", "b", "node2", "10.0.0.12"));
    set(pod("y", "a", "node2", "10.0.1.11"));
    set(pod("z", "a", "node2", "10.0.2.11"));
  }
  [[nodiscard]] bool allowed(Direction direction, const std::string& peer,
                             std::uint16_t port = 80) const {
    const Model model(translator_.snapshot("node1"));
    const EndpointEntry* endpoint = model.endpoint("x/a");
    EXPECT_NE(endpoint, nullptr);
    return endpoint != nullptr &&
           model.lookup(*endpoint, direction, *parse_ip(peer), 6, port).allowed;
  }

  Translator translator_{{.cidr_match_all = true}};
};

TEST_F(Appendix, P17CidrMatchAllMeansPodsToo) {
  set_world();
  set(cilium("one", {{"ingress", {{{"fromCIDR", {"10.0.0.0/16"}}}}}}));
  EXPECT_TRUE(allowed(Direction::kIngress, "10.0.0.12"));
  EXPECT_FALSE(allowed(Direction::kIngress, "203.0.113.7"));
}

TEST_F(Appendix, P18ExceptBitesOnlyItsOwnCidr) {
  set_world();
  set(cilium("one",
             {{"egress",
               {{{"toCIDRSet",
                  {{{"cidr", "0.0.0.0/0"}, {"except", {"10.0.0.0/8"}}}}}}}}}));
  set(cilium("two", {{"egress", {{{"toCIDR", {"10.0.1.0/24"}}}}}}));
  EXPECT_TRUE(allowed(Direction::kEgress, "10.0.1.11"));
  EXPECT_FALSE(allowed(Direction::kEgress, "10.0.2.11"));
  EXPECT_TRUE(allowed(Direction::kEgress, "203.0.113.7"));
}

json port_rule(const std::string& cidr, const std::string& port) {
  json rule{{"toCIDR", {cidr}}};
  rule["toPorts"][0]["ports"][0] = {{"port", port}, {"protocol", "TCP"}};
  return rule;
}

TEST_F(Appendix, P19TheInnerCidrHasThePortsOfBoth) {
  set_world();
  set(cilium("one", {{"egress",
                      {port_rule("10.0.0.0/8", "80"),
                       port_rule("10.0.1.0/24", "443")}}}));
  EXPECT_TRUE(allowed(Direction::kEgress, "10.0.1.11", 80));
  EXPECT_TRUE(allowed(Direction::kEgress, "10.0.1.11", 443));
  EXPECT_FALSE(allowed(Direction::kEgress, "10.0.2.11", 443));
}

TEST_F(Appendix, P27APodReachesItselfWhateverThePolicy) {
  set_world();
  set(cilium("one", {{"ingressDeny", {{{"fromEntities", {"all"}}}}},
                     {"egressDeny", {{{"toEntities", {"all"}}}}}}));
  EXPECT_TRUE(allowed(Direction::kEgress, "10.0.0.11"));
  EXPECT_TRUE(allowed(Direction::kIngress, "10.0.0.11"));
  EXPECT_FALSE(allowed(Direction::kIngress, "10.0.0.12"));
}

TEST_F(Appendix, N12ANamespaceLabelThatChangesFlipsTheVerdict) {
  set_world();
  set({{"apiVersion", "networking.k8s.io/v1"},
       {"kind", "NetworkPolicy"},
       {"metadata", {{"namespace", "x"}, {"name", "policy"}}},
       {"spec",
        {{"podSelector", json::object()},
         {"ingress",
          {{{"from",
             {{{"namespaceSelector",
                {{"matchLabels", {{"team", "blue"}}}}}}}}}}}}}});
  EXPECT_TRUE(allowed(Direction::kIngress, "10.0.1.11"));
  set(space("y", "green"));
  EXPECT_FALSE(allowed(Direction::kIngress, "10.0.1.11"));
  set(space("y", "blue"));
  EXPECT_TRUE(allowed(Direction::kIngress, "10.0.1.11"));
}

struct Hole {
  const char* cidr;
  const char* except;
  const char* inside;  // of the CIDR, outside of the hole
  const char* hole;
  // How many prefixes are left if the hole is cut out of the CIDR.
  std::size_t cut;
};

TEST_F(Appendix, V20AHoleCostsOneEntryNotItsDecomposition) {
  for (const Hole& row :
       {Hole{"0.0.0.0/0", "10.0.0.0/8", "11.0.0.0", "10.1.2.3", 8},
        Hole{"10.0.0.0/8", "10.96.0.0/12", "10.95.255.255", "10.96.0.0", 4},
        Hole{"10.0.0.0/8", "10.77.1.2/32", "10.77.1.3", "10.77.1.2", 24},
        Hole{"0.0.0.0/0", "203.0.113.7/32", "203.0.113.6", "203.0.113.7", 32},
        Hole{"::/0", "2001:db8::7/128", "2001:db8::6", "2001:db8::7", 128},
        Hole{"::/0", "fd00::/8", "fc00::1", "fd00::1", 8}}) {
    translator_ = Translator();
    set(pod("x", "a", "node1", "10.0.0.11"));
    set(cilium("one",
               {{"egress",
                 {{{"toCIDRSet",
                    {{{"cidr", row.cidr}, {"except", {row.except}}}}}}}}}));
    EXPECT_TRUE(allowed(Direction::kEgress, row.inside)) << row.except;
    EXPECT_FALSE(allowed(Direction::kEgress, row.hole)) << row.except;
    std::size_t prefixes = 0;
    for (const auto& peer : translator_.snapshot("node1").peers) {
      prefixes += parse_prefix(row.cidr)->contains(peer.prefix) &&
                          peer.prefix.address != *parse_ip("10.0.0.11")
                      ? 1
                      : 0;
    }
    EXPECT_EQ(prefixes, 2U) << row.except << ", cut: " << row.cut;
  }
}

}  // namespace
}  // namespace sluice::testing
