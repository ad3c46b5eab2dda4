// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lint/findings.h"

// Names and selectors behind which nothing is.
namespace sluice::lint {
namespace {

using test::cilium_policy;
using test::codes;
using test::findings;
using test::namespace_object;
using test::network_policy;
using test::pod;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string subject(const std::string& app) {
  return network_policy("{podSelector: {matchLabels: {app: " + app + "}}}");
}

std::string from(const std::string& peer) {
  return network_policy("{podSelector: {}, ingress: [{from: [" + peer + "]}]}");
}

std::string deployment(const std::string& ns, const std::string& app) {
  return "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {namespace: " +
         ns + ", name: " + app +
         "}\nspec: {template: {metadata: {labels: {app: " + app +
         "}}, spec: {containers: [{name: c, ports: [{name: http, "
         "containerPort: 80}]}]}}}\n";
}

TEST(LintSelectors, APolicyThatSelectsNoPodIsFound) {
  EXPECT_THAT(findings(pod("shop", "web") + subject("wbe")),
              ElementsAre("NetworkPolicy/shop/p: spec: selects no pod: none "
                          "matches app=wbe in namespace shop; did you mean "
                          "\"web\"? [selects-no-pod]"));
  EXPECT_THAT(findings(pod("shop", "web") + subject("web")), IsEmpty());
}

TEST(LintSelectors, PodsOfWorkloadsCountAsPods) {
  EXPECT_THAT(codes(deployment("shop", "web") + subject("web")), IsEmpty());
  EXPECT_THAT(codes(deployment("shop", "web") + subject("api")),
              ElementsAre("selects-no-pod"));
  const std::string cron_job = R"(---
apiVersion: batch/v1
kind: CronJob
metadata: {namespace: shop, name: night}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: night}}}}}}
)";
  EXPECT_THAT(codes(deployment("shop", "web") + cron_job + subject("night")),
              IsEmpty());
}

TEST(LintSelectors, ANamespaceWithoutPodsInTheInputIsNotJudged) {
  EXPECT_THAT(codes(subject("web")), IsEmpty());
  EXPECT_THAT(codes(pod("blog", "web") + subject("web")), IsEmpty());
}

TEST(LintSelectors, WhereSomethingElseMakesPodsNothingIsJudged) {
  const std::string kafka =
      "---\napiVersion: kafka.strimzi.io/v1beta2\nkind: Kafka\n"
      "metadata: {namespace: shop, name: k}\n";
  EXPECT_THAT(codes(pod("shop", "web") + kafka + subject("kafka")), IsEmpty());
  const std::string monitor =
      "---\napiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\n"
      "metadata: {namespace: shop, name: m}\n";
  EXPECT_THAT(codes(pod("shop", "web") + monitor + subject("kafka")),
              ElementsAre("selects-no-pod"));
  const std::string job =
      "---\napiVersion: batch/v1\nkind: Job\n"
      "metadata: {namespace: shop, name: j}\nspec: {template: {spec: {}}}\n";
  EXPECT_THAT(codes(job + subject("web")), IsEmpty());
}

TEST(LintSelectors, TheEmptySelectorOfADefaultDenyIsNoFinding) {
  EXPECT_THAT(
      codes(namespace_object("kube-system") + namespace_object("shop") +
            pod("kube-system", "dns") + network_policy("{podSelector: {}}")),
      IsEmpty());
}

TEST(LintSelectors, LabelsThatControllersGiveAreNotMissed) {
  const auto selector = network_policy(
      "{podSelector: {matchLabels: {app: web, pod-template-hash: x1}}}");
  EXPECT_THAT(codes(deployment("shop", "web") + selector), IsEmpty());
  EXPECT_THAT(codes(pod("shop", "web") + selector),
              ElementsAre("selects-no-pod"))
      << "a pod has all its labels";
}

TEST(LintSelectors, PodsOnTheHostsNetworkAreSelectedByNoPolicy) {
  const std::string agent =
      "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: a, "
      "labels: {app: agent}}\nspec: {hostNetwork: true}\n";
  EXPECT_THAT(findings(pod("shop", "web") + agent + subject("agent")),
              ElementsAre(HasSubstr("those that match app=agent in namespace "
                                    "shop are on the host's network")));
}

