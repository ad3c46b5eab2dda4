// SPDX-License-Identifier: Apache-2.0
#include "cli/scenario.h"

#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <zlib.h>

namespace sluice::cli {
namespace {

using ::testing::HasSubstr;

const std::string kProbe =
    R"({"from":{"pod":"n/a"},"to":{"ip":"10.0.0.1"},"protocol":"TCP","port":80,"egress":"allow"})";

std::string scenario(const std::string& probe, const std::string& more = "") {
  return R"({"name":"one","objects":[],"probes":[)" + probe + "]" + more + "}";
}

class ScenarioFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = ::testing::TempDir() + "scenario-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<std::vector<Scenario>> read(const std::string& name,
                                     const std::string& content) {
    const auto path = folder_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return read_path(path);
  }
  static Result<std::vector<Scenario>> read_path(
      const std::filesystem::path& path) {
    std::vector<Scenario> scenarios;
    const auto result =
        read_scenarios(path, [&](const Scenario& s) -> Result<void> {
          scenarios.push_back(s);
          return {};
        });
    if (!result) {
      return std::unexpected(result.error());
    }
    return scenarios;
  }
  // The error that a file of one line gives.
  std::string error_of(const std::string& line) {
    const auto result = read("broken.jsonl", line + "\n");
    return result ? "accepted" : result.error().message;
  }

  std::filesystem::path folder_;
};

TEST_F(ScenarioFile, EveryFormatGivesTheSame) {
  const std::string yaml =
      "objects: []\nprobes:\n- {from: {pod: n/a}, to: {ip: 10.0.0.1}, port: "
      "80/TCP, egress: allow}\n";
  const std::vector<std::pair<std::string, std::string>> files{
      {"a.jsonl", scenario(kProbe) + "\n\n" + scenario(kProbe)},
      {"a.json", "[" + scenario(kProbe) + "," + scenario(kProbe) + "]"},
      {"a.yaml", yaml + "---\n" + yaml},
      {"a.yml", yaml + "---\n" + yaml}};
  for (const auto& [name, content] : files) {
    const auto result = read(name, content);
    ASSERT_TRUE(result) << name << ": " << result.error().message;
    ASSERT_EQ(result->size(), 2U) << name;
    const Probe& probe = result->back().probes.at(0);
    EXPECT_EQ(to_string(probe), "n/a -> 10.0.0.1 80/TCP") << name;
    EXPECT_EQ(probe.egress, Verdict::kAllow) << name;
    EXPECT_EQ(probe.ingress, std::nullopt) << name;
  }
}

TEST_F(ScenarioFile, GzipIsRead) {
  const auto path = folder_ / "a.jsonl.gz";
  const std::string line = scenario(kProbe) + "\n";
  gzFile file = gzopen(path.c_str(), "wb");
  for (int i = 0; i < 5000; ++i) {
    ASSERT_GT(gzputs(file, line.c_str()), 0);
  }
  ASSERT_EQ(gzclose(file), Z_OK);
  const auto result = read_path(path);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->size(), 5000U);
  EXPECT_EQ(result->back().line, 5000);

  // Cut off in the middle: an error, not a shorter file.
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 20);
  const auto cut = read_path(path);
  ASSERT_FALSE(cut);
  EXPECT_THAT(cut.error().message, HasSubstr("broken gzip"));
}

TEST_F(ScenarioFile, OtherProtocolsAndIcmp) {
  const auto probe = [&](const std::string& l4) {
    const auto result = read(
        "a.jsonl", scenario(R"({"from":{"entity":"host"},"to":{"pod":"n/a"},)" +
                            l4 + "}"));
    return result ? to_string(result->at(0).probes.at(0))
                  : result.error().message;
  };
  EXPECT_EQ(probe(R"("protocol":"GRE")"), "host -> n/a GRE");
  EXPECT_EQ(probe(R"("protocol":89)"), "host -> n/a protocol 89");
  EXPECT_EQ(probe(R"("protocol":"ICMPv6","icmpType":128)"),
            "host -> n/a ICMPv6 type 128");
  EXPECT_EQ(probe(R"("icmpType":3,"icmpCode":4)"),
            "host -> n/a ICMP type 3 code 4");
  EXPECT_EQ(probe(R"("port":"53/UDP")"), "host -> n/a 53/UDP");
}

