// SPDX-License-Identifier: Apache-2.0
#include "agent/kernel_clock.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include <linux/bpf.h>
#include <bpf/bpf.h>

#include <unistd.h>

namespace sluice::agent {
namespace {

// Stores jiffies and the time, read together, in cb[0..2].
Result<Fd> load_clock() {
  constexpr std::int16_t kCb = offsetof(__sk_buff, cb);
  const auto call = [](std::int32_t helper) {
    return bpf_insn{.code = BPF_JMP | BPF_CALL, .imm = helper};
  };
  const auto store = [](std::int16_t at) {
    return bpf_insn{.code = BPF_STX | BPF_MEM | BPF_W,
                    .dst_reg = BPF_REG_6,
                    .src_reg = BPF_REG_0,
                    .off = at};
  };
  const std::array<bpf_insn, 9> code = {
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_X,
               .dst_reg = BPF_REG_6,
               .src_reg = BPF_REG_1},
      call(BPF_FUNC_jiffies64),
      store(kCb),
      call(BPF_FUNC_ktime_get_ns),
      store(kCb + 4),
      bpf_insn{
          .code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = BPF_REG_0, .imm = 32},
      store(kCb + 8),
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
      bpf_insn{.code = BPF_JMP | BPF_EXIT}};
  Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sluice_clock", "GPL",
                           code.data(), code.size(), nullptr));
  if (!program.valid()) {
    return fail_errno("loading a BPF program");
  }
  return program;
}

// Returns by how many jiffies the moments deviate from a clock of `hz`: less
// than two if `hz` is the kernel's, otherwise growing with time.
double misfit(const std::vector<KernelClock::Moment>& moments,
              std::uint32_t hz) {
  double least = 0;
  double most = 0;
  for (const auto& moment : moments) {
    const double expected =
        static_cast<double>(moment.ns - moments.front().ns) / 1e9 * hz;
    const double distance =
        expected - (moment.jiffies - moments.front().jiffies);
    least = std::min(least, distance);
    most = std::max(most, distance);
  }
  return most - least;
}

}  // namespace

Result<KernelClock> KernelClock::open() {
  auto program = load_clock();
  if (!program) {
    return std::unexpected(program.error());
  }
  return KernelClock(std::move(*program));
}

Result<KernelClock::Moment> KernelClock::read() const {
  const std::array<std::uint8_t, 64> packet{};
  __sk_buff context{};
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(),
              .data_size_in = packet.size(), .ctx_in = &context,
              .ctx_out = &context, .ctx_size_in = sizeof(context),
              .ctx_size_out = sizeof(context));
  if (bpf_prog_test_run_opts(program_.get(), &options) != 0) {
    return fail_errno("reading the kernel's jiffies");
  }
  return Moment{
      .jiffies = context.cb[0],
      .ns = context.cb[1] | (static_cast<std::uint64_t>(context.cb[2]) << 32)};
}

// CONFIG_HZ is in no file that every system has, so the value that fits the
// clock is searched. Every start must find the same number, also on a busy
// machine, because it is part of the programs.
Result<std::uint32_t> KernelClock::measure_hz() const {
  constexpr std::array<std::uint32_t, 4> kUsual = {100, 250, 300, 1000};
  constexpr int kMoments = 8;
  constexpr useconds_t kApartUs = 10'000;
  std::vector<Moment> moments;
  for (int i = 0; i < kMoments; ++i) {
    if (i != 0) {
      usleep(kApartUs);
    }
    const auto moment = read();
    if (!moment) {
      return std::unexpected(moment.error());
    }
    moments.push_back(*moment);
  }
  return *std::ranges::min_element(
      kUsual, {}, [&](std::uint32_t hz) { return misfit(moments, hz); });
}

}  // namespace sluice::agent
