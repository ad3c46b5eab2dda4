// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/edge_views.h"

#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "relay.pb.h"
#include "tests/unit/ui/store_sources.h"

namespace sluice::ui {
namespace {

using std::chrono::seconds;

EdgeQuery query_of(const Arguments& arguments) {
  auto query = parse_edge_query(arguments);
  EXPECT_TRUE(query) << query.error().message;
  return std::move(*query);
}

TEST(EdgeViews, ReadsWhatThereWasAndWhatComes) {
  StoreSources sources;
  EdgeViews views(sources, 7);
  sources.add("web");
  sources.add("web");
  const auto query = query_of({});
  auto* view = views.read(query, seconds(10)).value();
  EXPECT_TRUE(view->caught_up);
  EXPECT_EQ(view->id, 7U);
  EXPECT_EQ(view->table.changes(), 2U);
  sources.add("web");
  view = views.read(query, seconds(10)).value();
  EXPECT_EQ(view->table.changes(), 3U);
  EXPECT_EQ(view->table.size(), 1U);
  EXPECT_EQ(view->notes.lost, 0U);
}

TEST(EdgeViews, SayHowManyFlowsAReaderHasMissed) {
  StoreSources sources;
  EdgeViews views(sources, 7);
  sources.add("web");
  const auto query = query_of({});
  EXPECT_EQ(views.read(query, seconds(10)).value()->notes.lost, 0U);
  for (int i = 0; i < 100; ++i) {
    sources.add("web");  // of which the store keeps 64
  }
  const auto* view = views.read(query, seconds(10)).value();
  EXPECT_EQ(view->notes.lost, 36U);
  EXPECT_EQ(view->table.changes(), 65U);
}

TEST(EdgeViews, OfTheSameFiltersAreOneAndOldOnesGo) {
  StoreSources sources;
  EdgeViews views(sources, 7);
  sources.add("web");
  sources.add("cart");
  const auto web = query_of({{"from-pod", "shop/web"}});
  EXPECT_EQ(views.read(web, seconds(10)).value()->table.changes(), 1U);
  EXPECT_EQ(views.read(web, seconds(10)).value()->id, 7U);
  for (int i = 0; i < 8; ++i) {
    const auto other =
        query_of({{"from-pod", "shop/other" + std::to_string(i)}});
    EXPECT_EQ(views.read(other, seconds(10)).value()->table.changes(), 0U);
  }
  EXPECT_EQ(views.read(web, seconds(10)).value()->id, 16U);
}

TEST(EdgeViews, RefusesFiltersThatTheStoreDoes) {
  StoreSources sources;
  EdgeViews views(sources, 7);
  EXPECT_FALSE(views.read(query_of({{"label", "app in"}}), seconds(10)));
}

::observer::GetFlowsResponse node_is(const std::string& node,
                                     ::relay::NodeState state) {
  ::observer::GetFlowsResponse response;
  response.mutable_node_status()->set_state_change(state);
  response.mutable_node_status()->add_node_names(node);
  response.mutable_node_status()->set_message("away");
  return response;
}

TEST(EdgeViews, AFeedThatHasEndedIsBegunAnew) {
  StoreSources sources;
  sources.messages = {node_is("n1", ::relay::NODE_CONNECTED)};
  EdgeViews views(sources, 7);
  const auto query = query_of({});
  const auto* view = views.read(query, seconds(10)).value();
  EXPECT_EQ(view->id, 7U);
  EXPECT_TRUE(view->caught_up);
  EXPECT_EQ(view->problem, "");
  sources.problem = "403 Forbidden";
  view = views.read(query, seconds(10)).value();
  EXPECT_EQ(view->id, 8U);
  EXPECT_EQ(view->problem, "403 Forbidden");
  sources.messages.clear();
  sources.problem.clear();
  sources.add("web");
  view = views.read(query, seconds(10)).value();
  EXPECT_EQ(view->id, 9U);
  EXPECT_EQ(view->table.changes(), 1U);
  EXPECT_EQ(views.read(query, seconds(10)).value()->id, 9U);
}

TEST(EdgeViews, SayOfWhichNodesFlowsAreMissing) {
  StoreSources sources;
  sources.messages = {node_is("n1", ::relay::NODE_CONNECTED),
                      node_is("n2", ::relay::NODE_UNAVAILABLE),
                      node_is("n3", ::relay::NODE_ERROR),
                      node_is("n4", ::relay::NODE_UNAVAILABLE),
                      node_is("n4", ::relay::NODE_CONNECTED),
                      node_is("n5", ::relay::NODE_UNAVAILABLE),
                      node_is("n5", ::relay::NODE_GONE)};
  EdgeViews views(sources, 7);
  const auto* view = views.read(query_of({}), seconds(10)).value();
  EXPECT_THAT(view->notes.away,
              testing::ElementsAre(testing::Pair("n2", "away"),
                                   testing::Pair("n3", "away")));
}

}  // namespace
}  // namespace sluice::ui
