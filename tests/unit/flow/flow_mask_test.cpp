// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_mask.h"

#include <initializer_list>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using ::testing::HasSubstr;

google::protobuf::FieldMask mask_of(std::initializer_list<const char*> paths) {
  google::protobuf::FieldMask mask;
  for (const auto* path : paths) {
    mask.add_paths(path);
  }
  return mask;
}

std::string applied(std::initializer_list<const char*> paths) {
  ::flow::Flow flow;
  flow.set_verdict(::flow::FORWARDED);
  flow.mutable_source()->set_namespace_("shop");
  flow.mutable_source()->set_pod_name("web");
  flow.mutable_ip()->set_source("10.0.0.1");
  const auto mask = FlowMask::parse(mask_of(paths));
  EXPECT_TRUE(mask.has_value());
  mask->apply(flow);
  return flow.ShortDebugString();
}

TEST(FlowMask, LeavesTheFieldsThatAreWanted) {
  EXPECT_EQ(applied({"verdict", "source.pod_name"}),
            "verdict: FORWARDED source { pod_name: \"web\" }");
  EXPECT_EQ(applied({"IP", "Summary"}), "IP { source: \"10.0.0.1\" }");
  EXPECT_THAT(applied({}), HasSubstr("namespace: \"shop\""));
  EXPECT_EQ(applied({"l7.dns"}), "") << "what no flow has";
}

// What `hubble observe` asks for unless told otherwise.
TEST(FlowMask, TheDefaultOfHubble) {
  EXPECT_TRUE(FlowMask::parse(mask_of(
      {"time", "source.identity", "source.namespace", "source.pod_name",
       "destination.identity", "destination.namespace", "destination.pod_name",
       "source_service", "destination_service", "l4", "IP", "ethernet", "l7",
       "Type", "node_name", "is_reply", "event_type", "verdict", "Summary"})));
}

TEST(FlowMask, RefusesWhatAFlowDoesNotHave) {
  for (const auto* path : {"", ".", "x", "verdict.x", "source.x", "ip"}) {
    const auto mask = FlowMask::parse(mask_of({"verdict", path}));
    ASSERT_FALSE(mask) << "'" << path << "'";
    EXPECT_THAT(mask.error().message, HasSubstr(std::string("'") + path + "'"));
  }
  google::protobuf::FieldMask many;
  for (int i = 0; i < 101; ++i) {
    many.add_paths("verdict");
  }
  EXPECT_FALSE(FlowMask::parse(many));
}

}  // namespace
}  // namespace sluice::flow
