// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/filter.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "flow.pb.h"
#include "lib/flow/message.h"

namespace sluice::flow {
namespace {

using ::flow::FlowFilter;

// A denied connection of a pod to a name outside.
Record sample() {
  Record record;
  record.store = 5;
  record.number = 9;
  record.ip = true;
  record.source = *parse_ip("10.0.1.7");
  record.destination = *parse_ip("198.51.100.20");
  record.source_port = 40000;
  record.destination_port = 443;
  record.protocol = IPPROTO_TCP;
  record.tcp_flags = 0x12;
  record.direction = SLUICE_EGRESS;
  record.reason = SLUICE_REASON_DEFAULT_DENY;
  record.ifindex = 3;
  record.from = std::make_shared<End>(End{.ns = "shop",
                                          .pod = "web-1",
                                          .workload = "web",
                                          .workload_kind = "Deployment",
                                          .labels = {"k8s:app=web"},
                                          .service = {},
                                          .names = {}});
  record.to = std::make_shared<End>(End{.ns = "tools",
                                        .pod = {},
                                        .workload = {},
                                        .workload_kind = {},
                                        .labels = {"reserved:world"},
                                        .service = "proxy",
                                        .names = {"api.example.com"},
                                        .identity = 2});
  record.decision = std::make_shared<Decision>();
  return record;
}

FlowFilter read(const std::string& text) {
  FlowFilter filter;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &filter))
      << text;
  return filter;
}

Result<Filters> compile(const std::vector<FlowFilter>& white,
                        const std::vector<FlowFilter>& black = {}) {
  const auto pointers = [](const std::vector<FlowFilter>& filters) {
    std::vector<const FlowFilter*> result;
    result.reserve(filters.size());
    for (const auto& filter : filters) {
      result.push_back(&filter);
    }
    return result;
  };
  return Filters::compile(pointers(white), pointers(black), "node1");
}

bool matches(const std::string& text, const Record& record = sample()) {
  const auto filters = compile({read(text)});
  EXPECT_TRUE(filters) << text << ": "
                       << (filters ? "" : filters.error().message);
  return filters && filters->match(record);
}

TEST(FlowFilter, EveryField) {
  for (const char* text :
       {"",
        "source_ip: '10.0.1.7'",
        "source_ip: '10.0.0.0/16'",
        "destination_ip: ['192.0.2.1', '198.51.100.0/24']",
        "source_pod: 'shop/web-'",
        "source_pod: 'shop/'",
        "source_pod: '/web'",
        "source_pod: '/'",
        "destination_service: '/'",
        "destination_service: 'tools/pro'",
        "destination_fqdn: 'API.example.com.'",
        "destination_fqdn: '*.com'",
        "source_label: 'app in (web, api)'",
        "destination_label: 'reserved:world'",
        "source_workload: {name: 'web'}",
        "source_workload: {name: 'web', kind: 'Deployment'}",
        "destination_identity: 2",
        "source_port: '40000'",
        "destination_port: ['80', '443']",
        "protocol: 'TCP'",
        "tcp_flags: {SYN: true}",
        "tcp_flags: {SYN: true, ACK: true}",
        "ip_version: IPv4",
        "reply: false",
        "traffic_direction: EGRESS",
        "verdict: DROPPED",
        "drop_reason_desc: POLICY_DENIED",
        "event_type: {type: 1}",
        "event_type: {type: 1, match_sub_type: true, sub_type: 133}",
        "event_type: {type: 5}",
        "event_type: {}",
        "event_type: {match_sub_type: true, sub_type: 133}",
        "node_name: 'node1'",
        "node_name: 'no*'",
        "node_name: 'default/'",
        "node_name: 'default/node?*'",
        "interface: {index: 3}",
        "source_ip: '10.0.1.7' destination_port: '443'"}) {
    EXPECT_EQ(matches(text), std::string(text).find('?') == std::string::npos)
        << text;
  }
  for (const char* text :
       {"source_ip: '10.0.1.8'",
        "destination_ip: '10.0.1.7'",
        "source_pod: 'web-1'",
        "source_pod: 'shop/api'",
        "destination_pod: 'tools/'",
        "source_service: 'shop/'",
        "destination_pod: '/'",
        "event_type: {match_sub_type: true, sub_type: 181}",
        "interface: {index: 4}",
        "destination_fqdn: 'example.com'",
        "source_fqdn: '*'",
        "source_label: 'app!=web'",
        "source_workload: {kind: 'DaemonSet'}",
        "destination_workload: {name: 'web'}",
        "source_identity: 2",
        "destination_port: '80'",
        "protocol: 'udp'",
        "tcp_flags: {RST: true}",
        "tcp_flags: {SYN: true, FIN: true}",
        "ip_version: IPv6",
        "reply: true",
        "traffic_direction: INGRESS",
        "verdict: [FORWARDED, AUDIT]",
        "drop_reason_desc: POLICY_DENY",
        "event_type: {type: 4}",
        "event_type: {type: 1, match_sub_type: true, sub_type: 181}",
        "node_name: 'node2'",
        "node_name: 'other/node1'",
        "uuid: 'x'",
        "source_ip: '10.0.1.7' destination_port: '80'"}) {
    EXPECT_FALSE(matches(text)) << text;
  }
  EXPECT_TRUE(matches("uuid: '" + uuid_of(sample()) + "'"));
}

