// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/kube/api/event_decoder.h"
#include "lib/kube/api/list_splitter.h"
#include "lib/kube/decode.h"

// The fast decoder says what decode.h says, of everything.
namespace sluice::kube::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;

constexpr const char* kPod = R"({
  "apiVersion": "v1", "kind": "Pod",
  "metadata": {"namespace": "x", "name": "a", "uid": "u", "generation": 3,
    "resourceVersion": "17", "labels": {"app": "web", "q\"": "é\u00e9"},
    "annotations": {"sluice.io/interface": "veth7", "other": "{\"k\": 1}"},
    "ownerReferences": [{"uid": "1", "kind": "Node", "name": "n1"},
      {"uid": "2", "kind": "ReplicaSet", "name": "a-5f7", "controller": true}],
    "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {"f:b": {}}}}]},
  "spec": {"nodeName": "n1", "serviceAccountName": "sa", "hostNetwork": false,
    "initContainers": [
      {"name": "i", "restartPolicy": "Always",
       "ports": [{"name": "Side", "containerPort": 9}]},
      {"name": "j", "ports": [{"name": "once", "containerPort": 10}]}],
    "containers": [
      {"name": "c", "image": "i", "ports": [
        {"name": "HTTP", "containerPort": 80, "hostPort": 1},
        {"containerPort": 81, "hostPort": 8081, "hostIP": "192.0.2.1"},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
      {"name": "d", "env": [{"name": "A", "value": "[}]"}], "ports": [
        {"name": "sig", "containerPort": 9, "protocol": "SCTP"}]}]},
  "status": {"phase": "Running", "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}})";

constexpr const char* kNamespace = R"({"metadata": {"name": "x", "uid": "u",
  "resourceVersion": "1", "labels": {"env": "prod"},
  "annotations": {"sluice.io/a": "1", "b": "2"}},
  "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})";

constexpr const char* kNode =
    R"({"metadata": {"name": "n1", "labels": {"z": "a"},
  "annotations": {"sluice.io/a": "1"}},
  "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24",
    "fd00:1::/64"], "taints": []},
  "status": {"capacity": {"cpu": "2"}, "addresses": [
    {"type": "InternalIP", "address": "192.0.2.1"},
    {"type": "ExternalIP", "address": "203.0.113.1"},
    {"type": "InternalIP", "address": "192.0.2.1"},
    {"type": "Hostname", "address": "n1"},
    {"type": "InternalIP", "address": "fd00::1"}]}})";

constexpr const char* kSlice = R"({
  "metadata": {"namespace": "x", "name": "s-1",
    "labels": {"kubernetes.io/service-name": "s"}},
  "addressType": "IPv4",
  "ports": [{"name": "http", "port": 80, "protocol": "TCP"},
            {"name": "", "port": null}, {"protocol": "UDP", "port": 53}],
  "endpoints": [
    {"addresses": ["10.0.0.1", "10.0.0.1"],
     "conditions": {"ready": true, "serving": true, "terminating": false},
     "nodeName": "n1", "targetRef": {"kind": "Pod", "name": "a"},
     "hints": {"forZones": [{"name": "z1"}, {"name": "z2"}],
               "forNodes": [{"name": "n1"}]}},
    {"addresses": ["10.0.0.2"], "conditions": {"ready": false},
     "hints": {"forZones": [{}], "forNodes": null}},
    {"addresses": ["10.0.0.3"], "conditions": {}},
    {"addresses": ["10.0.0.4"]},
    {"addresses": [""], "conditions": {"ready": null, "terminating": true}}]})";

constexpr const char* kService = R"({
  "metadata": {"namespace": "x", "name": "s", "labels": {"a": "b"}},
  "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1",
    "clusterIPs": ["10.96.0.1", "fd00::2"], "externalIPs": ["192.0.2.9"],
    "selector": {"app": "web"}, "publishNotReadyAddresses": false,
    "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
    "trafficDistribution": "PreferClose",
    "ports": [{"name": "http", "port": 80, "targetPort": "web",
               "nodePort": 30080, "protocol": "TCP"},
              {"name": "n", "port": 81, "targetPort": 8081}]},
  "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"},
                                          {"hostname": "h"}]}}})";

constexpr const char* kGroup = R"({
  "apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
  "metadata": {"name": "g", "labels": {"zone": "a"}},
  "spec": {"externalCIDRs": ["203.0.113.7/24", "2001:db8::/32"]}})";

// Text with the bytes behind it that the decoder may look at.
std::string_view padded(std::string& text) {
  text.reserve(text.size() + kDecodePadding);
  return text;
}

