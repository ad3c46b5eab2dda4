// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "lib/kube/decode.h"
#include "tests/unit/policy/parse_helpers.h"

// Every object of the test vectors is accepted or rejected as they say.
namespace sluice::policy::test {
namespace {

namespace fs = std::filesystem;

std::string gunzip(const fs::path& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(
      gzopen(path.c_str(), "rb"), gzclose);
  if (!file) {
    ADD_FAILURE() << "cannot open " << path;
    return {};
  }
  std::string text;
  std::vector<char> buffer(1 << 20);
  int count = 0;
  while ((count = gzread(file.get(), buffer.data(),
                         static_cast<unsigned>(buffer.size()))) > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  EXPECT_EQ(count, 0) << "cannot read " << path;
  return text;
}

// Calls `visit` with each scenario.
template <typename Visit>
void each_scenario(const std::string& name, const Visit& visit) {
  const std::string text =
      gunzip(fs::path(SLUICE_SOURCE_DIR) / "tests/vectors" / name);
  std::size_t at = 0;
  while (at < text.size()) {
    const auto end = text.find('\n', at);
    visit(json::parse(text.substr(at, end - at)));
    at = end == std::string::npos ? text.size() : end + 1;
  }
}

std::string key_of(const json& object) {
  return object["metadata"].value("namespace", "") + "/" +
         object["metadata"].value("name", "");
}

struct Counts {
  int policies = 0;
  int groups = 0;
  int others = 0;
};

// Decodes an object that is no policy; the error's text, or "".
std::string decode_error(const json& object, Counts& counts) {
  const std::string kind = object["kind"];
  const auto text = [](const auto& result) {
    return result ? std::string() : result.error().message;
  };
  ++(kind == "CiliumCIDRGroup" ? counts.groups : counts.others);
  if (kind == "Namespace") {
    return text(kube::decode_namespace(object));
  }
  if (kind == "Pod") {
    return text(kube::decode_pod(object));
  }
  if (kind == "Node") {
    return text(kube::decode_node(object));
  }
  if (kind == "EndpointSlice") {
    return text(kube::decode_endpoint_slice(object));
  }
  if (kind == "CiliumCIDRGroup") {
    return text(kube::decode_cidr_group(object));
  }
  return "no decoder for " + kind;
}

class Vectors : public testing::TestWithParam<std::string> {};

TEST_P(Vectors, every_object_is_accepted) {
  Counts counts;
  each_scenario(GetParam(), [&](const json& scenario) {
    for (const json& object : scenario["objects"]) {
      if (is_policy(object["apiVersion"].get<std::string>(),
                    object["kind"].get<std::string>())) {
        const auto policy = parse_policy(object);
        EXPECT_TRUE(policy.has_value())
            << scenario["name"] << ": " << policy.error().message;
        ++counts.policies;
      } else {
        EXPECT_EQ(decode_error(object, counts), "") << scenario["name"];
      }
    }
  });
  // Nothing read would be nothing wrong.
  EXPECT_GT(counts.policies, 40);
  EXPECT_GT(counts.others, 100);
}

INSTANTIATE_TEST_SUITE_P(
    files, Vectors,
    testing::Values("cnp-handwritten.jsonl.gz", "cnp-random.jsonl.gz",
                    "netpol-random.jsonl.gz", "netpol-disputed.jsonl.gz",
                    "decided.jsonl.gz"),
    [](const auto& test) {
      std::string name = test.param.substr(0, test.param.find('.'));
      std::ranges::replace(name, '-', '_');
      return name;
    });

TEST(VectorsInvalid, exactly_the_listed_objects_are_rejected) {
  int rejected = 0;
  int kept = 0;
  each_scenario("cnp-invalid.jsonl.gz", [&](const json& scenario) {
    std::set<std::string> invalid;
    for (const json& entry : scenario["invalid"]) {
      if (entry["stage"] != "preflight-only") {
        invalid.insert(entry["object"].get<std::string>());
      }
    }
    for (const json& object : scenario["objects"]) {
      if (!is_policy(object["apiVersion"].get<std::string>(),
                     object["kind"].get<std::string>())) {
        continue;
      }
      const auto policy = parse_policy(object);
      if (invalid.contains(key_of(object))) {
        EXPECT_FALSE(policy.has_value()) << scenario["name"];
        if (!policy) {
          // "spec.ingress[0].toPorts[0]: ..."
          EXPECT_THAT(
              policy.error().message,
              testing::MatchesRegex("(spec|metadata)[a-zA-Z.]*[^ :]*[^:]*: .+"))
              << scenario["name"];
        }
        ++rejected;
      } else {
        EXPECT_TRUE(policy.has_value())
            << scenario["name"] << ": " << policy.error().message;
        ++kept;
      }
    }
  });
  EXPECT_EQ(rejected, 78);
  EXPECT_EQ(kept, 19);
}

}  // namespace
}  // namespace sluice::policy::test
