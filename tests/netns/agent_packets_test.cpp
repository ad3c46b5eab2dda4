// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf.h>

#include <gtest/gtest.h>

#include "agent_fixture.h"

// Packets and interfaces out of the ordinary, and filters that others remove.
namespace sluice::agent::test {
namespace {

constexpr std::uint16_t kAllowed = 1000;
constexpr std::uint16_t kDenied = 1002;
constexpr std::uint16_t kNowhere = 1004;

std::uint64_t used(const AgentStatus& status, const std::string& map) {
  const auto found = std::ranges::find(status.maps, map, &MapStatus::name);
  return found == status.maps.end() ? 0 : found->used;
}

bool wait_for(Agent& agent, const std::function<bool()>& done) {
  return wait_until(
      agent.poll_fd(), [&] { EXPECT_TRUE(agent.dispatch()); }, done);
}

// ---- interfaces with high numbers

TEST_F(Node, InterfacesBeyondTheArrayAreEnforcedLikeOthers) {
  const PrivateBpffs bpffs;
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2", 9000);
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3", 1'000'000);
  ASSERT_GE(ifindex_of("vetha"), SLUICE_ENDPOINTS_DIRECT);
  ASSERT_EQ(ifindex_of("vethb"), 1'000'000U);
  std::uint32_t epoch = 0;
  {
    auto agent = Agent::start(options(bpffs.pin_dir()));
    ASSERT_TRUE(agent) << agent.error().message;
    const auto replaced = agent->replace(two_pods());
    ASSERT_TRUE(replaced) << replaced.error().message;
    EXPECT_TRUE(attached(*agent, "ns/a"));
    EXPECT_TRUE(attached(*agent, "ns/b"));
    EXPECT_EQ(used(agent->status(), "ep_overflow"), 2U);
    for (const bool v6 : {false, true}) {
      EXPECT_TRUE(reaches(a, b, v6, kAllowed));
      EXPECT_FALSE(reaches(a, b, v6, kDenied));
      EXPECT_TRUE(reaches(b, a, v6, kDenied)) << "a is not isolated";
    }
    epoch = agent->status().epoch;
  }
  auto agent = Agent::start(options(bpffs.pin_dir()));
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(two_pods()));
  EXPECT_EQ(agent->status().epoch, epoch) << "a restart found them as they are";
  Transaction remove;
  remove.endpoints = {{"ns/b", std::nullopt}};
  ASSERT_TRUE(agent->apply(remove));
  EXPECT_EQ(used(agent->status(), "ep_overflow"), 1U);
  EXPECT_TRUE(reaches(a, b, false, kDenied)) << "nobody's endpoint any more";
}

// ---- packets that are not in one piece

// Drops every packet whose network header can be read in place.
Fd only_paged() {
  const auto load = [](std::uint8_t to, std::int16_t from) {
    return bpf_insn{.code = BPF_LDX | BPF_MEM | BPF_W,
                    .dst_reg = to,
                    .src_reg = BPF_REG_1,
                    .off = from};
  };
  const auto verdict = [](std::int32_t value) {
    return bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K,
                    .dst_reg = BPF_REG_0,
                    .imm = value};
  };
  constexpr std::int32_t kHeaders = 14 + 20;
  const std::array<bpf_insn, 7> code = {
      verdict(TC_ACT_UNSPEC),
      load(BPF_REG_2, offsetof(__sk_buff, data)),
      load(BPF_REG_3, offsetof(__sk_buff, data_end)),
      bpf_insn{.code = BPF_ALU64 | BPF_ADD,  // BPF_K is zero
               .dst_reg = BPF_REG_2,
               .imm = kHeaders},
      bpf_insn{.code = BPF_JMP | BPF_JGT | BPF_X,
               .dst_reg = BPF_REG_2,
               .src_reg = BPF_REG_3,
               .off = 1},
      verdict(TC_ACT_SHOT),
      bpf_insn{.code = BPF_JMP | BPF_EXIT}};
  return Fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "only_paged", "GPL",
                          code.data(), code.size(), nullptr));
}

