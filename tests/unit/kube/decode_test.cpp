// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/decode.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>

// Kubernetes objects as the structs that policy needs.
namespace sluice::kube::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

IpAddress ip(std::string_view text) {
  return *parse_ip(text);
}

// The value, or an empty one and a failed test.
template <typename T>
T value(const Result<T>& result) {
  EXPECT_TRUE(result.has_value()) << result.error().message;
  return result ? *result : T{};
}

template <typename T>
std::string error(const Result<T>& result) {
  return result ? "accepted" : result.error().message;
}

json pod(std::string_view spec, std::string_view status) {
  return {{"metadata", {{"namespace", "x"}, {"name", "a"}}},
          {"spec", json::parse(spec)},
          {"status", json::parse(status)}};
}

TEST(DecodePod, all_that_policy_needs) {
  const Pod decoded = value(decode_pod(json::parse(R"({
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"namespace": "x", "name": "a", "labels": {"app": "web"},
                 "annotations": {"sluice.io/interface": "veth7", "other": "1"},
                 "ownerReferences": [
                   {"uid": "1", "kind": "Node", "name": "n1"},
                   {"uid": "2", "kind": "ReplicaSet", "name": "a-5f7",
                    "controller": true}]},
    "spec": {"nodeName": "n1", "serviceAccountName": "sa",
             "containers": [
               {"name": "c", "ports": [
                 {"name": "HTTP", "containerPort": 80},
                 {"containerPort": 81},
                 {"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
               {"name": "d", "ports": [
                 {"name": "sig", "containerPort": 9, "protocol": "SCTP"}]}]},
    "status": {"phase": "Running", "podIP": "10.0.0.1",
               "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}})")));
  EXPECT_EQ(decoded.ns, "x");
  EXPECT_EQ(decoded.name, "a");
  EXPECT_THAT(decoded.labels, ElementsAre(Pair("app", "web")));
  EXPECT_THAT(decoded.annotations,
              ElementsAre(Pair("sluice.io/interface", "veth7")));
  EXPECT_EQ(decoded.controller, (Owner{.kind = "ReplicaSet", .name = "a-5f7"}));
  EXPECT_EQ(decoded.node, "n1");
  EXPECT_EQ(decoded.service_account, "sa");
  EXPECT_FALSE(decoded.host_network);
  EXPECT_FALSE(decoded.finished);
  EXPECT_THAT(decoded.ips, ElementsAre(ip("10.0.0.1"), ip("fd00::1")));
  EXPECT_THAT(
      decoded.ports,
      ElementsAre(
          ContainerPort{.name = "http", .port = 80, .protocol = IPPROTO_TCP},
          ContainerPort{.name = "dns", .port = 53, .protocol = IPPROTO_UDP},
          ContainerPort{.name = "sig", .port = 9, .protocol = IPPROTO_SCTP}));
}

TEST(DecodePod, defaults) {
  const Pod decoded = value(decode_pod(json{{"metadata", {{"name", "a"}}}}));
  EXPECT_EQ(decoded.ns, "default");
  EXPECT_EQ(decoded.service_account, "default");
  EXPECT_THAT(decoded.ips, IsEmpty());
}

TEST(DecodePod, null_is_absent) {
  const Pod decoded = value(decode_pod(
      pod(R"({"containers": null, "hostNetwork": null, "nodeName": null})",
          R"({"podIP": "", "podIPs": null, "phase": null})")));
  EXPECT_EQ(decoded,
            (Pod{.ns = "x", .name = "a", .service_account = "default"}));
}

TEST(DecodePod, when_it_was_made) {
  const auto made = [](const std::string& time) {
    auto object = pod("{}", "{}");
    object["metadata"]["creationTimestamp"] =
        time.empty() ? json() : json(time);
    return value(decode_pod(object)).created;
  };
  EXPECT_EQ(made("2026-01-02T15:04:05Z"), 20260102150405U);
  EXPECT_LT(made("2026-01-02T15:04:05Z"), made("2026-01-02T15:04:06Z"));
  EXPECT_EQ(made("2026-01-02T15:04:05.123456Z"), 20260102150405U);
  EXPECT_EQ(made(""), 0U);
}

TEST(DecodePod, finished_phases_and_host_network) {
  for (const char* phase : {"Succeeded", "Failed"}) {
    EXPECT_TRUE(
        value(decode_pod(pod("{}", json{{"phase", phase}}.dump()))).finished);
  }
  for (const char* phase : {"Pending", "Running", "Unknown"}) {
    EXPECT_FALSE(
        value(decode_pod(pod("{}", json{{"phase", phase}}.dump()))).finished);
  }
  EXPECT_TRUE(
      value(decode_pod(pod(R"({"hostNetwork": true})", "{}"))).host_network);
}

TEST(DecodePod, host_ports) {
  const Pod decoded = value(decode_pod(pod(
      R"({"containers": [{"ports": [
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 53, "hostPort": 53, "protocol": "UDP",
             "hostIP": "192.0.2.1"},
            {"containerPort": 1, "hostPort": 2, "hostIP": "::"},
            {"containerPort": 3, "hostPort": 4, "hostIP": "what"},
            {"containerPort": 5, "hostPort": 0},
            {"containerPort": 6}]}],
          "initContainers": [
            {"ports": [{"containerPort": 7, "hostPort": 7}]},
            {"restartPolicy": "Always",
             "ports": [{"containerPort": 8, "hostPort": 8}]}]})",
      "{}")));
  EXPECT_THAT(
      decoded.host_ports,
      ElementsAre(HostPort{.host_port = 8, .port = 8},
                  HostPort{.host_port = 8080, .port = 80},
                  HostPort{.protocol = 17,
                           .host_port = 53,
                           .port = 53,
                           .host_ip = ip("192.0.2.1")},
                  // No address, or none that can be read: all of the node.
                  HostPort{.host_port = 2, .port = 1},
                  HostPort{.host_port = 4, .port = 3}));
}

