// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/edges.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::ui {
namespace {

namespace api = ::flow;
using testing::ElementsAre;

api::Flow flow_to(const std::string& name, std::uint32_t port) {
  api::Flow flow;
  auto& source = *flow.mutable_source();
  source.set_namespace_("shop");
  source.set_pod_name("web-1");
  source.add_workloads()->set_name("web");
  source.mutable_workloads(0)->set_kind("Deployment");
  auto& destination = *flow.mutable_destination();
  destination.set_namespace_("shop");
  destination.set_pod_name(name);
  flow.mutable_l4()->mutable_tcp()->set_source_port(40'000);
  flow.mutable_l4()->mutable_tcp()->set_destination_port(port);
  flow.set_verdict(api::FORWARDED);
  flow.set_traffic_direction(api::EGRESS);
  flow.mutable_time()->set_seconds(7);
  return flow;
}

TEST(EdgeTable, FlowsThatDifferInPodsAndSourcePortsAreOneEdge) {
  EdgeTable table(10);
  table.add(flow_to("db", 5432));
  auto other = flow_to("db", 5432);
  other.mutable_source()->set_pod_name("web-2");
  other.mutable_l4()->mutable_tcp()->set_source_port(41'000);
  other.mutable_time()->set_seconds(9);
  table.add(other);
  const auto edges = table.after(0, 10);
  ASSERT_EQ(edges.size(), 1U);
  EXPECT_EQ(edges[0]->flows, 2U);
  EXPECT_EQ(edges[0]->from, (EdgeEnd{.type = "workload",
                                     .ns = "shop",
                                     .kind = "Deployment",
                                     .name = "web"}));
  EXPECT_EQ(
      edges[0]->to,
      (EdgeEnd{.type = "workload", .ns = "shop", .kind = "Pod", .name = "db"}));
  EXPECT_EQ(edges[0]->protocol, "TCP");
  EXPECT_EQ(edges[0]->port, 5432U);
  EXPECT_EQ(edges[0]->source, "shop/web-2");
  EXPECT_EQ(edges[0]->first, 7'000'000'000);
  EXPECT_EQ(edges[0]->last, 9'000'000'000);
}

TEST(EdgeTable, PortVerdictDirectionReasonAndPolicyMakeAnotherEdge) {
  EdgeTable table(10);
  table.add(flow_to("db", 5432));
  table.add(flow_to("db", 80));
  auto denied = flow_to("db", 5432);
  denied.set_verdict(api::DROPPED);
  denied.set_drop_reason_desc(api::POLICY_DENIED);
  table.add(denied);
  denied.set_drop_reason_desc(api::POLICY_DENY);
  table.add(denied);
  auto ingress = flow_to("db", 5432);
  ingress.set_traffic_direction(api::INGRESS);
  table.add(ingress);
  auto& policy = *ingress.add_ingress_allowed_by();
  policy.set_kind("NetworkPolicy");
  policy.set_namespace_("shop");
  policy.set_name("db");
  table.add(ingress);
  EXPECT_EQ(table.size(), 6U);
  const auto edges = table.after(5, 10);
  ASSERT_EQ(edges.size(), 1U);
  EXPECT_THAT(edges[0]->policies, ElementsAre("NetworkPolicy/shop/db"));
}

TEST(EdgeTable, AnEndIsAPodsWorkloadAServiceANameOrAnEntity) {
  EdgeTable table(10);
  auto flow = flow_to("", 443);
  flow.mutable_destination()->set_identity(2);
  flow.mutable_destination()->add_labels("reserved:world");
  table.add(flow);
  flow.add_destination_names("api.example.com");
  flow.add_destination_names("cdn.example.com");
  table.add(flow);
  flow.mutable_destination_service()->set_name("front");
  flow.mutable_destination_service()->set_namespace_("shop");
  table.add(flow);
  flow = flow_to("", 443);
  flow.mutable_ip()->set_destination("192.0.2.1");
  table.add(flow);
  const auto edges = table.after(0, 10);
  ASSERT_EQ(edges.size(), 4U);
  EXPECT_EQ(edges[0]->to.type + edges[0]->to.name, "entityworld");
  EXPECT_EQ(edges[1]->to.type + edges[1]->to.name, "nameapi.example.com");
  EXPECT_EQ(edges[2]->to.type + edges[2]->to.name, "servicefront");
  EXPECT_EQ(edges[3]->to.type + edges[3]->to.name, "entityunknown");
  EXPECT_EQ(edges[3]->destination, "192.0.2.1");
}

TEST(EdgeTable, AReplyBelongsToTheConnectionThatWasOpened) {
  EdgeTable table(10);
  auto flow = flow_to("db", 41'000);
  flow.mutable_l4()->mutable_tcp()->set_source_port(8080);
  flow.mutable_is_reply()->set_value(true);
  flow.set_verdict(api::DROPPED);
  table.add(flow);
  const auto* edge = table.after(0, 10).at(0);
  EXPECT_EQ(edge->from.name, "db");
  EXPECT_EQ(edge->to.name, "web");
  EXPECT_EQ(edge->port, 8080U);
  EXPECT_EQ(edge->source, "shop/db");
}

TEST(EdgeTable, GivesWhatHasChangedAndThenTheRest) {
  EdgeTable table(10);
  for (const std::uint32_t port : {1U, 2U, 3U, 1U}) {
    table.add(flow_to("db", port));
  }
  const auto ports = [&](std::uint64_t after, std::size_t max) {
    std::vector<std::uint32_t> result;
    for (const auto* edge : table.after(after, max)) {
      result.push_back(edge->port);
    }
    return result;
  };
  EXPECT_THAT(ports(0, 10), ElementsAre(2, 3, 1));
  EXPECT_THAT(ports(0, 2), ElementsAre(2, 3));
  EXPECT_THAT(ports(3, 10), ElementsAre(1));
  EXPECT_TRUE(table.after(table.changes(), 10).empty());
}

TEST(EdgeTable, AnEdgeKeepsItsIdAndTheOldestOnesGo) {
  EdgeTable table(2);
  table.add(flow_to("db", 1));
  EXPECT_EQ(table.oldest(), 0U);
  const auto id = table.after(0, 1)[0]->id;
  table.add(flow_to("db", 2));
  table.add(flow_to("db", 1));
  EXPECT_EQ(table.after(2, 1)[0]->id, id);
  table.add(flow_to("db", 3));  // port 2 goes
  EXPECT_EQ(table.size(), 2U);
  EXPECT_EQ(table.oldest(), 3U);
  table.add(flow_to("db", 2));  // is a new one, and port 1 goes
  const auto edges = table.after(0, 10);
  ASSERT_EQ(edges.size(), 2U);
  EXPECT_EQ(edges[1]->port, 2U);
  EXPECT_EQ(edges[1]->flows, 1U);
  EXPECT_EQ(table.oldest(), 4U);
}

}  // namespace
}  // namespace sluice::ui
