// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/filter_json.h"

#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using Filters = google::protobuf::RepeatedPtrField<::flow::FlowFilter>;

TEST(FlowFilterJson, SeveralFiltersFollowEachOther) {
  Filters filters;
  ASSERT_TRUE(add_filters(R"({"verdict":["DROPPED"]}
      {"source_pod":["shop/"],"event_type":[{"type":1}]}, {})",
                          filters));
  ASSERT_EQ(filters.size(), 3);
  EXPECT_EQ(filters[0].verdict(0), ::flow::DROPPED);
  EXPECT_EQ(filters[1].source_pod(0), "shop/");
  EXPECT_EQ(filters[1].event_type(0).type(), 1);
}

TEST(FlowFilterJson, BracesAndQuotesInTextsEndNothing) {
  Filters filters;
  ASSERT_TRUE(
      add_filters(R"({"source_pod":["}{\"}"]}{"uuid":["\\"]})", filters));
  ASSERT_EQ(filters.size(), 2);
  EXPECT_EQ(filters[0].source_pod(0), "}{\"}");
  EXPECT_EQ(filters[1].uuid(0), "\\");
}

TEST(FlowFilterJson, WhatIsNoFilterIsRefusedAndAddsNothing) {
  for (const auto* text :
       {"verdict=DROPPED", "{}x", "{", R"({"pod":["a"]})", "[]",
        R"({"verdict":["DENIED"]})", R"({"source_pod":["a"})", "}"}) {
    Filters filters;
    filters.Add();
    EXPECT_FALSE(add_filters(text, filters)) << text;
    EXPECT_EQ(filters.size(), 1) << text;
  }
  Filters filters;
  const auto unknown = add_filters(R"({"pod":["a"]})", filters);
  EXPECT_NE(unknown.error().message.find("pod"), std::string::npos)
      << unknown.error().message;
}

}  // namespace
}  // namespace sluice::flow
