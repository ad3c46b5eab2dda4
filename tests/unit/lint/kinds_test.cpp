// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lint/findings.h"

// Kinds that Sluice does not read.
namespace sluice::lint {
namespace {

using test::codes;
using test::findings;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string object(const std::string& api_version, const std::string& kind) {
  return "apiVersion: " + api_version + "\nkind: " + kind +
         "\nmetadata: {namespace: shop, name: o}\n";
}

TEST(LintKinds, AMisspeltKindIsFound) {
  EXPECT_THAT(findings(object("networking.k8s.io/v1", "NetworkPolcy")),
              ElementsAre("NetworkPolcy/shop/o: kind: there is no "
                          "\"NetworkPolcy\" in networking.k8s.io/v1; did you "
                          "mean \"NetworkPolicy\"? [unknown-kind]"));
  EXPECT_THAT(findings(object("cilium.io/v2", "CiliumNetworkPolicies")),
              ElementsAre(HasSubstr("mean \"CiliumNetworkPolicy\"?")));
  EXPECT_THAT(findings(object("v1", "Namspace")),
              ElementsAre(HasSubstr("mean \"Namespace\"?")));
  EXPECT_THAT(findings(object("apps/v1", "Deploymnet")),
              ElementsAre(HasSubstr("mean \"Deployment\"?")));
}

TEST(LintKinds, OtherKindsOfTheGroupsAreNoFinding) {
  for (const auto& [api_version, kind] :
       {std::pair{"networking.k8s.io/v1", "Ingress"},
        {"cilium.io/v2", "CiliumNodeConfig"},
        {"cilium.io/v2", "CiliumLocalRedirectPolicy"},
        {"v1", "NodeList"},
        {"v1", "ConfigMap"},
        {"apps/v1", "ControllerRevision"},
        {"discovery.k8s.io/v1", "EndpointSlice"},
        {"discovery.k8s.io/v1beta1", "EndpointSlice"},
        {"serving.knative.dev/v1", "Service"},
        {"crd.projectcalico.org/v1", "IPPool"},
        {"example.com/v1", "NetworkPolicyReport"}}) {
    EXPECT_THAT(findings(object(api_version, kind)), IsEmpty());
  }
}

TEST(LintKinds, AnApiVersionThatThereIsNotIsFound) {
  EXPECT_THAT(findings(object("cilium.io/v2alpha1", "CiliumNetworkPolicy")),
              ElementsAre("CiliumNetworkPolicy/shop/o: apiVersion: "
                          "\"cilium.io/v2alpha1\" of CiliumNetworkPolicy is "
                          "not read; did you mean \"cilium.io/v2\"? "
                          "[unknown-kind]"));
  EXPECT_THAT(codes(object("cilium.io/v2alpha1", "CiliumCIDRGroup")), IsEmpty())
      << "which there is in two versions";
  for (const auto* api_version :
       {"networking.k8s.io/v1beta1", "extensions/v1beta1", "v1",
        "network.k8s.io/v1", "networking.k8s/v1"}) {
    EXPECT_THAT(
        findings(object(api_version, "NetworkPolicy")),
        ElementsAre(HasSubstr("did you mean \"networking.k8s.io/v1\"?")))
        << api_version;
  }
}

TEST(LintKinds, OtherEnginesKindsAreFound) {
  for (const auto& [api_version, kind, engine] :
       {std::tuple{"crd.projectcalico.org/v1", "GlobalNetworkPolicy", "Calico"},
        {"projectcalico.org/v3", "NetworkPolicy", "Calico"},
        {"crd.antrea.io/v1beta1", "ClusterNetworkPolicy", "Antrea"},
        {"networking.k8s.aws/v1alpha1", "ApplicationNetworkPolicy", "AWS"},
        {"vpcresources.k8s.aws/v1beta1", "SecurityGroupPolicy", "Amazon"},
        {"security.istio.io/v1", "AuthorizationPolicy", "Istio"},
        {"policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy",
         "ClusterNetworkPolicy"},
        {"policies.example.com/v1", "NetworkPolicy", "policies.example.com"}}) {
    const auto text = object(api_version, kind);
    EXPECT_THAT(codes(text), ElementsAre("other-engine")) << kind;
    EXPECT_THAT(findings(text), ElementsAre(HasSubstr(engine)));
  }
}

}  // namespace
}  // namespace sluice::lint
