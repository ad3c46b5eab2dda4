// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/requests.h"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/kube/api/leader_elector.h"
#include "lib/kube/api/resource.h"
#include "tests/unit/kube/api/server.h"

// Single objects, token reviews, notes for users, and the election by a Lease.
namespace sluice::kube::test {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

class RequestsTest : public testing::Test {
 protected:
  void serve(int status, json answer) {
    server_ = std::make_unique<FakeServer>(
        [status, answer = std::move(answer)](const HttpRequest&, Peer& peer) {
          peer.reply(status, answer.is_string() ? answer.get<std::string>()
                                                : answer.dump());
        });
    client_ = *Client::create(*loop_, server_->config());
  }
  template <typename T, typename Start>
  ApiResult<T> answer(const Start& start) {
    std::optional<ApiResult<T>> result;
    const Call call = start([&](ApiResult<T> got) { result = std::move(got); });
    EXPECT_TRUE(run_until(*loop_, [&] { return result.has_value(); }));
    return result.value_or(std::unexpected(ApiError{}));
  }
  HttpRequest request() { return server_->requests().at(0); }

  std::unique_ptr<Loop> loop_ = *Loop::create();
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(RequestsTest, get) {
  serve(200, {{"kind", "Secret"}});
  const auto got = answer<json>([&](ObjectReply reply) {
    return get_object(*client_, secret_path("x", "s"), std::move(reply));
  });
  ASSERT_TRUE(got);
  EXPECT_EQ((*got)["kind"], "Secret");
  EXPECT_EQ(request().target, "/api/v1/namespaces/x/secrets/s");
}

TEST_F(RequestsTest, an_answer_that_is_no_object_is_an_error) {
  serve(200, "what?");
  const auto got = answer<json>([&](ObjectReply reply) {
    return get_object(*client_, config_map_path("x", "c"), std::move(reply));
  });
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().message,
            "/api/v1/namespaces/x/configmaps/c: the answer is no JSON object");
}

TEST_F(RequestsTest, create_and_replace) {
  serve(201, json::object());
  ASSERT_TRUE(answer<json>([&](ObjectReply reply) {
    return create_object(*client_, config_map_path("x"), {{"a", "\xff"}},
                         std::move(reply));
  }));
  EXPECT_EQ(request().method, "POST");
  EXPECT_EQ(request().target, "/api/v1/namespaces/x/configmaps");
  EXPECT_EQ(request().header("content-type"), "application/json");
  ASSERT_TRUE(answer<json>([&](ObjectReply reply) {
    return replace_object(*client_, "/p", {{"a", 1}}, std::move(reply));
  }));
  EXPECT_EQ(server_->requests().at(1).method, "PUT");
  EXPECT_EQ(server_->requests().at(1).body, R"({"a":1})");
}

TEST_F(RequestsTest, patches_of_a_status) {
  serve(200, json::object());
  const std::string path =
      resource_path(cilium_network_policies(), "v2", "x", "p", "status");
  for (const Patch patch : {Patch::kMerge, Patch::kApply}) {
    ASSERT_TRUE(answer<json>([&](ObjectReply reply) {
      return patch_object(*client_, path, patch, {{"status", {}}}, "sluice",
                          std::move(reply));
    }));
  }
  const auto all = server_->requests();
  EXPECT_EQ(all.at(0).target, path + "?fieldManager=sluice");
  EXPECT_EQ(all.at(0).header("content-type"), "application/merge-patch+json");
  EXPECT_EQ(all.at(1).target, path + "?fieldManager=sluice&force=true");
  EXPECT_EQ(all.at(1).header("content-type"), "application/apply-patch+yaml");
  EXPECT_EQ(all.at(1).method, "PATCH");
}

TEST_F(RequestsTest, a_note_is_an_event_of_its_object) {
  serve(201, json::object());
  ASSERT_TRUE(answer<json>([&](ObjectReply reply) {
    return create_event(*client_,
                        {.reason = "Invalid",
                         .message = std::string(2000, 'e') + "\xc3\xa9",
                         .api_version = "cilium.io/v2",
                         .kind = "CiliumClusterwideNetworkPolicy",
                         .ns = {},
                         .name = "p",
                         .uid = "u",
                         .resource_version = "7",
                         .instance = "operator-1"},
                        std::move(reply));
  }));
  EXPECT_EQ(request().target,
            "/apis/events.k8s.io/v1/namespaces/kube-system/events");
  const json event = json::parse(request().body);
  EXPECT_EQ(event["metadata"]["generateName"], "p-");
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["reason"], "Invalid");
  EXPECT_EQ(event["note"].get<std::string>().size(), 1024U);
  EXPECT_EQ(event["regarding"],
            json({{"apiVersion", "cilium.io/v2"},
                  {"kind", "CiliumClusterwideNetworkPolicy"},
                  {"name", "p"},
                  {"uid", "u"},
                  {"resourceVersion", "7"}}));
  EXPECT_THAT(event["eventTime"].get<std::string>(),
              testing::MatchesRegex("....-..-..T..:..:..\\.......Z"));
}