template <typename T>
void compare(const Result<T>& expected, const Result<Event>& event,
             const std::string& text) {
  if (!event) {
    // It does not even tell its name: then decode.h refuses it too.
    EXPECT_FALSE(expected) << text;
    return;
  }
  if (!expected) {
    EXPECT_EQ(event->type, Event::Type::kInvalid) << text;
    EXPECT_EQ(event->error, expected.error().message) << text;
    return;
  }
  ASSERT_EQ(event->type, Event::Type::kSet) << text << "\n" << event->error;
  EXPECT_EQ(std::get<T>(event->object), *expected) << text;
  EXPECT_EQ(event->name, expected->name) << text;
}

// Both decoders, of an item of a list and of a watch event.
template <typename T>
void compare_text(const Resource& resource, Result<T> (*decode)(const json&),
                  std::string text) {
  const auto expected = decode(json::parse(text));
  EventDecoder decoder(resource, "v1");
  compare(expected, decoder.list_item(padded(text)), text);
  std::string line = R"({"type":"MODIFIED","object":)" + text + "}";
  auto watched = decoder.watch_line(padded(line));
  compare(expected,
          watched ? Result<Event>(std::move(watched->event))
                  : std::unexpected(watched.error()),
          line);
}

// Calls `visit` with the object changed in one place, for every place and every
// change.
void each_change(const json& root,
                 const std::function<void(const json&)>& visit) {
  static const std::vector<json> values{nullptr,
                                        true,
                                        false,
                                        0,
                                        1,
                                        -1,
                                        65535,
                                        65536,
                                        1.5,
                                        "",
                                        "x",
                                        "None",
                                        "TCP",
                                        "UDP",
                                        "10.0.0.9",
                                        "fd00::9",
                                        "::ffff:10.0.0.1",
                                        "FQDN",
                                        "Always",
                                        "Failed",
                                        "Succeeded",
                                        "ExternalName",
                                        18446744073709551615ULL,
                                        json::array(),
                                        json::object(),
                                        json::array({nullptr}),
                                        json::array({"10.0.0.1"}),
                                        json::array({1}),
                                        json{{"ip", "10.0.0.8"}},
                                        json::array({json::object()})};
  const json flat = root.flatten();
  std::vector<json::json_pointer> places;
  for (const auto& [path, value] : flat.items()) {
    for (json::json_pointer at(path); !at.empty(); at = at.parent_pointer()) {
      if (std::ranges::find(places, at) == places.end()) {
        places.push_back(at);
      }
    }
  }
  for (const auto& place : places) {
    for (const json& value : values) {
      json changed = root;
      changed[place] = value;
      visit(changed);
    }
    json changed = root;
    json& parent = changed[place.parent_pointer()];
    if (parent.is_object()) {
      parent.erase(place.back());
    } else {
      parent.erase(std::stoul(place.back()));
    }
    visit(changed);
  }
}

template <typename T>
void compare_all(const Resource& resource, Result<T> (*decode)(const json&),
                 const char* text) {
  int count = 0;
  compare_text(resource, decode, text);
  each_change(json::parse(text), [&](const json& changed) {
    ++count;
    compare_text(resource, decode, changed.dump());
  });
  EXPECT_GT(count, 100);
}

TEST(EventDecoder, says_of_every_pod_what_the_other_decoder_says) {
  compare_all(pods(), decode_pod, kPod);
}
TEST(EventDecoder, says_of_every_namespace_what_the_other_decoder_says) {
  compare_all(namespaces(), decode_namespace, kNamespace);
}
TEST(EventDecoder, says_of_every_node_what_the_other_decoder_says) {
  compare_all(nodes(), decode_node, kNode);
}
TEST(EventDecoder, says_of_every_slice_what_the_other_decoder_says) {
  compare_all(endpoint_slices(), decode_endpoint_slice, kSlice);
}
TEST(EventDecoder, says_of_every_service_what_the_other_decoder_says) {
  compare_all(services(), decode_service, kService);
}
TEST(EventDecoder, says_of_every_group_what_the_other_decoder_says) {
  compare_all(cidr_groups(), decode_cidr_group, kGroup);
}

