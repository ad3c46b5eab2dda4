// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/runner.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <span>
#include <utility>

#include <linux/pkt_cls.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <arpa/inet.h>

#include "lib/base/fd.h"

namespace sluice::testing {
namespace {

using agent::Datapath;
using agent::DatapathOptions;
using agent::Map;

constexpr std::uint32_t kPolicySet = 1;
constexpr std::uint32_t kIfindex = kOwnInterface;
constexpr std::uint8_t kOnLink6 = 64;

struct RingDeleter {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

// All keys of a map.
template <typename Key>
std::vector<Key> keys_of(int fd) {
  std::vector<Key> keys;
  Key key{};
  while (bpf_map_get_next_key(fd, keys.empty() ? nullptr : &keys.back(),
                              &key) == 0) {
    keys.push_back(key);
  }
  return keys;
}

// Deletes every element.
void clear(const agent::Datapath& datapath, agent::Map map) {
  const int fd = datapath.map_fd(map);
  std::vector<std::byte> key(agent::describe(map).key_size);
  while (bpf_map_get_next_key(fd, nullptr, key.data()) == 0 &&
         bpf_map_delete_elem(fd, key.data()) == 0) {
  }
}

void clear(const agent::Datapath& datapath, agent::MapUse use) {
  for (const agent::Map map : agent::all_maps()) {
    if (agent::describe(map).use == use) {
      clear(datapath, map);
    }
  }
}

template <typename Key, typename Value>
Result<void> put(int fd, const Key& key, const Value& value) {
  if (bpf_map_update_elem(fd, &key, &value, BPF_ANY) != 0) {
    return fail_errno("writing a map");
  }
  return {};
}

sluice_policy_key key_of(const Entry& entry, std::uint32_t policy_id) {
  sluice_policy_key key{};
  key.prefixlen = SLUICE_PREFIX_ANY;
  if (entry.protocol != 0) {
    key.prefixlen =
        SLUICE_PREFIX_PROTOCOL + static_cast<std::uint32_t>(entry.port_bits);
  }
  key.policy_id = policy_id;
  key.cidr_id = entry.cidr_id;
  key.direction = static_cast<std::uint8_t>(entry.direction);
  key.protocol = entry.protocol;
  key.port = htons(entry.port);
  return key;
}

// The low half of the kernel's jiffies so many seconds from now, within a
// second: they begin 300 seconds before they overflow (INITIAL_JIFFIES in
// include/linux/jiffies.h).
std::uint32_t jiffies_in(std::uint32_t seconds, std::uint32_t hz) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (static_cast<std::uint32_t>(now.tv_sec) + seconds - 300U) * hz;
}

std::uint32_t flags_of(const World& world) {
  std::uint32_t flags = world.managed ? SLUICE_EP_MANAGED | world.permits : 0;
  for (const unsigned direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
    if (world.isolated.at(direction)) {
      flags |= SLUICE_EP_ISOLATED(direction);
    }
  }
  for (const Entry& entry : world.entries) {
    const auto direction = static_cast<unsigned>(entry.direction);
    flags |= entry.cidr_id == SLUICE_CIDR_ANY ? SLUICE_EP_ANY(direction)
                                              : SLUICE_EP_CLASS(direction);
  }
  return flags;
}

}  // namespace

struct Runner::Impl {
  explicit Impl(Datapath loaded) : datapath(std::move(loaded)) {}

  Datapath datapath;
  std::unique_ptr<ring_buffer, RingDeleter> ring;
  std::vector<sluice_flow_event> events;