TEST(MicroTime, has_six_digits) {
  EXPECT_EQ(micro_time(std::chrono::system_clock::time_point(
                std::chrono::microseconds(1'700'000'000'000'042))),
            "2023-11-14T22:13:20.000042Z");
}

TEST_F(RequestsTest, a_token_tells_who_it_belongs_to) {
  serve(201, {{"status",
               {{"authenticated", true},
                {"audiences", {"sluice"}},
                {"user",
                 {{"username", "system:serviceaccount:s:agent"},
                  {"uid", "u"},
                  {"groups", {"g1", "g2"}},
                  {"extra",
                   {{"authentication.kubernetes.io/node-name", {"n1"}}}}}}}}});
  const auto who = answer<TokenIdentity>([&](auto reply) {
    return review_token(*client_, "secret", {"sluice"}, std::move(reply));
  });
  ASSERT_TRUE(who) << who.error().message;
  EXPECT_EQ(who->username, "system:serviceaccount:s:agent");
  EXPECT_THAT(who->groups, ElementsAre("g1", "g2"));
  EXPECT_THAT(who->extra.at("authentication.kubernetes.io/node-name"),
              ElementsAre("n1"));
  const json sent = json::parse(request().body);
  EXPECT_EQ(sent["spec"],
            json({{"token", "secret"}, {"audiences", {"sluice"}}}));
}

TEST_F(RequestsTest, a_token_that_is_not_valid_is_told_from_other_errors) {
  const auto review = [&](const json& status) {
    serve(201, {{"status", status}});
    const auto who = answer<TokenIdentity>([&](auto reply) {
      return review_token(*client_, "t", {"sluice"}, std::move(reply));
    });
    return who ? "valid" : who.error().reason + ": " + who.error().message;
  };
  EXPECT_EQ(review({{"error", "token expired"}}),
            "InvalidToken: token review: token expired");
  EXPECT_EQ(review(json::object()),
            "InvalidToken: token review: the token is not valid");
  EXPECT_EQ(review({{"authenticated", "yes"}}),
            "InvalidToken: token review: the token is not valid");
  // Valid, but for somebody else; or by an authenticator without audiences.
  EXPECT_EQ(
      review({{"authenticated", true}, {"audiences", {"vault"}}}),
      "InvalidToken: token review: the token is not meant for \"sluice\"");
  EXPECT_EQ(
      review({{"authenticated", true}}),
      "InvalidToken: token review: the token is not meant for \"sluice\"");
  serve(403, {{"reason", "Forbidden"}, {"message", "no"}});
  const auto who = answer<TokenIdentity>([&](auto reply) {
    return review_token(*client_, "t", {}, std::move(reply));
  });
  ASSERT_FALSE(who);
  EXPECT_EQ(who.error().reason, "Forbidden");
}

// A server that keeps one Lease, with resource versions and conflicts.
class LeaseTest : public testing::Test {
 protected:
  LeaseTest() {
    server_ = std::make_unique<FakeServer>(
        [this](const HttpRequest& request, Peer& peer) {
          handle(request, peer);
        });
  }

  void handle(const HttpRequest& request, Peer& peer) {
    const std::unique_lock guard(lock_);
    if (down_) {
      peer.cut();
      return;
    }
    if (request.method == "POST") {
      if (!lease_.is_null()) {
        peer.reply(409, R"({"reason":"AlreadyExists","message":"exists"})");
        return;
      }
      lease_ = json::parse(request.body);
      lease_["metadata"]["resourceVersion"] = std::to_string(++version_);
    } else if (request.method == "PUT") {
      json sent = json::parse(request.body);
      if (sent["metadata"]["resourceVersion"] !=
          lease_["metadata"]["resourceVersion"]) {
        peer.reply(409, R"({"reason":"Conflict","message":"changed"})");
        return;
      }
      lease_ = std::move(sent);
      lease_["metadata"]["resourceVersion"] = std::to_string(++version_);
    }
    if (lease_.is_null()) {
      peer.reply(404, R"({"reason":"NotFound"})");
    } else {
      peer.reply(200, lease_.dump());
    }
  }

  struct Candidate {
    std::unique_ptr<Client> client;
    std::unique_ptr<LeaderElector> elector;
    std::vector<bool> told;
  };
  std::unique_ptr<Candidate> candidate(const std::string& identity) {
    auto made = std::make_unique<Candidate>();
    made->client = *Client::create(*loop_, server_->config());
    made->elector = std::make_unique<LeaderElector>(
        *made->client,
        LeaderElectorOptions{.ns = "s",
                             .name = "lead",
                             .identity = identity,
                             .lease_duration = milliseconds(1000),
                             .renew_deadline = milliseconds(600),
                             .retry_period = milliseconds(50)},
        [candidate = made.get()](bool leads) {
          candidate->told.push_back(leads);
        });
    made->elector->start();
    return made;
  }
  bool until(const std::function<bool()>& holds) {
    return run_until(*loop_, holds);
  }
  void set_down(bool down) {
    const std::lock_guard guard(lock_);
    down_ = down;
  }
  json spec() {
    const std::lock_guard guard(lock_);
    return lease_["spec"];
  }

  std::mutex lock_;  // guards what follows
  json lease_;
  int version_ = 0;
  bool down_ = false;
  std::unique_ptr<Loop> loop_ = *Loop::create();
  std::unique_ptr<FakeServer> server_;
};

TEST_F(LeaseTest, the_first_one_leads_and_renews) {
  const auto a = candidate("a");
  ASSERT_TRUE(until([&] { return a->elector->leads(); }));
  EXPECT_THAT(a->told, ElementsAre(true));
  const json first = spec();
  EXPECT_EQ(first["holderIdentity"], "a");
  EXPECT_EQ(first["leaseDurationSeconds"], 1);
  EXPECT_EQ(first["leaseTransitions"], 0);
  ASSERT_TRUE(until([&] { return spec()["renewTime"] != first["renewTime"]; }));
  EXPECT_EQ(spec()["acquireTime"], first["acquireTime"]);
  EXPECT_EQ(server_->requests().at(0).path,
            "/apis/coordination.k8s.io/v1/namespaces/s/leases/lead");
}

TEST_F(LeaseTest, the_second_one_waits_until_the_first_is_silent) {
  auto a = candidate("a");
  ASSERT_TRUE(until([&] { return a->elector->leads(); }));
  const auto b = candidate("b");
  ASSERT_TRUE(until([&] { return b->elector->leader() == "a"; }));
  const json before = spec();
  ASSERT_TRUE(
      until([&] { return spec()["renewTime"] != before["renewTime"]; }));
  EXPECT_FALSE(b->elector->leads());
  const auto since = Loop::Clock::now();
  a.reset();
  ASSERT_TRUE(until([&] { return b->elector->leads(); }));
  EXPECT_GE(Loop::Clock::now() - since, milliseconds(700));
  EXPECT_EQ(spec()["leaseTransitions"], 1);
  EXPECT_EQ(spec()["holderIdentity"], "b");
}

TEST_F(LeaseTest, a_lease_that_is_released_is_taken_at_once) {
  const auto a = candidate("a");
  ASSERT_TRUE(until([&] { return a->elector->leads(); }));
  const auto b = candidate("b");
  ASSERT_TRUE(until([&] { return b->elector->leader() == "a"; }));
  bool done = false;
  const auto since = Loop::Clock::now();
  a->elector->release([&] { done = true; });
  EXPECT_FALSE(a->elector->leads());
  EXPECT_THAT(a->told, ElementsAre(true, false));
  ASSERT_TRUE(until([&] { return done && b->elector->leads(); }));
  EXPECT_LT(Loop::Clock::now() - since, milliseconds(900));
}

TEST_F(LeaseTest, one_that_does_not_lead_releases_nothing) {
  const auto a = candidate("a");
  ASSERT_TRUE(until([&] { return a->elector->leads(); }));
  const auto b = candidate("b");
  ASSERT_TRUE(until([&] { return b->elector->leader() == "a"; }));
  bool done = false;
  b->elector->release([&] { done = true; });
  EXPECT_FALSE(done);
  ASSERT_TRUE(until([&] { return done; }));
  EXPECT_EQ(spec()["holderIdentity"], "a");
}

TEST_F(LeaseTest, who_cannot_renew_steps_down_and_may_come_back) {
  const auto a = candidate("a");
  ASSERT_TRUE(until([&] { return a->elector->leads(); }));
  set_down(true);
  const auto since = Loop::Clock::now();
  ASSERT_TRUE(until([&] { return !a->elector->leads(); }));
  // In time: before anybody else may take it.
  EXPECT_LT(Loop::Clock::now() - since, milliseconds(900));
  ASSERT_TRUE(until([&] { return a->told.size() == 2; }));
  EXPECT_FALSE(a->told.back());
  EXPECT_THAT(a->elector->error(), HasSubstr("lease s/lead: "));
  set_down(false);
  ASSERT_TRUE(until([&] { return a->elector->leads(); }));
  EXPECT_THAT(a->told, ElementsAre(true, false, true));
}

TEST_F(LeaseTest, who_is_stuck_does_not_lead_even_before_it_is_told) {
  const auto a = candidate("a");
  ASSERT_TRUE(until([&] { return a->elector->leads(); }));
  // The loop does not run; the clock does.
  const auto stuck = Loop::Clock::now() + milliseconds(700);
  while (Loop::Clock::now() < stuck) {
    EXPECT_THAT(a->told, ElementsAre(true));
  }
  EXPECT_FALSE(a->elector->leads());
}

TEST_F(LeaseTest, there_is_never_more_than_one_leader) {
  std::vector<std::unique_ptr<Candidate>> all;
  for (const char* name : {"a", "b", "c"}) {
    all.push_back(candidate(name));
  }
  int changes = 0;
  const Candidate* last = nullptr;
  ASSERT_TRUE(until([&] {
    const auto leading =
        std::ranges::count_if(all, [](const std::unique_ptr<Candidate>& each) {
          return each->elector->leads();
        });
    EXPECT_LE(leading, 1);
    for (auto& each : all) {
      if (each->elector->leads() && each.get() != last) {
        last = each.get();
        ++changes;
        each->elector->release(nullptr);
      }
    }
    return changes == 3;
  }));
}

}  // namespace
}  // namespace sluice::kube::test