TEST_F(ScenarioFile, ErrorsNameFileLineAndField) {
  const auto result =
      read("a.jsonl",
           scenario(kProbe) + "\n" +
               scenario(R"({"from":{"pod":"n/a"},"to":{"ip":"x"},"port":1})"));
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message,
              HasSubstr("a.jsonl:2: probes[0].to.ip: not an address: x"));
}

TEST_F(ScenarioFile, ErrorsAndProbesNameTheirOwnLine) {
  const std::string probe =
      "  - {from: {pod: n/a}, to: {ip: 10.0.0.1}, port: 1, egress: allow}\n";
  const std::string list = "- objects: []\n  probes:\n" + probe + probe +
                           "- probes:\n" + probe + "  objects: []\n";
  const auto result = read("a.yaml", list);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->at(0).probes.at(0).line, 3);
  EXPECT_EQ(result->at(0).probes.at(1).line, 4);
  EXPECT_EQ(result->at(1).probes.at(0).line, 6);
  const auto broken = read(
      "b.yaml", list + "- objects: []\n  probes:\n" + probe + "  - wait: -1\n");
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("b.yaml:11: probes[1]"));
  const auto json = read("a.json", "{\"objects\": [],\n\"probes\": [\n" +
                                       kProbe + ",\n" + kProbe + "]}");
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(json->at(0).probes.at(1).line, 4);
}

TEST_F(ScenarioFile, WhatIsNotUnderstoodIsNotPassedOver) {
  const std::string ends = R"({"from":{"pod":"n/a"},"to":{"pod":"n/b"},)";
  const std::vector<std::pair<std::string, std::string>> rows{
      {scenario(ends + R"("port":80,"ingres":"allow"})"), "ingres: unknown"},
      {scenario(ends + R"("port":80,"ingress":"yes"})"), "ingress: not allow"},
      {scenario(ends + R"("port":65536})"), "port: neither a number"},
      {scenario(ends + R"("port":-1})"), "port: neither a number"},
      {scenario(ends + R"("port":1.5})"), "port: neither a number"},
      {scenario(ends + R"("port":"80-70"})"), "port: neither a number"},
      {scenario(ends + R"("port":"0-70"})"), "port: neither a number"},
      {scenario(ends + R"("port":"1-65536"})"), "port: neither a number"},
      {scenario(ends + R"("port":"HTTP"})"), "port: neither a number"},
      {scenario(ends + R"("port":1,"verdict":"none"})"), "verdict: not allow"},
      {scenario(R"({"from":{"service":"n/a"},"to":{"pod":"n/b"},"port":1})"),
       "from.service: a Service sends nothing"},
      {scenario(R"({"from":{"pod":"n/a"},"to":{"ip":"10.0.0.1"},"port":"x"})"),
       "only ports of pods and Services have names"},
      {scenario(ends + R"("protocol":"tcp","port":1})"), "protocol: unknown"},
      {scenario(ends + R"("protocol":"UDP","port":"1/TCP"})"), "contradictory"},
      {scenario(ends + R"("protocol":"TCP"})"), "port: missing"},
      {scenario(ends + R"("protocol":"ICMP"})"), "icmpType: missing"},
      {scenario(ends + R"("icmpType":256})"), "icmpType: not a number"},
      {scenario(ends + R"("protocol":"ICMP","port":1})"), "no ports"},
      {scenario(R"({"from":{"pod":"a"},"to":{"pod":"n/b"},"port":1})"),
       "from.pod: not namespace/name"},
      {scenario(R"({"from":{"entity":"hosts"},"to":{"pod":"n/b"},"port":1})"),
       "unknown entity"},
      {scenario("", R"(,"prbes":[])"), "prbes: unknown field"},
      {R"({"probes":[]})", "objects: missing"},
      {R"({"objects":[]})", "probes: missing"},
      {R"({"objects":[{}],"probes":[]})", "objects[0].apiVersion: missing"},
      {R"({"objects":{},"probes":[]})", "objects: not a list"},
      {"[1]", "object"},
      {"{", "broken.jsonl:1"},
      {std::string(100000, '['), "broken.jsonl:1"}};
  for (const auto& [line, what] : rows) {
    EXPECT_THAT(error_of(line), HasSubstr(what)) << line.substr(0, 200);
  }
}

