// SPDX-License-Identifier: Apache-2.0
// What the datapath adds to a packet, in nanoseconds: each case runs the
// program a million times in the kernel and, right before, a program that does
// nothing; the difference is the time shown. No network, no interface.
#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include <benchmark/benchmark.h>

#include "bench/programs.h"

namespace {

using namespace sluice;           // NOLINT(google-build-using-namespace)
using namespace sluice::testing;  // NOLINT(google-build-using-namespace)
using namespace sluice::bench;    // NOLINT(google-build-using-namespace)

constexpr std::uint32_t kRepeat = 1'000'000;
constexpr std::uint32_t kRepeatNotFull = 200'000;  // conntrack has more room
constexpr std::uint32_t kRepeatEvents = 10'000;    // the ring buffer too
constexpr int kRounds = 7;
constexpr std::uint16_t kPort = 80;

enum class Between : std::uint8_t {
  kNothing,
  kRandomFlow,
  kNextFlow,
  kNextEpoch,
  kInsertFlow,  // without the datapath: the kernel's part of a new flow
};

enum class Segment : std::uint8_t { kAck, kSyn, kUdp };

struct Case {
  const char* name;
  bool v6 = false;
  sluice_direction direction = SLUICE_EGRESS;
  Between between = Between::kNothing;
  bool isolated = true;
  bool allowed = true;        // the flow's port has an entry
  bool open_reverse = false;  // the flow was opened by the other direction
  bool exact = false;         // the peer is in `peers`, not in `prefixes`
  bool full = true;           // conntrack is; else it is empty at first
  bool events = false;        // new flows are reported
  Segment segment = Segment::kAck;
  std::uint32_t entries = 10;
};

sluice_direction opposite(sluice_direction direction) {
  return direction == SLUICE_EGRESS ? SLUICE_INGRESS : SLUICE_EGRESS;
}

class Bench {
 public:
  explicit Bench(const Case& c)
      : case_(c),
        net_(make_net(c.v6)),
        runner_(large_runner()),
        program_(c.direction == SLUICE_EGRESS
                     ? runner_.datapath().from_pod_fd()
                     : runner_.datapath().to_pod_fd()) {
    must(runner_.set(world()));
    must(runner_.forget());
    runner_.datapath().state()->events_new_flows = c.events ? 1 : 0;
    runner_.datapath().state()->events_per_second = c.events ? 1U << 30 : 1000;
    frame_ = frame(c.direction);
    if (c.open_reverse) {
      const auto opener = opposite(c.direction);
      if (!must(runner_.verdict(opener, frame(opener)))) {
        die("the flow is not allowed");
      }
    }
    if (c.between != Between::kNothing) {
      load_vary();
    }
  }

  // Makes the flows, fills conntrack, warms the caches.
  void warm() { run_through(program_, passes(), kRepeat); }

  // Nanoseconds per packet above the floor.
  double measure() {
    const std::uint32_t repeat = repeats();
    const double floor = run_through(floor_program(), true, repeat);
    if (!case_.full) {
      runner_.evict_flows();
    }
    runner_.discard_events();
    const double full = run_through(program_, passes(), repeat);
    return (full - floor) / repeat * 1e9;
  }

 private:
  // Without isolation everything is allowed.
  [[nodiscard]] bool passes() const { return case_.allowed || !case_.isolated; }

  [[nodiscard]] std::uint32_t repeats() const {
    if (case_.events) {
      return kRepeatEvents;
    }
    return case_.full ? kRepeat : kRepeatNotFull;
  }

  // Ten ports for each of many classes; class b, which the packets belong to,
  // has them too, and the flow's own port if it is allowed.
  [[nodiscard]] World world() const {
    World world = case_.isolated ? net_.isolated() : net_.open();
    const auto flow_opener =
        case_.open_reverse ? opposite(case_.direction) : case_.direction;
    Entry entry = {
        .direction = flow_opener, .protocol = protocol(), .port_bits = 16};
    for (std::uint32_t i = 0; i < case_.entries; ++i) {
      entry.cidr_id = kClassB + (i / 10);
      entry.port = static_cast<std::uint16_t>(1000 + (i % 10));
      world.entries.push_back(entry);
    }
    world.peers.push_back({.prefix = make_prefix(net_.b, net_.v6 ? 112 : 16),
                           .cidr_id = kClassB});
    if (case_.allowed) {
      entry.cidr_id = kClassB;
      entry.port = kPort;
      world.entries.push_back(entry);
    }
    return world;
  }

