// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/front.h"

#include <cstddef>
#include <utility>
#include <vector>

#include <linux/filter.h>
#include <bpf/bpf.h>

#include <arpa/inet.h>

namespace sluice::testing {
namespace {

bpf_insn move(std::uint8_t to, std::uint8_t from) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = to, .src_reg = from};
}
bpf_insn set(std::uint8_t to, std::int32_t value) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = to, .imm = value};
}
bpf_insn call(std::int32_t helper) {
  return {.code = BPF_JMP | BPF_CALL, .imm = helper};
}

Result<Fd> slots_with(int target) {
  Fd slots(bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "slots", 4, 4, 1, nullptr));
  const std::uint32_t zero = 0;
  if (!slots.valid() ||
      bpf_map_update_elem(slots.get(), &zero, &target, BPF_ANY) != 0) {
    return fail_errno("making a program array");
  }
  return slots;
}

// `change`, with the packet in r1 and r6, then slot 0; 99 if it is empty.
Result<Fd> program_of(const std::vector<bpf_insn>& change, int slots) {
  std::vector<bpf_insn> code = {move(6, 1)};
  code.insert(code.end(), change.begin(), change.end());
  const bpf_insn load_map = {.code = BPF_LD | BPF_DW,  // BPF_IMM is zero
                             .dst_reg = 2,
                             .src_reg = BPF_PSEUDO_MAP_FD,
                             .imm = slots};
  const std::vector<bpf_insn> end = {move(1, 6),
                                     load_map,
                                     {},
                                     set(3, 0),
                                     call(BPF_FUNC_tail_call),
                                     set(0, 99),
                                     {.code = BPF_JMP | BPF_EXIT}};
  code.insert(code.end(), end.begin(), end.end());
  Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "front", "GPL", code.data(),
                           code.size(), nullptr));
  if (!program.valid()) {
    return fail_errno("loading a test's program");
  }
  return program;
}

}  // namespace

Result<Front> Front::tag(int target) {
  auto slots = slots_with(target);
  if (!slots) {
    return std::unexpected(slots.error());
  }
  auto program = program_of(
      {set(2, htons(0x8100)), set(3, 5), call(BPF_FUNC_skb_vlan_push)},
      slots->get());
  if (!program) {
    return std::unexpected(program.error());
  }
  Front front;
  front.slots_ = std::move(*slots);
  front.program_ = std::move(*program);
  return front;
}

Result<Front> Front::cut(int target) {
  auto slots = slots_with(target);
  if (!slots) {
    return std::unexpected(slots.error());
  }
  const bpf_insn load_length = {.code = BPF_LDX | BPF_MEM | BPF_W,
                                .dst_reg = 2,
                                .src_reg = 1,
                                .off = offsetof(__sk_buff, cb)};
  auto program = program_of(
      {load_length, set(3, 0), call(BPF_FUNC_skb_change_tail)}, slots->get());
  if (!program) {
    return std::unexpected(program.error());
  }
  Front front;
  front.slots_ = std::move(*slots);
  front.program_ = std::move(*program);
  return front;
}

}  // namespace sluice::testing
