// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/kube/api/reflector.h"
#include "tests/unit/kube_api_server.h"

// What an owner of a reflector sees, whatever the server does.
namespace sluice::kube::test {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string pod(const std::string& name, int version,
                const std::string& more = "") {
  return R"({"metadata":{"namespace":"x","name":")" + name + R"(","uid":"u-)" +
         name + R"(","resourceVersion":")" + std::to_string(version) +
         R"("},"status":{)" + more + "}}";
}

std::string line(const std::string& type, const std::string& object) {
  return R"({"type":")" + type + R"(","object":)" + object + "}\n";
}

std::string bookmark(int version) {
  return line("BOOKMARK", R"({"kind":"Pod","metadata":{"resourceVersion":")" +
                              std::to_string(version) + R"("}})");
}

std::string list(const std::vector<std::string>& items, int version,
                 const std::string& next = "") {
  std::string text = R"({"kind":"PodList","apiVersion":"v1","metadata":{)"
                     R"("resourceVersion":")" +
                     std::to_string(version) + R"(","continue":")" + next +
                     R"("},"items":[)";
  for (std::size_t i = 0; i < items.size(); ++i) {
    text += (i == 0 ? "" : ",") + items[i];
  }
  return text + "]}\n";
}

std::string status_object(int code, const std::string& reason,
                          const std::string& message) {
  return json{{"kind", "Status"},
              {"code", code},
              {"reason", reason},
              {"message", message}}
      .dump();
}

const std::string kGone = status_object(410, "Expired", "too old");

std::string text_of(const Event& event) {
  switch (event.type) {
    case Event::Type::kSet:
      return "set " + event.name + " " + event.resource_version;
    case Event::Type::kDeleted:
      return "deleted " + event.name;
    case Event::Type::kInvalid:
      return "invalid " + event.name + ": " + event.error;
  }
  return "";
}

ReflectorOptions quick() {
  ReflectorOptions options;
  options.backoff_base = milliseconds(5);
  options.backoff_cap = milliseconds(50);
  options.absent_poll_min = milliseconds(10);
  options.absent_poll_max = milliseconds(20);
  options.absent_confirm = milliseconds(60);
  options.absent_confirm_known = milliseconds(150);
  return options;
}

constexpr std::string_view kDefinitions =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/";

// 404 alone is not enough.
ReflectorOptions slow_to_believe() {
  auto options = quick();
  options.absent_confirm = seconds(30);
  return options;
}

class ReflectorTest : public testing::Test {
 protected:
  // `handler` gets the number of the request, from 0, counting lists and
  // watches apart.
  using Step = std::function<void(const HttpRequest&, Peer&, int number)>;

  void serve(Step on_list, Step on_watch, ReflectorOptions options = quick(),
             const Resource& resource = pods()) {
    server_ = std::make_unique<FakeServer>(
        [this, on_list = std::move(on_list), on_watch = std::move(on_watch)](
            const HttpRequest& request, Peer& peer) {
          if (request.path.starts_with(kDefinitions)) {
            on_definition_(peer);
            return;
          }
          const int number = request.is_watch() ? watches_++ : lists_++;
          (request.is_watch() ? on_watch : on_list)(request, peer, number);
        });
    connect(server_->config(), std::move(options), resource);
  }

  void connect(ClusterConfig config, ReflectorOptions options,
               const Resource& resource) {
    client_ = *Client::create(*loop_, std::move(config));
    reflector_ = std::make_unique<Reflector>(
        *client_, resource,
        [this](std::vector<Event> events) {
          EXPECT_FALSE(events.empty());
          ++batches_;
          for (auto& event : events) {
            seen_.push_back(text_of(event));
            events_.push_back(std::move(event));
          }
        },
        std::move(options));
    reflector_->start();
  }

  [[nodiscard]] bool until(const std::function<bool()>& holds) {
    return run_until(*loop_, holds);
  }
  [[nodiscard]] bool until_seen(std::size_t count) {
    return until([&] { return seen_.size() >= count; });
  }
  // Time for what must not happen.
  void settle(milliseconds time = milliseconds(60)) {
    bool over = false;
    const Timer timer = loop_->after(time, [&] { over = true; });
    ASSERT_TRUE(until([&] { return over; }));
  }
  [[nodiscard]] std::vector<HttpRequest> lists() const {
    return requests(false);
  }
  [[nodiscard]] std::vector<HttpRequest> watches() const {
    return requests(true);
  }
  [[nodiscard]] std::vector<HttpRequest> requests(bool watch) const {
    std::vector<HttpRequest> result;
    for (auto& request : server_->requests()) {
      if (request.is_watch() == watch) {
        result.push_back(request);
      }
    }
    return result;
  }

