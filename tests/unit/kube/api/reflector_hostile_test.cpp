// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/kube/api/reflector.h"
#include "tests/unit/kube/api/reflector_world.h"

// Objects, lines and answers that no sound server sends.
namespace sluice::kube::test {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

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

}  // namespace
}  // namespace sluice::kube::test
