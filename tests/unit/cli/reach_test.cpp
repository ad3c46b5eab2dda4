// SPDX-License-Identifier: Apache-2.0
// The ends, ports and cells of reachability tables, and how they are printed.

#include "lib/explain/reach.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/reach_text.h"
#include "lib/explain/reach_json.h"
#include "tests/unit/cli/manifests.h"
#include "tests/unit/cli/reach_asker.h"

namespace sluice::cli {
namespace {

using explain::ReachView;
using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kShop = R"(
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: empty}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.1.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 10.1.0.2}]}
---
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: web-5f7-a
  labels: {app: web, color: blue, pod-template-hash: 5f7}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5f7, controller: true, uid: u}]
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: web-6c8-b
  labels: {app: web, color: green, pod-template-hash: 6c8}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-6c8, controller: true, uid: u}]
spec: {nodeName: n2}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: api-1, labels: {app: api, pod-template-hash: xx}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: api-2, labels: {app: api, pod-template-hash: yy}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.4}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: tools, name: shell}
spec: {nodeName: n2}
status: {phase: Running, podIPs: [{ip: 10.0.0.5}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: pending, labels: {app: api}}
spec: {nodeName: n2}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: api}
spec: {type: NodePort, clusterIP: 10.96.0.1, selector: {app: api}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: api-x, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{name: "", port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.0.0.3], conditions: {ready: true}, nodeName: n1}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: api}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress:
  - {from: [{podSelector: {matchLabels: {color: blue}}}], ports: [{port: http}]}
  - {from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}}], ports: [{port: 9000, endPort: 9010}]}
  - {from: [{ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 9000, endPort: 9010}]}
)";

class Reach : public ::testing::Test {
 protected:
  [[nodiscard]] ReachView view(const explain::ReachRequest& request = {}) {
    auto result = reach(cluster_, request);
    EXPECT_TRUE(result) << result.error().message;
    return result.value_or(ReachView{});
  }
  [[nodiscard]] std::string error(const explain::ReachRequest& request) {
    const auto result = reach(cluster_, request);
    return result ? "" : result.error().message;
  }
  static std::vector<std::string> names(const ReachView& view) {
    std::vector<std::string> result;
    result.reserve(view.ends.size());
    for (const auto& end : view.ends) {
      result.push_back(end.name);
    }
    return result;
  }
  static std::vector<std::string> ports(const ReachView& view) {
    std::vector<std::string> result;
    result.reserve(view.ports.size());
    for (const auto& port : view.ports) {
      result.push_back(port.name);
    }
    return result;
  }
  // The verdict by names.
  static std::string at(const ReachView& view, const std::string& from,
                        const std::string& to, const std::string& port) {
    const auto place = [](const auto& list, const std::string& name) {
      return static_cast<std::size_t>(std::ranges::find(list, name) -
                                      list.begin());
    };
    return shown(
        cell_of(view, place(names(view), from), place(names(view), to)),
        place(ports(view), port));
  }

  Cluster cluster_ = cluster_of(std::string(kShop));
};

TEST_F(Reach, PodsOfOneOwnerOrOfEqualLabelsAreOneEnd) {
  const auto result = view({.outside = false});
  EXPECT_THAT(names(result),
              ElementsAre("shop/app=api", "shop/web", "tools/shell"));
  EXPECT_EQ(result.ends[0].kind, "Pods");
  EXPECT_THAT(result.ends[0].pods, ElementsAre("shop/api-1", "shop/api-2"));
  EXPECT_EQ(result.ends[1].kind, "Deployment");
  EXPECT_THAT(result.ends[1].pods,
              ElementsAre("shop/web-5f7-a", "shop/web-6c8-b"));
  EXPECT_EQ(result.ends[2].kind, "Pod");
}

TEST_F(Reach, NoPodSpeaksForTheOthersOfItsWorkload) {
  const auto result = view();
  EXPECT_EQ(at(result, "shop/web", "shop/app=api", "8080/TCP"), "some 2/4");
  EXPECT_EQ(at(result, "shop/web", "shop/app=api", "other/TCP"), "denied");
  EXPECT_EQ(at(result, "shop/app=api", "shop/web", "8080/TCP"), "allowed");
}

TEST_F(Reach, EndsOutsideAreThoseThatRulesTellApart) {
  const auto result = view();
  // The except of a prefix is like the world.
  EXPECT_THAT(names(result),
              ElementsAre("shop/app=api", "shop/web", "tools/shell", "world",
                          "198.51.100.0/24", "203.0.113.0/24", "host"));
  EXPECT_EQ(at(result, "world", "shop/app=api", "9000-9010/TCP"), "denied");
  EXPECT_EQ(at(result, "203.0.113.0/24", "shop/app=api", "9000-9010/TCP"),
            "allowed");
  EXPECT_EQ(at(result, "host", "shop/app=api", "8080/TCP"), "allowed");
  // Other nodes are like world here, and would be shown if they were not.
  add_manifests(cluster_, "n.yaml", R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: tools, name: nodes}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 10.1.0.0/16}}]}]
)");
  const auto more = view();
  EXPECT_THAT(names(more), Contains("remote-node"));
  EXPECT_EQ(at(more, "tools/shell", "remote-node", "8080/TCP"), "allowed");
  EXPECT_EQ(at(more, "tools/shell", "world", "8080/TCP"), "denied");
  EXPECT_THAT(names(view({.outside = false})),
              ElementsAre("shop/app=api", "shop/web", "tools/shell"));
}

