// SPDX-License-Identifier: Apache-2.0
#include "cli/cluster.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "agent/node/requests.h"
#include "cli/judge.h"
#include "cli/manifest_policies.h"
#include "cli/tables.h"
#include "lib/kube/manifest.h"
#include "tests/unit/cli/manifests.h"

namespace sluice::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kManifests = R"(
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.1.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: x, name: a, labels: {app: a}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: x, name: b, labels: {app: b}}
spec: {nodeName: n2}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: x, name: p}
spec:
  endpointSelector: {matchLabels: {app: a}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: b}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
)";

class ClusterTest : public ::testing::Test {
 protected:
  Cluster cluster_ = cluster_of(std::string(kManifests));
};

TEST_F(ClusterTest, ErrorsSayWhatDoesNotCount) {
  EXPECT_TRUE(cluster_.errors().empty());
  const std::string bad = R"(
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: x, name: q}
spec: {endpointSelector: {}, ingress: [{fromEndpoint: []}]}
---
apiVersion: example.com/v1
kind: Another
metadata: {name: r}
---
kind: [
)";
  add_manifests(cluster_, "b.yaml", bad);
  std::ostringstream out;
  print(out, cluster_.errors());
  EXPECT_EQ(out.str(),
            "error: b.yaml:11: did not find expected node content while "
            "parsing a flow node\n"
            "error: b.yaml:2: CiliumNetworkPolicy/x/q: "
            "spec.ingress[0].fromEndpoint: unknown field\n");
}

TEST_F(ClusterTest, ExplainJudgesBothEndsInBothFamilies) {
  const auto view =
      explain(cluster_, {.from = "x/b", .to = "x/a", .port = "80/TCP"});
  ASSERT_TRUE(view.has_value()) << view.error().message;
  EXPECT_TRUE(view->allowed);
  ASSERT_EQ(view->sides.size(), 4U);
  EXPECT_EQ(view->sides[1].direction, "ingress");
  EXPECT_EQ(view->sides[1].policy, "CiliumNetworkPolicy/x/p");
  EXPECT_EQ(view->sides[1].path, "spec.ingress[0]");
  EXPECT_EQ(view->sides[3].peer, "fd00::2");
}

TEST_F(ClusterTest, ExplainNamesWhatIsolatesAndWhatIsMissing) {
  const auto view =
      explain(cluster_, {.from = "10.0.0.2", .to = "x/a", .port = "81/TCP"});
  ASSERT_TRUE(view.has_value());
  EXPECT_FALSE(view->allowed);
  ASSERT_EQ(view->sides.size(), 2U) << "the address's family only";
  const auto& side = view->sides[1];
  EXPECT_EQ(side.reason, "default deny");
  EXPECT_THAT(side.isolating, ElementsAre("CiliumNetworkPolicy/x/p"));
  ASSERT_FALSE(side.near_misses.empty());
  EXPECT_EQ(side.near_misses[0].differs, "port");
}

TEST_F(ClusterTest, ExplainSaysWhichProtocolItTook) {
  for (const auto& [asked, told] : {std::pair{"80", "80/TCP"},
                                    {"53/udp", "53/UDP"},
                                    {"8/icmp", "8/ICMP"}}) {
    const auto view =
        explain(cluster_, {.from = "x/b", .to = "x/a", .port = asked});
    ASSERT_TRUE(view.has_value()) << view.error().message;
    EXPECT_EQ(view->port, told);
  }
}

TEST_F(ClusterTest, ExplainNamesThePodItselfBehindItsService) {
  add_manifests(cluster_, "s.yaml", R"(
apiVersion: v1
kind: Service
metadata: {namespace: x, name: s}
spec: {clusterIP: 10.96.0.1, selector: {app: a}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: x, name: none}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
)");
  const auto view =
      explain(cluster_, {.from = "x/a", .to = "10.96.0.1", .port = "80"});
  ASSERT_TRUE(view.has_value()) << view.error().message;
  EXPECT_TRUE(view->allowed);
  EXPECT_THAT(view->sides[0].behind,
              ElementsAre("through Service x/s",
                          "backend 10.0.0.1:80 (x/a) is the pod itself",
                          "1 of 1 backends allowed"));
}