TEST_F(ScenarioFile, ManifestsAreReadFromWhereTheyAreKept) {
  std::filesystem::create_directories(folder_ / "policies/more");
  std::ofstream(folder_ / "policies/a.yaml")
      << "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n"
         "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";
  std::ofstream(folder_ / "policies/more/c.json")
      << R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}})";
  std::ofstream(folder_ / "policies/README") << "nothing of ours";
  const auto read_it = read("s.yaml", "manifests: [policies]\nprobes: []\n");
  ASSERT_TRUE(read_it) << read_it.error().message;
  EXPECT_EQ(read_it->at(0).objects.size(), 3U);
  const auto one = read("s.yaml",
                        "objects: []\nmanifests: [policies/more/c.json, "
                        "policies/a.yaml]\nprobes: []\n");
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_EQ(one->at(0).objects.size(), 3U);
  EXPECT_THAT(read("s.yaml", "manifests: [none]\nprobes: []\n").error().message,
              HasSubstr("s.yaml:1: manifests: "));
  std::ofstream(folder_ / "policies/broken.yaml") << "{";
  EXPECT_THAT(
      read("s.yaml", "manifests: [policies]\nprobes: []\n").error().message,
      HasSubstr("broken.yaml:1"));
}

TEST_F(ScenarioFile, ListsAreTakenApart) {
  const auto result = read(
      "s.yaml",
      "objects:\n- apiVersion: v1\n  kind: List\n  items:\n"
      "  - {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"
      "  - {apiVersion: v1, kind: Namespace, metadata: {name: b}}\nprobes: []\n");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->at(0).objects.size(), 2U);
  EXPECT_THAT(
      error_of(
          R"({"objects":[{"apiVersion":"v1","kind":"List","items":[{}]}],"probes":[]})"),
      HasSubstr("objects[0].items[0].apiVersion: missing"));
}

TEST_F(ScenarioFile, SizesAreBounded) {
  EXPECT_THAT(error_of(std::string((std::size_t{16} << 20) + 1, ' ')),
              HasSubstr("longer than 16 MiB"));
}

TEST_F(ScenarioFile, WithoutAScenarioIsAnError) {
  for (const char* name : {"a.jsonl", "a.jsonl.gz", "a.yaml"}) {
    for (const char* content : {"", "\n", " \n\n"}) {
      EXPECT_THAT(read(name, content).error().message,
                  HasSubstr(std::string(name) + ": holds no scenario"));
    }
  }
  EXPECT_FALSE(read("a.json", "[]"));
  EXPECT_FALSE(read("a.yaml", "# name: one\n---\n"));
}

TEST_F(ScenarioFile, AnErrorOfTheHandlerEndsTheReading) {
  const auto path = folder_ / "a.jsonl";
  std::ofstream(path) << scenario(kProbe) << "\n" << scenario(kProbe) << "\n";
  int calls = 0;
  const auto result =
      read_scenarios(path, [&](const Scenario&) -> Result<void> {
        ++calls;
        return fail("enough");
      });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "enough");
  EXPECT_EQ(calls, 1);
}

TEST_F(ScenarioFile, MissingFilesAndOtherNamesAreErrors) {
  EXPECT_THAT(read_path(folder_ / "none.jsonl.gz").error().message,
              HasSubstr("No such file"));
  EXPECT_THAT(read("a.txt", "").error().message,
              HasSubstr("not a scenario file"));
  EXPECT_THAT(read("a.yaml", "objects: []\nname: \xff\n").error().message,
              HasSubstr("a.yaml:2: not UTF-8"));
  EXPECT_FALSE(is_scenario_file("policy.txt"));
  EXPECT_TRUE(is_scenario_file("a/b.jsonl.gz"));
}

