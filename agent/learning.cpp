// SPDX-License-Identifier: Apache-2.0
#include "agent/learning.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <ctime>
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

#include "agent/dns/assembly.h"
#include "agent/dns/event.h"
#include "agent/dns/message.h"
#include "agent/dns/table.h"
#include "agent/held_messages.h"
#include "agent/learned_maps.h"
#include "agent/maps.h"
#include "agent/pins.h"
#include "agent/wanted_names.h"
#include "lib/base/fd.h"

namespace sluice::agent {
namespace {

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
        questions_fd(datapath.map_fd(Map::kQuestions)),
        names_capacity(datapath.capacity(Map::kNames)),
        maps(datapath.map_fd(Map::kLearned), std::move(folder),
             options.addresses),
        secret{datapath.state()->name_key[0], datapath.state()->name_key[1]},
        table(secret, datapath.capacity(Map::kNames)),
        lookups({.ttl_min = options.ttl_min, .grace = options.grace}),
        wanted(options.resolvers) {}

  int names_fd;
  int resolvers_fd;
  int seen_fd;
  int questions_fd;
  std::uint32_t names_capacity;
  Fd poll;
  std::unique_ptr<ring_buffer, RingBufferDeleter> seen;
  std::unique_ptr<HeldMessages> held;
  LearnedMaps maps;
  std::array<std::uint64_t, 2> secret;
  NameTable table;
  Lookups lookups;
  Counters counters;
  WantedNames wanted;
  std::set<Resolver> resolvers_there;  // in the map

  Result<void> open();
  Result<void> take_over_names();
  Result<void> begin(Datapath& datapath);
  Result<void> listen(const Datapath& datapath);
  void write_name(const NameTable::Entry& entry);
  // Puts the changes into the table and the map `names`. The error says which
  // pattern this version cannot read; the others are in force.
  Result<void> change_names(
      const std::vector<Transaction::NameChange>& changes);
  Result<void> add_resolvers();
  Result<void> remove_resolvers();
  Result<void> give_maps(const EndpointStates& endpoints,
                         std::span<const std::uint32_t> fresh);
  [[nodiscard]] std::set<std::uint32_t> users(
      const EndpointStates& endpoints) const;

  void meet(const Answer& answer, bool always);
  void handle_seen(const sluice_dns_event& event,
                   std::span<const std::byte> data);
  void drain_seen() const;
  // True if it answers a question.
  bool learn(std::uint32_t ifindex, const DnsMessage& message);
  // True if it is one, which has no other answer from now on.
  [[nodiscard]] bool answers_question(std::uint32_t ifindex,
                                      const DnsFlow& flow, const Answer& answer,
                                      std::uint32_t now) const;