TEST_F(Reach, ANodePortIsJudgedByWhatStandsBehindIt) {
  const auto result = view({.ports = {"30080/TCP"}});
  EXPECT_EQ(at(result, "tools/shell", "host", "30080/TCP"), "denied");
  EXPECT_GT(result.questions, 0U);
  compare(cluster_, result);
}

TEST_F(Reach, APodBehindANodePortReachesItselfThere) {
  add_manifests(cluster_, "own.yaml", R"(
apiVersion: v1
kind: Pod
metadata: {namespace: own, name: a1, labels: {app: own}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.1.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: own, name: a2, labels: {app: own}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.1.2}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: own, name: s}
spec: {type: NodePort, clusterIP: 10.96.0.2, selector: {app: own}, ports: [{port: 80, targetPort: 80, nodePort: 30090}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: own, name: s-x, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: "", port: 80, protocol: TCP}]
endpoints: [{addresses: [10.0.1.1], conditions: {ready: true}, nodeName: n1}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: own, name: nobody}
spec: {podSelector: {}, policyTypes: [Ingress]}
)");
  const auto result = view({.ns = "own", .ports = {"30090"}});
  EXPECT_EQ(at(result, "own/app=own", "host", "30090/TCP"), "some 1/2");
}

TEST_F(Reach, PortsAreThoseThatRulesAndContainersName) {
  EXPECT_THAT(ports(view()), ElementsAre("8080/TCP", "9000-9010/TCP",
                                         "other/TCP", "other/UDP"));
  EXPECT_THAT(ports(view({.ports = {"tcp/9005", "53/UDP", "9005"}})),
              ElementsAre("9005/TCP", "53/UDP"));
  EXPECT_THAT(ports(view({.ports = {"HTTP", "EchoRequest/ICMP"}})),
              ElementsAre("8080/TCP", "8/ICMP"));
}

TEST_F(Reach, ANamespaceNarrowsToWhatIsFromOrToIt) {
  const auto result = view({.ns = "tools"});
  EXPECT_FALSE(result.cells.empty());
  for (const auto& cell : result.cells) {
    EXPECT_TRUE(result.ends[cell.from].ns == "tools" ||
                result.ends[cell.to].ns == "tools");
  }
  EXPECT_EQ(at(result, "tools/shell", "shop/app=api", "8080/TCP"), "denied");
  EXPECT_THAT(view({.ns = "empty"}).cells, IsEmpty());
}

TEST_F(Reach, WhatIsLeftOutIsSaid) {
  EXPECT_THAT(view().notes,
              ElementsAre("shop/pending: left out (no address yet)"));
}

TEST_F(Reach, UnknownNamesAreErrorsWithWhatMayBeMeant) {
  EXPECT_EQ(error({.ns = "shp"}),
            "--namespace: there is no namespace \"shp\"; did you mean "
            "\"shop\"?");
  EXPECT_THAT(error({.ports = {"htpp"}}), HasSubstr("did you mean \"http\"?"));
  EXPECT_THAT(error({.ports = {"http/UDP"}}), HasSubstr("no pod has a port"));
  for (const auto* bad : {"", "/TCP", "65536/TCP", "-1", "80/TPC", "256/ICMP",
                          "no/ICMP", "80/TCP/x"}) {
    EXPECT_THAT(error({.ports = {bad}}), HasSubstr("--port: ")) << bad;
  }
}

TEST_F(Reach, JsonIsReadBackAsItWas) {
  const auto result = view();
  const auto text = explain::reach_json(result).dump();
  const auto back = explain::reach_view(json::parse(text));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(explain::reach_json(*back).dump(), text);
  for (const auto* bad :
       {"[]", "{}", R"({"namespace": 1})",
        R"({"namespace": "", "notes": [], "ports": [], "ends": [],
            "cells": [{"from": "x", "to": "y"}]})"}) {
    EXPECT_FALSE(explain::reach_view(json::parse(bad))) << bad;
  }
}