TEST(LintSelectors, ARuleWhosePeerSelectsNothingIsFound) {
  EXPECT_THAT(
      findings(pod("shop", "web") +
               from("{podSelector: {matchLabels: {app: cient}}}")),
      ElementsAre("NetworkPolicy/shop/p: spec.ingress[0]: a peer selects "
                  "nothing: no pod matches app=cient in namespace shop "
                  "[peer-selects-nothing]"));
  EXPECT_THAT(codes(pod("shop", "web") +
                    from("{podSelector: {matchLabels: {app: web}}}")),
              IsEmpty());
}

TEST(LintSelectors, PeersOfOtherNamespacesAreJudgedByTheirPods) {
  const auto peer = from(
      "{podSelector: {matchLabels: {app: prometheus}}, namespaceSelector: "
      "{matchLabels: {kubernetes.io/metadata.name: monitoring}}}");
  EXPECT_THAT(codes(pod("shop", "web") + peer), IsEmpty())
      << "nothing is known of monitoring";
  EXPECT_THAT(codes(pod("shop", "web") + pod("monitoring", "grafana") + peer),
              ElementsAre("peer-selects-nothing"));
  EXPECT_THAT(
      codes(pod("shop", "web") + pod("monitoring", "prometheus") + peer),
      IsEmpty());
}

TEST(LintSelectors, NamespacesByLabelsAreJudgedInAClusterOnly) {
  const auto peer = from("{namespaceSelector: {matchLabels: {team: blue}}}");
  EXPECT_THAT(
      codes(namespace_object("shop") + deployment("shop", "web") + peer),
      IsEmpty())
      << "a chart has only its own namespace";
  EXPECT_THAT(findings(namespace_object("shop", "{team: red}") +
                       pod("shop", "web") + peer),
              ElementsAre(HasSubstr("there is no pod in a namespace with "
                                    "team=blue")));
}

TEST(LintSelectors, ANamespaceThatHasNoPodsIsNoFindingByItself) {
  EXPECT_THAT(codes(namespace_object("shop") +
                    namespace_object("blue", "{team: blue}") +
                    namespace_object("kube-system") +
                    pod("kube-system", "dns") + pod("shop", "web") +
                    from("{namespaceSelector: {matchLabels: {team: blue}}}")),
              IsEmpty());
}

TEST(LintSelectors, ClientsOfAChartToComeAreNoFinding) {
  const auto peer = from("{podSelector: {matchLabels: {db-client: \"true\"}}}");
  EXPECT_THAT(codes(deployment("shop", "db") + peer), IsEmpty());
  EXPECT_THAT(codes(pod("shop", "db") + peer),
              ElementsAre("peer-selects-nothing"));
}

TEST(LintSelectors, NodesAndTheWorldAreNoPodsAndAreThere) {
  EXPECT_THAT(
      codes(namespace_object("kube-system") + pod("kube-system", "dns") +
            pod("shop", "web") + namespace_object("shop") +
            cilium_policy("{endpointSelector: {}, ingress: [{fromEndpoints: "
                          "[{matchLabels: {\"reserved:host\": \"\"}}]}]}")),
      IsEmpty());
}

TEST(LintSelectors, GroupsAndServicesAreMissedAmongOthers) {
  const std::string group =
      "---\napiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\n"
      "metadata: {name: offices}\nspec: {externalCIDRs: [192.0.2.0/24]}\n";
  const auto by_group = [](const std::string& name) {
    return cilium_policy(
        "{endpointSelector: {}, ingress: [{fromCIDRSet: [{cidrGroupRef: " +
        name + "}]}]}");
  };
  EXPECT_THAT(findings(group + by_group("ofices")),
              ElementsAre(HasSubstr("there is no CiliumCIDRGroup \"ofices\"; "
                                    "did you mean \"offices\"?")));
  EXPECT_THAT(codes(group + by_group("offices")), IsEmpty());
  EXPECT_THAT(codes(by_group("elsewhere")), IsEmpty());
  const std::string service =
      "---\napiVersion: v1\nkind: Service\n"
      "metadata: {namespace: shop, name: api}\n"
      "spec: {clusterIP: 10.96.0.1, selector: {app: api}, ports: [{port: "
      "80}]}\n";
  const auto by_service = [](const std::string& name) {
    return cilium_policy(
        "{endpointSelector: {}, egress: [{toServices: [{k8sService: "
        "{serviceName: " +
        name + "}}]}]}");
  };
  EXPECT_THAT(codes(service + by_service("apis")),
              ElementsAre("peer-selects-nothing"));
  EXPECT_THAT(codes(service + by_service("api")), IsEmpty());
}

