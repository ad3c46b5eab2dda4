// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/unit/policy/parse_helpers.h"

// DNS names in policies: what they become, and what is wrong with them.
namespace sluice::policy::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<Rule> rules_of(const json& object) {
  const auto policy = parse_policy(object);
  EXPECT_TRUE(policy) << policy.error().message << "\n" << object;
  return policy && policy->specs.size() == 1 ? policy->specs[0].rules
                                             : std::vector<Rule>{};
}

std::string error_of(const json& object) {
  const auto policy = parse_policy(object);
  return policy ? "accepted" : policy.error().message;
}

dns::NamePattern pattern(std::string_view text) {
  return dns::NamePattern::match_pattern(text).value();
}

PeerSelector outside(std::string_view text) {
  return NamePeer{.pattern = pattern(text), .external_only = true};
}

std::string dns_rule(const std::string& ports, const std::string& names) {
  return R"({"toPorts": [{"ports": [)" + ports + R"(], "rules": {"dns": )" +
         names + "}}]}";
}

json kcnp_egress(const std::string& action, const std::string& peer,
                 const std::string& more = "") {
  return kcnp(R"({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                  "egress": [{"action": ")" +
              action + R"(", "to": [)" + peer + "]" + more + "}]}");
}

// ---- toFQDNs ---------------------------------------------------------------

TEST(ToFqdns, NamesAndPatternsArePeersOutsideTheCluster) {
  const auto rules = rules_of(cnp_egress(
      R"({"toFQDNs": [{"matchName": "API.example.com."},
                      {"matchPattern": "***.cdn.example.com"}],
          "toPorts": [{"ports": [{"port": "443", "protocol": "TCP"}]}]})"));
  ASSERT_EQ(rules.size(), 1U);
  EXPECT_THAT(rules[0].peers, ElementsAre(outside("api.example.com"),
                                          outside("**.cdn.example.com")));
  EXPECT_FALSE(rules[0].any_peer);
  EXPECT_FALSE(rules[0].dns);
  EXPECT_EQ(rules[0].l4, (L4{.ranges = {{IPPROTO_TCP, 443, 443}}}));
}

TEST(ToFqdns, WithoutPortsTheyAreForEveryProtocol) {
  const auto rules =
      rules_of(cnp_egress(R"({"toFQDNs": [{"matchPattern": "*"}]})"));
  ASSERT_EQ(rules.size(), 1U);
  EXPECT_THAT(rules[0].peers, ElementsAre(outside("*")));
  EXPECT_TRUE(rules[0].l4.any);
}

TEST(ToFqdns, AnEmptyListSelectsNobody) {
  const auto rules = rules_of(cnp_egress(R"({"toFQDNs": []})"));
  ASSERT_EQ(rules.size(), 1U);
  EXPECT_THAT(rules[0].peers, IsEmpty());
  EXPECT_FALSE(rules[0].any_peer);
}

struct Bad {
  std::string rule;
  std::string error;  // after "spec.egress[0]"
};

TEST(ToFqdns, AnErrorNamesTheField) {
  const std::string too_long(256, 'a');
  const std::vector<Bad> all{
      {R"({"toFQDNs": [{}]})",
       ".toFQDNs[0]: must have matchName or matchPattern"},
      {R"({"toFQDNs": [{"matchName": "a.com"},
                       {"matchName": "a", "matchPattern": "b"}]})",
       ".toFQDNs[1]: must have only one of matchName and matchPattern"},
      {R"({"toFQDNs": [{"matchName": "*.a.com"}]})",
       R"(.toFQDNs[0].matchName: "*.a.com" may only have letters, digits, '-', )"
       "'_' and '.'"},
      {R"({"toFQDNs": [{"matchPattern": "a b"}]})",
       R"(.toFQDNs[0].matchPattern: "a b" may only have letters, digits, '-', )"
       "'_', '.' and '*'"},
      {R"({"toFQDNs": [{"matchPattern": ""}]})",
       R"(.toFQDNs[0].matchPattern: "" is empty)"},
      {R"({"toFQDNs": [{"matchName": "a..com"}]})",
       R"(.toFQDNs[0].matchName: "a..com" has an empty label)"},
      {R"({"toFQDNs": [{"matchName": 7}]})",
       ".toFQDNs[0].matchName: must be a string, is a number"},
      {R"({"toFQDNs": [{"matchName": "a", "match": "b"}]})",
       ".toFQDNs[0].match: unknown field"},
      {R"({"toFQDNs": ["a.com"]})",
       ".toFQDNs[0]: must be an object, is a string"},
      {R"({"toFQDNs": {"matchName": "a"}})",
       ".toFQDNs: must be a list, is an object"},
      {R"({"toFQDNs": [{"matchName": "a"}], "toCIDR": ["10.0.0.0/8"]})",
       ": combining toCIDR and toFQDNs is not supported"}};
  for (const Bad& bad : all) {
    EXPECT_EQ(error_of(cnp_egress(bad.rule)), "spec.egress[0]" + bad.error);
    EXPECT_EQ(
        rejection(cnp_egress(bad.rule)).find("spec.egress[0]" + bad.error), 0U)
        << bad.rule;
  }
  EXPECT_THAT(error_of(cnp_egress(R"({"toFQDNs": [{"matchPattern": ")" +
                                  too_long + R"("}]})")),
              HasSubstr("has 256 bytes, at most 255 are possible"));
}