TEST(DecodePod, ports_of_sidecars_come_before_those_of_containers) {
  const Pod decoded = value(decode_pod(pod(
      R"({"containers": [{"ports": [{"name": "m", "containerPort": 1}]}],
          "initContainers": [
            {"ports": [{"name": "once", "containerPort": 2}]},
            {"restartPolicy": "Always",
             "ports": [{"name": "m", "containerPort": 3}]}]})",
      "{}")));
  EXPECT_THAT(
      decoded.ports,
      ElementsAre(
          ContainerPort{.name = "m", .port = 3, .protocol = IPPROTO_TCP},
          ContainerPort{.name = "m", .port = 1, .protocol = IPPROTO_TCP}));
}

TEST(DecodePod, addresses_are_listed_once_and_one_of_each_family) {
  EXPECT_THAT(value(decode_pod(pod("{}", R"({"podIP": "fd00::1",
                  "podIPs": [{"ip": "fd00:0::1"}, {"ip": "10.0.0.1"}]})")))
                  .ips,
              ElementsAre(ip("fd00::1"), ip("10.0.0.1")));
  EXPECT_EQ(error(decode_pod(pod("{}", R"({"podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.2"}]})"))),
            "status.podIPs: more than one address of a family");
}

TEST(DecodePod, errors_name_the_field) {
  EXPECT_EQ(error(decode_pod(json::object())), "metadata.name: must be set");
  EXPECT_EQ(error(decode_pod(json::array())), "must be an object, is a list");
  EXPECT_EQ(error(decode_pod(json{{"metadata", 1}})),
            "metadata: must be an object, is a number");
  EXPECT_EQ(error(decode_pod(
                json{{"metadata", {{"name", "a"}, {"labels", {{"a/b", 1}}}}}})),
            R"(metadata.labels["a/b"]: must be a string, is a number)");
  EXPECT_EQ(error(decode_pod(pod(R"({"hostNetwork": "yes"})", "{}"))),
            "spec.hostNetwork: must be true or false, is a string");
  EXPECT_EQ(
      error(decode_pod(pod(
          R"({"containers": [{"ports": [{"containerPort": 65536}]}]})", "{}"))),
      "spec.containers[0].ports[0].containerPort: must be from 1 to "
      "65535, is 65536");
  EXPECT_EQ(
      error(decode_pod(pod(
          R"({"containers": [{"ports": [{"containerPort": 1, "protocol": "X"}]}]})",
          "{}"))),
      "spec.containers[0].ports[0].protocol: must be TCP, UDP or SCTP, "
      "is \"X\"");
  EXPECT_EQ(error(decode_pod(pod("{}", R"({"podIPs": [{"ip": "10.0.0"}]})"))),
            "status.podIPs[0].ip: not an IP address: \"10.0.0\"");
  EXPECT_EQ(error(decode_pod(pod("{}", R"({"podIPs": [{}]})"))),
            "status.podIPs[0]: ip must be set");
}

TEST(DecodeNamespace, labels_and_our_annotations) {
  const Namespace decoded = value(decode_namespace(json::parse(
      R"({"metadata": {"name": "x", "labels": {"env": "prod"},
          "annotations": {"sluice.io/a": "1", "b": "2"}}})")));
  EXPECT_EQ(decoded.name, "x");
  EXPECT_THAT(decoded.labels, ElementsAre(Pair("env", "prod")));
  EXPECT_THAT(decoded.annotations, ElementsAre(Pair("sluice.io/a", "1")));
}

TEST(DecodeNode, internal_and_external_addresses) {
  const Node decoded = value(decode_node(json::parse(R"({
    "metadata": {"name": "n1", "labels": {"zone": "a"}},
    "spec": {"podCIDR": "10.244.1.0/24",
             "podCIDRs": ["10.244.1.0/24", "fd00:1::/64", "nonsense"]},
    "status": {"addresses": [
      {"type": "InternalIP", "address": "192.0.2.1"},
      {"type": "ExternalIP", "address": "203.0.113.1"},
      {"type": "InternalIP", "address": "192.0.2.1"},
      {"type": "Hostname", "address": "n1"},
      {"type": "InternalIP", "address": "fd00::1"}]}})")));
  EXPECT_THAT(decoded.pod_cidrs, ElementsAre(*parse_prefix("10.244.1.0/24"),
                                             *parse_prefix("fd00:1::/64")));
  EXPECT_EQ(decoded.name, "n1");
  EXPECT_THAT(decoded.labels, ElementsAre(Pair("zone", "a")));
  EXPECT_THAT(decoded.ips,
              ElementsAre(ip("192.0.2.1"), ip("203.0.113.1"), ip("fd00::1")));
  EXPECT_EQ(error(decode_node(json::parse(
                R"({"metadata": {"name": "n1"}, "status": {"addresses":
                    [{"type": "InternalIP", "address": "n1"}]}})"))),
            "status.addresses[0].address: not an IP address: \"n1\"");
}

TEST(DecodeEndpointSlice, addresses_of_ready_endpoints) {
  for (const char* version :
       {"discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"}) {
    json object = json::parse(R"({
      "metadata": {"namespace": "x", "name": "s-1",
                   "labels": {"kubernetes.io/service-name": "s"}},
      "addressType": "IPv4",
      "endpoints": [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
        {"addresses": ["10.0.0.3"], "conditions": {}},
        {"addresses": ["10.0.0.4"]},
        {"addresses": ["10.0.0.1"], "conditions": {"ready": null}}]})");
    object["apiVersion"] = version;
    const EndpointSlice decoded = value(decode_endpoint_slice(object));
    EXPECT_EQ(decoded.ns, "x");
    EXPECT_EQ(decoded.name, "s-1");
    EXPECT_EQ(decoded.service, "s");
    EXPECT_THAT(decoded.ready_addresses(),
                ElementsAre(ip("10.0.0.1"), ip("10.0.0.3"), ip("10.0.0.4")));
  }
}

TEST(DecodeEndpointSlice, ports_and_conditions) {
  const EndpointSlice decoded = value(decode_endpoint_slice(json::parse(R"({
      "metadata": {"namespace": "x", "name": "s-1"},
      "addressType": "IPv6",
      "ports": [{"name": "dns", "protocol": "UDP", "port": 5353},
                {"name": null, "port": 80}, {"name": "all", "port": null}],
      "endpoints": [
        {"addresses": ["fd00::1"], "conditions":
            {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["fd00::2"], "conditions": {"ready": false}}]})")));
  EXPECT_THAT(
      decoded.ports,
      ElementsAre(SlicePort{.name = "dns", .protocol = 17, .port = 5353},
                  SlicePort{.name = "", .protocol = 6, .port = 80},
                  SlicePort{.name = "all", .protocol = 6, .port = 0}));
  EXPECT_THAT(decoded.endpoints,
              ElementsAre(SliceEndpoint{.addresses = {ip("fd00::1")},
                                        .ready = false,
                                        .serving = true,
                                        .terminating = true},
                          SliceEndpoint{.addresses = {ip("fd00::2")},
                                        .ready = false,
                                        .serving = false,
                                        .terminating = false}));
}

TEST(DecodeEndpointSlice, nodes_and_hints) {
  const EndpointSlice slice = value(decode_endpoint_slice(json::parse(R"({
      "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
      "addressType": "IPv4",
      "endpoints": [
        {"addresses": ["10.0.0.1"], "nodeName": "n1",
         "hints": {"forZones": [{"name": "a"}, {"name": "b"}],
                   "forNodes": [{"name": "n1"}]}},
        {"addresses": ["10.0.0.2"], "nodeName": null,
         "hints": {"forZones": [{}]}},
        {"addresses": ["10.0.0.3"], "hints": null}]})")));
  ASSERT_EQ(slice.endpoints.size(), 3U);
  EXPECT_EQ(slice.endpoints[0].node, "n1");
  EXPECT_THAT(slice.endpoints[0].for_zones, ElementsAre("a", "b"));
  EXPECT_THAT(slice.endpoints[0].for_nodes, ElementsAre("n1"));
  EXPECT_EQ(slice.endpoints[1].node, "");
  EXPECT_THAT(slice.endpoints[1].for_zones, ElementsAre(""));
  EXPECT_THAT(slice.endpoints[2].for_zones, IsEmpty());
  EXPECT_EQ(error(decode_endpoint_slice(json::parse(
                R"({"metadata": {"name": "s"},
                    "endpoints": [{"hints": {"forZones": [1]}}]})"))),
            "endpoints[0].hints.forZones[0]: must be an object, is a number");
}

TEST(DecodeService, addresses_and_ports) {
  const Service decoded = value(decode_service(json::parse(R"({
      "metadata": {"namespace": "x", "name": "web", "labels": {"a": "b"}},
      "spec": {"type": "LoadBalancer", "selector": {"app": "web"},
               "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
               "externalIPs": ["192.0.2.1"],
               "ports": [
                 {"name": "http", "port": 80, "targetPort": 8080,
                  "nodePort": 30080},
                 {"name": "dns", "protocol": "UDP", "port": 53,
                  "targetPort": "DNS"},
                 {"name": "same", "port": 443}]},
      "status": {"loadBalancer": {"ingress": [
          {"ip": "192.0.2.2"}, {"ip": "192.0.2.3", "ipMode": "Proxy"},
          {"hostname": "lb.example"}]}}})")));
  EXPECT_EQ(decoded.ns, "x");
  EXPECT_EQ(decoded.name, "web");
  EXPECT_EQ(decoded.labels, (Labels{{"a", "b"}}));
  EXPECT_EQ(decoded.selector, (Labels{{"app", "web"}}));
  EXPECT_EQ(decoded.type, "LoadBalancer");
  EXPECT_THAT(decoded.cluster_ips, ElementsAre(ip("10.96.0.7"), ip("fd00::7")));
  EXPECT_THAT(decoded.external_ips, ElementsAre(ip("192.0.2.1")));
  EXPECT_THAT(decoded.load_balancer_ips, ElementsAre(ip("192.0.2.2")));
  ASSERT_EQ(decoded.ports.size(), 3U);
  EXPECT_EQ(decoded.ports[0].target_port, 8080);
  EXPECT_EQ(decoded.ports[0].node_port, 30080);
  EXPECT_EQ(decoded.ports[1].protocol, 17);
  EXPECT_EQ(decoded.ports[1].target_port, 0);
  EXPECT_EQ(decoded.ports[1].target_name, "dns");
  EXPECT_EQ(decoded.ports[2].target_port, 443);
  EXPECT_FALSE(decoded.headless);
}

TEST(DecodeService, traffic_policies) {
  const auto decode = [](const std::string& spec,
                         const std::string& annotations = "{}") {
    const std::string metadata =
        R"({"name": "s", "annotations": )" + annotations + "}";
    return value(decode_service(json::parse(R"({"metadata": )" + metadata +
                                            R"(, "spec": )" + spec + "}")));
  };
  const Service local = decode(
      R"({"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"})");
  EXPECT_TRUE(local.internal_local);
  EXPECT_TRUE(local.external_local);
  EXPECT_EQ(local.closeness, Closeness::kNone);
  const Service other = decode(
      R"({"internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "New",
          "trafficDistribution": "example.com/nearby"})");
  EXPECT_FALSE(other.internal_local);
  EXPECT_FALSE(other.external_local);
  EXPECT_EQ(other.closeness, Closeness::kNone);
  for (const char* zone : {"PreferClose", "PreferSameZone"}) {
    EXPECT_EQ(decode(R"({"trafficDistribution": ")" + std::string(zone) + "\"}")
                  .closeness,
              Closeness::kZone);
  }
  EXPECT_EQ(decode(R"({"trafficDistribution": "PreferSameNode"})").closeness,
            Closeness::kNode);
  for (const char* key : {"topology-mode", "topology-aware-hints"}) {
    const std::string annotation =
        R"({"service.kubernetes.io/)" + std::string(key);
    EXPECT_EQ(decode("{}", annotation + R"(": "Auto"})").closeness,
              Closeness::kZone);
    EXPECT_EQ(decode("{}", annotation + R"(": "Disabled"})").closeness,
              Closeness::kNone);
    EXPECT_EQ(decode("{}", annotation + R"(": "example.com/mine"})").closeness,
              Closeness::kNone);
  }
}