TEST(FlowFilter, APacketThatIsNotIp) {
  auto record = sample();
  record.ip = false;
  EXPECT_TRUE(matches("verdict: DROPPED", record));
  for (const char* text : {"source_ip: '0.0.0.0/0'", "destination_port: '443'",
                           "protocol: 'tcp'", "ip_version: IPv4"}) {
    EXPECT_FALSE(matches(text, record)) << text;
  }
}

TEST(FlowFilter, WhiteAndBlackLists) {
  const auto record = sample();
  const auto web = read("source_pod: 'shop/web'");
  const auto https = read("destination_port: '443'");
  const auto http = read("destination_port: '80'");
  const auto match = [&](const std::vector<FlowFilter>& white,
                         const std::vector<FlowFilter>& black) {
    return compile(white, black)->match(record);
  };
  EXPECT_TRUE(match({}, {}));
  EXPECT_TRUE(match({http, web}, {}));
  EXPECT_FALSE(match({http}, {}));
  EXPECT_FALSE(match({web}, {http, https}));
  EXPECT_FALSE(match({}, {https}));
  EXPECT_TRUE(match({}, {http}));
}

TEST(FlowFilter, WhatCannotBeAppliedIsRefusedByName) {
  for (const auto& [text, error] :
       std::vector<std::pair<std::string, std::string>>{
           {"http_method: 'GET' dns_query: 'x'", "dns_query, http_method"},
           {"source_ip: '10.0.0.0/33'", "source_ip: '10.0.0.0/33'"},
           {"source_pod: ''", "source_pod: ''"},
           {"destination_fqdn: 'a b'", "destination_fqdn: 'a b'"},
           {"source_label: 'app in'", "source_label: "},
           {"destination_port: '65536'", "destination_port: '65536'"},
           {"interface: {name: 'eth0'}", "interface: 'eth0'"},
           {"protocol: 'http'", "protocol: protocol 'http'"}}) {
    const auto filters = compile({read(text)});
    ASSERT_FALSE(filters) << text;
    EXPECT_NE(filters.error().message.find(error), std::string::npos)
        << filters.error().message;
  }
  FlowFilter unknown;
  ASSERT_TRUE(unknown.ParseFromString("\xa2\x1f\x01x"));  // field 500
  const auto filters = compile({unknown});
  ASSERT_FALSE(filters);
  EXPECT_NE(filters.error().message.find("field 500"), std::string::npos);
}

// What a reader asks for bounds how long a record takes.
TEST(FlowFilter, SoManyAreRefused) {
  const auto refused = [](const std::vector<FlowFilter>& white,
                          const std::vector<FlowFilter>& black = {}) {
    const auto filters = compile(white, black);
    return filters ? std::string() : filters.error().message;
  };
  using Many = std::vector<FlowFilter>;
  EXPECT_EQ(refused(Many(100)), "");
  EXPECT_EQ(refused(Many(60), Many(41)),
            "too many filters: 101 of them, limit 100");
  FlowFilter filter;
  for (int i = 0; i < 500; ++i) {
    filter.add_uuid();
    filter.add_event_type();
  }
  EXPECT_EQ(refused({filter}), "");
  EXPECT_EQ(refused({filter}, {filter}),
            "too many filters: 2000 values, limit 1000");
  FlowFilter labels;
  std::string selector = "!a";
  for (int i = 0; i < 999; ++i) {
    selector += ",!a";
  }
  labels.add_source_label(selector);
  EXPECT_EQ(refused({labels}), "");
  labels.add_destination_label("b");
  EXPECT_EQ(refused({labels}), "too many filters: 1001 values, limit 1000");
  FlowFilter large;
  large.add_source_pod("shop/" + std::string(1 << 20, 'x'));
  EXPECT_THAT(refused({large}), ::testing::HasSubstr("bytes, limit 32768"));
  FlowFilter pattern;
  pattern.add_source_fqdn(std::string(256, '*'));
  EXPECT_THAT(refused({pattern}), ::testing::HasSubstr("no domain name"));
}

}  // namespace
}  // namespace sluice::flow
