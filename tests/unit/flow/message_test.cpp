// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/message.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "flow.pb.h"
#include "lib/wire/protocol.h"

namespace sluice::flow {
namespace {

Record allowed() {
  Record record;
  record.store = 0x0123'4567'89ab'cdef;
  record.number = 42;
  record.time = 1'700'000'000'123'456'789;
  record.ip = true;
  record.source = *parse_ip("2001:db8::7");
  record.destination = *parse_ip("2001:db8::8");
  record.source_port = 40000;
  record.destination_port = 8080;
  record.protocol = IPPROTO_TCP;
  record.tcp_flags = 0x02;
  record.direction = SLUICE_INGRESS;
  record.reason = SLUICE_REASON_POLICY_ALLOW;
  record.allowed = true;
  record.ifindex = 12;
  record.from = std::make_shared<End>(End{.ns = "shop",
                                          .pod = "web-1",
                                          .workload = "web",
                                          .workload_kind = "Deployment",
                                          .labels = {"k8s:app=web"},
                                          .service = {},
                                          .names = {}});
  record.to = std::make_shared<End>(End{.ns = "shop",
                                        .pod = "db-0",
                                        .workload = "db",
                                        .workload_kind = "StatefulSet",
                                        .labels = {"k8s:app=db"},
                                        .service = {},
                                        .names = {}});
  record.decision = std::make_shared<Decision>(Decision{
      .policies = {{.kind = "NetworkPolicy", .ns = "shop", .name = "db"}},
      .path = "spec.ingress[0]",
      .log = {}});
  return record;
}

TEST(FlowMessage, AnAllowedConnection) {
  const auto flow = to_message(allowed(), "node1");
  ::flow::Flow expected;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    time { seconds: 1700000000 nanos: 123456789 }
    uuid: "01234567-89ab-8def-8000-00000000002a"
    verdict: FORWARDED
    IP { source: "2001:db8::7" destination: "2001:db8::8" ipVersion: IPv6 }
    l4 { TCP { source_port: 40000 destination_port: 8080 flags { SYN: true } } }
    source { namespace: "shop" pod_name: "web-1" labels: "k8s:app=web"
             workloads { name: "web" kind: "Deployment" } }
    destination { namespace: "shop" pod_name: "db-0" labels: "k8s:app=db"
                  workloads { name: "db" kind: "StatefulSet" } }
    Type: L3_L4
    node_name: "node1"
    event_type { type: 5 }
    policy_match_type: 4
    traffic_direction: INGRESS
    is_reply {}
    interface { index: 12 }
    ingress_allowed_by { kind: "NetworkPolicy" namespace: "shop" name: "db" }
    Summary: "TCP Flags: SYN")",
                                                            &expected));
  EXPECT_EQ(flow.DebugString(), expected.DebugString());
}

TEST(FlowMessage, AFlowThatGoesOn) {
  auto record = allowed();
  Traffic traffic;
  traffic.packets = {3, 2};
  traffic.bytes = {300, 200};
  record.traffic = std::make_shared<const Traffic>(traffic);
  const auto flow = to_message(record, "node1");
  EXPECT_EQ(flow.event_type().type(), 4) << "trace";
  EXPECT_EQ(flow.trace_observation_point(), ::flow::TO_ENDPOINT);
  EXPECT_EQ(flow.verdict(), ::flow::FORWARDED);
  EXPECT_EQ(flow.policy_match_type(), 0U);
  EXPECT_EQ(flow.ingress_allowed_by(0).name(), "db");
  EXPECT_EQ(flow.traffic().ingress_packets(), 3U);
  EXPECT_EQ(flow.traffic().egress_bytes(), 200U);
  EXPECT_EQ(flow.summary(),
            "open: egress 2 packets, 200 bytes; ingress 3 packets, 300 bytes");
  EXPECT_EQ(event_types(record)[0]->type, 4);
  EXPECT_FALSE(event_types(record)[1].has_value());
}

TEST(FlowMessage, ADrop) {
  auto record = allowed();
  record.allowed = false;
  record.reason = SLUICE_REASON_DEFAULT_DENY;
  record.direction = SLUICE_EGRESS;
  record.protocol = IPPROTO_ICMPV6;
  record.destination_port = 128 << 8;
  record.to = std::make_shared<End>(End{.ns = "kube-system",
                                        .pod = {},
                                        .workload = {},
                                        .workload_kind = {},
                                        .labels = {"reserved:world"},
                                        .service = "dns",
                                        .names = {"a.example.com"},
                                        .identity = 2});
  const auto flow = to_message(record, "node1");
  EXPECT_EQ(flow.verdict(), ::flow::DROPPED);
  EXPECT_EQ(flow.drop_reason_desc(), ::flow::POLICY_DENIED);
  EXPECT_EQ(flow.drop_reason(), 133U);
  EXPECT_EQ(flow.event_type().type(), 1);
  EXPECT_EQ(flow.event_type().sub_type(), 133);
  EXPECT_EQ(flow.l4().icmpv6().type(), 128U);
  EXPECT_EQ(flow.egress_denied_by_size(), 1);
  EXPECT_EQ(flow.destination_service().name(), "dns");
  EXPECT_EQ(flow.destination_names(0), "a.example.com");
  EXPECT_EQ(flow.destination().identity(), 2U);
  EXPECT_EQ(flow.summary(), "ICMPv6 type 128 code 0");
}

