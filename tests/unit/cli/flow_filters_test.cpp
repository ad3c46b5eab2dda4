// SPDX-License-Identifier: Apache-2.0
#include "cli/flow_filters.h"

#include <string>

#include <CLI/CLI.hpp>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "observer.pb.h"

namespace sluice::cli {
namespace {

// The request of a command line, on one line; or the error.
std::string request_of(const std::string& options) {
  CLI::App app;
  const FlowFilters filters(app);
  try {
    app.parse(options, false);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  ::observer::GetFlowsRequest request;
  if (const auto added = filters.add_to(request); !added) {
    return added.error().message;
  }
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  EXPECT_TRUE(printer.PrintToString(request, &text));
  return text;
}

TEST(FlowFilters, OneEndIsOneFilterAndEitherEndIsTwo) {
  EXPECT_EQ(request_of(""), "");
  EXPECT_EQ(request_of("--from-pod shop/web --to-port 80"),
            "whitelist { source_pod: \"shop/web\" destination_port: \"80\" } ");
  EXPECT_EQ(request_of("--pod shop/web"),
            "whitelist { source_pod: \"shop/web\" } "
            "whitelist { destination_pod: \"shop/web\" } ");
  EXPECT_EQ(request_of("--not --verdict dropped"),
            "blacklist { verdict: DROPPED } ");
  EXPECT_EQ(request_of("-6 --from-identity world"),
            "whitelist { source_identity: 2 ip_version: IPv6 } ");
}

TEST(FlowFilters, ANamespaceIsThatOfNamesWithoutOne) {
  EXPECT_EQ(request_of("--from-namespace shop"),
            "whitelist { source_pod: \"shop/\" } ");
  EXPECT_EQ(request_of("--from-namespace shop --from-pod web"),
            "whitelist { source_pod: \"shop/web\" } ");
  EXPECT_EQ(request_of("--from-pod shop/web --from-namespace shop"),
            "whitelist { source_pod: \"shop/web\" } ");
  EXPECT_EQ(request_of("--to-service db --to-namespace shop"),
            "whitelist { destination_service: \"shop/db\" } ");
  EXPECT_EQ(request_of("-n shop --service db"),
            "whitelist { source_service: \"shop/db\" } "
            "whitelist { destination_service: \"shop/db\" } ");
}

TEST(FlowFilters, SaysWhatCannotBe) {
  for (const auto* options :
       {"--from-namespace shop --from-pod bank/web", "--not", "--not --not",
        "--identity nobody", "--verdict maybe", "--tcp-flags XXX", "--type l7",
        "--ip-version v5"}) {
    EXPECT_EQ(request_of(options).find("whitelist"), std::string::npos);
    EXPECT_FALSE(request_of(options).empty()) << options;
  }
}

}  // namespace
}  // namespace sluice::cli