  [[nodiscard]] int fd(Map map) const { return datapath.map_fd(map); }
  [[nodiscard]] int program(sluice_direction direction) const {
    return direction == SLUICE_EGRESS ? datapath.from_pod_fd()
                                      : datapath.to_pod_fd();
  }
  [[nodiscard]] Result<void> put_peer(const Peer& peer) const;
  [[nodiscard]] Result<void> put_entry(const Entry& entry,
                                       std::uint32_t policy_id) const;
};

std::string_view reason_name(sluice_reason reason) {
  static constexpr std::array<std::string_view, SLUICE_REASON_COUNT> kNames = {
#define SLUICE_X(name, verdict, text) #name,
      SLUICE_REASONS(SLUICE_X)
#undef SLUICE_X
  };
  return reason < SLUICE_REASON_COUNT ? kNames.at(reason) : "?";
}

bool allows(sluice_reason reason) {
  static constexpr std::array<sluice_verdict, SLUICE_REASON_COUNT> kVerdicts = {
#define SLUICE_X(name, verdict, text) SLUICE_VERDICT_##verdict,
      SLUICE_REASONS(SLUICE_X)
#undef SLUICE_X
  };
  return kVerdicts.at(reason) == SLUICE_VERDICT_ALLOW;
}

bool can_say_where_packets_enter() {
  static const bool result = [] {
    const std::array<bpf_insn, 2> code = {
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
        bpf_insn{.code = BPF_JMP | BPF_EXIT}};
    const Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "GPL",
                                   code.data(), code.size(), nullptr));
    const std::array<std::uint8_t, 64> packet{};
    __sk_buff context{};
    context.ingress_ifindex = kUplink;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(),
                .data_size_in = packet.size(), .ctx_in = &context,
                .ctx_size_in = sizeof(context));
    return bpf_prog_test_run_opts(program.get(), &options) == 0;
  }();
  return result;
}

Runner::Runner() = default;
Runner::Runner(Runner&&) noexcept = default;
Runner& Runner::operator=(Runner&&) noexcept = default;
Runner::~Runner() = default;

DatapathOptions small_maps() {
  DatapathOptions options;
  options.policy_entries = 4096;
  options.peers = 1024;
  options.prefixes = 1024;
  options.conntrack = 65536;
  options.fragments = 4096;
  return options;
}

Result<Runner> Runner::create(const IpAddress& ipv4, const IpAddress& ipv6,
                              const agent::DatapathOptions& options) {
  auto loaded = Datapath::load(options);
  if (!loaded) {
    return std::unexpected(loaded.error());
  }
  Runner runner;
  runner.impl_ = std::make_unique<Impl>(std::move(*loaded));
  Impl& impl = *runner.impl_;
  const auto collect = [](void* context, void* data, std::size_t size) {
    if (size == sizeof(sluice_flow_event)) {
      sluice_flow_event event{};
      std::memcpy(&event, data, sizeof(event));
      static_cast<Impl*>(context)->events.push_back(event);
    }
    return 0;
  };
  impl.ring.reset(
      ring_buffer__new(impl.fd(Map::kEvents), collect, &impl, nullptr));
  if (!impl.ring) {
    return fail_errno("opening the ring buffer");
  }
  sluice_endpoint& endpoint = impl.datapath.endpoints()[kIfindex];
  std::memcpy(&endpoint.ipv4, ipv4.bytes.data(), sizeof(endpoint.ipv4));
  std::memcpy(&endpoint.ipv6, ipv6.bytes.data(), sizeof(endpoint.ipv6));
  endpoint.on_link6 = kOnLink6;
  impl.datapath.state()->events_new_flows = 1;
  impl.datapath.state()->events_per_second = 1U << 30;
  return runner;
}

Result<void> Runner::Impl::put_peer(const Peer& peer) const {
  const bool v6 = peer.prefix.address.v6;
  if (peer.prefix.length == peer.prefix.address.bits()) {
    const sluice_peer value = {.cidr_id = {peer.cidr_id, peer.cidr_id}};
    return put(fd(v6 ? Map::kPeers6 : Map::kPeers4), peer.prefix.address.bytes,
               value);
  }
  const sluice_prefix_value value = {.cidr_id = {peer.cidr_id, peer.cidr_id}};
  sluice_prefix6 key{};  // the IPv4 key is its beginning
  key.prefixlen = static_cast<std::uint32_t>(peer.prefix.length);
  std::memcpy(key.addr, peer.prefix.address.bytes.data(), sizeof(key.addr));
  return put(fd(v6 ? Map::kPrefixes6 : Map::kPrefixes4), key, value);
}

Result<void> Runner::Impl::put_entry(const Entry& entry,
                                     std::uint32_t policy_id) const {
  const sluice_policy_value value = {
      .verdict = static_cast<std::uint8_t>(entry.verdict),
      .jump = entry.jump,
      .rule = entry.rule};
  return put(fd(Map::kPolicy), key_of(entry, policy_id), value);
}

