// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/reflector.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/kube/api/reflector_world.h"

// What an owner of a reflector sees, whatever the server does.
namespace sluice::kube::test {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(ReflectorTest, lists_then_watches_from_the_version_of_the_list) {
  serve(always_list(list({pod("a", 3), pod("b", 5)}, 7)), [](const HttpRequest&,
                                                             Peer& peer, int) {
    peer.begin();
    peer.chunk(line("ADDED", pod("c", 8)) + line("MODIFIED", pod("a", 9)));
    peer.chunk(line("DELETED", pod("b", 10)));
    peer.wait_gone();
  });
  EXPECT_FALSE(reflector_->synced());
  ASSERT_TRUE(until_seen(5));
  EXPECT_THAT(seen_, ElementsAre("set a 3", "set b 5", "set c 8", "set a 9",
                                 "deleted b"));
  EXPECT_TRUE(reflector_->synced());
  EXPECT_EQ(reflector_->state(), Reflector::State::kWatching);
  EXPECT_EQ(reflector_->size(), 2U);
  const auto first = lists().at(0);
  EXPECT_EQ(first.path, "/api/v1/pods");
  EXPECT_EQ(first.get("limit"), "500");
  EXPECT_EQ(first.get("resourceVersion"), "(none)");
  const auto watch = watches().at(0);
  EXPECT_EQ(watch.get("resourceVersion"), "7");
  EXPECT_EQ(watch.get("allowWatchBookmarks"), "true");
  const int asked = std::stoi(watch.get("timeoutSeconds"));
  EXPECT_GE(asked, 300);
  EXPECT_LE(asked, 600);
  EXPECT_EQ(events_.at(0).uid, "u-a");
  EXPECT_EQ(events_.at(0).ns, "x");
  EXPECT_EQ(std::get<Pod>(events_.at(0).object).name, "a");
  EXPECT_EQ(reflector_->stats().events, 5U);
}

TEST_F(ReflectorTest, an_empty_list_is_a_list) {
  serve(always_list(R"({"metadata":{"resourceVersion":"4"},"items":null})"),
        hold);
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_F(ReflectorTest, pages_are_put_together) {
  serve(
      [](const HttpRequest& request, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(200, list({pod("a", 1)}, 9, "t/1+2="));
        } else {
          EXPECT_EQ(request.get("continue"), "t/1+2=");
          EXPECT_EQ(request.get("resourceVersion"), "(none)");
          peer.reply(200, list({pod("b", 2)}, 9));
        }
      },
      hold);
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_THAT(seen_, ElementsAre("set a 1", "set b 2"));
  EXPECT_EQ(reflector_->stats().lists, 1U);
}

TEST_F(ReflectorTest, pages_that_expire_become_one_list) {
  serve(
      [](const HttpRequest& request, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(200, list({pod("a", 1)}, 9, "next"));
        } else if (number == 1) {
          peer.reply(410, gone_status());
        } else {
          EXPECT_EQ(request.get("limit"), "0");
          EXPECT_EQ(request.get("continue"), "(none)");
          EXPECT_EQ(request.get("resourceVersion"), "(none)");
          peer.reply(200, list({pod("a", 1), pod("b", 2)}, 12));
        }
      },
      hold);
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_THAT(seen_, ElementsAre("set a 1", "set b 2"));
}

// After 410 the differences come, and nothing else.
class GoneTest : public ReflectorTest,
                 public testing::WithParamInterface<bool> {};

TEST_P(GoneTest, relists_and_tells_the_differences) {
  const bool as_event = GetParam();
  serve(
      [](const HttpRequest& request, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(200,
                     list({pod("gone", 1), pod("same", 2), pod("new", 3)}, 10));
        } else {
          EXPECT_EQ(request.get("resourceVersion"), "15");
          EXPECT_EQ(request.get("resourceVersionMatch"), "NotOlderThan");
          peer.reply(
              200, list({pod("same", 2), pod("new", 21), pod("add", 22)}, 30));
        }
      },
      [as_event](const HttpRequest&, Peer& peer, int number) {
        if (number == 0) {
          peer.begin();
          peer.chunk(bookmark(15));
          if (as_event) {
            peer.chunk(line("ERROR", gone_status()));
          } else {
            peer.end();
          }
        } else if (number == 1 && !as_event) {
          peer.reply(410, gone_status());
        } else {
          peer.begin();
          peer.wait_gone();
        }
      });
  ASSERT_TRUE(until_seen(6));
  settle();
  EXPECT_THAT(seen_, ElementsAre("set gone 1", "set same 2", "set new 3",
                                 "set new 21", "set add 22", "deleted gone"));
  EXPECT_EQ(reflector_->stats().relists, 1U);
  EXPECT_EQ(watches().back().get("resourceVersion"), "30");
}