  [[nodiscard]] std::uint8_t protocol() const {
    return case_.segment == Segment::kUdp ? kUdp : kTcp;
  }

  // In the prefix that is class b's; `exact`: an exact address of that class.
  [[nodiscard]] IpAddress peer() const {
    IpAddress address = net_.b;
    if (!case_.exact) {
      address.bytes.at(net_.v6 ? 14 : 2) = 1;
    }
    return address;
  }

  [[nodiscard]] Bytes segment(std::uint16_t from, std::uint16_t to) const {
    if (case_.segment == Segment::kUdp) {
      return udp(from, to, 64);
    }
    return tcp(from, to, case_.segment == Segment::kSyn ? kSyn : kAck, 64);
  }

  // A packet of the flow between port 80 of one side and 1000 of the other.
  [[nodiscard]] Bytes frame(sluice_direction direction) const {
    const bool opener = (direction == case_.direction) != case_.open_reverse;
    const Bytes part = opener ? segment(1000, kPort) : segment(kPort, 1000);
    return direction == SLUICE_EGRESS ? net_.to(peer(), protocol(), part)
                                      : net_.from(peer(), protocol(), part);
  }

  void load_vary() {
    vary_.reset(datapath_vary_bpf::open());
    if (!vary_) {
      die("opening the benchmark's program");
    }
    const std::uint32_t ip = kEthernetSize;
    const bool egress = case_.direction == SLUICE_EGRESS;
    const std::uint32_t header = net_.v6 ? 40 : 20;
    const std::uint32_t address = net_.v6 ? 16 : 4;
    // The remote side's address, and the port that is not the one allowed.
    vary_->rodata->address_end = ip + header - (egress ? 0 : address);
    vary_->rodata->port_at = ip + header + (case_.open_reverse ? 2 : 0);
    bpf_map__reuse_fd(vary_->maps.state,
                      runner_.datapath().map_fd(agent::Map::kState));
    bpf_map__set_max_entries(vary_->maps.flows, runner_.datapath().capacity(
                                                    agent::Map::kConntrack4));
    if (datapath_vary_bpf::load(vary_.get()) != 0) {
      die("loading the benchmark's program");
    }
  }

  double run_through(int program, bool allowed, std::uint32_t repeat) {
    const int expected = allowed ? TC_ACT_UNSPEC : TC_ACT_SHOT;
    if (!vary_) {
      return run(program, frame_, expected, repeat);
    }
    if (case_.between == Between::kInsertFlow && program == program_) {
      program = bpf_program__fd(vary_->progs.insert_flow);
    }
    const std::uint32_t zero = 0;
    if (bpf_map_update_elem(bpf_map__fd(vary_->maps.target), &zero, &program,
                            BPF_ANY) != 0) {
      die("setting the benchmark's target");
    }
    return run(bpf_program__fd(front()), frame_, expected, repeat);
  }

  [[nodiscard]] bpf_program* front() const {
    switch (case_.between) {
      case Between::kRandomFlow:
        return vary_->progs.random_flow;
      case Between::kInsertFlow:
      case Between::kNextFlow:
        return vary_->progs.next_flow;
      default:
        return vary_->progs.next_epoch;
    }
  }