  // Called by libbpf; it must not throw.
  static int on_seen(void* self, void* data, std::size_t size) noexcept {
    if (const auto event =
            read_event({static_cast<const std::byte*>(data), size})) {
      static_cast<Impl*>(self)->handle_seen(event->head, event->data);
    }
    return 0;
  }
};

void Learning::replace(const State& wanted) {
  impl_->wanted.replace(wanted);
}

void Learning::apply(const Transaction& transaction) {
  impl_->wanted.apply(transaction);
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

Result<void> Learning::Impl::change_names(
    const std::vector<Transaction::NameChange>& changes) {
  const auto change = table.apply(changes);
  for (const auto& entry : change.entries) {
    write_name(entry);
  }
  if (change.problems.empty()) {
    return {};
  }
  const auto more = change.problems.size() - 1;
  return fail(change.problems.front() +
              (more == 0 ? "" : " (and " + std::to_string(more) + " more)"));
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
  auto taken = take_over_names();
  return taken ? listen(datapath) : taken;
}

Result<void> Learning::Impl::listen(const Datapath& datapath) {
  auto opened = HeldMessages::open(
      datapath, {.meet = [this](const Answer& answer) { meet(answer, true); },
                 .learn =
                     [this](std::uint32_t ifindex, const DnsMessage& message) {
                       return learn(ifindex, message);
                     }});
  if (!opened) {
    return std::unexpected(std::move(opened.error()));
  }
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(poll.get(), EPOLL_CTL_ADD, (*opened)->fd(), &event) != 0) {
    return fail_errno("epoll_ctl");
  }
  held = std::move(*opened);
  return {};
}

Result<void> Learning::Impl::add_resolvers() {
  for (const auto& resolver : wanted.resolvers()) {
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
    const bool stays =
        std::ranges::any_of(wanted.resolvers(), [&](const Resolver& resolver) {
          const auto other = resolver_key(resolver);
          return std::memcmp(&other, &key, sizeof(key)) == 0;
        });
    if (!stays && bpf_map_delete_elem(resolvers_fd, &key) != 0 &&
        errno != ENOENT) {
      return fail_errno("map resolvers");
    }
  }
  resolvers_there = wanted.resolvers();
  return {};
}

std::set<std::uint32_t> Learning::Impl::users(
    const EndpointStates& endpoints) const {
  std::set<std::uint32_t> users;
  for (const auto& [name, endpoint] : endpoints) {
    if (endpoint.ifindex != 0 && wanted.has_names(endpoint.entry.policy_set)) {
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
      for (const auto& [id, pattern] : wanted.patterns()) {
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
  if (!impl.wanted.known()) {
    return {};
  }
  Result<void> result;
  std::vector<std::uint32_t> fresh;
  if (const auto additions = impl.wanted.take_additions(); !additions.empty()) {
    for (const auto& addition : additions) {
      fresh.push_back(addition.id);
    }
    std::ranges::sort(fresh);
    result = impl.change_names(additions);
    impl.drain_seen();
  }
  if (!impl.held &&
      !(impl.wanted.patterns().empty() && impl.wanted.resolvers().empty())) {
    if (auto begun = impl.begin(datapath); !begun && result) {
      result = std::move(begun);
    }
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
  if (!impl.wanted.known()) {
    return {};
  }
  Result<void> result;
  if (impl.resolvers_there != impl.wanted.resolvers()) {
    result = impl.remove_resolvers();
  }
  if (auto changed = impl.change_names(impl.wanted.take_removals());
      !changed && result) {
    result = std::move(changed);
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
  if (impl.held) {
    impl.held->forget_old(Learning::now());
  }
  return result;
}

// ---- packets ----

void Learning::Impl::meet(const Answer& answer, bool always) {
  for (const auto& name : answer.names) {
    const auto met = table.meet(name);
    if (met.forgotten) {
      ++counters.names_forgotten;
      // It may have left the map already.
      bpf_map_delete_elem(names_fd, &*met.forgotten);
    }
    if (always || !met.known) {
      write_name(met.entry);
    }
  }
}

bool Learning::Impl::answers_question(std::uint32_t ifindex,
                                      const DnsFlow& flow, const Answer& answer,
                                      std::uint32_t now) const {
  sluice_question_key key{};
  const auto remote = learned_key(flow.source);
  std::memcpy(key.remote, remote.address, sizeof(key.remote));
  key.ifindex = ifindex;
  key.local_port = htons(flow.destination_port);
  key.remote_port = htons(flow.source_port);
  key.id = answer.id;
  key.protocol = flow.protocol;
  sluice_question question{};
  if (!answer.response ||
      bpf_map_lookup_elem(questions_fd, &key, &question) != 0) {
    return false;
  }
  const auto name = hash_name(secret, answer.names.front());
  if (std::memcmp(&name, &question.name, sizeof(name)) != 0 ||
      now - question.asked > SLUICE_QUESTION_SECONDS) {
    return false;
  }
  bpf_map_delete_elem(questions_fd, &key);
  return true;
}

bool Learning::Impl::learn(std::uint32_t ifindex, const DnsMessage& message) {
  const auto now = Learning::now();
  const auto answer = read_answer(message.bytes);
  if (!answer || !answers_question(ifindex, message.flow, *answer, now)) {
    return false;
  }
  const bool resolver =
      resolvers_there.contains({.address = message.flow.source,
                                .port = message.flow.source_port,
                                .protocol = message.flow.protocol});
  const auto source =
      resolver ? Lookups::Source::kResolver : Lookups::Source::kPolicy;
  meet(*answer, false);
  lookups.add(ifindex, *answer, source, now);
  if (!maps.has(ifindex)) {
    return true;
  }
  const auto learned = lookups.learned(*answer, source, table, now);
  if (maps.give(ifindex, learned, now)) {
    ++counters.assembled;
    counters.learned += learned.size();
  } else {
    ++counters.failed;
  }
  return true;
}

void Learning::Impl::handle_seen(const sluice_dns_event& event,
                                 std::span<const std::byte> data) {
  const auto answer = read_answer(data);
  if (!answer) {
    return;
  }
  const auto source = event.resolver != 0 ? Lookups::Source::kResolver
                                          : Lookups::Source::kPolicy;
  const auto heard =
      static_cast<std::uint32_t>(event.timestamp_ns / 1'000'000'000);
  lookups.add(event.ifindex, *answer, source, heard);
  if (event.reason == SLUICE_REASON_DNS_LEARNED) {
    counters.learned += lookups.learned(*answer, source, table, heard).size();
  }
  if (wanted.known()) {
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
  __atomic_store_n(&state.dns_reject,
                   static_cast<std::uint32_t>(options.dns_reject),
                   __ATOMIC_RELAXED);
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
    impl.held->dispatch();
  }
  impl.drain_seen();
}

const Lookups& Learning::lookups() const {
  return impl_->lookups;
}
const NameTable& Learning::table() const {
  return impl_->table;
}
std::vector<std::uint32_t> Learning::selectors(std::uint32_t ifindex,
                                               const IpAddress& address) const {
  return impl_->maps.selectors(ifindex, address, now());
}
Learning::Counters Learning::counters() const {
  auto result = impl_->counters;
  for (const std::uint32_t ifindex : impl_->maps.all()) {
    result.without_room += impl_->lookups.beyond(
        ifindex, impl_->maps.capacity(), impl_->table, now());
  }
  result.lookups_forgotten = impl_->lookups.pushed_out();
  if (impl_->held) {
    result.held = impl_->held->counters();
  }
  return result;
}

}  // namespace sluice::agent
