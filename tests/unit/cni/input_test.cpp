// SPDX-License-Identifier: Apache-2.0
#include "cni/input.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cni/plugin.h"
#include "cni/raw_json.h"

namespace sluice::cni {
namespace {

using nlohmann::json;

constexpr const char* kPrev = R"({
  "cniVersion": "1.0.0", "odd\"}": [1, {"a": "]}"}], "exact": 1.0e2,
  "interfaces": [{"name": "cni0"}, {"name": "veth1", "mac": "x"},
                 {"name": "eth0", "sandbox": "/run/netns/a"}],
  "ips": [{"address": "10.0.0.5/24", "interface": 2}, {"address": "10.0.0.6/24"},
          {"address": "fd00::5/64"}] } )";

std::string conf(const std::string& more) {
  return R"({"cniVersion": "1.0.0", "name": "net", "type": "sluice-cni")" +
         more + "}";
}

TEST(CniInput, PrevResultIsKeptByteForByte) {
  std::string prev = kPrev;
  prev = prev.substr(0, prev.rfind('}') + 1);
  const auto config = parse_config(conf(", \"prevResult\" : " + prev + " "));
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_TRUE(config->prev);
  EXPECT_EQ(config->prev->text, prev);
  EXPECT_EQ(config->prev->host_interfaces,
            (std::vector<std::string>{"cni0", "veth1"}));
  EXPECT_EQ(config->prev->ips, (std::vector<IpAddress>{*parse_ip("10.0.0.5"),
                                                       *parse_ip("fd00::5")}));
}

TEST(CniInput, LastMemberOfANameCountsHoweverItIsWritten) {
  const std::string text =
      R"({"a":1,"prev\u0052esult":{"x":2},"b":"prevResult"})";
  const auto found = find_member(text, "prevResult");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->of(text), R"({"x":2})");
  EXPECT_FALSE(find_member(text, "x"));
  EXPECT_FALSE(find_member("{}", "x"));
}

TEST(CniInput, OptionsHaveDefaultsAndBounds) {
  const auto plain = parse_config(conf(""));
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->socket, kDefaultSocket);
  EXPECT_EQ(plain->timeout, kDefaultTimeout);
  EXPECT_EQ(plain->on_timeout, OnTimeout::kFail);
  const auto said = parse_config(
      conf(R"(,"socket":"/a","timeoutSeconds":0.25,"onTimeout":"closed")"));
  ASSERT_TRUE(said);
  EXPECT_EQ(said->socket, "/a");
  EXPECT_EQ(said->timeout, std::chrono::milliseconds(250));
  EXPECT_EQ(said->on_timeout, OnTimeout::kClosed);
  for (const char* wrong :
       {R"(,"timeoutSeconds":0)", R"(,"timeoutSeconds":121)",
        R"(,"timeoutSeconds":"1")", R"(,"timeoutSeconds":1e999)",
        R"(,"onTimeout":"maybe")", R"(,"onTimeout":1)", R"(,"socket":[])",
        R"(,"prevResult":"x")", R"(,"prevResult":{"ips":{}})",
        R"(,"prevResult":{"ips":[1]})", R"(,"prevResult":{"interfaces":[1]})",
        R"(,"cni.dev/valid-attachments":1)"}) {
    const auto config = parse_config(conf(wrong));
    EXPECT_FALSE(config) << wrong;
  }
}

TEST(CniInput, PodIsNamedByTheArguments) {
  const auto pod = parse_pod(
      "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=c;x");
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->ns + "/" + pod->name + " " + pod->uid, "a/b c");
  for (const char* wrong :
       {"", "K8S_POD_NAME=b", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=../b",
        "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=\n"}) {
    EXPECT_FALSE(parse_pod(wrong)) << wrong;
  }
}

TEST(CniInput, VersionIsAnsweredWithoutAConfiguration) {
  for (const char* input : {"", "x", R"({"cniVersion":"0.4.0"})"}) {
    const auto outcome = run({.command = "VERSION"}, input);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(json::parse(outcome.output)["supportedVersions"].size(),
              kVersions.size());
  }
}

TEST(CniInput, ErrorsAreObjectsWithACodeAndASentence) {
  const auto outcome = run({.command = "ADD",
                            .container = "c",
                            .ifname = "eth0",
                            .args = "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"},
                           conf(""));
  EXPECT_EQ(outcome.exit_code, 1);
  const auto error = json::parse(outcome.output);
  EXPECT_EQ(error["code"], 7);
  EXPECT_EQ(error["cniVersion"], "1.0.0");
  EXPECT_TRUE(error["msg"].get<std::string>().ends_with("."));
}

// What is gone is gone, whoever is there to hear it.
TEST(CniInput, DeletionNeedsNeitherAgentNorInterface) {
  const auto outcome = run({.command = "DEL", .container = "c"},
                           conf(R"(,"socket":"/nowhere/at/all")"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(outcome.output, "");
}

}  // namespace
}  // namespace sluice::cni
