// SPDX-License-Identifier: Apache-2.0
#include "agent/learning.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include <linux/bpf.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <netinet/in.h>
#include <sys/epoll.h>

#include "agent/dns/frame.h"
#include "agent/dns/message.h"
#include "agent/dns/table.h"
#include "agent/learned_maps.h"
#include "agent/maps.h"
#include "agent/pins.h"
#include "lib/base/fd.h"

namespace sluice::agent {
namespace {

// Of the buffer for held packets, for each CPU: within what every user may lock
// (kernel.perf_event_mlock_kb, 516 by default).
constexpr std::size_t kHeldPages = 64;
// How long a policy that has just come treats addresses as learned whose time
// is over, because programs in the pod may have kept them.
constexpr std::uint32_t kRevivedSeconds = 300;

sluice_resolver_key resolver_key(const Resolver& resolver) {
  sluice_resolver_key key{};
  const auto address = learned_key(resolver.address);
  std::memcpy(key.address, address.address, sizeof(key.address));
  key.port = htons(resolver.port);
  key.protocol = resolver.protocol;
  return key;
}

// Of an endpoint that uses it for learning; the keys of lists of questions are
// not among them.
bool is_name_entry(const sluice_policy_key& key) {
  return (key.cidr_id & SLUICE_CIDR_NAME) != 0 &&
         key.direction == SLUICE_EGRESS;
}

// Over TCP, messages stand one behind the other, each behind its length.
void for_each_message(
    const DnsFrame& frame,
    const std::function<void(std::span<const std::byte>)>& visit) {
  if (frame.flow.protocol != IPPROTO_TCP) {
    visit(frame.payload);
    return;
  }
  auto rest = frame.payload;
  while (rest.size() > 2) {
    const std::size_t size = std::to_integer<std::size_t>(rest[0]) << 8U |
                             std::to_integer<std::size_t>(rest[1]);
    rest = rest.subspan(2);
    visit(rest.first(std::min(size, rest.size())));
    rest = rest.subspan(std::min(size, rest.size()));
  }
}

struct PerfBufferDeleter {
  void operator()(perf_buffer* buffer) const { perf_buffer__free(buffer); }
};
struct RingBufferDeleter {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

}  // namespace

struct Learning::Impl {
  Impl(const Datapath& datapath, std::filesystem::path folder,
       const LearningOptions& options)
      : names_fd(datapath.map_fd(Map::kNames)),
        resolvers_fd(datapath.map_fd(Map::kResolvers)),
        seen_fd(datapath.map_fd(Map::kDnsSeen)),
        held_fd(datapath.map_fd(Map::kDnsHeld)),
        names_capacity(datapath.capacity(Map::kNames)),
        maps(datapath.map_fd(Map::kLearned), std::move(folder),
             options.addresses),
        table({datapath.state()->name_key[0], datapath.state()->name_key[1]},
              datapath.capacity(Map::kNames)),
        lookups({.ttl_min = options.ttl_min, .grace = options.grace}) {}

  int names_fd;
  int resolvers_fd;
  int seen_fd;
  int held_fd;
  int resend_fd = -1;
  std::uint32_t names_capacity;
  Fd poll;
  std::unique_ptr<ring_buffer, RingBufferDeleter> seen;
  std::unique_ptr<perf_buffer, PerfBufferDeleter> held;
  LearnedMaps maps;
  NameTable table;
  Lookups lookups;
  Counters counters;

  // What is wanted.
  std::map<std::uint32_t, std::string> patterns;  // by selector
  std::set<sluice_policy_key, PolicyKeyLess> name_keys;
  std::map<std::uint32_t, std::size_t> name_sets;  // number of their name_keys
  std::set<Resolver> resolvers;
  // What the next prepare() and settle() have to do.
  bool started = false;
  std::vector<Transaction::NameChange> additions;
  std::vector<Transaction::NameChange> removals;
  std::set<Resolver> resolvers_there;

