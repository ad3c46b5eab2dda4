// SPDX-License-Identifier: Apache-2.0
#include "operator/program/flow_gate.h"

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/kube/api/requests.h"
#include "lib/wire/authenticator.h"
#include "tests/unit/kube/api/server.h"

namespace sluice::operatord {
namespace {

using grpc::StatusCode;
using nlohmann::json;

// An API server, whose users are named as their tokens.
class OperatorFlowGate : public ::testing::Test {
 protected:
  void reply(const kube::test::HttpRequest& request, kube::test::Peer& peer) {
    if (down_) {
      peer.reply(500, R"({"message":"out of order"})");
      return;
    }
    const json spec = json::parse(request.body)["spec"];
    json status;
    if (request.path.ends_with("tokenreviews")) {
      const std::string token = spec["token"];
      if (rights_.contains(token)) {
        status = {{"authenticated", true}, {"user", {{"username", token}}}};
      } else {
        status = {{"error", "unknown token"}};
      }
    } else {
      const auto& asked = spec["resourceAttributes"];
      status["allowed"] =
          asked["resource"] == "flows" && asked["verb"] == "list" &&
          rights_.at(spec["user"]).contains(asked.value("namespace", ""));
    }
    peer.reply(201, json{{"status", status}}.dump());
  }

  flow::Admission admit(FlowGate& gate, const std::string& token,
                        const std::vector<std::string>& namespaces = {}) {
    std::optional<flow::Admission> result;
    gate.admit("Bearer " + token, namespaces,
               [&](const flow::Admission& admission) { result = admission; });
    EXPECT_TRUE(kube::test::run_until(*loop_, [&] { return !!result; }));
    return result.value_or(flow::Admission{});
  }

  // By token: namespaces; "": everywhere.
  const std::map<std::string, std::set<std::string>> rights_{
      {"admin", {""}}, {"tenant", {"shop"}}, {"nobody", {}}};
  std::atomic<bool> down_ = false;
  std::unique_ptr<Loop> loop_ = *Loop::create();
  kube::test::FakeServer server_{
      [this](const auto& request, auto& peer) { reply(request, peer); }};
  std::unique_ptr<kube::Client> client_ =
      *kube::Client::create(*loop_, server_.config());
};

TEST_F(OperatorFlowGate, GivesWhatTheApiServerAllows) {
  FlowGate gate(*loop_, *client_);
  const auto admin = admit(gate, "admin", {"bank"});
  EXPECT_TRUE(admin.status.ok());
  EXPECT_EQ(admin.user, "admin");
  EXPECT_TRUE(admin.everything);
  const auto tenant = admit(gate, "tenant", {"bank", "shop"});
  EXPECT_TRUE(tenant.status.ok());
  EXPECT_FALSE(tenant.everything);
  EXPECT_EQ(tenant.namespaces, (std::vector<std::string>{"shop"}));
  EXPECT_NE(tenant.missing.find("bank"), std::string::npos) << tenant.missing;
  const auto nobody = admit(gate, "nobody", {"shop"});
  EXPECT_FALSE(nobody.everything);
  EXPECT_TRUE(nobody.namespaces.empty());
  const auto stranger = admit(gate, "stranger", {"shop"});
  EXPECT_EQ(stranger.status.error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_FALSE(stranger.everything);
  EXPECT_TRUE(stranger.namespaces.empty());
}

TEST_F(OperatorFlowGate, RemembersAnswersForAWhile) {
  FlowGate gate(*loop_, *client_);
  (void)admit(gate, "tenant", {"bank", "shop"});
  const auto asked = server_.requests().size();
  const auto again = admit(gate, "tenant", {"shop"});
  EXPECT_EQ(again.namespaces, (std::vector<std::string>{"shop"}));
  EXPECT_EQ(server_.requests().size(), asked);
  FlowGate forgetful(*loop_, *client_,
                     {.remember = {}, .remember_refusal = {}});
  (void)admit(forgetful, "tenant", {"shop"});
  const auto before = server_.requests().size();
  (void)admit(forgetful, "tenant", {"shop"});
  EXPECT_GT(server_.requests().size(), before);
}

TEST_F(OperatorFlowGate, WhatCannotBeCheckedIsRefused) {
  FlowGate gate(*loop_, *client_, {.remember = {}});
  EXPECT_TRUE(admit(gate, "admin").everything);
  down_ = true;
  const auto admission = admit(gate, "admin");
  EXPECT_EQ(admission.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_FALSE(admission.everything);
}

TEST_F(OperatorFlowGate, StrangersDoNotKeepOthersOut) {
  FlowGate gate(*loop_, *client_, {.remember = {}, .strangers_per_second = 5});
  EXPECT_TRUE(admit(gate, "admin").everything);
  StatusCode last = StatusCode::OK;
  for (int i = 0; i < 100 && last != StatusCode::RESOURCE_EXHAUSTED; ++i) {
    last = admit(gate, "stranger" + std::to_string(i)).status.error_code();
  }
  EXPECT_EQ(last, StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(admit(gate, "admin").everything);
}

TEST(OperatorFlowGateTokens, TheTokenOfAHeader) {
  EXPECT_EQ(token_in("Bearer abc.def"), "abc.def");
  EXPECT_EQ(token_in("Basic " + kube::base64_encode("me:abc")), "abc");
  EXPECT_EQ(token_in("Basic " + kube::base64_encode(":a:b")), "a:b");
  for (const auto* none : {"", "abc", "bearer abc", "Bearer", "Bearer ",
                           "Basic abc", "Basic ?", "Basic ", "Digest abc"}) {
    EXPECT_EQ(token_in(none), "") << none;
  }
  EXPECT_EQ(token_in("Basic " + kube::base64_encode("no colon")), "");
  EXPECT_EQ(token_in("Bearer " + std::string(wire::kTokenBytesMax, 'x')), "");
}

}  // namespace
}  // namespace sluice::operatord
