// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lint/findings.h"

// Pods that cannot look up the names that they need.
namespace sluice::lint {
namespace {

using test::admin_policy;
using test::cilium_policy;
using test::codes;
using test::findings;
using test::network_policy;
using test::pod;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kNames = "{toFQDNs: [{matchName: api.example.com}]}";
constexpr const char* kKubeDns =
    "{toEndpoints: [{matchLabels: {\"k8s:io.kubernetes.pod.namespace\": "
    "kube-system, k8s-app: kube-dns}}], toPorts: [{ports: [{port: \"53\", "
    "protocol: ANY}]}]}";

std::string egress(const std::string& rules,
                   const std::string& more = std::string()) {
  return cilium_policy(
      "{endpointSelector: {matchLabels: {app: web}}, egress: [" + rules + "]" +
      more + "}");
}

std::string to_server(const std::string& peer, bool with_rules) {
  return "{" + peer + ", toPorts: [{ports: [{port: \"53\", protocol: UDP}]" +
         (with_rules ? ", rules: {dns: [{matchPattern: \"*\"}]}" : "") + "}]}";
}

TEST(LintDns, NamesWithoutAServerToAskAreFound) {
  EXPECT_THAT(findings(egress(kNames)),
              ElementsAre("CiliumNetworkPolicy/shop/c: spec: allows peers by "
                          "name, and no rule lets its pods ask a DNS server "
                          "(UDP port 53) for these names "
                          "[names-without-dns]"));
  EXPECT_THAT(codes(egress(std::string(kNames) + ", " + kKubeDns)), IsEmpty());
  EXPECT_THAT(codes(egress(std::string(kNames) + ", {toEntities: [cluster]}")),
              IsEmpty())
      << "the cluster's DNS is among them";
}

TEST(LintDns, PodsThatAreNotIsolatedMayAskAnybody) {
  EXPECT_THAT(codes(egress(kNames, ", enableDefaultDeny: {egress: false}")),
              IsEmpty());
}

TEST(LintDns, AnotherPolicyOfTheSamePodsMayLetThemAsk) {
  const auto other = [](const std::string& labels) {
    return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
           "metadata: {namespace: shop, name: dns}\nspec: {podSelector: " +
           labels +
           ", policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: "
           "UDP}]}]}\n";
  };
  EXPECT_THAT(codes(egress(kNames) + other("{}")), IsEmpty());
  EXPECT_THAT(codes(egress(kNames) + other("{matchLabels: {app: db}}")),
              ElementsAre("names-without-dns"));
  const auto by_tier = other("{matchLabels: {tier: front}}");
  EXPECT_THAT(codes(egress(kNames) + by_tier), IsEmpty())
      << "its pods may have both labels";
}

TEST(LintDns, AServerWhoseAnswersDoNotCountIsFound) {
  const std::string google = "toCIDR: [192.0.2.53/32]";
  EXPECT_THAT(
      codes(egress(std::string(kNames) + ", " + to_server(google, false))),
      ElementsAre("names-not-learned"));
  EXPECT_THAT(
      codes(egress(std::string(kNames) + ", " + to_server(google, true))),
      IsEmpty())
      << "rules.dns makes them count";
  EXPECT_THAT(codes(egress(std::string(kNames) +
                           ", {toPorts: [{ports: [{port: \"53\", protocol: "
                           "UDP}]}]}")),
              IsEmpty())
      << "the cluster's DNS is among any peers";
}

TEST(LintDns, DomainNamesCountOnlyByTheClustersDns) {
  const auto names = admin_policy(
      "names", 1, "[{action: Accept, to: [{domainNames: [api.example.com]}]}]");
  const auto isolated = [](const std::string& server) {
    return cilium_policy("{endpointSelector: {}, egress: [" + server + "]}");
  };
  EXPECT_THAT(
      findings(pod("shop", "web") + names +
               isolated(to_server("toCIDR: [192.0.2.53/32]", true))),
      ElementsAre(HasSubstr("domainNames are learned only from the cluster's "
                            "DNS")));
  EXPECT_THAT(codes(pod("shop", "web") + names + isolated(kKubeDns)),
              IsEmpty());
}

TEST(LintDns, PeersThatAreLookedUpNeedDnsToo) {
  const auto pods = pod("shop", "web") + pod("shop", "db", "10.0.0.2");
  const std::string sql =
      "{toEndpoints: [{matchLabels: {app: db}}], toPorts: [{ports: [{port: "
      "\"5432\", protocol: TCP}]}]}";
  EXPECT_THAT(codes(pods + egress(sql)), ElementsAre("no-dns"));
  EXPECT_THAT(codes(pods + egress(sql + ", " + kKubeDns)), IsEmpty());
  EXPECT_THAT(codes(pods + egress("{toCIDR: [192.0.2.0/24]}")), IsEmpty())
      << "addresses need no names";
  EXPECT_THAT(codes(pods + egress("{toEntities: [kube-apiserver]}")), IsEmpty())
      << "whose address every pod has";
  EXPECT_THAT(codes(pods + network_policy("{podSelector: {}, policyTypes: "
                                          "[Egress]}")),
              IsEmpty())
      << "who may talk to nobody asks for none";
  EXPECT_THAT(codes(egress(sql)), IsEmpty()) << "no pod is known";
}

}  // namespace
}  // namespace sluice::lint