// A Service with one backend on each of two nodes, and two clients.
class ServiceTest : public ClusterTest {
 protected:
  ServiceTest() {
    add("base.yaml", R"(
apiVersion: v1
kind: Node
metadata: {name: s1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: s2}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: s1}
status: {phase: Running, podIPs: [{ip: 10.1.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: api-1, labels: {app: api, number: one}}
spec: {nodeName: s1}
status: {phase: Running, podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: api-2, labels: {app: api, number: two}}
spec: {nodeName: s2}
status: {phase: Running, podIPs: [{ip: 10.1.1.2}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: api}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  selector: {app: api}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
)");
  }
  void add(const std::string& name, const std::string& text) {
    add_manifests(cluster_, name, text);
  }
  // NetworkPolicies on the backends: the given ingress rules, or none.
  void isolate(const std::string& number, const std::string& from = "") {
    add(number + ".yaml", R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: )" +
                              number + R"(}
spec:
  podSelector: {matchLabels: {number: )" +
                              number + R"(}}
  policyTypes: [Ingress]
)" + (from.empty() ? "" : "  ingress: [{from: [" + from + "]}]\n"));
  }
  node::ExplainView ask(const std::string& from, const std::string& to,
                        const std::string& port) {
    auto view = explain(cluster_, {.from = from, .to = to, .port = port});
    EXPECT_TRUE(view.has_value()) << view.error().message;
    return view ? std::move(*view) : node::ExplainView{};
  }
};

TEST_F(ServiceTest, EveryBackendsIngressIsJudged) {
  auto view = ask("shop/web", "10.96.0.10", "80");
  EXPECT_TRUE(view.allowed);
  EXPECT_EQ(view.to, "10.96.0.10 (Service shop/api)");
  EXPECT_EQ(view.summary, "allowed at egress; 2 of 2 backends accept");
  EXPECT_THAT(view.sides.at(0).behind, ElementsAre("through Service shop/api",
                                                   "2 of 2 backends allowed"))
      << "also of a sender without policy";
  isolate("one");
  view = ask("shop/web", "10.96.0.10", "80");
  EXPECT_FALSE(view.allowed);
  EXPECT_EQ(view.summary, "allowed at egress; 1 of 2 backends accept");
  ASSERT_EQ(view.sides.size(), 3U);
  EXPECT_EQ(view.sides[1].endpoint, "shop/api-1") << "refusing ones first";
  EXPECT_EQ(view.sides[1].backend, "10.1.0.2:8080");
  EXPECT_EQ(view.sides[1].node, "s1");
  EXPECT_EQ(view.sides[1].reason, "default deny");
  EXPECT_TRUE(view.sides[2].allowed);
  isolate("two");
  view = ask("203.0.113.9", "10.96.0.10", "80");
  EXPECT_EQ(view.summary, "allowed at egress; 0 of 2 backends accept");
  EXPECT_TRUE(ask("shop/web", "10.96.0.10", "81").summary.empty())
      << "another port is nobody's";
}

TEST_F(ServiceTest, ANodePortIsJudgedAsTheBackendSeesItsClient) {
  // docs/services.md: the client on the pod's own node, otherwise the node that
  // masquerades.
  const std::string web = "{podSelector: {matchLabels: {app: web}}}";
  isolate("one", web);
  isolate("two", web);
  auto view = ask("shop/web", "192.0.2.1", "30080");
  EXPECT_EQ(view.summary, "allowed at egress; 1 of 2 backends accept");
  EXPECT_EQ(view.sides.at(1).endpoint, "shop/api-2");
  EXPECT_EQ(view.sides.at(1).peer, "192.0.2.1");
  EXPECT_EQ(view.sides.at(2).peer, "10.1.0.9");
  isolate("two", "{ipBlock: {cidr: 192.0.2.1/32}}");
  EXPECT_TRUE(ask("shop/web", "192.0.2.1", "30080").allowed);
}

TEST_F(ServiceTest, AServiceIsAnEndByItsNames) {
  isolate("one");
  const auto by_address = ask("shop/web", "10.96.0.10", "80");
  for (const auto* name :
       {"svc/shop/api", "api.shop.svc", "api.shop.svc.cluster.local"}) {
    const auto view = ask("shop/web", name, "80");
    EXPECT_EQ(view.to, "svc/shop/api");
    EXPECT_EQ(view.summary, "allowed at egress; 1 of 2 backends accept");
    EXPECT_EQ(view.sides.size(), by_address.sides.size()) << name;
  }
  const auto refused = [&](const std::string& from, const std::string& to) {
    const auto view = explain(cluster_, {.from = from, .to = to, .port = "80"});
    return view ? "accepted" : view.error().message;
  };
  EXPECT_THAT(refused("shop/web", "svc/shop/apo"),
              HasSubstr("--to: there is no Service shop/apo"));
  EXPECT_THAT(refused("svc/shop/api", "shop/web"),
              HasSubstr("a Service sends nothing"));
}

TEST_F(ServiceTest, AServiceOfBothFamiliesCountsEachBackendOnce) {
  add("both.yaml", R"(
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: both, labels: {app: dual, number: dual}}
spec: {nodeName: s1}
status: {phase: Running, podIPs: [{ip: 10.1.0.7}, {ip: "fd00::7"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: asker, labels: {app: asker}}
spec: {nodeName: s1}
status: {phase: Running, podIPs: [{ip: 10.1.0.8}, {ip: "fd00::8"}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: dual}
spec:
  clusterIPs: [10.96.0.12, "fd00:96::12"]
  selector: {app: dual}
  ports: [{name: web, port: 80, targetPort: 8080}]
)");
  EXPECT_EQ(ask("shop/asker", "svc/shop/dual", "web").summary,
            "allowed at egress; 1 of 1 backend accepts");
  isolate("dual", "{ipBlock: {cidr: 10.1.0.8/32}}, {podSelector: {}}");
  EXPECT_TRUE(ask("shop/asker", "svc/shop/dual", "web/TCP").allowed);
  isolate("dual", "{ipBlock: {cidr: 192.0.2.0/24}}");
  EXPECT_EQ(ask("shop/asker", "svc/shop/dual", "80").summary,
            "allowed at egress; 0 of 1 backend accepts");
  const auto other = explain(
      cluster_, {.from = "shop/asker", .to = "svc/shop/dual", .port = "wep"});
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message,
              HasSubstr("Service shop/dual has no port of this name; did you "
                        "mean \"web\"?"));
}

TEST_F(ServiceTest, AHeadlessServiceIsNoEnd) {
  add("headless.yaml", R"(
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: headless}
spec: {clusterIP: None, selector: {app: api}, ports: [{port: 80}]}
)");
  const auto view = explain(
      cluster_, {.from = "shop/web", .to = "svc/shop/headless", .port = "80"});
  ASSERT_FALSE(view);
  EXPECT_THAT(view.error().message, HasSubstr("is headless"));
}

TEST_F(ServiceTest, ANodeIsAnEndByItsName) {
  isolate("one", "{ipBlock: {cidr: 192.0.2.1/32}}");
  const auto view = ask("node/s1", "shop/api-1", "8080");
  EXPECT_EQ(view.from, "node/s1");
  EXPECT_EQ(view.sides.at(1).peer, "192.0.2.1");
  EXPECT_TRUE(view.allowed);
  EXPECT_FALSE(
      explain(cluster_, {.from = "node/s9", .to = "shop/api-1", .port = "1"}));
}

TEST_F(ServiceTest, APrefixIsJudgedInAllItsParts) {
  isolate("one",
          "{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.8/30]}}, "
          "{podSelector: {matchLabels: {app: web}}}");
  auto view = ask("198.51.100.16/28", "shop/api-1", "80");
  EXPECT_TRUE(view.allowed);
  EXPECT_TRUE(view.summary.empty());
  ASSERT_EQ(view.sides.size(), 1U);
  EXPECT_EQ(view.sides[0].peer, "198.51.100.16/28");
  EXPECT_EQ(view.sides[0].path, "spec.ingress[0]");
  view = ask("198.51.100.0/24", "shop/api-1", "80");
  EXPECT_FALSE(view.allowed);
  EXPECT_EQ(view.summary, "a part of it is allowed");
  ASSERT_EQ(view.sides.size(), 2U);
  EXPECT_TRUE(view.sides[0].allowed);
  EXPECT_EQ(view.sides[1].peer, "198.51.100.8/30");
  EXPECT_FALSE(view.sides[1].allowed);
  view = ask("10.0.0.0/8", "shop/api-1", "80");
  EXPECT_FALSE(view.sides.at(0).allowed);
  EXPECT_THAT(view.sides.at(0).peer, HasSubstr("10.1.0.1/32 (node/n1)"));
  EXPECT_TRUE(view.sides.at(1).allowed);
  EXPECT_EQ(view.sides.at(1).peer, "10.1.0.9/32 (shop/web)");
  EXPECT_TRUE(ask("shop/web", "203.0.113.0/24", "80").allowed);
  for (const auto& [from, to] : {std::pair("10.0.0.0/8", "10.0.0.0/8"),
                                 {"shop/web", "2001:db8::/32"},
                                 {"10.0.0.0/33", "shop/web"}}) {
    EXPECT_FALSE(explain(cluster_, {.from = from, .to = to, .port = "80"}))
        << from << " " << to;
  }
}

TEST_F(ServiceTest, EntitiesAreEnds) {
  isolate("one", "{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}}");
  auto view = ask("world", "shop/api-1", "80");
  EXPECT_FALSE(view.allowed);
  EXPECT_EQ(view.summary, "a part of it is allowed");
  ASSERT_EQ(view.sides.size(), 2U);
  EXPECT_EQ(view.sides[0].peer, "0.0.0.0/0");
  EXPECT_EQ(view.sides[1].peer, "198.51.100.0/24");
  view = ask("host", "shop/api-1", "80");
  EXPECT_TRUE(view.allowed);
  EXPECT_EQ(view.sides.at(0).peer, "192.0.2.1/32 (node/s1)");
  view = ask("remote-node", "shop/api-1", "80");
  EXPECT_EQ(view.sides.size(), 1U);
  EXPECT_THAT(view.sides.at(0).peer, HasSubstr("node/s2"));
  EXPECT_THAT(view.sides.at(0).peer, Not(HasSubstr("node/s1")));
  const auto nobody = explain(
      cluster_, {.from = "kube-apiserver", .to = "shop/web", .port = "80"});
  ASSERT_FALSE(nobody);
  EXPECT_THAT(nobody.error().message, HasSubstr("nothing is kube-apiserver"));
  EXPECT_FALSE(explain(cluster_, {.from = "world", .to = "host", .port = "1"}));
}

TEST_F(ServiceTest, APodWithoutAnAddressIsToldAsThat) {
  add("new.yaml", R"(
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: new}
spec: {nodeName: s1}
)");
  const auto view =
      explain(cluster_, {.from = "shop/new", .to = "shop/web", .port = "80"});
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().message, "--from: pod shop/new has no address yet");
}