Result<void> Runner::set(const World& world) {
  const Impl& impl = *impl_;
  clear(impl.datapath, agent::MapUse::kApplied);
  const std::uint32_t policy_id = SLUICE_POLICY_ID(kPolicySet, 0);
  for (const Peer& peer : world.peers) {
    if (auto done = impl.put_peer(peer); !done) {
      return done;
    }
  }
  for (const Entry& entry : world.entries) {
    if (auto done = impl.put_entry(entry, policy_id); !done) {
      return done;
    }
  }
  sluice_endpoint& endpoint = impl.datapath.endpoints()[kIfindex];
  for (sluice_endpoint_policy& generation : endpoint.gen) {
    generation = {.policy_id = policy_id, .flags = flags_of(world)};
  }
  endpoint.adopt_until =
      world.adopt_seconds == 0
          ? 0
          : jiffies_in(world.adopt_seconds, impl.datapath.hz());
  impl.datapath.state()->on_policy_change = world.on_policy_change;
  __atomic_add_fetch(&impl.datapath.state()->epoch, 1, __ATOMIC_SEQ_CST);
  return {};
}

void Runner::evict_flows() {
  clear(impl_->datapath, Map::kConntrack4);
  clear(impl_->datapath, Map::kConntrack6);
}

void Runner::discard_events() {
  ring_buffer__consume(impl_->ring.get());
  impl_->events.clear();
}

Result<void> Runner::forget() {
  std::ranges::fill(
      std::span(impl_->datapath.flow_cache(), SLUICE_FLOW_CACHE_SLOTS),
      sluice_flow_slot{});
  std::ranges::fill(
      std::span(impl_->datapath.flow_hints(), SLUICE_FLOW_HINTS_ELEMENTS),
      sluice_flow_hints{});
  clear(impl_->datapath, agent::MapUse::kFlows);
  discard_events();
  return {};
}

namespace {

struct Ran {
  int verdict = 0;
  Bytes frame;  // as the program left it
};

Result<Ran> test_run(int program, std::uint32_t argument,
                     const Metadata& metadata, const Bytes& frame) {
  Ran ran;
  ran.frame.resize(frame.size());
  __sk_buff context{};
  context.ifindex = kIfindex;
  if (can_say_where_packets_enter()) {
    context.ingress_ifindex = metadata.ingress_ifindex;
  }
  context.cb[0] = argument;
  context.mark = metadata.mark;
  context.gso_size = metadata.gso_size;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_out = ran.frame.data(),
              .data_size_in = static_cast<__u32>(frame.size()),
              .data_size_out = static_cast<__u32>(ran.frame.size()),
              .ctx_in = &context, .ctx_size_in = sizeof(context));
  if (bpf_prog_test_run_opts(program, &options) != 0) {
    return fail_errno("running a program");
  }
  ran.verdict = static_cast<int>(options.retval);
  ran.frame.resize(options.data_size_out);
  if (ran.verdict != TC_ACT_UNSPEC && ran.verdict != TC_ACT_SHOT &&
      ran.verdict != TC_ACT_REDIRECT) {
    return fail("verdict " + std::to_string(ran.verdict));
  }
  return ran;
}

}  // namespace

Result<bool> Runner::verdict(sluice_direction direction, const Bytes& frame) {
  const auto ran = test_run(impl_->program(direction), 0, {}, frame);
  if (!ran) {
    return std::unexpected(ran.error());
  }
  return ran->verdict == TC_ACT_UNSPEC;
}

Result<Outcome> Runner::run(sluice_direction direction, const Bytes& frame,
                            const Metadata& metadata) {
  return run_through(impl_->program(direction), 0, direction, frame,
                     frame.size(), metadata);
}