// The members of an object in another order, and twice.
TEST(EventDecoder, order_and_duplicates_make_no_difference_between_decoders) {
  for (const char* text : {
           R"({"status":{"podIPs":[{"ip":"10.0.0.2"}],"podIP":"10.0.0.2"},
               "spec":{"containers":[{"ports":[{"protocol":"UDP",
               "containerPort":1,"name":"a"}]}],"initContainers":[{"ports":
               [{"containerPort":2,"name":"b"}],"restartPolicy":"Always"}]},
               "metadata":{"name":"a"}})",
           R"({"metadata":{"name":"a"},"metadata":{"name":"b"}})",
           R"({"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"},
               "labels":{"y":"1"}}})",
           R"({"metadata":{"name":"a"},"spec":{"nodeName":"n","nodeName":"m"},
               "status":{"podIP":"10.0.0.1","podIP":"10.0.0.2"}})",
           R"({"metadata":{"name":"a"},"status":{"podIP":"1"},"status":{}})",
           R"({"metadata":{"name":"a","ownerReferences":[
               {"kind":"K","name":"n","controller":true},
               {"kind":"L","name":"m","controller":true}]}})",
           R"({"metadata":{"name":"a","ownerReferences":[{"controller":true},
               {"kind":"L","name":"m","controller":true}]}})",
           R"({"m\u0065tadata":{"n\u0061me":"a\u0062"}})",
           R"({"metadata":{"name":"a"},"spec":{"containers":[{"ports":[
               {"containerPort":80.0,"name":"x"}]}]}})",
           R"({"metadata":{"name":"a"},"spec":{"containers":[{"ports":[
               {"containerPort":8e1,"name":"x"}]}]}})"}) {
    compare_text<Pod>(pods(), decode_pod, text);
  }
}

TEST(EventDecoder, an_event_has_the_identity_of_its_object) {
  EventDecoder decoder(pods(), "v1");
  std::string text =
      R"({"object":)" + std::string(kPod) + R"(,"type":"ADDED"})";
  const auto line = decoder.watch_line(padded(text));
  ASSERT_TRUE(line) << line.error().message;
  const Event& event = line->event;
  EXPECT_EQ(event.type, Event::Type::kSet);
  EXPECT_EQ(event.resource, &pods());
  EXPECT_EQ(event.ns, "x");
  EXPECT_EQ(event.name, "a");
  EXPECT_EQ(event.uid, "u");
  EXPECT_EQ(event.resource_version, "17");
  EXPECT_EQ(event.generation, 3);
}

TEST(EventDecoder, what_is_deleted_needs_no_more_than_its_name) {
  EventDecoder decoder(pods(), "v1");
  std::string text = R"({"type":"DELETED","object":{"metadata":{"name":"a",
      "namespace":"x","resourceVersion":"9"},"spec":"unreadable"}})";
  const auto line = decoder.watch_line(padded(text));
  ASSERT_TRUE(line);
  EXPECT_EQ(line->event.type, Event::Type::kDeleted);
  EXPECT_EQ(line->event.resource_version, "9");
}

TEST(EventDecoder, bookmarks_and_errors) {
  EventDecoder decoder(pods(), "v1");
  std::string text =
      R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}})";
  auto line = decoder.watch_line(padded(text));
  ASSERT_TRUE(line);
  EXPECT_EQ(line->type, WatchLine::Type::kBookmark);
  EXPECT_EQ(line->event.resource_version, "9");
  text = R"({"type":"ERROR","object":{"kind":"Status","code":410,
             "reason":"Expired","message":"too old","details":{"causes":
             [{"reason":"ResourceVersionTooLarge"},{"field":"x"},7]}}})";
  line = decoder.watch_line(padded(text));
  ASSERT_TRUE(line);
  EXPECT_EQ(line->type, WatchLine::Type::kError);
  EXPECT_EQ(line->status, 410);
  EXPECT_EQ(line->reason, "Expired");
  EXPECT_EQ(line->message, "too old");
  EXPECT_EQ(line->causes,
            (std::vector<std::string>{"ResourceVersionTooLarge", ""}));
  for (const char* details : {R"({"causes":7})", "[]", R"("causes")", "null"}) {
    text =
        std::string(R"({"type":"ERROR","object":{"details":)") + details + "}}";
    line = decoder.watch_line(padded(text));
    ASSERT_TRUE(line) << details;
    EXPECT_TRUE(line->causes.empty()) << details;
  }
}

// A text that ends too early, or goes on, is never taken for an object.
TEST(EventDecoder, a_text_cut_anywhere_is_refused) {
  const std::string whole =
      R"({"type":"ADDED","object":)" + json::parse(kPod).dump() + "}";
  EventDecoder decoder(pods(), "v1");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::string text = whole.substr(0, size);
    EXPECT_FALSE(decoder.watch_line(padded(text))) << text;
  }
  for (const char* more : {"x", "{}", "}", ",", "\"\""}) {
    std::string text = whole + more;
    EXPECT_FALSE(decoder.watch_line(padded(text))) << text;
  }
  std::string text = whole;
  EXPECT_TRUE(decoder.watch_line(padded(text)));
}

