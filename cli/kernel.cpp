// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include <netlink/route/link/veth.h>
#include <netlink/socket.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <unistd.h>

#include "agent/apply.h"
#include "agent/datapath.h"
#include "cli/dns_packet.h"
#include "cli/judge.h"
#include "cli/kernel_names.h"
#include "cli/packet.h"

namespace sluice::cli {
namespace {

constexpr int kVerdictAllow = -1;  // TC_ACT_UNSPEC
constexpr int kVerdictDeny = 2;    // TC_ACT_SHOT
constexpr int kVerdictHeld = 4;    // TC_ACT_STOLEN
constexpr int kVerdictTurned = 7;  // TC_ACT_REDIRECT: answered in its place
constexpr std::uint32_t kFlows = 65536;
// First of the numbers that make each flow new. When all are used, conntrack is
// cleared.
constexpr std::uint16_t kNumberFirst = 1024;
constexpr std::uint16_t kNumberLast = 65000;
// Interfaces at which packets enter: none for the node's own, and loopback,
// which no endpoint has, for those from elsewhere.
constexpr std::uint32_t kStack = 0;
constexpr std::uint32_t kUplink = 1;
constexpr std::array kFlowMaps{agent::Map::kConntrack4,
                               agent::Map::kConntrack6};

struct FreeSocket {
  void operator()(nl_sock* socket) const { ::nl_socket_free(socket); }
};
struct FreeRing {
  void operator()(ring_buffer* ring) const { ::ring_buffer__free(ring); }
};

int keep_last(void* context, void* data, size_t size) {
  if (size >= sizeof(sluice_flow_event)) {
    auto& last = *static_cast<std::optional<sluice_flow_event>*>(context);
    last = *static_cast<const sluice_flow_event*>(data);
  }
  return 0;
}

}  // namespace

struct Kernel::Impl {
  std::unique_ptr<nl_sock, FreeSocket> netlink;
  std::optional<agent::Datapath> datapath;
  std::optional<agent::Applier> applier;
  std::unique_ptr<ring_buffer, FreeRing> ring;
  std::optional<sluice_flow_event> event;
  std::vector<std::uint32_t> interfaces;
  std::map<std::string, std::uint32_t> bound;  // endpoint to interface
  State shown;
  std::uint16_t number = kNumberFirst;
  bool knows_entry = false;  // a packet can be given the interface it enters by
  std::uint64_t unsent = 0;
  KernelNames names;

  Result<void> load();
  // Runs the program for the direction; in the state of a held packet, also
  // what the agent does then.
  Result<int> run(const Question& question, policy::Direction direction,
                  const packet::Bytes& frame);
  Result<Asked> ask(const Question& question, const DnsRecords& records,
                    bool answered);
  Result<Asked> ask_for_family(const Question& question,
                               const DnsRecords& records, bool v6,
                               bool answered);
  Result<std::optional<Verdict>> judge(const Question& question);
  [[nodiscard]] bool takes_entry() const;
  Result<void> add_interfaces(std::size_t count);
  Result<void> forget(std::span<const agent::Map> maps);
  Result<void> next_number(std::uint8_t protocol);
  [[nodiscard]] std::uint32_t entered_by(const Question& question) const;
};

Result<void> Kernel::Impl::load() {
  if (::geteuid() != 0) {
    return fail("--kernel needs root");
  }
  if (::unshare(CLONE_NEWNET) != 0) {
    return fail_errno("--kernel: a network namespace of our own");
  }
  netlink.reset(::nl_socket_alloc());
  if (!netlink || ::nl_connect(netlink.get(), NETLINK_ROUTE) != 0) {
    return fail("--kernel: no netlink socket");
  }
  agent::DatapathOptions options;
  options.conntrack = kFlows;
  auto loaded = agent::Datapath::load(options);
  if (!loaded) {
    return with_context("--kernel", loaded.error());
  }
  datapath = std::move(*loaded);
  auto created = agent::Applier::create(*datapath);
  if (!created) {
    return with_context("--kernel", created.error());
  }
  applier = std::move(*created);
  auto* state = datapath->state();
  state->events_new_flows = 1;
  state->events_per_second = std::numeric_limits<std::uint32_t>::max();
  ring.reset(ring_buffer__new(datapath->map_fd(agent::Map::kEvents), keep_last,
                              &event, nullptr));
  if (!ring) {
    return fail_errno("--kernel: flow events");
  }
  knows_entry = takes_entry();
  return {};
}

// Tried with a packet to an interface that is no pod's.
bool Kernel::Impl::takes_entry() const {
  const std::array<std::byte, 64> packet{};
  __sk_buff context{};
  context.ingress_ifindex = kUplink;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(),
              .data_size_in = packet.size(), .ctx_in = &context,
              .ctx_size_in = sizeof(context));
  return bpf_prog_test_run_opts(datapath->to_pod_fd(), &options) == 0;
}