TEST_F(ServiceTest, AServiceWithoutEndpointsAcceptsNothing) {
  add("empty.yaml", R"(
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: none}
spec: {clusterIP: 10.96.0.11, selector: {app: none}, ports: [{port: 80}]}
)");
  const auto view = ask("shop/web", "10.96.0.11", "80");
  EXPECT_FALSE(view.allowed);
  EXPECT_EQ(view.summary, "allowed at egress; 0 of 0 backends accept");
}

TEST_F(ClusterTest, ExplainRefusesBadInput) {
  for (const auto& request :
       {node::ExplainRequest{"x/none", "x/a", "80"},
        node::ExplainRequest{"x/b", "a", "80"},
        node::ExplainRequest{"x/b", "x/a", "80/XYZ"},
        node::ExplainRequest{"192.0.2.1", "192.0.2.2", "80"},
        node::ExplainRequest{"", "", ""}}) {
    EXPECT_FALSE(explain(cluster_, request).has_value()) << request.from;
  }
}

TEST_F(ClusterTest, HostileRequestsGetErrors) {
  const ManifestPolicies policies(cluster_, "dir");
  const node::RequestContext context{.policies = &policies};
  for (const auto* request :
       {"", "[]", "null", "{", R"({"command":1})", R"({"command":"x"})",
        R"({"command":"explain","from":[],"to":{},"port":1})", "\xff\xfe",
        R"({"a":"\ud800"})"}) {
    auto answer = node::answer_request(context, request);
    ASSERT_TRUE(answer.reply) << request;
    const auto line = answer.reply();
    ASSERT_TRUE(line.has_value());
    EXPECT_TRUE(nlohmann::json::parse(*line).contains("error")) << *line;
  }
}

