// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_end.h"

#include <string>

#include <gtest/gtest.h>

#include "lib/flow/message.h"
#include "lib/kube/workload.h"

namespace sluice::flow {
namespace {

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

kube::Pod pod(const std::string& name, const std::string& address) {
  kube::Pod result;
  result.ns = "shop";
  result.name = name;
  result.node = "n1";
  result.service_account = "default";
  result.ips = {ip(address)};
  return result;
}

class ClusterEnd : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* number : {"1", "2"}) {
      const kube::Node node{.name = "n" + std::string(number),
                            .labels = {},
                            .ips = {ip("192.0.2." + std::string(number))}};
      translator_.set(node);
    }
    auto web = pod("web-5f7-x", "10.0.0.7");
    web.labels = {{"app", "web"}, {"empty", ""}, {"pod-template-hash", "5f7"}};
    web.controller = {.kind = "ReplicaSet", .name = "web-5f7"};
    translator_.set(web);
    kube::Service service;
    service.ns = "shop";
    service.name = "front";
    service.selector = {{"app", "web"}};
    service.cluster_ips = {ip("10.96.0.9")};
    service.ports = {{.name = "",
                      .protocol = 6,
                      .port = 80,
                      .target_port = 8080,
                      .target_name = {},
                      .node_port = 0}};
    translator_.set(service);
    kube::EndpointSlice api;
    api.ns = "default";
    api.name = "kubernetes";
    api.service = "kubernetes";
    api.endpoints.push_back({.addresses = {ip("192.0.2.2")}});
    translator_.set(api);
  }
  // Of the address as n1 sees it, and as it is after the way to another
  // program.
  End at(const std::string& address) {
    auto end = cluster_end(translator_, ip(address), "n1");
    EXPECT_EQ(end_from_bytes(to_bytes(end)), end);
    return end;
  }
  policy::Translator translator_;
};

TEST_F(ClusterEnd, IsAPod) {
  const End expected{.ns = "shop",
                     .pod = "web-5f7-x",
                     .workload = "web",
                     .workload_kind = "Deployment",
                     .labels = {"k8s:app=web", "k8s:empty",
                                "k8s:io.kubernetes.pod.namespace=shop",
                                "k8s:pod-template-hash=5f7"},
                     .service = {},
                     .names = {}};
  EXPECT_EQ(at("10.0.0.7"), expected);
}

TEST_F(ClusterEnd, IsAService) {
  const End expected{.ns = "shop",
                     .pod = {},
                     .workload = {},
                     .workload_kind = {},
                     .labels = {},
                     .service = "front",
                     .names = {}};
  EXPECT_EQ(at("10.96.0.9"), expected);
}

TEST_F(ClusterEnd, IsAnEntity) {
  EXPECT_EQ(at("192.0.2.1").labels,
            (std::vector<std::string>{"reserved:host"}));
  EXPECT_EQ(at("192.0.2.1").identity, 1U);
  EXPECT_EQ(at("192.0.2.2").labels,
            (std::vector<std::string>{"reserved:kube-apiserver",
                                      "reserved:remote-node"}));
  EXPECT_EQ(at("192.0.2.2").identity, 7U);
  EXPECT_EQ(at("203.0.113.1").labels,
            (std::vector<std::string>{"reserved:world"}));
  EXPECT_EQ(at("203.0.113.1").identity, 2U);
}

TEST(WorkloadOf, IsTheObjectThatUsersWrite) {
  auto web = pod("web-1", "10.0.0.1");
  EXPECT_EQ(kube::workload_of(web),
            (kube::Owner{.kind = "Pod", .name = "web-1"}));
  for (const auto& [controller, expected] :
       std::initializer_list<std::pair<kube::Owner, kube::Owner>>{
           {{"StatefulSet", "db"}, {"StatefulSet", "db"}},
           {{"ReplicaSet", "web-5f7"}, {"Deployment", "web"}},
           {{"ReplicaSet", "web-999"}, {"ReplicaSet", "web-999"}},
           {{"Job", "backup-29380320"}, {"CronJob", "backup"}},
           {{"Job", "backup-20240101"}, {"Job", "backup-20240101"}},
           {{"Job", "backup-1"}, {"Job", "backup-1"}},
           {{"Job", "29380320"}, {"Job", "29380320"}}}) {
    web.labels = {{"pod-template-hash", "5f7"}};
    web.controller = controller;
    EXPECT_EQ(kube::workload_of(web), expected) << controller.name;
  }
}

TEST(EndBytes, AreNoLongerThanAllowed) {
  End end{.ns = "shop",
          .pod = "web",
          .workload = {},
          .workload_kind = {},
          .labels = {},
          .service = {},
          .names = {}};
  for (int i = 0; i < 100; ++i) {
    end.labels.push_back("k8s:" + std::to_string(i) + "=" +
                         std::string(63, 'x'));
  }
  const auto bytes = to_bytes(end);
  EXPECT_LE(bytes.size(), kEndBytesMax);
  const auto back = end_from_bytes(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->pod, "web");
  EXPECT_GT(back->labels.size(), 10U);
  EXPECT_FALSE(end_from_bytes("\xff"));
  EXPECT_FALSE(end_from_bytes(std::string(kEndBytesMax + 1, '\0')));
}

}  // namespace
}  // namespace sluice::flow
