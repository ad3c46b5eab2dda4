// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lint/findings.h"

// What a policy says by itself: its fields, its namespace, its addresses.
namespace sluice::lint {
namespace {

using test::cilium_policy;
using test::codes;
using test::findings;
using test::network_policy;
using test::pod;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kHomeless =
    "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
    "metadata: {name: p}\nspec: {podSelector: {matchLabels: {app: web}}}\n";

TEST(LintObjects, ANamespaceThatIsLeftOutIsFound) {
  EXPECT_THAT(findings(kHomeless),
              ElementsAre("NetworkPolicy/default/p: metadata.namespace: is not "
                          "set, so the policy is one of namespace \"default\" "
                          "[no-namespace]"));
  EXPECT_THAT(codes(network_policy("{podSelector: {}}")), IsEmpty());
  EXPECT_THAT(codes("---\napiVersion: cilium.io/v2\n"
                    "kind: CiliumClusterwideNetworkPolicy\n"
                    "metadata: {name: p}\n"
                    "spec: {endpointSelector: {}, ingress: [{}]}\n"),
              IsEmpty())
      << "a cluster-wide kind has none";
}

TEST(LintObjects, APolicyBesideItsPodsInDefaultIsNoFinding) {
  EXPECT_THAT(codes(kHomeless + pod("default", "web")), IsEmpty());
  EXPECT_THAT(codes(kHomeless + pod("shop", "web")),
              ElementsAre("no-namespace"));
}

TEST(LintObjects, KustomizeSetsTheNamespaceOfItsFolder) {
  const auto in_folder = [](const std::string& file) {
    return lint({{"a/kustomization.yaml", {}},
                 {file, read_input(kube::parse_manifest(kHomeless, file))}})
        .size();
  };
  EXPECT_EQ(in_folder("a/b/p.yaml"), 0U);
  EXPECT_EQ(in_folder("c/p.yaml"), 1U);
}

TEST(LintObjects, FieldsThatMeanSomethingElseAreFound) {
  EXPECT_THAT(
      findings(network_policy("{podSelector: {}, policyTypes: [Ingress], "
                              "egress: [{}]}")),
      ElementsAre("NetworkPolicy/shop/p: spec.egress: has no effect, "
                  "policyTypes does not name Egress [field]"));
  EXPECT_THAT(codes(network_policy("{podSelector: {}, policyTypes: [Ingress, "
                                   "Egress], egress: [{}]}")),
              IsEmpty());
}

TEST(LintObjects, AServicesAddressInAnEgressRuleIsFound) {
  const std::string service =
      "---\napiVersion: v1\nkind: Service\n"
      "metadata: {namespace: shop, name: api}\n"
      "spec: {clusterIP: 10.96.0.1, selector: {app: api}, ports: [{port: "
      "80}]}\n";
  const auto to = [](const std::string& cidr) {
    return network_policy(
        "{podSelector: {}, policyTypes: [Egress], egress: "
        "[{to: [{ipBlock: {cidr: " +
        cidr + "}}]}]}");
  };
  EXPECT_THAT(findings(service + to("10.96.0.1/32")),
              ElementsAre(HasSubstr("spec.egress[0]: 10.96.0.1 is the address "
                                    "of Service shop/api")));
  EXPECT_THAT(codes(service + to("10.96.0.2/32")), IsEmpty());
  EXPECT_THAT(codes(service + to("10.96.0.0/16")), IsEmpty())
      << "a range may mean other addresses";
}

TEST(LintObjects, APodsAddressInACiliumRuleForCidrsIsFound) {
  EXPECT_THAT(codes(pod("shop", "db", "10.0.0.9") +
                    cilium_policy("{endpointSelector: {}, ingress: "
                                  "[{fromCIDR: [10.0.0.9/32]}]}")),
              ElementsAre("cidr-in-cluster"));
  EXPECT_THAT(codes(pod("shop", "db", "10.0.0.9") +
                    cilium_policy("{endpointSelector: {}, ingress: "
                                  "[{fromCIDR: [192.0.2.9/32]}]}")),
              IsEmpty());
  EXPECT_THAT(
      codes(pod("shop", "db", "10.0.0.9") +
            network_policy("{podSelector: {}, ingress: [{from: [{ipBlock: "
                           "{cidr: 10.0.0.9/32}}]}]}")),
      IsEmpty())
      << "an ipBlock matches whatever has the address";
}

TEST(LintObjects, FindingsAreInTheOrderOfTheFile) {
  const auto found = lint(
      {{"m.yaml",
        read_input(kube::parse_manifest(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolcy\n"
            "metadata: {name: a}\n" +
                std::string(kHomeless) +
                "---\napiVersion: v1\nkind: Namspace\nmetadata: {name: n}\n",
            "m.yaml"))}});
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(place_of(found[0]), "m.yaml:1");
  EXPECT_EQ(place_of(found[1]), "m.yaml:5");
  EXPECT_EQ(place_of(found[2]), "m.yaml:10");
}

}  // namespace
}  // namespace sluice::lint