TEST_F(ClusterTest, PolicyListTellsWhereAndWhy) {
  add_manifests(cluster_, "bad.yaml",
                "apiVersion: cilium.io/v2\nkind: "
                "CiliumNetworkPolicy\nmetadata: {namespace: x, "
                "name: q}\nspec: {endpointSelector: {}, foo: 1}\n");
  const auto view = cluster_.policy_list();
  ASSERT_EQ(view.policies.size(), 2U);
  EXPECT_TRUE(view.policies[0].valid);
  EXPECT_FALSE(view.policies[1].valid);
  EXPECT_EQ(view.policies[1].source, "bad.yaml:1");
  EXPECT_THAT(view.policies[1].reason, HasSubstr("foo"));
}

// A scenario around kManifests' objects.
Scenario scenario(std::vector<Probe> probes) {
  Scenario scenario;
  scenario.name = "s";
  scenario.file = "s.yaml";
  for (const auto& object : kube::parse_manifest(kManifests, "m").objects) {
    scenario.objects.push_back({.object = object.object, .line = object.line});
  }
  scenario.probes = std::move(probes);
  return scenario;
}

ProbeEnd pod(const std::string& name) {
  return {.kind = ProbeEnd::Kind::kPod, .name = name, .ip = {}};
}
ProbeEnd entity(const std::string& name) {
  return {.kind = ProbeEnd::Kind::kEntity, .name = name, .ip = {}};
}