TEST(DecodeService, headless_and_aliases_have_no_address) {
  const Service headless = value(decode_service(json::parse(R"({
      "metadata": {"name": "db"},
      "spec": {"clusterIP": "None", "clusterIPs": ["None"],
               "publishNotReadyAddresses": true}})")));
  EXPECT_TRUE(headless.headless);
  EXPECT_TRUE(headless.publish_not_ready);
  EXPECT_THAT(headless.cluster_ips, IsEmpty());
  const Service alias = value(decode_service(json::parse(R"({
      "metadata": {"name": "db"},
      "spec": {"type": "ExternalName", "externalName": "db.example",
               "externalIPs": ["192.0.2.1"]}})")));
  EXPECT_THAT(alias.external_ips, IsEmpty());
}

TEST(DecodeService, says_what_is_wrong) {
  EXPECT_EQ(error(decode_service(json::parse(
                R"({"metadata": {"name": "s"},
                    "spec": {"clusterIP": "ten"}})"))),
            "spec.clusterIP: not an IP address: \"ten\"");
  EXPECT_EQ(error(decode_service(json::parse(
                R"({"metadata": {"name": "s"},
                    "spec": {"ports": [{"port": 70000}]}})"))),
            "spec.ports[0].port: must be from 0 to 65535, is 70000");
}

TEST(DecodeEndpointSlice, names_are_no_addresses) {
  EXPECT_THAT(value(decode_endpoint_slice(json::parse(
                        R"({"metadata": {"name": "s"}, "addressType": "FQDN",
                            "endpoints": [{"addresses": ["a.example"]}]})")))
                  .endpoints,
              IsEmpty());
  EXPECT_EQ(error(decode_endpoint_slice(json::parse(
                R"({"metadata": {"name": "s"}, "addressType": "IPv4",
                    "endpoints": [{"addresses": ["a.example"]}]})"))),
            "endpoints[0].addresses[0]: not an IP address: \"a.example\"");
}

TEST(DecodeCidrGroup, prefixes_and_labels) {
  const CidrGroup decoded = value(decode_cidr_group(json::parse(R"({
    "apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
    "metadata": {"name": "g", "labels": {"zone": "a"}},
    "spec": {"externalCIDRs": ["203.0.113.7/24", "2001:db8::/32"]}})")));
  EXPECT_EQ(decoded.name, "g");
  EXPECT_THAT(decoded.labels, ElementsAre(Pair("zone", "a")));
  EXPECT_THAT(decoded.cidrs, ElementsAre(*parse_prefix("203.0.113.0/24"),
                                         *parse_prefix("2001:db8::/32")));
}

TEST(DecodeCidrGroup, is_strict) {
  const auto spec = [](std::string_view text) {
    return error(decode_cidr_group(
        json{{"metadata", {{"name", "g"}}}, {"spec", json::parse(text)}}));
  };
  EXPECT_EQ(spec(R"({"externalCIDRs": []})"), "accepted");
  EXPECT_EQ(spec("{}"), "spec.externalCIDRs: must be set");
  EXPECT_EQ(spec(R"({"externalCIDRs": null})"),
            "spec.externalCIDRs: must be a list, is null");
  EXPECT_EQ(
      spec(R"({"externalCIDRs": ["10.0.0.1"]})"),
      R"(spec.externalCIDRs[0]: no prefix length in CIDR "10.0.0.1", write "10.0.0.1/32")");
  EXPECT_EQ(spec(R"({"externalCIDRs": [], "cidrs": []})"),
            "spec.cidrs: unknown field");
  EXPECT_EQ(error(decode_cidr_group(json{{"metadata", {{"name", "g"}}}})),
            "spec: must be set");
}

}  // namespace
}  // namespace sluice::kube::test