TEST(ToFqdns, AreOnlyInEgressAllowRules) {
  EXPECT_EQ(error_of(cnp_ingress(R"({"toFQDNs": [{"matchName": "a"}]})")),
            "spec.ingress[0].toFQDNs: unknown field");
  EXPECT_EQ(error_of(cnp(R"({"endpointSelector": {}, "egressDeny": [
                {"toFQDNs": [{"matchName": "a b"}]}]})")),
            "spec.egressDeny[0].toFQDNs: unknown field");
}

// ---- rules.dns -------------------------------------------------------------

TEST(RulesDns, PortsWithThemAreARuleOfTheirOwn) {
  const auto rules = rules_of(cnp_egress(
      R"({"toEndpoints": [{}], "toPorts": [
            {"ports": [{"port": "53", "protocol": "ANY"}],
             "rules": {"dns": [{"matchPattern": "*.b.com"},
                               {"matchName": "a.com", "matchPattern": "*.b.com."}
                              ]}},
            {"ports": [{"port": "9153", "protocol": "TCP"}]},
            {"ports": [{"port": "Dns", "protocol": "UDP"}, {"port": "dns-all"}],
             "rules": {"dns": [{"matchPattern": "*"}]}}]})"));
  ASSERT_EQ(rules.size(), 3U);
  ASSERT_TRUE(rules[0].dns && rules[1].dns);
  EXPECT_THAT(rules[0].dns->names,
              ElementsAre(pattern("*.b.com"), pattern("a.com")));
  EXPECT_EQ(rules[0].dns->path, "spec.egress[0].toPorts[0].rules.dns");
  EXPECT_EQ(rules[0].l4,
            (L4{.ranges = {{IPPROTO_TCP, 53, 53}, {IPPROTO_UDP, 53, 53}}}));
  EXPECT_THAT(rules[1].dns->names, ElementsAre(pattern("*")));
  EXPECT_EQ(rules[1].l4, (L4{.named = {{"dns", IPPROTO_UDP},
                                       {"dns-all", IPPROTO_TCP},
                                       {"dns-all", IPPROTO_UDP}}}));
  EXPECT_FALSE(rules[2].dns);
  EXPECT_EQ(rules[2].l4, (L4{.ranges = {{IPPROTO_TCP, 9153, 9153}}}));
  for (const Rule& rule : rules) {
    EXPECT_EQ(rule.path, "spec.egress[0]");
    EXPECT_EQ(rule.peers, rules[0].peers);
    EXPECT_EQ(rule.peers.size(), 1U);
  }
}

TEST(RulesDns, WithoutPeersTheyAreForAnyServer) {
  const auto rules = rules_of(
      cnp_egress(dns_rule(R"({"port": "53"})", R"([{"matchPattern": "*"}])")));
  ASSERT_EQ(rules.size(), 1U);
  EXPECT_TRUE(rules[0].any_peer);
  EXPECT_TRUE(rules[0].dns);
}

TEST(RulesDns, AnEmptyListRestrictsNothing) {
  const json object = cnp_egress(dns_rule(R"({"port": "53"})", "[]"));
  const auto rules = rules_of(object);
  ASSERT_EQ(rules.size(), 1U);
  EXPECT_FALSE(rules[0].dns);
  EXPECT_THAT(accepted(object).warnings,
              ElementsAre(HasSubstr("spec.egress[0].toPorts[0].rules.dns")));
}