  Result<void> open();
  void clear_wanted();
  void want_name(std::uint32_t id, const std::optional<NameSelector>& value);
  void want_entry(const sluice_policy_key& key, bool there);
  void want_resolver(const Resolver& resolver, bool there);

  Result<void> take_over_names();
  Result<void> begin(Datapath& datapath);
  Result<void> listen();
  void write_name(const NameTable::Entry& entry);
  Result<void> add_resolvers();
  Result<void> remove_resolvers();
  Result<void> give_maps(const EndpointStates& endpoints,
                         std::span<const std::uint32_t> fresh);
  [[nodiscard]] std::set<std::uint32_t> users(
      const EndpointStates& endpoints) const;

  void meet(const Answer& answer, bool always);
  void handle_held(const sluice_dns_event& event,
                   std::span<const std::byte> data);
  void handle_seen(const sluice_dns_event& event,
                   std::span<const std::byte> data);
  void drain_seen() const;
  Result<void> resend(const sluice_dns_event& event,
                      std::span<const std::byte> frame) const;

  // Called by libbpf; they must not throw.
  static void on_held(void* self, int /*cpu*/, void* data,
                      __u32 size) noexcept {
    call(self, data, size, &Impl::handle_held);
  }
  static void on_lost(void* self, int /*cpu*/, __u64 count) noexcept {
    static_cast<Impl*>(self)->counters.lost += count;
  }
  static int on_seen(void* self, void* data, std::size_t size) noexcept {
    call(self, data, size, &Impl::handle_seen);
    return 0;
  }
  static void call(void* self, const void* data, std::size_t size,
                   void (Impl::*handle)(const sluice_dns_event&,
                                        std::span<const std::byte>)) noexcept {
    sluice_dns_event event{};
    if (size < sizeof(event)) {
      return;
    }
    std::memcpy(&event, data, sizeof(event));
    // A perf buffer pads what it has.
    const std::span rest(static_cast<const std::byte*>(data) + sizeof(event),
                         size - sizeof(event));
    (static_cast<Impl*>(self)->*handle)(
        event, rest.first(std::min<std::size_t>(event.size, rest.size())));
  }
};

// ---- what is wanted ----

void Learning::Impl::clear_wanted() {
  name_keys.clear();
  name_sets.clear();
  resolvers.clear();
}

void Learning::Impl::want_name(std::uint32_t id,
                               const std::optional<NameSelector>& value) {
  if (value) {
    patterns[id] = value->pattern;
    additions.push_back({.id = id, .value = value});
    // It may have been wanted before, and may not leave any more.
    std::erase_if(removals,
                  [id](const auto& change) { return change.id == id; });
  } else if (patterns.erase(id) != 0) {
    std::erase_if(additions,
                  [id](const auto& change) { return change.id == id; });
    removals.push_back({.id = id, .value = std::nullopt});
  }
}

void Learning::Impl::want_entry(const sluice_policy_key& key, bool there) {
  if (!is_name_entry(key)) {
    return;
  }
  if (there ? !name_keys.insert(key).second : name_keys.erase(key) == 0) {
    return;
  }
  std::size_t& count = name_sets[key.policy_id];
  count += there ? 1 : -1;
  if (count == 0) {
    name_sets.erase(key.policy_id);
  }
}

void Learning::Impl::want_resolver(const Resolver& resolver, bool there) {
  if (there) {
    resolvers.insert(resolver);
  } else {
    resolvers.erase(resolver);
  }
}

void Learning::replace(const State& wanted) {
  auto& impl = *impl_;
  impl.clear_wanted();
  std::set<std::uint32_t> ids;
  for (const auto& name : wanted.names) {
    ids.insert(name.id);
    const auto known = impl.patterns.find(name.id);
    if (known == impl.patterns.end() || known->second != name.pattern) {
      impl.want_name(name.id, name);
    }
  }
  const auto before = impl.patterns;
  for (const auto& [id, pattern] : before) {
    if (!ids.contains(id)) {
      impl.want_name(id, std::nullopt);
    }
  }
  for (const auto& entry : wanted.entries) {
    impl.want_entry(entry.key, true);
  }
  for (const auto& resolver : wanted.resolvers) {
    impl.want_resolver(resolver, true);
  }
  impl.started = true;
}

void Learning::apply(const Transaction& transaction) {
  auto& impl = *impl_;
  for (const auto& change : transaction.names) {
    impl.want_name(change.id, change.value);
  }
  for (const auto& change : transaction.entries) {
    impl.want_entry(change.key, change.value.has_value());
  }
  for (const auto& change : transaction.resolvers) {
    impl.want_resolver(change.resolver, change.present);
  }
}

// ---- making the kernel follow ----

void Learning::Impl::write_name(const NameTable::Entry& entry) {
  if (entry.left_out != 0) {
    ++counters.too_many;
  }
  // Without room, which an LRU hash always finds, the name stays unknown.
  if (bpf_map_update_elem(names_fd, &entry.key, &entry.value, BPF_ANY) != 0) {
    ++counters.failed;
  }
}

// What an earlier process knew is compared with the selectors of today.
Result<void> Learning::Impl::take_over_names() {
  std::vector<sluice_name> found;
  auto read =
      read_map(names_fd, sizeof(sluice_name_key), sizeof(sluice_name),
               names_capacity, [&](const std::byte*, const std::byte* value) {
                 std::memcpy(&found.emplace_back(), value, sizeof(sluice_name));
               });
  if (!read) {
    return with_context("map names", read.error());
  }
  for (const auto& value : found) {
    const auto name = name_of(value);
    if (!name) {
      continue;
    }
    const auto met = table.meet(*name);
    if (std::memcmp(&met.entry.value, &value, sizeof(value)) != 0) {
      write_name(met.entry);
    }
  }
  return {};
}

Result<void> Learning::Impl::begin(Datapath& datapath) {
  if (auto loaded = datapath.load_names(); !loaded) {
    return loaded;
  }
  resend_fd = datapath.resend_fd();
  auto taken = take_over_names();
  return taken ? listen() : taken;
}

Result<void> Learning::Impl::listen() {
  held.reset(
      perf_buffer__new(held_fd, kHeldPages, &on_held, &on_lost, this, nullptr));
  if (!held) {
    return fail_errno("opening the buffer of held DNS answers");
  }
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(poll.get(), EPOLL_CTL_ADD, perf_buffer__epoll_fd(held.get()),
                &event) != 0) {
    return fail_errno("epoll_ctl");
  }
  return {};
}

Result<void> Learning::Impl::add_resolvers() {
  for (const auto& resolver : resolvers) {
    if (resolvers_there.contains(resolver)) {
      continue;
    }
    const auto key = resolver_key(resolver);
    const std::uint32_t value = 1;
    if (bpf_map_update_elem(resolvers_fd, &key, &value, BPF_ANY) != 0) {
      return fail_errno("map resolvers");
    }
    resolvers_there.insert(resolver);
  }
  return {};
}

Result<void> Learning::Impl::remove_resolvers() {
  std::vector<sluice_resolver_key> keys;
  auto read = read_map(
      resolvers_fd, sizeof(sluice_resolver_key), sizeof(std::uint32_t),
      SLUICE_RESOLVERS_MAX, [&](const std::byte* key, const std::byte*) {
        std::memcpy(&keys.emplace_back(), key, sizeof(sluice_resolver_key));
      });
  if (!read) {
    return with_context("map resolvers", read.error());
  }
  for (const auto& key : keys) {
    const bool wanted =
        std::ranges::any_of(resolvers, [&](const Resolver& resolver) {
          const auto other = resolver_key(resolver);
          return std::memcmp(&other, &key, sizeof(key)) == 0;
        });
    if (!wanted && bpf_map_delete_elem(resolvers_fd, &key) != 0 &&
        errno != ENOENT) {
      return fail_errno("map resolvers");
    }
  }
  resolvers_there = resolvers;
  return {};
}

std::set<std::uint32_t> Learning::Impl::users(
    const EndpointStates& endpoints) const {
  std::set<std::uint32_t> users;
  for (const auto& [name, endpoint] : endpoints) {
    if (endpoint.ifindex != 0 &&
        name_sets.contains(endpoint.entry.policy_set)) {
      users.insert(endpoint.ifindex);
    }
  }
  return users;
}

Result<void> Learning::Impl::give_maps(const EndpointStates& endpoints,
                                       std::span<const std::uint32_t> fresh) {
  const auto now = Learning::now();
  Result<void> result;
  for (const std::uint32_t ifindex : users(endpoints)) {
    const bool is_new = !maps.has(ifindex);
    if (!is_new && fresh.empty()) {
      continue;
    }
    std::vector<std::uint32_t> all;
    if (is_new) {
      for (const auto& [id, pattern] : patterns) {
        all.push_back(id);
      }
    }
    const std::span<const std::uint32_t> revived = is_new ? all : fresh;
    auto given = maps.give(
        ifindex,
        lookups.learned(ifindex, table, now, revived, now + kRevivedSeconds),
        now);
    if (given && is_new) {
      // Answers that came before the programs saw the map.
      drain_seen();
      given = maps.give(ifindex, lookups.learned(ifindex, table, now), now);
    }
    if (!given && result) {
      result = std::move(given);
    }
  }
  return result;
}

Result<void> Learning::prepare(Datapath& datapath,
                               const EndpointStates& endpoints) {
  auto& impl = *impl_;
  if (!impl.started) {
    return {};
  }
  std::vector<std::uint32_t> fresh;
  if (!impl.additions.empty()) {
    const auto change = impl.table.apply(impl.additions);
    for (const auto& entry : change.entries) {
      impl.write_name(entry);
    }
    for (const auto& addition : impl.additions) {
      fresh.push_back(addition.id);
    }
    std::ranges::sort(fresh);
    impl.additions.clear();
    impl.drain_seen();
  }
  Result<void> result;
  if (!impl.held && !(impl.patterns.empty() && impl.resolvers.empty())) {
    result = impl.begin(datapath);
  }
  if (auto added = impl.add_resolvers(); !added && result) {
    result = std::move(added);
  }
  if (auto given = impl.give_maps(endpoints, fresh); !given && result) {
    result = std::move(given);
  }
  return result;
}

Result<void> Learning::settle(const EndpointStates& endpoints) {
  auto& impl = *impl_;
  if (!impl.started) {
    return {};
  }
  Result<void> result;
  if (impl.resolvers_there != impl.resolvers) {
    result = impl.remove_resolvers();
  }
  if (!impl.removals.empty()) {
    const auto change = impl.table.apply(impl.removals);
    for (const auto& entry : change.entries) {
      impl.write_name(entry);
    }
    impl.removals.clear();
  }
  const auto users = impl.users(endpoints);
  for (const std::uint32_t ifindex : impl.maps.all()) {
    if (!users.contains(ifindex)) {
      if (auto taken = impl.maps.take(ifindex); !taken && result) {
        result = std::move(taken);
      }
    }
  }
  std::set<std::uint32_t> all;
  for (const auto& [name, endpoint] : endpoints) {
    all.insert(endpoint.ifindex);
  }
  for (const std::uint32_t ifindex : impl.lookups.endpoints()) {
    if (!all.contains(ifindex)) {
      impl.lookups.forget(ifindex);
    }
  }
  return result;
}

// ---- packets ----

void Learning::Impl::meet(const Answer& answer, bool always) {
  for (const auto& name : answer.names) {
    const auto met = table.meet(name);
    if (met.forgotten) {
      // It may have left the map already.
      bpf_map_delete_elem(names_fd, &*met.forgotten);
    }
    if (always || !met.known) {
      write_name(met.entry);
    }
  }
}

Result<void> Learning::Impl::resend(const sluice_dns_event& event,
                                    std::span<const std::byte> frame) const {
  __sk_buff context{};
  context.cb[0] = event.ifindex;
  context.cb[1] = event.direction;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_size_in = static_cast<__u32>(frame.size()),
              .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);
  if (bpf_prog_test_run_opts(resend_fd, &options) != 0) {
    return fail_errno("sending a held DNS message");
  }
  if (options.retval != 0) {
    return fail("sending a held DNS message: interface " +
                std::to_string(event.ifindex) + " does not take it");
  }
  return {};
}

