// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/namespaces.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

::observer::GetFlowsRequest make(const std::string& text) {
  ::observer::GetFlowsRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
  return request;
}

TEST(FlowNamespaces, AreThoseThatTheWhiteListNames) {
  EXPECT_THAT(named_namespaces(make("")), IsEmpty());
  EXPECT_THAT(named_namespaces(make(
                  "whitelist { source_pod: 'shop/a' source_pod: 'b' "
                  "destination_service: 'bank/' } whitelist { source_pod: '/x' "
                  "} blacklist { source_pod: 'other/' }")),
              ElementsAre("bank", "default", "shop"));
}

TEST(FlowNamespaces, EveryFilterHasToStayWithin) {
  const auto within = [](const std::string& text) {
    return is_within(make(text), {"shop"});
  };
  EXPECT_TRUE(within("whitelist { source_pod: 'shop/' }"));
  EXPECT_TRUE(within("whitelist { destination_service: 'shop/db' }"));
  // One end is enough, whatever the filter says of the other.
  EXPECT_TRUE(
      within("whitelist { source_pod: 'shop/' destination_pod: 'bank/' }"));
  EXPECT_TRUE(within(
      "whitelist { source_pod: 'shop/' } whitelist { destination_pod: 'shop/a' "
      "verdict: DROPPED }"));
  EXPECT_FALSE(within(""));
  EXPECT_FALSE(within("blacklist { source_pod: 'shop/' }"));
  EXPECT_FALSE(within("whitelist { verdict: DROPPED }"));
  EXPECT_FALSE(within("whitelist { source_pod: 'bank/' }"));
  EXPECT_FALSE(within("whitelist { source_pod: 'web' }")) << "of default";
  EXPECT_FALSE(within("whitelist { source_pod: '/web' }")) << "of any";
  // Several values of a field: one of them is enough for a flow.
  EXPECT_FALSE(within("whitelist { source_pod: 'shop/' source_pod: 'bank/' }"));
  // Several filters: likewise.
  EXPECT_FALSE(within(
      "whitelist { source_pod: 'shop/' } whitelist { verdict: DROPPED }"));
  EXPECT_FALSE(is_within(make("whitelist { source_pod: 'shop/' }"), {}));
}

}  // namespace
}  // namespace sluice::flow