INSTANTIATE_TEST_SUITE_P(Gone, GoneTest, testing::Bool(), [](const auto& each) {
  return each.param ? "as_event" : "as_status";
});

TEST_F(ReflectorTest, bookmarks_move_the_version_from_which_it_resumes) {
  serve(always_list(list({}, 7)), [](const HttpRequest&, Peer& peer, int n) {
    peer.begin();
    if (n == 0) {
      peer.chunk(bookmark(100));
      peer.cut();
    } else {
      peer.wait_gone();
    }
  });
  ASSERT_TRUE(
      until([&] { return server_->count("resourceVersion=100") == 1; }));
  EXPECT_EQ(reflector_->stats().bookmarks, 1U);
  EXPECT_EQ(reflector_->stats().lists, 1U);
}

// A stream of three events, cut after every number of bytes in turn: each
// event arrives once, in order, without a new list.
TEST_F(ReflectorTest, a_watch_cut_anywhere_resumes_without_loss_or_duplicates) {
  const std::vector<std::string> lines{line("ADDED", pod("a", 11)),
                                       line("ADDED", pod("b", 12)),
                                       line("ADDED", pod("c", 13))};
  const std::size_t all = lines[0].size() + lines[1].size() + lines[2].size();
  for (std::size_t cut = 0; cut <= all; cut += 7) {
    lists_ = 0;
    watches_ = 0;
    seen_.clear();
    serve(always_list(list({}, 10)),
          [&, cut](const HttpRequest& request, Peer& peer, int number) {
            // What is newer than the version asked for.
            const int from = std::stoi(request.get("resourceVersion")) - 10;
            std::string text;
            for (std::size_t i = from; i < lines.size(); ++i) {
              text += lines[i];
            }
            peer.begin();
            if (number == 0) {
              peer.chunk(text.substr(0, cut));
              peer.cut();
            } else {
              peer.chunk(text);
              peer.wait_gone();
            }
          });
    ASSERT_TRUE(until_seen(3)) << cut;
    EXPECT_THAT(seen_, ElementsAre("set a 11", "set b 12", "set c 13")) << cut;
    EXPECT_EQ(reflector_->stats().lists, 1U) << cut;
    reflector_.reset();
    client_.reset();
    server_.reset();
  }
}

TEST_F(ReflectorTest, bytes_that_come_one_by_one_are_put_together) {
  serve(always_list(list({}, 10)), [](const HttpRequest&, Peer& peer, int) {
    peer.begin();
    for (const char c : line("ADDED", pod("a", 11))) {
      peer.chunk(std::string(1, c));
    }
    peer.wait_gone();
  });
  ASSERT_TRUE(until_seen(1));
  EXPECT_THAT(seen_, ElementsAre("set a 11"));
}

TEST_F(ReflectorTest, an_event_that_is_known_already_is_not_told_again) {
  serve(always_list(list({pod("a", 5)}, 7)), [](const HttpRequest&, Peer& peer,
                                                int) {
    peer.begin();
    peer.chunk(line("ADDED", pod("a", 5)) + line("DELETED", pod("never", 6)) +
               line("ADDED", pod("end", 8)));
    peer.wait_gone();
  });
  ASSERT_TRUE(until_seen(2));
  EXPECT_THAT(seen_, ElementsAre("set a 5", "set end 8"));
}

TEST_F(ReflectorTest, silence_ends_a_watch_and_it_resumes) {
  ReflectorOptions options = quick();
  options.silence = milliseconds(40);
  serve(
      always_list(list({}, 10)),
      [](const HttpRequest&, Peer& peer, int number) {
        peer.begin();
        if (number == 1) {
          peer.chunk(line("ADDED", pod("a", 11)));
        }
        peer.wait_gone();
      },
      options);
  ASSERT_TRUE(until_seen(1));
  ASSERT_TRUE(until([&] { return reflector_->stats().watches >= 3; }));
  EXPECT_EQ(reflector_->stats().lists, 1U);
  EXPECT_THAT(reflector_->error(), HasSubstr("nothing for 0.04 s"));
}