TEST(LintSelectors, ANamespaceThatIsNamedButNotThereIsFound) {
  const auto peer = from(
      "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "
      "monitring}}}");
  EXPECT_THAT(
      findings(namespace_object("shop") + namespace_object("monitoring") +
               peer),
      ElementsAre("NetworkPolicy/shop/p: spec.ingress[0]: there is no "
                  "namespace \"monitring\"; did you mean \"monitoring\"? "
                  "[unknown-namespace]"));
  EXPECT_THAT(codes(peer), IsEmpty()) << "no Namespace in the input";
  EXPECT_THAT(
      codes(namespace_object("shop") + namespace_object("monitring") + peer),
      IsEmpty());
}

TEST(LintSelectors, ANamespaceByCiliumsLabelIsFoundToo) {
  const auto peer = [](const std::string& ns) {
    return cilium_policy(
        "{endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: "
        "{\"k8s:io.kubernetes.pod.namespace\": " +
        ns + "}}]}]}");
  };
  EXPECT_THAT(codes(namespace_object("shop") + peer("blog")),
              ElementsAre("unknown-namespace"));
  EXPECT_THAT(codes(namespace_object("shop") + peer("kube-system")), IsEmpty())
      << "every cluster has it";
}

TEST(LintSelectors, ThePolicysOwnNamespaceIsFoundOnce) {
  EXPECT_THAT(
      findings(namespace_object("blog") +
               from("{podSelector: {matchLabels: {app: web}}}")),
      ElementsAre("NetworkPolicy/shop/p: metadata.namespace: there is no "
                  "namespace \"shop\" [unknown-namespace]"));
  EXPECT_THAT(codes(namespace_object("blog") + deployment("shop", "web") +
                    network_policy("{podSelector: {}}")),
              IsEmpty())
      << "what is in it shows that somebody else makes it";
}

TEST(LintSelectors, NamespacesAreOpenWhereOthersAreDeployed) {
  const std::string release =
      "---\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n"
      "metadata: {namespace: flux-system, name: stack}\n";
  EXPECT_THAT(codes(namespace_object("blog") + release +
                    network_policy("{podSelector: {}}")),
              IsEmpty());
}

TEST(LintSelectors, ANamedPortThatNoSelectedPodHasIsFound) {
  const auto web =
      pod("shop", "web", "10.0.0.1", "[{name: http, containerPort: 80}]");
  const auto rule = [](const std::string& port) {
    return network_policy(
        "{podSelector: {matchLabels: {app: web}}, ingress: "
        "[{ports: [{port: " +
        port + "}]}]}");
  };
  EXPECT_THAT(findings(web + rule("htp")),
              ElementsAre("NetworkPolicy/shop/p: spec.ingress[0]: no selected "
                          "pod has a port named htp of TCP [no-such-port]"));
  EXPECT_THAT(codes(web + rule("http")), IsEmpty());
  EXPECT_THAT(codes(web + rule("8080")), IsEmpty()) << "a number needs no name";
}

TEST(LintSelectors, ANamedPortAtEgressIsOneOfThePeers) {
  const auto pods = pod("shop", "web") +
                    pod("shop", "db", "10.0.0.2",
                        "[{name: sql, containerPort: 5432}, "
                        "{name: dns, containerPort: 53, protocol: UDP}]");
  const auto rule = [](const std::string& port) {
    return network_policy(
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], "
        "egress: [{ports: [{port: 53, protocol: UDP}]}, {to: [{podSelector: "
        "{matchLabels: {app: db}}}], ports: [{port: " +
        port + "}]}]}");
  };
  EXPECT_THAT(codes(pods + rule("sql")), IsEmpty());
  EXPECT_THAT(findings(pods + rule("http")),
              Contains(EndsWith("no peer has a port named http of TCP "
                                "[no-such-port]")));
}

}  // namespace
}  // namespace sluice::lint
