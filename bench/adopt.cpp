// SPDX-License-Identifier: Apache-2.0
// clang-format off: before linux/in.h, which gives way to it
#include <netinet/in.h>
// clang-format on
#include "agent/adopt.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <benchmark/benchmark.h>
#include <endian.h>
#include <sched.h>
#include <sys/resource.h>

#include "agent/datapath.h"
#include "agent/dump.h"
#include "agent/netlink_socket.h"

// What it costs to let the flows of a node go on when enforcement begins: the
// processor's time, in the kernel and here, of the whole process.
namespace sluice::agent {
namespace {

constexpr std::uint32_t kPods = 100;

void expect(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "bench_adopt: %s\n", what);
    std::abort();
  }
}

IpAddress pod(std::uint32_t number) {
  IpAddress ip;
  ip.bytes = {10, 0, 0, static_cast<std::uint8_t>(number + 1)};
  return ip;
}

IpAddress peer(std::uint32_t flow) {
  IpAddress ip;
  ip.bytes = {203, static_cast<std::uint8_t>(flow >> 16),
              static_cast<std::uint8_t>(flow >> 8),
              static_cast<std::uint8_t>(flow)};
  return ip;
}

struct MessageDeleter {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};

void put_tuple(nl_msg* message, int type, const IpAddress& source,
               const IpAddress& destination, std::uint16_t source_port,
               std::uint16_t port) {
  nlattr* tuple = nla_nest_start(message, type);
  nlattr* ip = nla_nest_start(message, CTA_TUPLE_IP);
  nla_put(message, CTA_IP_V4_SRC, 4, source.bytes.data());
  nla_put(message, CTA_IP_V4_DST, 4, destination.bytes.data());
  nla_nest_end(message, ip);
  nlattr* ports = nla_nest_start(message, CTA_TUPLE_PROTO);
  nla_put_u8(message, CTA_PROTO_NUM, IPPROTO_TCP);
  nla_put_u16(message, CTA_PROTO_SRC_PORT, htobe16(source_port));
  nla_put_u16(message, CTA_PROTO_DST_PORT, htobe16(port));
  nla_nest_end(message, ports);
  nla_nest_end(message, tuple);
}

// An established connection from a pod, in the kernel's table.
void add_flow(nl_sock* socket, std::uint32_t number) {
  const std::unique_ptr<nl_msg, MessageDeleter> owner(nlmsg_alloc_simple(
      (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW,
      NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK));
  nl_msg* message = owner.get();
  nfgenmsg header{.nfgen_family = AF_INET};
  nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
  const auto from = pod(number % kPods);
  const auto to = peer(number);
  put_tuple(message, CTA_TUPLE_ORIG, from, to, 40000, 443);
  put_tuple(message, CTA_TUPLE_REPLY, to, from, 443, 40000);
  nla_put_u32(message, CTA_STATUS,
              htobe32(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
  nla_put_u32(message, CTA_TIMEOUT, htobe32(3600));
  nlattr* info = nla_nest_start(message, CTA_PROTOINFO);
  nlattr* tcp = nla_nest_start(message, CTA_PROTOINFO_TCP);
  nla_put_u8(message, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
  nla_nest_end(message, tcp);
  nla_nest_end(message, info);
  expect(nl_send_auto(socket, message) >= 0, "sending a flow");
  expect(nl_wait_for_ack(socket) >= 0, "adding a flow");
}

// The table of this process's own network namespace.
void fill(std::uint32_t flows) {
  static std::uint32_t there = 0;
  auto socket = netlink_connect(NETLINK_NETFILTER);
  expect(socket.has_value(), "no ctnetlink");
  while (there < flows) {
    add_flow(socket->get(), there++);
  }
  expect(kernel_tracking()->count().value_or(0) >= flows, "not all flows");
}

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) +
           (static_cast<double>(time.tv_usec) / 1e6);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void adopt(benchmark::State& run) {
  fill(static_cast<std::uint32_t>(run.range(0)));
  std::vector<NewlyEnforced> newly_enforced;
  newly_enforced.reserve(static_cast<std::size_t>(run.range(1)));
  for (std::uint32_t i = 0; i < run.range(1); ++i) {
    newly_enforced.push_back({.ifindex = i + 1, .ips = {pod(i)}});
  }
  const auto datapath = Datapath::load({});
  expect(datapath.has_value(), "loading the datapath");
  auto store = kernel_seed_store(*datapath);
  expect(store.has_value(), "opening conntrack");
  Adoption adoption(kernel_tracking(), std::move(*store));
  for ([[maybe_unused]] auto _ : run) {
    const double begin = processor_seconds();
    (void)adoption.begin(newly_enforced);
    adoption.finish();
    run.SetIterationTime(processor_seconds() - begin);
  }
  const auto& progress = adoption.progress();
  expect(progress.refused == 0, "entries were refused");
  run.counters["entries"] = static_cast<double>(progress.seeded) /
                            static_cast<double>(progress.reads);
}
// Reading conntrack, as for the counters of long flows.
void read_conntrack(benchmark::State& run) {
  fill(static_cast<std::uint32_t>(run.range(0)));
  const auto datapath = Datapath::load({});
  expect(datapath.has_value(), "loading the datapath");
  auto store = kernel_seed_store(*datapath);
  expect(store.has_value(), "opening conntrack");
  Adoption adoption(kernel_tracking(), std::move(*store));
  std::vector<NewlyEnforced> all;
  all.reserve(100);
  for (std::uint32_t i = 0; i < 100; ++i) {
    all.push_back({.ifindex = i + 1, .ips = {pod(i)}});
  }
  (void)adoption.begin(all);
  adoption.finish();
  std::size_t entries = 0;
  for ([[maybe_unused]] auto _ : run) {
    const auto read = dump_conntrack(*datapath);
    expect(read.has_value(), "reading conntrack");
    entries = read->size();
  }
  run.counters["entries"] = static_cast<double>(entries);
}
BENCHMARK(read_conntrack)
    ->ArgName("flows")
    ->Arg(1'000)
    ->Arg(65'536)
    ->Unit(benchmark::kMillisecond);

BENCHMARK(adopt)
    ->ArgNames({"flows", "pods"})
    ->Args({1'000, 1})
    ->Args({1'000, 100})
    ->Args({100'000, 1})
    ->Args({100'000, 100})
    ->Iterations(5)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::agent

int main(int argc, char** argv) {
  // A table of its own, that goes with the process.
  if (unshare(CLONE_NEWNET) != 0) {
    std::perror("bench_adopt: unshare");
    return 1;
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