// Whatever is wrong with the packet, it goes on its way.
void Learning::Impl::handle_held(const sluice_dns_event& event,
                                 std::span<const std::byte> data) {
  ++counters.held;
  std::vector<std::byte> frame(data.begin(), data.end());
  const auto completed = complete_checksums(frame);
  if (const auto read = read_frame(frame); completed && read) {
    for_each_message(*read, [&](std::span<const std::byte> message) {
      if (const auto answer = read_answer(message)) {
        meet(*answer, true);
      }
    });
  }
  if (resend(event, frame)) {
    ++counters.resent;
  } else {
    ++counters.failed;
  }
}

void Learning::Impl::handle_seen(const sluice_dns_event& event,
                                 std::span<const std::byte> data) {
  const auto answer = read_answer(data);
  if (!answer) {
    return;
  }
  lookups.add(event.ifindex, *answer,
              static_cast<std::uint32_t>(event.timestamp_ns / 1'000'000'000));
  if (started) {
    meet(*answer, false);
  }
}

void Learning::Impl::drain_seen() const {
  ring_buffer__consume(seen.get());
}

// ---- the whole ----

Result<void> Learning::Impl::open() {
  poll.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!poll.valid()) {
    return fail_errno("epoll_create1");
  }
  seen.reset(ring_buffer__new(seen_fd, &on_seen, this, nullptr));
  if (!seen) {
    return fail_errno("opening the ring buffer of DNS answers");
  }
  return maps.open();
}

Learning::Learning() = default;
Learning::~Learning() = default;

Result<std::unique_ptr<Learning>> Learning::open(
    const Datapath& datapath, const std::filesystem::path& pin_dir,
    const LearningOptions& options) {
  std::filesystem::path folder;
  if (!pin_dir.empty()) {
    auto made = make_pin_folder(pin_dir);
    if (!made) {
      return std::unexpected(made.error());
    }
    folder = *made;
  }
  std::unique_ptr<Learning> learning(new Learning);
  learning->impl_ =
      std::make_unique<Impl>(datapath, std::move(folder), options);
  if (auto opened = learning->impl_->open(); !opened) {
    return std::unexpected(opened.error());
  }
  auto& state = *datapath.state();
  __atomic_store_n(&state.name_ttl_min, options.ttl_min, __ATOMIC_RELAXED);
  __atomic_store_n(&state.name_grace, options.grace, __ATOMIC_RELAXED);
  return learning;
}

std::uint32_t Learning::now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint32_t>(now.tv_sec);
}

int Learning::fd() const {
  return impl_->poll.get();
}

void Learning::dispatch() {
  auto& impl = *impl_;
  if (impl.held) {
    perf_buffer__consume(impl.held.get());
  }
  impl.drain_seen();
}

const Lookups& Learning::lookups() const {
  return impl_->lookups;
}
const NameTable& Learning::table() const {
  return impl_->table;
}
const Learning::Counters& Learning::counters() const {
  return impl_->counters;
}

}  // namespace sluice::agent