TEST(RulesDns, AnErrorNamesTheField) {
  const std::string every = R"([{"matchPattern": "*"}])";
  const std::vector<Bad> all{
      {dns_rule(R"({"port": "53", "protocol": "SCTP"})", every),
       R"(.ports[0].protocol: DNS rules are for TCP and UDP, is "SCTP")"},
      {dns_rule(R"({"port": "0"})", every),
       ".ports[0]: DNS rules are for one port, 0 is every port"},
      {dns_rule(R"({"port": "53", "endPort": 54})", every),
       ".ports[0]: DNS rules do not support port ranges"},
      {dns_rule(R"({"port": "dns", "endPort": 54})", every),
       ".ports[0]: DNS rules do not support port ranges"},
      {dns_rule("", every), ": ports must be specified for DNS rules"},
      {dns_rule(R"({"port": "53"})", "[{}]"),
       ".rules.dns[0]: must have matchName or matchPattern"},
      {dns_rule(R"({"port": "53"})", R"([{"matchName": "a_b/c"}])"),
       R"(.rules.dns[0].matchName: "a_b/c" may only have letters, digits, '-', )"
       "'_' and '.'"},
      {dns_rule(R"({"port": "53"})", "7"),
       ".rules.dns: must be a list, is a number"}};
  for (const Bad& bad : all) {
    EXPECT_EQ(error_of(cnp_egress(bad.rule)),
              "spec.egress[0].toPorts[0]" + bad.error);
  }
  EXPECT_EQ(error_of(cnp_egress(
                R"({"toPorts": [{"ports": [{"port": "53"}], "rules":
                     {"http": [], "dns": [{"matchPattern": "*"}]}}]})")),
            "spec.egress[0].toPorts[0].rules: not supported: \"http\"");
  EXPECT_EQ(error_of(cnp_ingress(dns_rule(R"({"port": "53"})", every))),
            "spec.ingress[0].toPorts[0].rules.dns: DNS rules are only possible "
            "at egress");
}

TEST(RulesDns, TheSamePortWithoutEndPortAboveItIsNoRange) {
  const auto rules = rules_of(
      cnp_egress(dns_rule(R"({"port": "53", "endPort": 53, "protocol": "UDP"})",
                          R"([{"matchPattern": "*"}])")));
  ASSERT_EQ(rules.size(), 1U);
  EXPECT_EQ(rules[0].l4, (L4{.ranges = {{IPPROTO_UDP, 53, 53}}}));
}

// ---- domainNames -----------------------------------------------------------

TEST(DomainNames, ArePeersWhateverHasTheAddress) {
  const auto rules = rules_of(kcnp_egress(
      "Accept", R"({"domainNames": ["Kubernetes.io", "*.kubernetes.io."]})"));
  ASSERT_EQ(rules.size(), 1U);
  EXPECT_THAT(
      rules[0].peers,
      ElementsAre(
          PeerSelector(NamePeer{.pattern = pattern("kubernetes.io")}),
          PeerSelector(NamePeer{.pattern = pattern("**.kubernetes.io")})));
}

TEST(DomainNames, AnErrorNamesTheField) {
  const std::string at = "spec.egress[0].to[0]";
  for (const char* action : {"Deny", "Pass"}) {
    EXPECT_EQ(error_of(kcnp_egress(action, R"({"domainNames": ["a.com"]})")),
              at + ": domainNames are only possible in Accept rules");
  }
  EXPECT_EQ(error_of(kcnp_egress("Accept", R"({"domainNames": []})")),
            at + ".domainNames: must have 1 to 25 elements, has 0");
  for (const char* name : {"com", "*", "**.a.com", "a.*.com", "a_.com", ""}) {
    EXPECT_THAT(
        error_of(kcnp_egress(
            "Accept", R"({"domainNames": [")" + std::string(name) + R"("]})")),
        testing::StartsWith(at + ".domainNames[0]: \"" + name + "\" "));
  }
  EXPECT_EQ(error_of(kcnp_egress(
                "Accept", R"({"domainNames": ["a.com"]})",
                R"(, "protocols": [{"destinationNamedPort": "http"}])")),
            at + ": must not be combined with a named port, there are none but "
                 "on pods");
  EXPECT_THAT(error_of(kcnp(
                  R"({"tier": "Admin", "priority": 1,
                      "subject": {"namespaces": {}}, "ingress": [
                      {"action": "Accept", "from": [{"domainNames": ["a.b"]}]}
                      ]})")),
              HasSubstr("spec.ingress[0].from[0].domainNames: unknown field"));
}

// ---- both
// --------------------------------------------------------------------

TEST(Names, ARuleForServersThatAreNamesCannotRestrictQuestions) {
  EXPECT_EQ(rejection(cnp(
                R"({"endpointSelector": {}, "egress": [
               {"toPorts": [{"ports": [{"port": "53"}],
                             "rules": {"dns": [{"matchPattern": "*"}]}}]},
               {"toFQDNs": [{"matchName": "a"}], "toPorts": [
                  {"ports": [{"port": "53"}],
                   "rules": {"dns": [{"matchName": "a"}]}},
                  {"ports": [{"port": "443"}]}]}]})")),
            "spec.egress[1].toPorts[0].rules.dns: not supported in a rule with "
            "toFQDNs");
}

}  // namespace
}  // namespace sluice::policy::test