  static void hold(const HttpRequest& /*request*/, Peer& peer, int /*number*/) {
    peer.begin();
    peer.wait_gone();
  }
  static Step always_list(std::string text) {
    return [text = std::move(text)](const HttpRequest&, Peer& peer, int) {
      peer.reply(200, text);
    };
  }

  std::atomic<int> lists_ = 0;  // asked for
  std::atomic<int> watches_ = 0;
  std::unique_ptr<Loop> loop_ = *Loop::create();
  std::function<void(Peer&)> on_definition_ = [](Peer& peer) {
    peer.reply(403, status_object(403, "Forbidden", "may not be read"));
  };
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Reflector> reflector_;
  std::vector<std::string> seen_;
  std::vector<Event> events_;
  int batches_ = 0;
};

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
          peer.reply(410, kGone);
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
            peer.chunk(line("ERROR", kGone));
          } else {
            peer.end();
          }
        } else if (number == 1 && !as_event) {
          peer.reply(410, kGone);
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

TEST_F(ReflectorTest, an_object_that_cannot_be_decoded_stops_nothing) {
  serve(always_list(
            list({pod("a", 1), pod("bad", 2, R"("podIP":7)"), pod("c", 3)}, 7)),
        [](const HttpRequest&, Peer& peer, int) {
          peer.begin();
          peer.chunk(line("ADDED", pod("d", 8, R"("podIPs":[{"ip":"nine"}])")) +
                     line("MODIFIED", pod("bad", 9)) +
                     line("ADDED", pod("e", 10)));
          peer.wait_gone();
        });
  ASSERT_TRUE(until_seen(6));
  EXPECT_THAT(
      seen_,
      ElementsAre("set a 1",
                  "invalid bad: status.podIP: must be a string, is a number",
                  "set c 3",
                  "invalid d: status.podIPs[0].ip: not an IP address: \"nine\"",
                  "set bad 9", "set e 10"));
  EXPECT_EQ(reflector_->stats().decode_errors, 2U);
  EXPECT_EQ(reflector_->stats().lists, 1U);
}

TEST_F(ReflectorTest, a_line_that_is_too_long_is_refused_and_relisted) {
  ReflectorOptions options = quick();
  options.max_object = std::size_t{1} << 20;
  serve(
      [](const HttpRequest&, Peer& peer, int number) {
        peer.reply(200, number == 0 ? list({}, 10) : list({pod("a", 20)}, 20));
      },
      [](const HttpRequest&, Peer& peer, int number) {
        peer.begin();
        if (number == 0) {
          // 50 MB in one line, or as much of it as the client takes.
          const std::string block(std::size_t{1} << 16, 'x');
          for (int i = 0; i < 800 && peer.chunk(block); ++i) {
          }
        }
        peer.wait_gone();
      },
      options);
  ASSERT_TRUE(until_seen(1));
  EXPECT_THAT(seen_, ElementsAre("set a 20"));
  EXPECT_LT(reflector_->stats().bytes, std::size_t{3} << 20);
  EXPECT_GE(reflector_->stats().failures, 1U);
}

TEST_F(ReflectorTest, the_error_of_a_long_line_names_its_limit) {
  ReflectorOptions options = quick();
  options.backoff_base = options.backoff_cap = seconds(10);
  options.max_object = 1000;
  serve(
      always_list(list({}, 10)),
      [](const HttpRequest&, Peer& peer, int) {
        peer.begin();
        peer.chunk(std::string(1001, 'x'));
        peer.wait_gone();
      },
      options);
  ASSERT_TRUE(until([&] { return !reflector_->error().empty(); }));
  EXPECT_EQ(reflector_->error(), "watch pods: a line longer than 1000 bytes");
  EXPECT_EQ(reflector_->state(), Reflector::State::kWaiting);
}

// Whatever a false server sends, the reflector lives and takes the truth
// afterwards.
TEST_F(ReflectorTest, garbage_kills_nobody) {
  const std::vector<std::string> garbage{
      "\n\n{}\n[]\nnull\n",
      std::string(100, '\0') + "\n",
      "{\"type\":\"ADDED\",\"object\":null}\n",
      "{\"type\":\"ADDED\"}\n",
      "{\"type\":7,\"object\":{}}\n",
      "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n",
      "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"\xff\"}}}\n",
      "{\"type\":\"BOOKMARK\",\"object\":{}}\n{",
      "{\"type\":\"ERROR\",\"object\":{\"code\":\"x\"}}\n",
      "{\"type\":\"NEWS\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n",
      std::string(100000, '[') + "\n",
      R"({"type":"ADDED","object":)" + std::string(200000, '[') + "\n",
      R"({"type":"ADDED","object":{"metadata":{"name":"a"},"x":)" +
          std::string(5000, '{') + "\n"};
  serve([](const HttpRequest&, Peer& peer,
           int) { peer.reply(200, list({}, 10)); },
        [&](const HttpRequest&, Peer& peer, int number) {
          peer.begin();
          if (number < static_cast<int>(garbage.size())) {
            peer.chunk(garbage[number]);
            peer.end();
          } else {
            peer.chunk(line("ADDED", pod("truth", 11)));
            peer.wait_gone();
          }
        });
  ASSERT_TRUE(until_seen(1));
  EXPECT_EQ(seen_.back(), "set truth 11");
}

TEST_F(ReflectorTest, a_list_of_garbage_is_an_error_and_tried_again) {
  const std::vector<std::string> garbage{
      "",
      "{}",
      "[]",
      "null",
      "<html>down for maintenance</html>",
      R"({"metadata":{"resourceVersion":"1"},"items":[7]})",
      R"({"metadata":{"resourceVersion":"1"},"items":[{}]})",
      R"({"metadata":{"resourceVersion":"1"},"items":[{"metadata":)",
      R"({"metadata":{"resourceVersion":"1"},"items":[]}}})",
      R"({"metadata":{"resourceVersion":""},"items":[]})",
      R"({"metadata":{"resourceVersion":"1","continue":"x"},"items":[]})",
      std::string(std::size_t{1} << 20, '{'),
      std::string(std::size_t{1} << 20, 'x'),
      R"({"items":[)" + std::string(std::size_t{9} << 20, '['),
      list({pod("half", 5)}, 9).substr(0, 150)};
  serve(
      [&](const HttpRequest&, Peer& peer, int number) {
        peer.reply(200, number < static_cast<int>(garbage.size())
                            ? garbage[number]
                            : list({pod("a", 1)}, 9));
      },
      hold);
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_EQ(reflector_->stats().lists, garbage.size() + 1);
  EXPECT_EQ(reflector_->stats().failures, garbage.size());
  EXPECT_EQ(reflector_->size(), 1U);
}

TEST_F(ReflectorTest, lists_may_be_much_larger_than_what_is_kept) {
  // 30 MB, in objects of 300 KB.
  std::vector<std::string> items;
  items.reserve(100);
  for (int i = 0; i < 100; ++i) {
    items.push_back(pod("p" + std::to_string(i), i + 1,
                        R"("message":")" + std::string(300'000, 'x') + '"'));
  }
  serve(always_list(list(items, 200)), hold);
  ASSERT_TRUE(until([&] { return reflector_->synced(); }));
  EXPECT_EQ(seen_.size(), 100U);
  EXPECT_EQ(seen_.back(), "set p99 100");
}

TEST_F(ReflectorTest, answers_may_be_compressed) {
  serve(
      [](const HttpRequest& request, Peer& peer, int) {
        EXPECT_THAT(request.header("accept-encoding"), HasSubstr("gzip"));
        peer.reply(200, gzip(list({pod("a", 1)}, 9)),
                   "Content-Encoding: gzip\r\n");
      },
      [](const HttpRequest&, Peer& peer, int) {
        const std::string packed =
            gzip(line("ADDED", pod("b", 10)) + line("ADDED", pod("c", 11)));
        peer.begin("Content-Encoding: gzip\r\n");
        peer.chunk(packed.substr(0, 20));
        peer.chunk(packed.substr(20));
        peer.wait_gone();
      });
  ASSERT_TRUE(until_seen(3));
  EXPECT_THAT(seen_, ElementsAre("set a 1", "set b 10", "set c 11"));
}

TEST_F(ReflectorTest, a_small_answer_that_inflates_to_a_huge_one_is_refused) {
  ReflectorOptions options = quick();
  options.backoff_base = options.backoff_cap = seconds(10);
  serve(
      [](const HttpRequest&, Peer& peer, int) {
        peer.reply(200, gzip(std::string(std::size_t{50} << 20, 'x')),
                   "Content-Encoding: gzip\r\n");
      },
      hold, options);
  ASSERT_TRUE(until([&] { return !reflector_->error().empty(); }));
  EXPECT_EQ(reflector_->error(), "list pods: the answer is no list");
  EXPECT_LT(reflector_->stats().bytes, std::size_t{1} << 20);
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
          peer.reply(504, status_object(504, "Timeout",
                                        "Too large resource version: 100"));
        } else {
          EXPECT_EQ(request.get("resourceVersion"), "(none)");
          peer.reply(200, list({pod("a", 50)}, 60));
        }
      },
      [](const HttpRequest&, Peer& peer, int number) {
        if (number == 0) {
          peer.reply(410, kGone);
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