// The interfaces are needed only for their numbers; packets never reach them.
Result<void> Kernel::Impl::add_interfaces(std::size_t count) {
  while (interfaces.size() < count) {
    const auto pair = std::to_string(interfaces.size() / 2);
    const auto left = "a" + pair;
    const auto right = "b" + pair;
    const int error = ::rtnl_link_veth_add(netlink.get(), left.c_str(),
                                           right.c_str(), ::gettid());
    if (error < 0) {
      return fail(std::string("--kernel: adding a veth: ") +
                  ::nl_geterror(error));
    }
    for (const auto& name : {left, right}) {
      const auto index = ::if_nametoindex(name.c_str());
      if (index == 0) {
        return fail_errno("--kernel: " + name);
      }
      interfaces.push_back(index);
    }
  }
  return {};
}

// Removes all elements of these maps.
Result<void> Kernel::Impl::forget(std::span<const agent::Map> maps) {
  for (const auto map : maps) {
    if (auto emptied = empty_map(datapath->map_fd(map)); !emptied) {
      return emptied;
    }
  }
  return {};
}

// Conntrack must never carry a verdict from one packet to another, so no two
// packets of one flow are sent without clearing it in between. A protocol
// without ports has no number to distinguish flows.
Result<void> Kernel::Impl::next_number(std::uint8_t protocol) {
  constexpr std::array<std::uint8_t, 5> kNumbered{
      IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP, IPPROTO_ICMPV6};
  if (number < kNumberLast &&
      std::ranges::find(kNumbered, protocol) != kNumbered.end()) {
    ++number;
    return {};
  }
  number = kNumberFirst;
  return forget(kFlowMaps);
}

// The interface at which a packet to the subject enters the node: none if the
// node itself sends it, the subject's own if the subject does.
std::uint32_t Kernel::Impl::entered_by(const Question& question) const {
  if (question.peer == question.own) {
    return bound.at(question.subject);
  }
  const IpPrefix peer{.address = question.peer, .length = question.peer.bits()};
  const auto found =
      std::ranges::lower_bound(shown.peers, peer, {}, &PeerEntry::prefix);
  const bool own_node = found != shown.peers.end() && found->prefix == peer &&
                        (found->cidr_id & SLUICE_CIDR_LOCAL_NODE) != 0;
  return own_node ? kStack : kUplink;
}

Kernel::Kernel() : impl_(std::make_unique<Impl>()) {}
Kernel::Kernel(Kernel&&) noexcept = default;
Kernel& Kernel::operator=(Kernel&&) noexcept = default;
Kernel::~Kernel() = default;

Result<Kernel> Kernel::create() {
  Kernel kernel;
  if (auto loaded = kernel.impl_->load(); !loaded) {
    return std::unexpected(loaded.error());
  }
  return kernel;
}

Result<int> Kernel::Impl::run(const Question& question,
                              policy::Direction direction,
                              const packet::Bytes& frame) {
  const bool egress = direction == policy::Direction::kEgress;
  __sk_buff context{};
  context.ifindex = bound.at(question.subject);
  context.ingress_ifindex =
      egress || !knows_entry ? kStack : entered_by(question);
  for (int turn = 0; turn < 2; ++turn) {
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
                .data_size_in = static_cast<__u32>(frame.size()),
                .ctx_in = &context, .ctx_size_in = sizeof(context));
    const int program =
        egress ? datapath->from_pod_fd() : datapath->to_pod_fd();
    if (bpf_prog_test_run_opts(program, &options) != 0) {
      return fail_errno("BPF_PROG_TEST_RUN");
    }
    const auto result = static_cast<int>(options.retval);
    if (result != kVerdictHeld) {
      return result;
    }
    // It comes to know the names, and sends the packet where nobody is.
    names.meet();
  }
  return fail("a DNS message is held over and over");
}

Result<void> Kernel::wait(std::uint32_t seconds) {
  auto& impl = *impl_;
  return impl.names.pass(seconds);
}

Result<Kernel::Asked> Kernel::ask(const Question& question,
                                  const DnsRecords& records, bool answered) {
  auto& impl = *impl_;
  if (!impl.bound.contains(question.subject)) {
    return fail(question.subject + " has no interface");
  }
  return impl.names.within_a_second(
      [&] { return impl.ask(question, records, answered); });
}

