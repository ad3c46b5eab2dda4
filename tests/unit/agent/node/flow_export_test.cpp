// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_export.h"

#include <chrono>
#include <functional>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/agent/node/temporary_folder.h"

namespace sluice::node {
namespace {

using Json = nlohmann::json;

void wait_for(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(condition());
}

class FlowExportTest : public ::testing::Test {
 protected:
  void add(const std::string& pod, bool allowed = true) {
    flow::Record record;
    record.time = 1'700'000'000'000'000'000;
    record.allowed = allowed;
    record.from =
        std::make_shared<const flow::End>(flow::End{.ns = "shop", .pod = pod});
    record.to = std::make_shared<const flow::End>();
    record.decision = std::make_shared<const flow::Decision>();
    store_.add(std::move(record));
  }
  [[nodiscard]] std::unique_ptr<FlowExport> start() const {
    auto started = FlowExport::start(options_, store_, "node1");
    EXPECT_TRUE(started.has_value()) << started.error().message;
    return std::move(*started);
  }
  [[nodiscard]] std::vector<Json> lines() const {
    std::vector<Json> result;
    std::istringstream text(content(options_.path));
    for (std::string line; std::getline(text, line);) {
      result.push_back(Json::parse(line));
    }
    return result;
  }

  TemporaryFolder folder_;
  flow::Store store_{10, 1};
  ExportOptions options_{.path = folder_.path() / "flows.json"};
};

TEST_F(FlowExportTest, AFlowIsALineAsObservePrintsIt) {
  add("web");
  start().reset();  // writes what there is
  const auto all = lines();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0]["node_name"], "node1");
  EXPECT_EQ(all[0]["time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(all[0]["flow"]["source"]["pod_name"], "web");
  EXPECT_EQ(all[0]["flow"]["verdict"], "FORWARDED");
}

TEST_F(FlowExportTest, OnlyWhatTheListsLetPassAndOnlyTheseFields) {
  options_.allow = {R"({"verdict":["DROPPED"]})",
                    R"({"source_pod":["shop/web"]})"};
  options_.deny = {R"({"source_pod":["shop/web-2"]})"};
  options_.fields = {"source.pod_name", "verdict"};
  add("web-1");
  add("web-2");
  add("db");
  add("db-denied", false);
  start().reset();
  const auto all = lines();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(
      all[0]["flow"],
      Json::parse(R"({"source":{"pod_name":"web-1"},"verdict":"FORWARDED"})"));
  EXPECT_EQ(all[1]["flow"]["source"]["pod_name"], "db-denied");
}

TEST_F(FlowExportTest, FlowsOfLaterFollow) {
  const auto exporter = start();
  add("first");
  wait_for([&] { return lines().size() == 1; });
  add("second");
  wait_for([&] { return lines().size() == 2; });
  EXPECT_EQ(exporter->counters().flows, 2U);
}

TEST_F(FlowExportTest, AMissingFolderIsTriedAgainAndWhatIsLostIsTold) {
  const auto folder = folder_.path() / "later";
  options_.path = folder / "flows.json";
  const auto exporter = start();
  add("first");
  wait_for([&] { return exporter->counters().failures > 0; });
  constexpr std::uint64_t kMore = 100'000;
  for (std::uint64_t i = 0; i < kMore; ++i) {
    add("more");
  }
  std::filesystem::create_directory(folder);
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  wait_for([&] {
    seen = lost = 0;
    for (const auto& line : lines()) {
      seen += line.contains("flow") ? 1 : 0;
      if (line.contains("lost_events")) {
        EXPECT_EQ(line["lost_events"]["source"], "HUBBLE_RING_BUFFER");
        lost += std::stoull(
            line["lost_events"]["num_events_lost"].get<std::string>());
      }
    }
    return seen + lost == kMore + 1;
  });
  EXPECT_GT(lost, 0U);
  wait_for([&] { return exporter->counters().flows == seen; });
  EXPECT_EQ(exporter->counters().lost, lost);
}

TEST_F(FlowExportTest, WrongFiltersAreRefusedWithTheirOption) {
  const auto message = [](const ExportOptions& options) {
    const auto checked = FlowExport::check(options);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_TRUE(message({.path = {}, .allow = {"x"}})
                  .starts_with("--export-allowlist: "));
  EXPECT_TRUE(message({.path = {}, .deny = {"{\"a\":1}"}})
                  .starts_with("--export-denylist: "));
  EXPECT_NE(message({.path = {}, .fields = {"pod"}}).find("no field 'pod'"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::node