TEST_F(Node, PacketsInPagesAreJudgedByWhatTheySay) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  std::vector<sluice_flow_event> events;
  agent->on_event([&](const auto& event) { events.push_back(event); });
  auto state = two_pods();
  state.endpoints[0].policy_set = 6;
  state.endpoints[0].isolated = {false, true};
  for (const std::uint16_t port : {kAllowed, kDenied}) {
    auto out = key(6, 0, port);
    out.direction = SLUICE_EGRESS;
    state.entries.push_back(
        {out, {.verdict = SLUICE_VERDICT_ALLOW, .rule = 22}});
  }
  ASSERT_TRUE(agent->replace(state));
  for (const bool v6 : {false, true}) {
    ASSERT_TRUE(reaches(a, b, v6, kAllowed)) << "neighbours are known";
  }
  const Fd check = only_paged();
  ASSERT_TRUE(check.valid());
  ASSERT_TRUE(
      attach_foreign(ifindex_of("vetha"), BPF_TC_INGRESS, check.get(), 1, 1));
  for (const bool v6 : {false, true}) {
    EXPECT_TRUE(reaches_in_pages(a, b, v6, kAllowed));
    EXPECT_FALSE(reaches_in_pages(a, b, v6, kDenied)) << "refused by b";
    EXPECT_FALSE(reaches_in_pages(a, b, v6, kNowhere)) << "refused by a";
  }
  ASSERT_TRUE(agent->dispatch());
  const auto drops = [&](std::uint16_t port, sluice_direction direction) {
    return std::ranges::count_if(events, [&](const auto& event) {
      return event.dport == __builtin_bswap16(port) &&
             event.direction == direction &&
             event.reason == SLUICE_REASON_DEFAULT_DENY;
    });
  };
  EXPECT_EQ(drops(kDenied, SLUICE_INGRESS), 2);
  EXPECT_EQ(drops(kNowhere, SLUICE_EGRESS), 2);
}

// ---- filters that others remove

TEST_F(Node, FiltersThatSomebodyRemovesArePutBack) {
  const auto a = routed_pod("vetha", "10.8.0.2", "fd08::2");
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  const auto host_side = ifindex_of("vethb");
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(two_pods()));
  ASSERT_TRUE(agent->dispatch());
  const auto program = program_at(host_side, BPF_TC_EGRESS);
  ASSERT_NE(program, 0U);
  const auto whole = [&] {
    return program_at(host_side, BPF_TC_EGRESS) == program &&
           program_at(host_side, BPF_TC_INGRESS) != 0;
  };
  for (const std::string command :
       {"tc filter del dev vethb egress", "tc filter del dev vethb ingress",
        "tc qdisc del dev vethb clsact"}) {
    run(command);
    ASSERT_FALSE(whole()) << command;
    EXPECT_TRUE(wait_for(*agent, whole)) << command;
    EXPECT_TRUE(attached(*agent, "ns/b"));
    EXPECT_FALSE(reaches(a, b, false, kDenied)) << command;
    EXPECT_TRUE(reaches(a, b, false, kAllowed)) << command;
  }
}

TEST_F(Node, AFilterPutInOursPlaceIsLeftAndReported) {
  const auto b = routed_pod("vethb", "10.8.0.3", "fd08::3");
  const auto host_side = ifindex_of("vethb");
  auto agent = Agent::start(options());
  ASSERT_TRUE(agent) << agent.error().message;
  ASSERT_TRUE(agent->replace(two_pods()));
  ASSERT_TRUE(attached(*agent, "ns/b"));
  const Fd foreign = foreign_program();
  ASSERT_TRUE(attach_foreign(host_side, BPF_TC_EGRESS, foreign.get(),
                             kFilterHandle, kFilterPriority));
  EXPECT_TRUE(wait_for(*agent, [&] { return !attached(*agent, "ns/b"); }));
  const auto status = agent->status();
  EXPECT_NE(status_of(status, "ns/b")->problem.find("taken by another program"),
            std::string::npos);
  EXPECT_EQ(program_at(host_side, BPF_TC_EGRESS), program_id(foreign.get()));
  run("tc filter del dev vethb egress");
  EXPECT_TRUE(wait_attached(*agent, "ns/b"));
}

}  // namespace
}  // namespace sluice::agent::test