TEST(JudgeTest, ExpectedVerdictsPass) {
  const auto report = judge_scenario(scenario({{.from = pod("x/b"),
                                                .to = pod("x/a"),
                                                .port = 80,
                                                .egress = Verdict::kAllow,
                                                .ingress = Verdict::kAllow},
                                               {.from = entity("host"),
                                                .to = pod("x/a"),
                                                .port = 81,
                                                .egress = Verdict::kNone,
                                                .ingress = Verdict::kAllow},
                                               {.from = entity("remote-node"),
                                                .to = pod("x/a"),
                                                .port = 80,
                                                .ingress = Verdict::kDeny},
                                               {.from = entity("world-ipv6"),
                                                .to = pod("x/a"),
                                                .port = 80,
                                                .ingress = Verdict::kDeny}}),
                                     nullptr);
  EXPECT_EQ(report.probes, 4U);
  EXPECT_TRUE(report.failures.empty()) << report.failures[0].what;
}

TEST(JudgeTest, UnexpectedVerdictIsAFailureThatExplainsItself) {
  const auto report = judge_scenario(scenario({{.from = pod("x/b"),
                                                .to = pod("x/a"),
                                                .port = 81,
                                                .ingress = Verdict::kAllow}}),
                                     nullptr);
  ASSERT_EQ(report.failures.size(), 2U) << "one in each family";
  EXPECT_EQ(report.failures[0].expected, "allow");
  EXPECT_EQ(report.failures[0].actual, "deny");
  EXPECT_THAT(report.failures[0].policies,
              ElementsAre("CiliumNetworkPolicy/x/p"));
  EXPECT_THAT(report.failures[0].near_misses, Not(ElementsAre()));
}

TEST(JudgeTest, SideWithoutPolicyMustBeExpected) {
  const auto report = judge_scenario(scenario({{.from = pod("x/b"),
                                                .to = pod("x/a"),
                                                .port = 80,
                                                .egress = Verdict::kNone},
                                               {.from = entity("host"),
                                                .to = pod("x/a"),
                                                .port = 80,
                                                .egress = Verdict::kAllow}}),
                                     nullptr);
  EXPECT_EQ(report.failures.size(), 2U);
}

TEST(JudgeTest, ProbeOfAPodThatIsNotThereIsAFailure) {
  const auto report = judge_scenario(scenario({{.from = pod("x/bb"),
                                                .to = pod("x/a"),
                                                .port = 80,
                                                .ingress = Verdict::kAllow}}),
                                     nullptr);
  ASSERT_EQ(report.failures.size(), 1U);
  EXPECT_THAT(report.failures[0].actual, HasSubstr("no pod x/bb"));
}

TEST(JudgeTest, ProbeThatExpectsNothingIsAFailure) {
  const auto report = judge_scenario(
      scenario({{.from = pod("x/b"), .to = pod("x/a"), .port = 80}}), nullptr);
  ASSERT_EQ(report.failures.size(), 1U);
  EXPECT_THAT(report.failures[0].actual, HasSubstr("has no expectation"));
}

TEST(JudgeTest, ObjectOfAnUnknownKindIsNoted) {
  auto misspelt = scenario({});
  misspelt.objects.push_back(
      {.object = std::make_shared<const nlohmann::json>(nlohmann::json::parse(
           R"({"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolcy",
               "metadata":{"name":"q","namespace":"x"}})")),
       .line = 1});
  const auto report = judge_scenario(misspelt, nullptr);
  EXPECT_TRUE(report.failures.empty());
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_THAT(report.notes[0], HasSubstr("CiliumNetworkPolcy/x/q ignored"));
}

TEST(JudgeTest, ObjectsMustBeValidOrNotAsTheScenarioSays) {
  auto accepted = scenario({});
  accepted.invalid = {{.object = "x/p"}};
  EXPECT_EQ(judge_scenario(accepted, nullptr).failures.size(), 1U);
  accepted.invalid[0].may_pass = true;
  EXPECT_TRUE(judge_scenario(accepted, nullptr).failures.empty());
  auto rejected = scenario({});
  rejected.objects.push_back(
      {.object = std::make_shared<const nlohmann::json>(nlohmann::json::parse(
           R"({"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy",
               "metadata":{"name":"q","namespace":"x"},
               "spec":{"endpointSelector":{},"foo":1}})")),
       .line = 1});
  EXPECT_EQ(judge_scenario(rejected, nullptr).failures.size(), 1U);
  rejected.invalid = {{.object = "x/q"}};
  EXPECT_TRUE(judge_scenario(rejected, nullptr).failures.empty());
}

}  // namespace
}  // namespace sluice::cli