Result<Kernel::Asked> Kernel::Impl::ask(const Question& question,
                                        const DnsRecords& records,
                                        bool answered) {
  const auto has = [&](bool v6) {
    return std::ranges::find(records.addresses, v6, &IpAddress::v6) !=
           records.addresses.end();
  };
  auto asked = Asked::kAllowed;
  for (const bool v6 : {false, true}) {
    if (v6 ? !has(true) : has(true) && !has(false)) {
      continue;
    }
    auto one = ask_for_family(question, records, v6, answered);
    if (!one) {
      return one;
    }
    asked = *one;
  }
  return asked;
}

Result<Kernel::Asked> Kernel::Impl::ask_for_family(const Question& question,
                                                   const DnsRecords& records,
                                                   bool v6, bool answered) {
  if (auto next = next_number(question.protocol); !next) {
    return std::unexpected(next.error());
  }
  event.reset();
  for (const auto& [direction, bytes] :
       dns_exchange(question, records, v6, answered, number)) {
    const auto result = run(question, direction, bytes);
    if (!result) {
      return std::unexpected(result.error());
    }
    if (*result != kVerdictAllow) {
      ring_buffer__consume(ring.get());
      const bool refused =
          *result == kVerdictTurned ||
          (event && event->reason == SLUICE_REASON_DNS_REFUSED);
      return refused ? Asked::kRefused : Asked::kDenied;
    }
  }
  return Asked::kAllowed;
}

Result<void> Kernel::show(const State& state, bool names) {
  auto& impl = *impl_;
  if (auto added = impl.add_interfaces(state.endpoints.size()); !added) {
    return added;
  }
  std::map<std::string, std::uint32_t> bound;
  for (std::size_t i = 0; i < state.endpoints.size(); ++i) {
    bound[state.endpoints[i].name] = impl.interfaces[i];
  }
  for (const auto& [name, index] : impl.bound) {
    if (!bound.contains(name)) {
      impl.applier->bind(name, 0);
    }
  }
  for (const auto& [name, index] : bound) {
    impl.applier->bind(name, index);
  }
  impl.bound = std::move(bound);
  if (names) {
    // Nothing is known from an earlier state.
    impl.names = {};
    if (auto forgotten = impl.forget(KernelNames::kMaps); !forgotten) {
      return forgotten;
    }
    if (auto begun = impl.names.begin(*impl.datapath, state, impl.bound);
        !begun) {
      return begun;
    }
  }
  auto applied = impl.applier->apply(diff(impl.shown, state));
  impl.shown = state;
  return applied;
}

Result<std::optional<Kernel::Verdict>> Kernel::judge(const Question& question) {
  auto& impl = *impl_;
  return impl.names.within_a_second([&] { return impl.judge(question); });
}

Result<std::optional<Kernel::Verdict>> Kernel::Impl::judge(
    const Question& question) {
  if (auto next = next_number(question.protocol); !next) {
    return std::unexpected(next.error());
  }
  const bool egress = question.direction == policy::Direction::kEgress;
  if (egress && question.peer == question.own) {
    return std::optional<Verdict>{};  // it does not leave the pod
  }
  const auto frame =
      first_packet({.from = egress ? question.own : question.peer,
                    .to = egress ? question.peer : question.own,
                    .protocol = question.protocol,
                    .port = question.port,
                    .number = number});
  if (!frame) {
    return std::optional<Verdict>{};
  }
  const auto subject = bound.find(question.subject);
  if (subject == bound.end()) {
    return fail(question.subject + " has no interface");
  }
  __sk_buff context{};
  context.ifindex = subject->second;
  // What a pod sends is judged without it.
  context.ingress_ifindex = egress ? kStack : entered_by(question);
  if (context.ingress_ifindex != kStack && !knows_entry) {
    ++unsent;
    return std::optional<Verdict>{};
  }
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->data(),
              .data_size_in = static_cast<__u32>(frame->size()),
              .ctx_in = &context, .ctx_size_in = sizeof(context));
  event.reset();
  const int program = egress ? datapath->from_pod_fd() : datapath->to_pod_fd();
  if (bpf_prog_test_run_opts(program, &options) != 0) {
    return fail_errno("BPF_PROG_TEST_RUN");
  }
  const auto result = static_cast<int>(options.retval);
  if (result != kVerdictAllow && result != kVerdictDeny) {
    return fail("the program returned " + std::to_string(result));
  }
  ring_buffer__consume(ring.get());
  Verdict verdict{.allowed = result == kVerdictAllow};
  if (event) {
    verdict.reported = true;
    verdict.reason = event->reason;
    verdict.rule = event->rule;
    verdict.cidr_id = event->cidr_id;
  }
  return std::optional(verdict);
}

std::uint64_t Kernel::take_unsent() {
  return std::exchange(impl_->unsent, 0);
}

}  // namespace sluice::cli