// Bytes keep coming, so nobody is silent; but they never say anything.
TEST_F(ReflectorTest, a_server_that_only_trickles_is_left) {
  ReflectorOptions options = quick();
  options.watch_min = options.watch_max = seconds(0);
  options.watch_overdue = options.page_longest = milliseconds(80);
  const auto trickle = [](Peer& peer, std::string_view byte) {
    peer.begin();
    while (peer.chunk(byte)) {
      std::this_thread::sleep_for(milliseconds(1));  // that is how slow it is
    }
  };
  serve(
      [&](const HttpRequest&, Peer& peer, int number) {
        if (number == 0) {
          trickle(peer, " ");
          return;
        }
        peer.reply(200, list({pod("a", 10)}, 10));
      },
      [&](const HttpRequest&, Peer& peer, int number) {
        if (number == 0) {
          trickle(peer, "\n");
          return;
        }
        peer.begin();
        peer.chunk(line("ADDED", pod("b", 11)));
        peer.wait_gone();
      },
      options);
  ASSERT_TRUE(until([&] { return reflector_->stats().failures == 1; }));
  EXPECT_EQ(reflector_->error(), "list pods: not over after 0.08 s");
  ASSERT_TRUE(until([&] { return reflector_->stats().failures == 2; }));
  EXPECT_EQ(reflector_->error(), "watch pods: not over after 0.08 s");
  ASSERT_TRUE(until_seen(2));
  EXPECT_THAT(seen_, ElementsAre("set a 10", "set b 11"));
}

TEST_F(ReflectorTest, forbidden_says_verb_and_resource) {
  serve(
      [](const HttpRequest&, Peer& peer, int) {
        peer.reply(403, status_object(403, "Forbidden",
                                      "pods is forbidden: User \"u\" cannot "
                                      "list resource \"pods\""));
      },
      hold);
  ASSERT_TRUE(until([&] { return server_->count("pods") >= 2; }));
  EXPECT_EQ(reflector_->error(),
            "list pods: 403 Forbidden: pods is forbidden: User \"u\" cannot "
            "list resource \"pods\"");
  EXPECT_FALSE(reflector_->synced());
}

TEST_F(ReflectorTest, the_server_may_go_and_come_back) {
  serve(always_list(list({pod("a", 1)}, 9)),
        [](const HttpRequest& request, Peer& peer, int number) {
          peer.begin();
          if (number > 0) {
            EXPECT_EQ(request.get("resourceVersion"), "9");
            peer.chunk(line("ADDED", pod("b", 10)));
          }
          peer.wait_gone();
        });
  ASSERT_TRUE(until([&] { return watches_ == 1; }));
  server_->cut_all();
  ASSERT_TRUE(until_seen(2));
  EXPECT_THAT(seen_, ElementsAre("set a 1", "set b 10"));
  EXPECT_EQ(reflector_->stats().lists, 1U);
}

TEST_F(ReflectorTest, a_version_the_server_does_not_have_yet_is_dropped) {
  serve(
      [](const HttpRequest& request, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(200, list({pod("a", 100)}, 100));
        } else if (number == 1) {
          EXPECT_EQ(request.get("resourceVersion"), "100");
          peer.reply(504, too_new_status());
        } else {
          EXPECT_EQ(request.get("resourceVersion"), "(none)");
          peer.reply(200, list({pod("a", 50)}, 60));
        }
      },
      [](const HttpRequest&, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(410, gone_status());
        } else {
          peer.begin();
          peer.wait_gone();
        }
      });
  ASSERT_TRUE(until_seen(2));
  EXPECT_THAT(seen_, ElementsAre("set a 100", "set a 50"));
}

TEST_F(ReflectorTest, a_watch_that_is_refused_for_a_while_goes_on) {
  serve(always_list(list({}, 9)), [](const HttpRequest&, Peer& peer, int n) {
    if (n < 3) {
      peer.reply(n == 0 ? 500 : 429,
                 status_object(n == 0 ? 500 : 429, "Busy", "later"));
    } else {
      peer.begin();
      peer.chunk(line("ADDED", pod("a", 10)));
      peer.wait_gone();
    }
  });
  ASSERT_TRUE(until_seen(1));
  EXPECT_EQ(reflector_->stats().lists, 1U);
  EXPECT_EQ(reflector_->stats().failures, 3U);
  EXPECT_EQ(reflector_->error(), "");
}

