// SPDX-License-Identifier: Apache-2.0
// When the kernel's connection tracking is read, and what becomes of what it
// says.
#include "agent/adopt.h"

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

#include <endian.h>
#include <gtest/gtest.h>

namespace sluice::agent {
namespace {

constexpr std::uint32_t kPod = 7;
constexpr std::uint32_t kOther = 8;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

// What the kernel knows, and what was done, which outlives the fakes.
struct World {
  std::vector<TrackedFlow> flows;
  int error = 0;       // of every question
  int read_error = 0;  // of reading, in the middle
  int write_error = 0;
  std::size_t counted = 0;
  std::size_t read = 0;
  std::vector<std::pair<Seed, bool>> written;  // with `replace`
  std::vector<std::string> notices;
};

class FakeTracking final : public Tracking {
 public:
  explicit FakeTracking(World& world) : world_(world) {}
  Result<std::uint32_t> count() override {
    ++world_.counted;
    if (world_.error != 0) {
      return fail_errno("asking", world_.error);
    }
    return static_cast<std::uint32_t>(world_.flows.size());
  }
  Result<bool> has_any(bool v6) override {
    for (const auto& flow : world_.flows) {
      if (flow.original.source.v6 == v6) {
        return true;
      }
    }
    return false;
  }
  Result<void> read(std::span<const IpAddress> addresses,
                    std::uint32_t /*flows*/, const Visitor& visit) override {
    ++world_.read;
    EXPECT_FALSE(addresses.empty());
    for (const auto& flow : world_.flows) {
      visit(flow);
    }
    return world_.read_error == 0 ? Result<void>{}
                                  : fail_errno("reading", world_.read_error);
  }

 private:
  World& world_;
};

class FakeStore final : public SeedStore {
 public:
  explicit FakeStore(World& world) : world_(world) {}
  void start() override {}
  int put(const Seed& seed, bool replace) override {
    if (world_.write_error == 0) {
      world_.written.emplace_back(seed, replace);
    }
    return world_.write_error;
  }

 private:
  World& world_;
};

class Adopt : public ::testing::Test {
 protected:
  Adopt()
      : adoption_(std::make_unique<FakeTracking>(world_),
                  std::make_unique<FakeStore>(world_)) {
    adoption_.on_notice(
        [this](const std::string& text) { world_.notices.push_back(text); });
  }

  static TrackedFlow connection(const std::string& from, const std::string& to,
                                std::uint8_t flags = 0) {
    const FlowTuple original{.source = ip(from),
                             .destination = ip(to),
                             .source_port = htobe16(40000),
                             .destination_port = htobe16(80)};
    const FlowTuple reply{.source = ip(to),
                          .destination = ip(from),
                          .source_port = htobe16(80),
                          .destination_port = htobe16(40000)};
    return {.protocol = IPPROTO_TCP,
            .original = original,
            .reply = reply,
            .status = IPS_SEEN_REPLY,
            .state = TCP_CONNTRACK_ESTABLISHED,
            .tcp_flags = {flags, flags}};
  }
  static NewlyEnforced beginner(std::uint32_t ifindex,
                                const std::vector<std::string>& ips) {
    NewlyEnforced result{.ifindex = ifindex, .ips = {}};
    for (const auto& each : ips) {
      result.ips.push_back(ip(each));
    }
    return result;
  }