TEST_F(ScenarioFile, HasAnswersQuestionsAndTimeBetweenProbes) {
  const std::string server =
      R"("pod":"n/a","server":{"ip":"10.0.0.9"},"name":"a.test")";
  const auto result = read(
      "a.jsonl",
      scenario(
          R"({"dns":{)" + server +
          R"(,"cname":["b.test"],"answers":["1.2.3.4","fd00::1"],"ttl":7}},)" +
          kProbe + R"(,{"wait":90},{"question":{)" + server +
          R"(,"protocol":"TCP","port":5353,"expect":"refused"}})"));
  ASSERT_TRUE(result) << result.error().message;
  const auto& steps = result->at(0).steps;
  ASSERT_EQ(result->at(0).probes.size(), 1U);
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_EQ(steps[0].probe, 0U);
  EXPECT_EQ(steps[1].probe, 1U);
  EXPECT_EQ(steps[2].probe, 1U);
  const auto& answer = std::get<ScenarioStep::Answer>(steps[0].what);
  EXPECT_EQ(to_string(answer.asked.probe), "n/a -> 10.0.0.9 53/UDP");
  EXPECT_EQ(answer.asked.name, "a.test");
  EXPECT_THAT(answer.cname, ::testing::ElementsAre("b.test"));
  EXPECT_THAT(answer.addresses, ::testing::ElementsAre(*parse_ip("1.2.3.4"),
                                                       *parse_ip("fd00::1")));
  EXPECT_EQ(answer.ttl_s, 7U);
  EXPECT_EQ(std::get<ScenarioStep::Wait>(steps[1].what).seconds, 90U);
  const auto& may = std::get<ScenarioStep::MayAsk>(steps[2].what);
  EXPECT_EQ(to_string(may.asked.probe), "n/a -> 10.0.0.9 5353/TCP");
  EXPECT_FALSE(may.expected);
}

TEST_F(ScenarioFile, AnErrorInAnAnswerNamesTheField) {
  const std::string server =
      R"("pod":"n/a","server":{"ip":"10.0.0.9"},"name":"a.test")";
  const std::vector<std::pair<std::string, std::string>> all{
      {R"({"dns":{"pod":"n/a","name":"a"}})", "dns.server: not one of"},
      {R"({"dns":{"server":{"ip":"1.2.3.4"},"name":"a"}})", "dns.pod: missing"},
      {R"({"dns":{"pod":"a","server":{"ip":"1.2.3.4"},"name":"a"}})",
       "not namespace/name"},
      {R"({"dns":{"pod":"n/a","server":{"entity":"host"},"name":"a"}})",
       "dns.server: not one of"},
      {R"({"dns":{"pod":"n/a","server":{"ip":"1.2.3.4"},"name":"a..b"}})",
       R"(dns.name: "a..b")"},
      {R"({"dns":{)" + server + R"(,"cname":["a..b"]}})",
       R"(dns.cname: "a..b")"},
      {R"({"dns":{)" + server + R"(,"answers":["x"]}})",
       "dns.answers: not an address: x"},
      {R"({"dns":{)" + server + R"(,"ttl":-1}})", "dns.ttl: not a number"},
      {R"({"dns":{)" + server + R"(,"protocol":"SCTP"}})",
       "dns.protocol: not TCP or UDP"},
      {R"({"dns":{)" + server + R"(,"x":1}})", "dns.x: unknown field"},
      {R"({"dns":7})", "dns: not an object"},
      {R"({"question":{)" + server + "}}", "question.expect: not allow"},
      {R"({"wait":"1"})", "wait: not a number"}};
  for (const auto& [element, error] : all) {
    EXPECT_THAT(error_of(scenario(element)), HasSubstr(error)) << element;
  }
}

}  // namespace
}  // namespace sluice::cli