TEST_F(Reach, TheTableGroupsWhatIsAlike) {
  std::ostringstream out;
  print_reach(out, view(), ReachShown::kAllowed);
  EXPECT_EQ(
      out.str(),
      R"(FROM                             TO                                     ALLOWED        SOME PODS
shop/app=api, tools/shell        shop/web, tools/shell, world,          any            -
                                 198.51.100.0/24, 203.0.113.0/24, host
shop/web                         shop/app=api                           -              8080/TCP (2 of 4 pairs)
shop/web                         shop/web, tools/shell, world,          any            -
                                 198.51.100.0/24, 203.0.113.0/24, host
world                            shop/web, tools/shell                  any            -
198.51.100.0/24, 203.0.113.0/24  shop/app=api                           9000-9010/TCP  -
198.51.100.0/24, 203.0.113.0/24  shop/web, tools/shell                  any            -
host                             shop/*, tools/shell                    any            -
)");
}

TEST_F(Reach, DeniedAndAllAreShownWhereTheyAreAskedFor) {
  const auto result = view({.outside = false});
  std::ostringstream denied;
  print_reach(denied, result, ReachShown::kDenied);
  EXPECT_EQ(
      denied.str(),
      R"(FROM                       TO            DENIED                         SOME PODS
shop/app=api, tools/shell  shop/app=api  any                            -
shop/web                   shop/app=api  any/TCP but 8080/TCP, any/UDP  8080/TCP (2 of 4 pairs)
)");
  std::ostringstream all;
  print_reach(all, view({.ports = {"8080", "53/UDP"}, .outside = false}),
              ReachShown::kAll);
  EXPECT_EQ(
      all.str(),
      R"(FROM                       TO                     ALLOWED           DENIED            SOME PODS
shop/app=api, tools/shell  shop/app=api           -                 8080/TCP, 53/UDP  -
shop/app=api, tools/shell  shop/web, tools/shell  8080/TCP, 53/UDP  -                 -
shop/web                   shop/app=api           -                 53/UDP            8080/TCP (2 of 4 pairs)
shop/web                   shop/web, tools/shell  8080/TCP, 53/UDP  -                 -
)");
}

TEST_F(Reach, CsvHasALineForEveryVerdict) {
  std::ostringstream out;
  print_reach_csv(out, view({.ports = {"8080"}, .outside = false}));
  EXPECT_EQ(out.str(),
            "from,to,port,verdict,allowed_pairs,pairs\r\n"
            "shop/app=api,shop/app=api,8080/TCP,denied,,\r\n"
            "shop/app=api,shop/web,8080/TCP,allowed,,\r\n"
            "shop/app=api,tools/shell,8080/TCP,allowed,,\r\n"
            "shop/web,shop/app=api,8080/TCP,some,2,4\r\n"
            "shop/web,shop/web,8080/TCP,allowed,,\r\n"
            "shop/web,tools/shell,8080/TCP,allowed,,\r\n"
            "tools/shell,shop/app=api,8080/TCP,denied,,\r\n"
            "tools/shell,shop/web,8080/TCP,allowed,,\r\n");
}

TEST(ReachText, NamesAreQuotedAndHarmless) {
  ReachView view;
  view.ports = {{.name = "80/TCP", .asked = "80/TCP"}};
  view.ends = {{.name = R"(x/a="1",b\)", .ns = "x", .pods = {"x/p"}},
               {.name = "y/\x1b[2J", .ns = "y", .pods = {"y/p"}}};
  view.cells = {{.from = 0, .to = 1, .allowed = {0}}};
  std::ostringstream csv;
  print_reach_csv(csv, view);
  EXPECT_THAT(csv.str(), HasSubstr(R"("x/a=""1"",b\",y/)"));
  std::ostringstream dot;
  print_reach_dot(dot, view, ReachShown::kAllowed);
  EXPECT_THAT(dot.str(), HasSubstr(R"("x/a=\"1\",b\\" -> )"));
  for (const auto& text : {csv.str(), dot.str()}) {
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
  }
}

TEST_F(Reach, DotHasAnEdgeForEveryCellThatIsShown) {
  std::ostringstream out;
  print_reach_dot(out, view({.outside = false}), ReachShown::kAll);
  const auto text = out.str();
  EXPECT_THAT(text, ::testing::StartsWith("digraph reach {\n"));
  EXPECT_THAT(text, HasSubstr("  subgraph \"cluster_shop\" {\n"));
  EXPECT_THAT(text, HasSubstr("    \"shop/web\" [label=\"web\"];\n"));
  EXPECT_THAT(text, HasSubstr("  \"shop/web\" -> \"shop/app=api\" "
                              "[label=\"8080/TCP (2 of 4 pairs)\", "
                              "style=dashed];\n"));
  EXPECT_THAT(text, HasSubstr("  \"tools/shell\" -> \"shop/app=api\" "
                              "[label=\"any\", style=dotted, color=red];\n"));
  // Open in both directions.
  EXPECT_THAT(text, HasSubstr("  \"shop/web\" -> \"tools/shell\" "
                              "[label=\"any\", dir=both];\n"));
  EXPECT_THAT(text, HasSubstr("  \"shop/web\" -> \"shop/web\" "
                              "[label=\"any\"];\n"));
}

}  // namespace
}  // namespace sluice::cli
