// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "datapath_vary.skel.h"
#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "sluice/abi.h"
#include "tests/datapath/net.h"

// Programs of the datapath, run many times in the kernel.
namespace sluice::bench {

[[noreturn]] inline void die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) {
    die(result.error().message);
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

struct SkeletonDeleter {
  void operator()(datapath_vary_bpf* skeleton) const {
    datapath_vary_bpf::destroy(skeleton);
  }
};
using Vary = std::unique_ptr<datapath_vary_bpf, SkeletonDeleter>;

// What this thread has had of a CPU: other load on the machine counts less
// than on a clock.
inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         (static_cast<double>(now.tv_nsec) * 1e-9);
}

// Seconds of `repeat` runs.
inline double run(int program, const testing::Bytes& frame, int expected,
                  std::uint32_t repeat) {
  __sk_buff context{};
  context.ifindex = 1;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_size_in = static_cast<__u32>(frame.size()),
              .ctx_in = &context, .ctx_size_in = sizeof(context),
              .repeat = static_cast<int>(repeat));
  const double begin = thread_seconds();
  if (bpf_prog_test_run_opts(program, &options) != 0) {
    die(fail_errno("running a program").error().message);
  }
  const double end = thread_seconds();
  if (static_cast<int>(options.retval) != expected) {
    die("verdict " + std::to_string(static_cast<int>(options.retval)) +
        ", not " + std::to_string(expected));
  }
  return end - begin;
}

// A program that does nothing: what a test run itself costs.
inline int floor_program() {
  static const Fd program = [] {
    const std::array<bpf_insn, 2> code{{{.code = BPF_ALU64 | BPF_MOV | BPF_K,
                                         .dst_reg = BPF_REG_0,
                                         .src_reg = 0,
                                         .off = 0,
                                         .imm = TC_ACT_UNSPEC},
                                        {.code = BPF_JMP | BPF_EXIT,
                                         .dst_reg = 0,
                                         .src_reg = 0,
                                         .off = 0,
                                         .imm = 0}}};
    Fd loaded(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sluice_floor", "GPL",
                            code.data(), code.size(), nullptr));
    if (!loaded.valid()) {
      die("loading a program that does nothing");
    }
    return loaded;
  }();
  return program.get();
}

// With the agent's map sizes.
inline testing::Runner& large_runner() {
  static testing::Runner runner = must(testing::Runner::create(
      testing::make_net(false).own, testing::make_net(true).own, {}));
  return runner;
}

}  // namespace sluice::bench