TEST(FlowMessage, EveryReasonThatDeniesHasADropReason){
#define SLUICE_VERDICT_IS_ALLOW true
#define SLUICE_VERDICT_IS_DENY false
#define SLUICE_X(name, verdict, text)                          \
  if (!SLUICE_VERDICT_IS_##verdict &&                          \
      SLUICE_REASON_##name != SLUICE_REASON_DNS_HELD) {        \
    EXPECT_NE(drop_reason(SLUICE_REASON_##name), 0) << (text); \
  } else {                                                     \
    EXPECT_EQ(drop_reason(SLUICE_REASON_##name), 0) << (text); \
  }
    SLUICE_REASONS(SLUICE_X)
#undef SLUICE_X
}

// Whatever pods resolve and whoever writes policies.
TEST(FlowMessage, IsSmallerThanABatch) {
  End end{.ns = std::string(63, 'n'), .pod = std::string(253, 'p')};
  end.workload = std::string(253, 'w');
  end.names.assign(4'096, std::string(253, 'd'));
  end.labels.assign(1'000, std::string(400, 'l'));
  Decision decision;
  decision.policies.assign(600, {.kind = "CiliumClusterwideNetworkPolicy",
                                 .ns = std::string(63, 'n'),
                                 .name = std::string(253, 'x')});
  for (int i = 0; i < 10'000; ++i) {
    decision.log += "\u00e4\u20ac";
  }
  Record record;
  record.from = std::make_shared<const End>(end);
  record.to = record.from;
  record.decision = std::make_shared<const Decision>(decision);
  const auto flow = to_message(record, "node1");
  EXPECT_LT(flow.ByteSizeLong(), wire::kFlowBatchBytesMax);
  EXPECT_EQ(flow.destination_names_size(), 16);
  EXPECT_EQ(flow.source_names_size(), 16);
  EXPECT_EQ(flow.ingress_denied_by_size(), 64);
  EXPECT_EQ(flow.source().labels_size(), 10);
  ASSERT_EQ(flow.policy_log_size(), 1);
  const auto& log = flow.policy_log(0);
  EXPECT_LE(log.size(), 1'024U);
  EXPECT_GT(log.size(), 1'020U);
  EXPECT_TRUE(log.ends_with("\u00e4") || log.ends_with("\u20ac"));
}

TEST(FlowMessage, AUuidSaysWhichRecordItIs) {
  Record record;
  for (const std::uint64_t bits :
       {std::uint64_t{0}, std::uint64_t{1},
        std::uint64_t{0x0123'4567'89ab'cdef}, ~std::uint64_t{0}}) {
    record.store = bits;
    record.number = ~bits;
    EXPECT_EQ(parse_uuid(uuid_of(record)), id_of(record)) << uuid_of(record);
  }
  auto uuid = uuid_of(record);
  ++record.number;
  EXPECT_NE(parse_uuid(uuid), id_of(record));
  EXPECT_FALSE(parse_uuid(""));
  EXPECT_FALSE(parse_uuid(uuid + "0"));
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    auto wrong = uuid;
    wrong[i] = 'g';
    EXPECT_FALSE(parse_uuid(wrong)) << wrong;
  }
  EXPECT_FALSE(parse_uuid("00000000-0000-4000-8000-000000000001"))
      << "of another version";
}

TEST(FlowMessage, UuidsAreOnesAndDiffer) {
  // RFC 9562, 5.8: version 8, and the variant's bits 10.
  const std::string form = "xxxxxxxx-xxxx-8xxx-vxxx-xxxxxxxxxxxx";
  const auto fits = [](char kind, char c) {
    switch (kind) {
      case 'x':
        return std::string_view("0123456789abcdef").contains(c);
      case 'v':
        return std::string_view("89ab").contains(c);
      default:
        return c == kind;
    }
  };
  auto record = allowed();
  const auto one = uuid_of(record);
  record.number = 43;
  const auto next = uuid_of(record);
  record.store = 1;
  const auto other = uuid_of(record);
  for (const auto& uuid : {one, next, other}) {
    EXPECT_TRUE(std::ranges::equal(form, uuid, fits)) << uuid;
  }
  EXPECT_NE(one, next);
  EXPECT_NE(next, other);
}

}  // namespace
}  // namespace sluice::flow
