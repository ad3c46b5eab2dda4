// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/kube/api/reflector.h"
#include "tests/unit/kube/api/reflector_world.h"

// Kinds that are not there, not yet, not any more, or in an older version only.
namespace sluice::kube::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

// 404 alone is not enough.
ReflectorOptions slow_to_believe() {
  auto options = quick();
  options.absent_confirm = seconds(30);
  return options;
}

TEST_F(ReflectorTest, a_kind_that_is_not_installed_is_waited_for) {
  std::atomic<bool> installed = false;
  serve(
      [&](const HttpRequest&, Peer& peer, int) {
        if (installed) {
          peer.reply(200, list({pod("a", 1)}, 9));
        } else {
          peer.reply(404, "404 page not found\n");
        }
      },
      hold, quick(), cilium_network_policies());
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_EQ(reflector_->state(), Reflector::State::kNotInstalled);
  EXPECT_THAT(reflector_->error(),
              HasSubstr("list ciliumnetworkpolicies.cilium.io: 404 Not Found"));
  // Not believed at once.
  EXPECT_GE(server_->count("ciliumnetworkpolicies"), 3);
  installed = true;
  ASSERT_TRUE(until_seen(1));
  EXPECT_EQ(reflector_->state(), Reflector::State::kWatching);
  EXPECT_EQ(lists().at(0).path, "/apis/cilium.io/v2/ciliumnetworkpolicies");
}

TEST_F(ReflectorTest, a_kind_that_nobody_has_defined_is_not_there) {
  on_definition_ = [](Peer& peer) {
    peer.reply(404, status_object(404, "NotFound", "not found"));
  };
  serve([](const HttpRequest&, Peer& peer,
           int) { peer.reply(404, "404 page not found\n"); },
        hold, slow_to_believe(), cilium_network_policies());
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_EQ(reflector_->state(), Reflector::State::kNotInstalled);
  EXPECT_EQ(server_->count("customresourcedefinitions/"
                           "ciliumnetworkpolicies.cilium.io"),
            1);
}

// It is defined but not served yet, or nobody can say.
TEST_F(ReflectorTest, a_kind_is_not_believed_absent_for_any_other_answer) {
  std::atomic<int> answers = 0;
  on_definition_ = [&](Peer& peer) {
    switch (answers++) {
      case 0:
        peer.reply(200, R"({"kind":"CustomResourceDefinition"})");
        return;
      case 1:
        peer.reply(403, status_object(403, "Forbidden", "forbidden"));
        return;
      case 2:
        peer.reply(503, status_object(503, "ServiceUnavailable", "wait"));
        return;
      default:
        peer.reply(404, "404 page not found\n");
    }
  };
  std::atomic<bool> served = false;
  serve(
      [&](const HttpRequest&, Peer& peer, int) {
        if (served) {
          peer.reply(200, list({pod("a", 1)}, 9));
        } else {
          peer.reply(404, "404 page not found\n");
        }
      },
      hold, slow_to_believe(), cilium_network_policies());
  ASSERT_TRUE(until([&] { return server_->count(kDefinitions) >= 5; }));
  EXPECT_FALSE(reflector_->synced());
  served = true;
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_THAT(seen_, ElementsAre("set a 1"));
}

TEST_F(ReflectorTest,
       a_server_that_forgets_a_kind_for_a_moment_deletes_nothing) {
  serve(
      [](const HttpRequest&, Peer& peer, int number) {
        if (number >= 1 && number <= 3) {
          peer.reply(404, "404 page not found\n");
        } else {
          peer.reply(200, list({pod("a", 1)}, 9));
        }
      },
      [](const HttpRequest&, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(404, "404 page not found\n");
        } else {
          peer.begin();
          peer.wait_gone();
        }
      },
      [] {
        ReflectorOptions options = quick();
        options.absent_confirm_known = seconds(30);
        options.absent_poll_max = milliseconds(20);
        return options;
      }());
  ASSERT_TRUE(until([&] { return lists_ >= 5 && watches_ >= 2; }));
  settle();
  EXPECT_THAT(seen_, ElementsAre("set a 1"));
}

TEST_F(ReflectorTest, a_kind_that_is_taken_away_takes_its_objects_along) {
  serve(
      [](const HttpRequest&, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(200, list({pod("a", 1)}, 9));
        } else {
          peer.reply(404, "404 page not found\n");
        }
      },
      [](const HttpRequest&, Peer& peer, int) {
        peer.reply(404, "404 page not found\n");
      });
  ASSERT_TRUE(until_seen(2));
  EXPECT_THAT(seen_, ElementsAre("set a 1", "deleted a"));
  EXPECT_EQ(reflector_->state(), Reflector::State::kNotInstalled);
}

TEST_F(ReflectorTest, an_older_version_is_used_where_there_is_no_newer) {
  serve(
      [](const HttpRequest& request, Peer& peer, int) {
        if (request.path.find("v1beta1") == std::string::npos) {
          peer.reply(404, "404 page not found\n");
        } else {
          peer.reply(200, list({pod("a", 1)}, 9));
        }
      },
      hold, quick(), endpoint_slices());
  ASSERT_TRUE(until([&] { return watches_ == 1; }));
  EXPECT_EQ(reflector_->version(), "v1beta1");
  EXPECT_EQ(watches().at(0).path,
            "/apis/discovery.k8s.io/v1beta1/endpointslices");
}

// A kind may become served between the questions about its two versions.
TEST_F(ReflectorTest, an_older_version_of_a_custom_resource_is_doubted_once) {
  for (const bool newer_comes : {true, false}) {
    std::atomic<int> newer = 0;
    lists_ = watches_ = 0;
    serve(
        [&](const HttpRequest& request, Peer& peer, int) {
          if (request.path.find("/v2/") != std::string::npos &&
              (newer++ == 0 || !newer_comes)) {
            peer.reply(404, "404 page not found\n");
          } else {
            peer.reply(200, list({pod("a", 1)}, 9));
          }
        },
        hold, slow_to_believe(), cidr_groups());
    ASSERT_TRUE(until([&] { return watches_ == 1; }));
    EXPECT_EQ(reflector_->version(), newer_comes ? "v2" : "v2alpha1");
    EXPECT_EQ(lists_, newer_comes ? 3 : 4);
    EXPECT_EQ(newer, 2);
    EXPECT_TRUE(until([&] { return reflector_->synced(); }));
    reflector_.reset();
  }
}

}  // namespace
}  // namespace sluice::kube::test