  Case case_;
  Net net_;
  Runner& runner_;
  int program_;
  Bytes frame_;
  Vary vary_;
};

void run_case(benchmark::State& state, const Case& c) {
  Bench bench(c);
  bench.warm();
  while (state.KeepRunning()) {
    state.SetIterationTime(bench.measure() * 1e-9);
  }
}

constexpr std::array kCases = {
    Case{.name = "established, opener, ipv4"},
    Case{.name = "established, reply, ipv4",
         .direction = SLUICE_INGRESS,
         .open_reverse = true},
    Case{.name = "established, opener, ipv6", .v6 = true},
    Case{.name = "established, reply, ipv6",
         .v6 = true,
         .direction = SLUICE_INGRESS,
         .open_reverse = true},
    Case{.name = "established, 64000 flows at random, ipv4",
         .between = Between::kRandomFlow},
    Case{.name = "established, 64000 flows at random, ipv6",
         .v6 = true,
         .between = Between::kRandomFlow},
    // What the kernel takes for an entry, whatever the program around it.
    Case{.name = "bare insert, full", .between = Between::kInsertFlow},
    Case{.name = "new flow, conntrack not full, tcp, ipv4",
         .between = Between::kNextFlow,
         .full = false,
         .segment = Segment::kSyn},
    Case{.name = "new flow, conntrack not full, tcp, ipv6",
         .v6 = true,
         .between = Between::kNextFlow,
         .full = false,
         .segment = Segment::kSyn},
    Case{.name = "new flow, conntrack not full, udp, ipv4",
         .between = Between::kNextFlow,
         .full = false,
         .segment = Segment::kUdp},
    Case{.name = "new flow, conntrack full, tcp, ipv4",
         .between = Between::kNextFlow,
         .segment = Segment::kSyn},
    Case{.name = "new flow, conntrack full, udp, ipv4",
         .between = Between::kNextFlow,
         .segment = Segment::kUdp},
    Case{.name = "new flow, conntrack full, tcp without syn, ipv4",
         .between = Between::kNextFlow},
    Case{.name = "new flow, conntrack full, tcp, 100000 entries, ipv4",
         .between = Between::kNextFlow,
         .segment = Segment::kSyn,
         .entries = 100000},
    Case{.name = "new flow, conntrack full, tcp, ipv6",
         .v6 = true,
         .between = Between::kNextFlow,
         .segment = Segment::kSyn},
    Case{.name = "new flow, conntrack full, tcp, with event, ipv4",
         .between = Between::kNextFlow,
         .events = true,
         .segment = Segment::kSyn},
    Case{.name = "new flow, conntrack full, tcp, not isolated, ipv4",
         .between = Between::kNextFlow,
         .isolated = false,
         .segment = Segment::kSyn},
    Case{.name = "denied, 10 entries, ipv4", .allowed = false},
    Case{.name = "denied, 1000 entries, ipv4",
         .allowed = false,
         .entries = 1000},
    Case{.name = "denied, 100000 entries, ipv4",
         .allowed = false,
         .entries = 100000},
    Case{.name = "denied, 100000 entries, exact peer, ipv4",
         .allowed = false,
         .exact = true,
         .entries = 100000},
    Case{.name = "denied, 100000 entries, ipv6",
         .v6 = true,
         .allowed = false,
         .entries = 100000},
    Case{.name = "denied, 100000 entries, exact peer, ipv6",
         .v6 = true,
         .allowed = false,
         .exact = true,
         .entries = 100000},
    Case{.name = "re-evaluated, 10 entries, ipv4",
         .between = Between::kNextEpoch},
    Case{.name = "re-evaluated, 1000 entries, ipv4",
         .between = Between::kNextEpoch,
         .entries = 1000},
    Case{.name = "re-evaluated, 100000 entries, ipv4",
         .between = Between::kNextEpoch,
         .entries = 100000},
    Case{.name = "re-evaluated, 100000 entries, exact peer, ipv4",
         .between = Between::kNextEpoch,
         .exact = true,
         .entries = 100000},
    Case{.name = "re-evaluated, 100000 entries, ipv6",
         .v6 = true,
         .between = Between::kNextEpoch,
         .entries = 100000},
    Case{.name = "re-evaluated, 100000 entries, exact peer, ipv6",
         .v6 = true,
         .between = Between::kNextEpoch,
         .exact = true,
         .entries = 100000},
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  for (const Case& c : kCases) {
    benchmark::RegisterBenchmark(c.name, run_case, c)
        ->UseManualTime()
        ->Iterations(1)
        ->Repetitions(kRounds)
        ->ComputeStatistics("min",
                            [](const std::vector<double>& values) {
                              return *std::ranges::min_element(values);
                            })
        ->DisplayAggregatesOnly(true);
  }
  std::puts("Nanoseconds per packet above a program that does nothing.");
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