  using Interfaces = std::unordered_set<std::uint32_t>;
  World world_;
  Adoption adoption_;
};

TEST_F(Adopt, TheTableIsReadOnceForAllThatBeginAndOnceMoreAfterwards) {
  world_.flows = {connection("10.0.0.2", "203.0.113.7"),
                  connection("203.0.113.7", "10.0.0.3"),
                  connection("10.0.0.9", "203.0.113.7")};
  EXPECT_EQ(adoption_.begin(
                {beginner(kPod, {"10.0.0.2"}), beginner(kOther, {"10.0.0.3"})}),
            Interfaces{});
  EXPECT_EQ(world_.read, 1U);
  ASSERT_EQ(world_.written.size(), 2U);
  for (const auto& [seed, replace] : world_.written) {
    EXPECT_TRUE(replace);
  }
  world_.written.clear();
  world_.flows.push_back(connection("10.0.0.2", "203.0.113.8"));
  adoption_.finish();
  EXPECT_EQ(world_.read, 2U);
  ASSERT_EQ(world_.written.size(), 3U);
  // What the programs have made since is newer.
  for (const auto& [seed, replace] : world_.written) {
    EXPECT_FALSE(replace);
  }
}

TEST_F(Adopt, NobodyAsksWhereNobodyBegins) {
  world_.flows = {connection("10.0.0.2", "203.0.113.7")};
  EXPECT_EQ(adoption_.begin({}), Interfaces{});
  adoption_.finish();
  EXPECT_EQ(world_.counted, 0U);
  (void)adoption_.begin({beginner(kPod, {"10.0.0.2"})});
  adoption_.finish();
  const auto counted = world_.counted;
  adoption_.finish();
  EXPECT_EQ(world_.counted, counted);
}

TEST_F(Adopt, EmptyTableIsNotRead) {
  EXPECT_EQ(adoption_.begin({beginner(kPod, {"10.0.0.2"})}), Interfaces{kPod});
  EXPECT_EQ(world_.read, 0U);
  ASSERT_EQ(world_.notices.size(), 1U);
  EXPECT_NE(world_.notices[0].find("tracks no connection"), std::string::npos);
}

TEST_F(Adopt, KernelWithoutTrackingIsSaidOnce) {
  world_.error = EPROTONOSUPPORT;
  EXPECT_EQ(adoption_.begin({beginner(kPod, {"10.0.0.2"})}), Interfaces{kPod});
  adoption_.finish();
  EXPECT_EQ(adoption_.begin({beginner(kOther, {"10.0.0.3"})}),
            Interfaces{kOther});
  adoption_.finish();
  ASSERT_EQ(world_.notices.size(), 1U);
  EXPECT_NE(world_.notices[0].find("no connection tracking"),
            std::string::npos);
}

TEST_F(Adopt, ErrorsAreSaidAndKeepNothingBack) {
  world_.flows = {connection("10.0.0.2", "203.0.113.7")};
  world_.error = EPERM;
  EXPECT_EQ(adoption_.begin({beginner(kPod, {"10.0.0.2"})}), Interfaces{kPod});
  world_.error = 0;
  world_.read_error = ENOBUFS;
  EXPECT_EQ(adoption_.begin({beginner(kPod, {"10.0.0.2"})}), Interfaces{kPod});
  EXPECT_EQ(world_.written.size(), 1U);
  world_.read_error = 0;
  world_.write_error = ENOMEM;
  EXPECT_EQ(adoption_.begin({beginner(kPod, {"10.0.0.2"})}), Interfaces{});
  EXPECT_EQ(adoption_.progress().refused, 1U);
  EXPECT_EQ(world_.notices.size(), 3U);
}

TEST_F(Adopt, FamilyThatIsNotTrackedIsNotKnown) {
  world_.flows = {connection("10.0.0.9", "203.0.113.7")};
  EXPECT_EQ(adoption_.begin({beginner(kPod, {"10.0.0.2"}),
                             beginner(kOther, {"10.0.0.3", "fd00::3"})}),
            Interfaces{kOther});
}

TEST_F(Adopt, WhatTheTrackingDoesNotSeeIsNotKnown) {
  world_.flows = {connection("10.0.0.9", "203.0.113.7")};
  auto switched = beginner(kPod, {"10.0.0.2"});
  switched.switched_unseen = true;
  EXPECT_EQ(adoption_.begin({switched, beginner(kOther, {"10.0.0.3"})}),
            Interfaces{kPod});
}

TEST_F(Adopt, ConnectionsPickedUpInTheMiddleAreNotKnown) {
  world_.flows = {
      connection("203.0.113.7", "10.0.0.2",
                 IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL)};
  EXPECT_EQ(adoption_.begin(
                {beginner(kPod, {"10.0.0.2"}), beginner(kOther, {"10.0.0.3"})}),
            Interfaces{kPod});
  EXPECT_TRUE(world_.written.empty());
}

TEST_F(Adopt, WhoDidNotTakeEffectIsReadAgainWithTheNext) {
  world_.flows = {connection("10.0.0.2", "203.0.113.7")};
  (void)adoption_.begin({beginner(kPod, {"10.0.0.2"})});
  (void)adoption_.begin({beginner(kOther, {"10.0.0.3"})});
  EXPECT_EQ(world_.written.size(), 2U);
  adoption_.finish();
  EXPECT_EQ(world_.written.size(), 3U);
}

}  // namespace
}  // namespace sluice::agent
