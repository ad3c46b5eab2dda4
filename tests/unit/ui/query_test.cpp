// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/query.h"

#include <string>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace sluice::ui {
namespace {

std::string text_of(const ::observer::GetFlowsRequest& request) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  EXPECT_TRUE(printer.PrintToString(request, &text));
  return text;
}

// The request of a query, on one line; or the error.
std::string flows_of(const Arguments& arguments) {
  const auto request = parse_flow_query(arguments);
  return request ? text_of(*request) : "error: " + request.error().message;
}

TEST(FlowQuery, HasTheFiltersOfSluiceObserve) {
  EXPECT_EQ(flows_of({}), "number: 100 ");
  EXPECT_EQ(flows_of({{"from-pod", "shop/web"}, {"to-port", "80"}}),
            "number: 100 whitelist { source_pod: \"shop/web\" "
            "destination_port: \"80\" } ");
  EXPECT_EQ(flows_of({{"namespace", "shop"}, {"verdict", "dropped"}}),
            "number: 100 "
            "whitelist { source_pod: \"shop/\" verdict: DROPPED } "
            "whitelist { destination_pod: \"shop/\" verdict: DROPPED } ");
}

TEST(FlowQuery, NotIsAboutTheNextFilterAlone) {
  EXPECT_EQ(flows_of({{"not", ""}, {"to-port", "53"}, {"protocol", "tcp"}}),
            "number: 100 blacklist { destination_port: \"53\" } "
            "whitelist { protocol: \"tcp\" } ");
  for (const Arguments& arguments :
       {Arguments{{"not", ""}}, Arguments{{"not", ""}, {"not", ""}},
        Arguments{{"not", ""}, {"last", "3"}}}) {
    EXPECT_EQ(flows_of(arguments).rfind("error: not: stands before", 0), 0U)
        << flows_of(arguments);
  }
}

TEST(FlowQuery, SaysHowManyAndWhen) {
  EXPECT_EQ(flows_of({{"last", "5"}}), "number: 5 ");
  EXPECT_EQ(flows_of({{"first", "5"}}), "number: 5 first: true ");
  EXPECT_EQ(flows_of({{"since", "1970-01-01T00:00:09Z"}}),
            "number: 1000 since { seconds: 9 } ");
  EXPECT_EQ(flows_of({{"until", "1970-01-01T00:00:09Z"}}),
            "number: 100 until { seconds: 9 } ");
}

TEST(FlowQuery, NamesWhatIsWrong) {
  EXPECT_EQ(flows_of({{"colour", "red"}}),
            "error: colour: there is no such argument");
  EXPECT_EQ(flows_of({{"last", "1001"}}),
            "error: last: must be a number from 1 to 1000");
  EXPECT_EQ(flows_of({{"last", "0"}}),
            "error: last: must be a number from 1 to 1000");
  EXPECT_EQ(flows_of({{"last", "5 "}}),
            "error: last: must be a number from 1 to 1000");
  EXPECT_EQ(flows_of({{"verdict", "maybe"}}),
            "error: verdict: \"maybe\" is not known");
  EXPECT_EQ(flows_of({{"since", "soon"}}).rfind("error: since: ", 0), 0U);
  EXPECT_EQ(flows_of({{"follow", "true"}}),
            "error: follow: there is no such argument");
  EXPECT_EQ(flows_of(Arguments(101, {"to-port", "1"})),
            "error: more than 100 arguments");
}

TEST(EdgeQuery, IsAboutAllFlowsAndThoseToCome) {
  const auto query =
      parse_edge_query({{"verdict", "dropped"}, {"view", "9"}, {"after", "4"}});
  ASSERT_TRUE(query);
  EXPECT_EQ(text_of(query->request),
            "follow: true whitelist { verdict: DROPPED } since { } ");
  EXPECT_EQ(query->view, 9U);
  EXPECT_EQ(query->after, 4U);
}

TEST(EdgeQuery, HasTheSameTextForTheSameFiltersOnly) {
  const auto filters = [](const Arguments& arguments) {
    return parse_edge_query(arguments).value().filters;
  };
  EXPECT_EQ(filters({{"pod", "a"}, {"after", "1"}}),
            filters({{"after", "2"}, {"pod", "a"}}));
  EXPECT_NE(filters({{"pod", "a"}}), filters({{"pod", "b"}}));
  EXPECT_NE(filters({{"pod", "a"}}), filters({{"not", ""}, {"pod", "a"}}));
  EXPECT_NE(filters({{"pod", "a"}}), filters({{"from-pod", "a"}}));
}

TEST(EdgeQuery, RefusesWhatIsAboutSingleFlows) {
  EXPECT_FALSE(parse_edge_query({{"last", "5"}}));
  EXPECT_FALSE(parse_edge_query({{"since", "5m"}}));
  EXPECT_FALSE(parse_edge_query({{"after", "-1"}}));
}

}  // namespace
}  // namespace sluice::ui