TEST(EventDecoder, too_deep_an_object_is_invalid_but_known_by_name) {
  EventDecoder decoder(cilium_network_policies(), "v2");
  std::string text =
      R"({"type":"ADDED","object":{"metadata":{"name":"a"},"spec":)" +
      std::string(1000, '[') + std::string(1000, ']') + "}}";
  const auto line = decoder.watch_line(padded(text));
  ASSERT_TRUE(line);
  EXPECT_EQ(line->event.type, Event::Type::kInvalid);
  EXPECT_EQ(line->event.name, "a");
  EXPECT_EQ(line->event.error, "nested deeper than 100 levels");
}

TEST(EventDecoder, json_is_what_the_other_parser_makes_of_it) {
  const json value = json::parse(R"({"metadata":{"name":"p"},"spec":[0,-0,1,-1,
      9007199254740993,18446744073709551615,-9223372036854775808,1.5,1e3,-2.5e-3,
      123456789012345678901234567890,"","\u0000\ud83d\ude00\n",null,true,false,
      {},[],{"a":{"b":[[]]}}]})");
  EventDecoder decoder(cluster_network_policies(), "v1alpha2");
  std::string text = value.dump();
  const auto event = decoder.list_item(padded(text));
  ASSERT_TRUE(event);
  json expected = value;
  expected["apiVersion"] = "policy.networking.k8s.io/v1alpha2";
  expected["kind"] = "ClusterNetworkPolicy";
  const json& made = *std::get<Event::Json>(event->object);
  EXPECT_EQ(made, expected);
  EXPECT_EQ(made.dump(), expected.dump());
}

std::vector<std::string> split(const std::string& text, std::size_t step,
                               Result<ListSplitter::Head>& head) {
  std::vector<std::string> items;
  ListSplitter splitter(
      [&](std::string_view item) -> Result<void> {
        items.emplace_back(item);
        return {};
      },
      1000);
  for (std::size_t at = 0; at < text.size(); at += step) {
    if (const auto fed = splitter.feed(text.substr(at, step)); !fed) {
      head = std::unexpected(fed.error());
      return items;
    }
  }
  head = splitter.finish();
  return items;
}

TEST(ListSplitter, takes_lists_apart_wherever_their_bytes_are_cut) {
  const std::string text =
      R"({"kind": "PodList", "x": {"items": ["no"]}, "s": "\"items\":[{",
          "items" : [ {"a": "]}\\\"{["} , {"b": {"items": [1, {}]}},{} ],
          "metadata": {"resourceVersion": "12", "continue": "c"}} )";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    Result<ListSplitter::Head> head;
    EXPECT_THAT(split(text, step, head),
                ElementsAre(R"({"a": "]}\\\"{["})",
                            R"({"b": {"items": [1, {}]}})", "{}"))
        << step;
    ASSERT_TRUE(head) << step << ": " << head.error().message;
    EXPECT_EQ(head->resource_version, "12");
    EXPECT_EQ(head->continue_token, "c");
  }
}

TEST(ListSplitter, refuses_what_is_no_list) {
  for (const char* text :
       {"", "[]", "{}", "x", R"({"items":[]})", R"({"items":[],"metadata":{}})",
        R"({"items":[],"metadata":{"resourceVersion":"0"}})",
        R"({"items":{},"metadata":{"resourceVersion":"1"}})",
        R"({"items":[1],"metadata":{"resourceVersion":"1"}})",
        R"({"items":["x"],"metadata":{"resourceVersion":"1"}})",
        R"({"items":[{}],"metadata":{"resourceVersion":"1"})",
        R"({"items":[{}],"metadata":{"resourceVersion":"1"}}})",
        R"({"items":[{}]],"metadata":{"resourceVersion":"1"}})"}) {
    Result<ListSplitter::Head> head;
    split(text, 1000, head);
    EXPECT_FALSE(head) << text;
  }
}

TEST(ListSplitter, refuses_an_item_that_is_too_long) {
  Result<ListSplitter::Head> head;
  split(R"({"items":[{"a":")" + std::string(2000, 'x'), 100, head);
  ASSERT_FALSE(head);
  EXPECT_EQ(head.error().message, "an object longer than 1000 bytes");
}

}  // namespace
}  // namespace sluice::kube::test