Result<ReasonCounters> Runner::counters() const {
  ReasonCounters sums{};
  std::vector<sluice_counter> per_cpu(
      static_cast<std::size_t>(libbpf_num_possible_cpus()));
  for (std::uint32_t slot = 0; slot < sums.size(); ++slot) {
    if (bpf_map_lookup_elem(impl_->fd(Map::kReasons), &slot, per_cpu.data()) !=
        0) {
      return fail_errno("reading the counters");
    }
    for (const sluice_counter& counter : per_cpu) {
      sums.at(slot).packets += counter.packets;
      sums.at(slot).bytes += counter.bytes;
    }
  }
  return sums;
}

Result<Outcome> Runner::run_through(int program, std::uint32_t argument,
                                    sluice_direction direction,
                                    const Bytes& frame, std::size_t size,
                                    const Metadata& metadata) {
  ring_buffer__consume(impl_->ring.get());
  impl_->events.clear();
  const auto before = counters();
  auto ran = test_run(program, argument, metadata, frame);
  const auto after = counters();
  if (!ran) {
    return std::unexpected(ran.error());
  }
  if (!before || !after) {
    return std::unexpected(before ? after.error() : before.error());
  }
  Outcome outcome{.allowed = ran->verdict == TC_ACT_UNSPEC};
  if (ran->verdict == TC_ACT_REDIRECT) {
    outcome.answer = std::move(ran->frame);
  }
  int changed = 0;
  for (std::uint32_t slot = 0; slot < after->size(); ++slot) {
    const std::uint64_t packets =
        (*after)[slot].packets - (*before)[slot].packets;
    const std::uint64_t bytes = (*after)[slot].bytes - (*before)[slot].bytes;
    if (packets == 0 && bytes == 0) {
      continue;
    }
    ++changed;
    if (packets == 1 && bytes == size &&
        slot % 2 == static_cast<std::uint32_t>(direction)) {
      outcome.reason = static_cast<sluice_reason>(slot / 2);
    }
  }
  if (changed != 1) {
    outcome.reason.reset();
  }
  ring_buffer__consume(impl_->ring.get());
  outcome.events = std::exchange(impl_->events, {});
  return outcome;
}

Result<std::vector<sluice_conntrack>> Runner::flows(bool v6) const {
  std::vector<sluice_conntrack> found;
  const int fd = impl_->fd(v6 ? Map::kConntrack6 : Map::kConntrack4);
  const auto add = [&](const auto& keys) {
    for (const auto& key : keys) {
      sluice_conntrack flow{};
      if (bpf_map_lookup_elem(fd, &key, &flow) == 0) {
        found.push_back(flow);
      }
    }
  };
  if (v6) {
    add(keys_of<sluice_conntrack6_key>(fd));
  } else {
    add(keys_of<sluice_conntrack4_key>(fd));
  }
  return found;
}

Result<void> Runner::age_flows(bool v6, std::uint32_t seconds) {
  for (sluice_flow_slot& slot :
       std::span(impl_->datapath.flow_cache(), SLUICE_FLOW_CACHE_SLOTS)) {
    slot.since -= seconds * impl_->datapath.hz();
  }
  const int fd = impl_->fd(v6 ? Map::kConntrack6 : Map::kConntrack4);
  const auto age = [&](const auto& keys) -> Result<void> {
    for (const auto& key : keys) {
      sluice_conntrack flow{};
      if (bpf_map_lookup_elem(fd, &key, &flow) != 0) {
        return fail_errno("reading a flow");
      }
      flow.last_seen -= seconds * impl_->datapath.hz();
      if (auto done = put(fd, key, flow); !done) {
        return done;
      }
    }
    return {};
  };
  return v6 ? age(keys_of<sluice_conntrack6_key>(fd))
            : age(keys_of<sluice_conntrack4_key>(fd));
}

Result<std::uint64_t> Runner::lost_events() const {
  std::vector<sluice_event_budget> per_cpu(
      static_cast<std::size_t>(libbpf_num_possible_cpus()));
  const std::uint32_t zero = 0;
  if (bpf_map_lookup_elem(impl_->fd(Map::kEventBudget), &zero,
                          per_cpu.data()) != 0) {
    return fail_errno("reading the event budget");
  }
  std::uint64_t lost = 0;
  for (const sluice_event_budget& budget : per_cpu) {
    lost += budget.lost;
  }
  return lost;
}

Datapath& Runner::datapath() const {
  return impl_->datapath;
}

}  // namespace sluice::testing
