// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lint/findings.h"

// Rules that can change nothing.
namespace sluice::lint {
namespace {

using test::admin_policy;
using test::cilium_policy;
using test::codes;
using test::findings;
using test::network_policy;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string ingress(const std::string& rules) {
  return network_policy("{podSelector: {}, ingress: " + rules + "}");
}

TEST(LintShadowed, ARuleThatAnotherOfItsPolicyCoversIsFound) {
  EXPECT_THAT(
      findings(ingress("[{}, {from: [{podSelector: {}}], ports: [{port: "
                       "80}]}]")),
      ElementsAre("NetworkPolicy/shop/p: spec.ingress[1]: changes nothing, "
                  "because spec.ingress[0] covers all of it [shadowed]"));
  EXPECT_THAT(codes(ingress("[{ports: [{port: 80}]}, {from: [{podSelector: "
                            "{}}], ports: [{port: 81}]}]")),
              IsEmpty());
}

TEST(LintShadowed, OfTwoEqualRulesTheLaterOneIsFound) {
  EXPECT_THAT(findings(ingress("[{ports: [{port: 80}]}, {ports: [{port: "
                               "80}]}]")),
              ElementsAre(HasSubstr("spec.ingress[1]: changes nothing")));
}

TEST(LintShadowed, WhatIsFoundCanBeLeftOutTogether) {
  // Any two of these cover the third.
  EXPECT_THAT(
      findings(ingress(
          "[{from: [{ipBlock: {cidr: 192.0.2.0/25}}, {ipBlock: {cidr: "
          "192.0.2.128/25}}]}, {from: [{ipBlock: {cidr: 192.0.2.0/25}}]}, "
          "{from: [{ipBlock: {cidr: 192.0.2.128/25}}]}]")),
      ElementsAre(HasSubstr("spec.ingress[1]"), HasSubstr("spec.ingress[2]")));
}

TEST(LintShadowed, SeveralRulesTogetherCoverOne) {
  EXPECT_THAT(
      findings(ingress(
          "[{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}, {from: [{podSelector: "
          "{}}]}, {from: [{ipBlock: {cidr: 192.0.2.9/32}}, {podSelector: "
          "{matchLabels: {app: web}}}]}]")),
      ElementsAre(HasSubstr("spec.ingress[2]: changes nothing, because "
                            "spec.ingress[0] and spec.ingress[1] cover all")));
}

TEST(LintShadowed, AnExceptIsNotCovered) {
  const auto rules = [](const std::string& cidr) {
    return ingress(
        "[{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}, "
        "{from: [{ipBlock: {cidr: " +
        cidr + "}}]}]");
  };
  EXPECT_THAT(codes(rules("10.1.2.0/24")), IsEmpty());
  EXPECT_THAT(codes(rules("10.0.0.0/15")), IsEmpty());
  EXPECT_THAT(codes(rules("10.2.0.0/16")), ElementsAre("shadowed"));
}

TEST(LintShadowed, AnAllowThatItsPolicyDeniesIsFound) {
  const auto policy = [](const std::string& denied) {
    return cilium_policy(
        "{endpointSelector: {}, ingress: [{fromEntities: [cluster]}], "
        "ingressDeny: [{fromEntities: [" +
        denied + "]}]}");
  };
  EXPECT_THAT(findings(policy("all")),
              ElementsAre(HasSubstr("spec.ingress[0]: allows nothing, because "
                                    "spec.ingressDeny[0], which comes first, "
                                    "covers all of it")));
  EXPECT_THAT(codes(policy("world")), IsEmpty());
}

TEST(LintShadowed, AnotherPolicysDenyShadowsAnAllowAndNotADeny) {
  const std::string deny =
      "---\napiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n"
      "metadata: {name: metadata}\nspec: {endpointSelector: {}, egressDeny: "
      "[{toCIDR: [169.254.169.254/32]}], enableDefaultDeny: {egress: false}}\n";
  const auto own = [](const std::string& section) {
    return cilium_policy("{endpointSelector: {matchLabels: {app: web}}, " +
                         section +
                         ": [{toCIDR: [169.254.169.254/32]}], "
                         "enableDefaultDeny: {egress: false}}");
  };
  EXPECT_THAT(findings(deny + own("egress")),
              ElementsAre(HasSubstr("because CiliumClusterwideNetworkPolicy/"
                                    "metadata spec.egressDeny[0], which comes "
                                    "first, covers all")));
  EXPECT_THAT(codes(deny + own("egressDeny")), IsEmpty())
      << "two may well deny the same";
}

TEST(LintShadowed, AnAllowOfAnotherPolicyShadowsNothing) {
  EXPECT_THAT(codes(network_policy("{podSelector: {}, ingress: [{}]}") +
                    cilium_policy("{endpointSelector: {}, ingress: "
                                  "[{fromEntities: [cluster]}]}")),
              IsEmpty())
      << "each stands for itself when the other is removed";
}

TEST(LintShadowed, TheAdminTierDeniesUnlessARuleMayPassBefore) {
  const auto own = network_policy(
      "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 25}, "
      "{port: 53, protocol: UDP}], to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}");
  const std::string deny =
      "[{action: Deny, to: [{networks: [0.0.0.0/0, \"::/0\"]}]}]";
  EXPECT_THAT(codes(admin_policy("deny", 5, deny) + own),
              ElementsAre("shadowed"));
  const auto pass = [](int priority) {
    return admin_policy("pass", priority,
                        "[{action: Pass, to: [{namespaces: {}}]}]");
  };
  EXPECT_THAT(codes(admin_policy("deny", 5, deny) + pass(4) + own), IsEmpty());
  EXPECT_THAT(codes(admin_policy("deny", 5, deny) + pass(6) + own),
              ElementsAre("shadowed"));
}

TEST(LintShadowed, InAClusterNetworkPolicyTheEarlierRuleDecides) {
  const auto policy = [](const std::string& first, const std::string& second) {
    return admin_policy("a", 1,
                        "[{action: " + first +
                            ", to: [{namespaces: {}}]}, {action: " + second +
                            ", to: [{namespaces: {matchLabels: {a: b}}}]}]");
  };
  for (const auto* first : {"Accept", "Deny", "Pass"}) {
    EXPECT_THAT(findings(policy(first, "Accept")),
                ElementsAre(HasSubstr("nothing, because spec.egress[0]")));
  }
  EXPECT_THAT(
      codes(admin_policy("a", 1,
                         "[{action: Accept, to: [{namespaces: {matchLabels: "
                         "{a: b}}}]}, {action: Deny, to: [{namespaces: "
                         "{}}]}]")),
      IsEmpty());
}

TEST(LintShadowed, ARuleWithDnsIsNotThatWithout) {
  const auto policy = [](const std::string& first, const std::string& second) {
    const auto rule = [](const std::string& names) {
      return "{toEntities: [cluster], toPorts: [{ports: [{port: \"53\", "
             "protocol: UDP}]" +
             (names.empty()
                  ? ""
                  : ", rules: {dns: [{matchPattern: \"" + names + "\"}]}") +
             "}]}";
    };
    return cilium_policy("{endpointSelector: {}, egress: [" + rule(first) +
                         ", " + rule(second) + "]}");
  };
  EXPECT_THAT(codes(policy("", "*")), IsEmpty())
      << "answers of the second one's servers count";
  EXPECT_THAT(codes(policy("*", "")), IsEmpty());
  EXPECT_THAT(codes(policy("*", "*.example.com")), ElementsAre("shadowed"));
  EXPECT_THAT(codes(policy("", "")), ElementsAre("shadowed"));
}

TEST(LintShadowed, RulesAboutNothingAreNotCovered) {
  EXPECT_THAT(codes(cilium_policy("{endpointSelector: {}, ingress: [{}, "
                                  "{fromEntities: [all]}]}")),
              IsEmpty());
}

}  // namespace
}  // namespace sluice::lint