TEST_F(ReflectorTest, stopped_it_says_nothing_and_started_it_goes_on) {
  serve(always_list(list({pod("a", 1)}, 9)),
        [](const HttpRequest&, Peer& peer, int number) {
          peer.begin();
          peer.chunk(number == 0 ? line("ADDED", pod("b", 10))
                                 : line("ADDED", pod("c", 11)));
          peer.wait_gone();
        });
  ASSERT_TRUE(until_seen(2));
  reflector_->stop();
  EXPECT_EQ(reflector_->state(), Reflector::State::kStopped);
  settle();
  EXPECT_EQ(seen_.size(), 2U);
  reflector_->start();
  ASSERT_TRUE(until_seen(3));
  EXPECT_THAT(seen_, ElementsAre("set a 1", "set b 10", "set c 11"));
  EXPECT_EQ(watches().back().get("resourceVersion"), "10");
}

TEST_F(ReflectorTest, the_handler_may_destroy_it) {
  server_ =
      std::make_unique<FakeServer>([](const HttpRequest& request, Peer& peer) {
        if (request.is_watch()) {
          peer.begin();
          peer.wait_gone();
        } else {
          peer.reply(200, list({pod("a", 1)}, 9));
        }
      });
  client_ = *Client::create(*loop_, server_->config());
  bool called = false;
  std::unique_ptr<Reflector> reflector;
  ReflectorOptions options = quick();
  options.on_change = [&] { EXPECT_FALSE(called); };
  reflector = std::make_unique<Reflector>(
      *client_, pods(),
      [&](const std::vector<Event>&) {
        called = true;
        reflector.reset();
      },
      options);
  reflector->start();
  ASSERT_TRUE(until([&] { return called; }));
  settle(milliseconds(20));
}

TEST_F(ReflectorTest, changes_of_its_state_are_told) {
  std::vector<std::string> states;
  ReflectorOptions options = quick();
  options.on_change = [&] {
    states.push_back(std::string(to_string(reflector_->state())) +
                     (reflector_->synced() ? " synced" : ""));
  };
  serve(always_list(list({}, 9)), hold, options);
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_THAT(states, testing::Contains("watching synced"));
}

TEST_F(ReflectorTest, a_policy_is_given_whole_but_for_managed_fields) {
  const std::string policy =
      R"({"metadata":{"namespace":"x","name":"p","resourceVersion":"3",)"
      R"("generation":4,"managedFields":[{"manager":"m"}],"labels":{}},)"
      R"("spec":{"n":[1,-1,1.5,true,null,"é\u00e9"],)"
      R"("managedFields":"stays"}})";
  serve(always_list(list({policy}, 9)), hold, quick(),
        cilium_network_policies());
  ASSERT_TRUE(until_seen(1));
  json expected = json::parse(policy);
  expected["metadata"].erase("managedFields");
  expected["apiVersion"] = "cilium.io/v2";
  expected["kind"] = "CiliumNetworkPolicy";
  EXPECT_EQ(*std::get<Event::Json>(events_.at(0).object), expected);
  EXPECT_EQ(events_.at(0).generation, 4);
}

TEST_F(ReflectorTest, selectors_and_a_namespace_are_asked_for) {
  ReflectorOptions options = quick();
  options.ns = "x";
  options.label_selector = "a=b,c!=d";
  options.field_selector = "spec.nodeName=n1";
  serve(always_list(list({}, 9)), hold, options);
  ASSERT_TRUE(until([&] { return watches_ == 1; }));
  for (const auto& request : server_->requests()) {
    EXPECT_EQ(request.path, "/api/v1/namespaces/x/pods");
    EXPECT_EQ(request.get("labelSelector"), "a=b,c!=d");
    EXPECT_EQ(request.get("fieldSelector"), "spec.nodeName=n1");
  }
}

TEST_F(ReflectorTest, nobody_there_is_tried_again_with_growing_delays) {
  int port = 0;
  {
    const FakeServer gone([](const HttpRequest&, Peer&) {});
    port = gone.port();
  }
  ClusterConfig config;
  config.server = "http://127.0.0.1:" + std::to_string(port);
  connect(config, quick(), pods());
  ASSERT_TRUE(until([&] { return reflector_->stats().failures >= 4; }));
  EXPECT_THAT(reflector_->error(), HasSubstr("list pods: Failed to connect"));
  EXPECT_FALSE(reflector_->synced());
}

}  // namespace
}  // namespace sluice::kube::test
