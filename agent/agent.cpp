// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <unordered_set>
#include <utility>

#include <sys/epoll.h>

#include "agent/adopt.h"
#include "agent/apply.h"
#include "agent/attach.h"
#include "agent/dump.h"
#include "agent/endpoints.h"
#include "agent/flows.h"
#include "agent/interfaces.h"
#include "agent/learning.h"
#include "agent/own_addresses.h"
#include "agent/own_peers.h"
#include "agent/tracking.h"
#include "agent/unclaimed.h"
#include "agent/wanted_state.h"
#include "lib/base/fd.h"

namespace sluice::agent {
namespace {

// How long a connection that is older than its endpoint's enforcement, and that
// the kernel's connection tracking does not know, has to say something.
constexpr std::chrono::seconds kAdoption = std::chrono::minutes(5);
constexpr std::chrono::seconds kTidy{10};

void set_if_different(std::uint32_t& to, std::uint32_t value) {
  if (__atomic_load_n(&to, __ATOMIC_RELAXED) != value) {
    __atomic_store_n(&to, value, __ATOMIC_RELAXED);
  }
}

// Every pod's veth gets an address of its link, seconds after the pod has
// started: taken by themselves, each would step the epoch once more.
constexpr std::chrono::seconds kLinkLocalDelay{5};

bool is_link_local6(const Transaction::PeerChange& change) {
  const auto& address = change.prefix.address;
  return address.v6 && is_link_local(address);
}

Transaction changes_for(const OwnPeers::Layer& layer) {
  Transaction transaction;
  for (const auto& peer : layer.peers) {
    transaction.peers.push_back(
        {.prefix = peer.prefix, .cidr_id = peer.cidr_id});
  }
  for (const auto& entry : layer.entries) {
    transaction.entries.push_back({.key = entry.key, .value = entry.value});
  }
  return transaction;
}

}  // namespace

struct Agent::Impl {
  Impl(Datapath loaded, Applier taken_over, Interfaces found,
       OwnAddresses known, Flows opened, std::unique_ptr<SeedStore> seeds,
       KernelClock opened_clock, std::unique_ptr<Learning> learned)
      : datapath(std::move(loaded)),
        applier(std::move(taken_over)),
        interfaces(std::move(found)),
        addresses(std::move(known)),
        flows(std::move(opened)),
        attacher(tc_attacher(datapath)),
        filter_keeper(filter_keeping_attacher(*attacher, isolated_unclaimed)),
        endpoints(interfaces, *filter_keeper, applier, has_flows(datapath)),
        unclaimed(interfaces, endpoints, *attacher, applier,
                  isolated_unclaimed),
        adoption(kernel_tracking(), std::move(seeds)),
        clock(std::move(opened_clock)),
        learning(std::move(learned)) {
    applier.on_effect([this] { adoption.finish(); });
  }

  Datapath datapath;
  Applier applier;
  Interfaces interfaces;
  OwnAddresses addresses;
  OwnPeers own;
  // Changes that are not in the kernel yet. They become part of the next
  // transaction, or one of their own after kLinkLocalDelay.
  OwnPeers::Changes pending_peers;
  std::chrono::steady_clock::time_point pending_since;
  Flows flows;
  std::unique_ptr<Attacher> attacher;
  std::unordered_set<std::uint32_t> isolated_unclaimed;  // by `unclaimed`
  std::unique_ptr<Attacher> filter_keeper;
  Endpoints endpoints;
  Unclaimed unclaimed;
  Adoption adoption;
  KernelClock clock;
  std::unique_ptr<Learning> learning;
  std::chrono::steady_clock::time_point tidied;
  Fd poll;
  WantedState wanted;
  bool started = false;  // a snapshot has been given
  bool swept = false;
  std::uint64_t wanted_revision = 0;
  std::uint64_t revision = 0;
  std::string problem;
  Result<void> last_dispatch;  // the node's interfaces, by the last dispatch()
  std::map<std::uint32_t, std::string> reported_shortfalls;
  std::function<void(const std::string&)> notice;

  void report_shortfalls();
  [[nodiscard]] Result<void> watch(int fd) const;
  // Reads changes of the node's addresses and applies the resulting peers.
  Result<void> handle_address_changes();
  // Applies `pending_peers`.
  Result<void> apply_pending_peers();
  // Reads changes of interfaces and applies them.
  Result<void> handle_interface_changes();
  // Applies changes of interfaces together with everything still pending.
  Result<void> apply_interfaces(const Interfaces::Changes& changes);
  // Before every call of the applier that may put endpoints into force.
  void prepare();
  void adopt();
  // Every few seconds: ends adoption for endpoints whose adoption time is over,
  // and deletes policy entries that stand by in vain.
  void tidy();
  // After every call of the applier.
  Result<void> finish(Result<void> result);
};

Result<void> Agent::Impl::watch(int fd) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return fail_errno("epoll_ctl");
  }
  return {};
}

void Agent::Impl::prepare() {
  adopt();
  if (auto prepared = learning->prepare(datapath, endpoints.all());
      !prepared && notice) {
    notice("names: " + prepared.error().message);
  }
}

void Agent::Impl::adopt() {
  const auto unknown = adoption.begin(endpoints.take_newly_enforced());
  if (unknown.empty()) {
    return;
  }
  const auto now = clock.read();
  if (!now) {
    return;  // they begin as if they had no flows
  }
  const auto ticks = static_cast<std::uint32_t>(kAdoption.count());
  for (const std::uint32_t ifindex : unknown) {
    // 0 would mean never.
    applier.adopt_until(ifindex, (now->jiffies + (ticks * datapath.hz())) | 1U);
  }
}

void Agent::Impl::tidy() {
  const auto now = std::chrono::steady_clock::now();
  if (now < tidied + kTidy) {
    return;
  }
  tidied = now;
  applier.drop_unused_standbys();
  if (const auto moment = clock.read()) {
    applier.end_adoption(moment->jiffies);
  }
}

void Agent::Impl::report_shortfalls() {
  auto now = applier.shortfalls();
  for (const auto& [set, why] : now) {
    if (notice && !reported_shortfalls.contains(set)) {
      notice("policy set " + std::to_string(set) + ": " + why);
    }
  }
  for (const auto& [set, why] : reported_shortfalls) {
    if (notice && !now.contains(set)) {
      notice("policy set " + std::to_string(set) + ": there is room for it");
    }
  }
  reported_shortfalls = std::move(now);
}

Result<void> Agent::Impl::finish(Result<void> result) {
  if (!result) {
    problem = result.error().message;
    return result;
  }
  report_shortfalls();
  problem.clear();
  revision = wanted_revision;
  if (started && !swept) {
    swept = true;
    endpoints.sweep();
  } else {
    endpoints.settle();
  }
  unclaimed.settle();
  if (auto settled = learning->settle(endpoints.all()); !settled && notice) {
    notice("names: " + settled.error().message);
  }
  return {};
}

Result<void> Agent::Impl::apply_interfaces(const Interfaces::Changes& changes) {
  Transaction transaction;
  transaction.endpoints = unclaimed.update(changes, !started);
  prepare();
  return finish(transaction.empty() ? applier.retry()
                                    : applier.apply(transaction));
}

Result<void> Agent::Impl::handle_address_changes() {
  const auto changed = addresses.dispatch();
  if (!changed) {
    return std::unexpected(changed.error());
  }
  const auto now = std::chrono::steady_clock::now();
  bool due = !pending_peers.empty() && now >= pending_since + kLinkLocalDelay;
  if (*changed) {
    const auto changes = own.set_addresses(addresses.all(), wanted.get());
    // Before the first snapshot there is nothing to lay them beside.
    if (started) {
      pending_since = pending_peers.empty() ? now : pending_since;
      pending_peers.add(changes);
      due = due || !std::ranges::all_of(changes.peers, is_link_local6);
    }
  }
  return due ? apply_pending_peers() : Result<void>{};
}

Result<void> Agent::Impl::handle_interface_changes() {
  const auto changes = interfaces.dispatch();
  if (!changes) {
    return std::unexpected(changes.error());
  }
  if (!changes->any) {
    return {};
  }
  const bool bound = started && endpoints.refresh(*changes);
  return bound || unclaimed.active() ? apply_interfaces(*changes)
                                     : Result<void>{};
}

Result<void> Agent::Impl::apply_pending_peers() {
  const auto transaction = with_own({}, std::exchange(pending_peers, {}));
  if (transaction.empty()) {
    return {};
  }
  prepare();
  return finish(applier.apply(transaction));
}

Agent::Agent() = default;
Agent::Agent(Agent&&) noexcept = default;
Agent& Agent::operator=(Agent&&) noexcept = default;
Agent::~Agent() = default;

Result<Agent> Agent::start(const AgentOptions& options) {
  auto datapath = Datapath::load(options.datapath);
  if (!datapath) {
    return std::unexpected(datapath.error());
  }
  auto applier = Applier::create(*datapath);
  if (!applier) {
    return std::unexpected(applier.error());
  }
  auto interfaces = Interfaces::open();
  if (!interfaces) {
    return std::unexpected(interfaces.error());
  }
  auto addresses = OwnAddresses::open();
  if (!addresses) {
    return std::unexpected(addresses.error());
  }
  auto flows = Flows::open(datapath->map_fd(Map::kEvents));
  if (!flows) {
    return std::unexpected(flows.error());
  }
  auto seeds = kernel_seed_store(*datapath);
  if (!seeds) {
    return std::unexpected(seeds.error());
  }
  auto clock = KernelClock::open();
  if (!clock) {
    return std::unexpected(clock.error());
  }
  auto learning =
      Learning::open(*datapath, options.datapath.pin_dir, options.learning);
  if (!learning) {
    return std::unexpected(learning.error());
  }
  Agent agent;
  agent.impl_ = std::make_unique<Impl>(
      std::move(*datapath), std::move(*applier), std::move(*interfaces),
      std::move(*addresses), std::move(*flows), std::move(*seeds),
      std::move(*clock), std::move(*learning));
  auto& impl = *agent.impl_;
  (void)impl.own.set_addresses(impl.addresses.all(), State{});
  impl.poll.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!impl.poll.valid()) {
    return fail_errno("epoll_create1");
  }
  for (const int fd : {impl.interfaces.fd(), impl.addresses.fd(),
                       impl.flows.fd(), impl.learning->fd()}) {
    if (auto watched = impl.watch(fd); !watched) {
      return std::unexpected(watched.error());
    }
  }
  sluice_state& state = *impl.datapath.state();
  impl.interfaces.set_pod_patterns(options.pod_interfaces);
  set_if_different(state.on_policy_change, options.on_policy_change);
  set_if_different(state.events_new_flows, options.events_new_flows ? 1 : 0);
  set_if_different(state.events_per_second, options.events_per_second);
  return agent;
}

Result<void> Agent::replace(const State& wanted, std::uint64_t revision) {
  auto& impl = *impl_;
  impl.wanted.replace(wanted);
  impl.wanted_revision = revision;
  impl.started = true;
  impl.endpoints.replace(wanted.endpoints);
  impl.learning->replace(wanted);
  (void)impl.unclaimed.update({}, false);
  impl.own.replace(wanted);
  impl.pending_peers = {};
  impl.prepare();
  auto beside = changes_for(impl.own.layer());
  for (auto& entry : impl.unclaimed.entries()) {
    beside.endpoints.push_back({.name = entry.name, .value = entry});
  }
  return impl.finish(impl.applier.replace(wanted, beside));
}

Result<void> Agent::apply(const Transaction& transaction) {
  auto& impl = *impl_;
  impl.wanted.add(transaction);
  if (!impl.started) {
    const State first = impl.wanted.get();
    return replace(first, transaction.revision);
  }
  impl.wanted_revision = transaction.revision;
  impl.endpoints.apply(transaction.endpoints);
  impl.learning->apply(transaction);
  const auto unclaimed = impl.unclaimed.update({}, false);
  auto own = std::exchange(impl.pending_peers, {});
  own.add(impl.own.apply(transaction,
                         [&]() -> const State& { return impl.wanted.get(); }));
  impl.prepare();
  if (unclaimed.empty() && own.empty()) {
    return impl.finish(impl.applier.apply(transaction));
  }
  // Who takes an interface over, and who leaves one, does so in one step.
  auto all = with_own(transaction, own);
  all.endpoints.insert(all.endpoints.end(), unclaimed.begin(), unclaimed.end());
  return impl.finish(impl.applier.apply(all));
}

Result<void> Agent::deny_unclaimed(bool deny) {
  auto& impl = *impl_;
  if (impl.unclaimed.denies() == deny) {
    return {};
  }
  impl.unclaimed.deny(deny);
  return impl.apply_interfaces({});
}

void Agent::announce(const std::string& endpoint, std::uint32_t ifindex,
                     bool starting) {
  impl_->interfaces.announce(endpoint, ifindex, starting);
}

Result<void> Agent::close_interfaces(
    const std::vector<std::uint32_t>& ifindexes) {
  for (const std::uint32_t ifindex : ifindexes) {
    impl_->unclaimed.close(ifindex);
  }
  return impl_->apply_interfaces({});
}

Result<void> Agent::open_interface(std::uint32_t ifindex) {
  impl_->unclaimed.open(ifindex);
  return impl_->apply_interfaces({});
}

bool Agent::is_closed(std::uint32_t ifindex) const {
  return impl_->unclaimed.isolates(ifindex) &&
         impl_->applier.in_force(Unclaimed::name_for(ifindex));
}

bool Agent::is_enforced(const std::string& endpoint, std::uint32_t ifindex,
                        const std::vector<IpAddress>& ips) const {
  const auto& all = impl_->endpoints.all();
  const auto found = all.find(endpoint);
  if (found == all.end()) {
    return false;
  }
  const auto& item = found->second;
  return item.ifindex == ifindex && item.attached && !item.entry.ips.empty() &&
         std::ranges::all_of(item.entry.ips,
                             [&](const IpAddress& ip) {
                               return std::ranges::find(ips, ip) != ips.end();
                             }) &&
         impl_->applier.in_force(endpoint);
}

std::uint32_t Agent::interface_index(const std::string& name) const {
  return impl_->interfaces.index(name);
}

std::string Agent::interface_name(std::uint32_t ifindex) const {
  return impl_->interfaces.name(ifindex);
}

Result<void> Agent::retry() {
  auto& impl = *impl_;
  if (impl.started) {
    impl.endpoints.refresh({});
  } else if (!impl.unclaimed.active()) {
    return impl.last_dispatch;
  }
  auto result = impl.apply_interfaces({});
  return result ? impl.last_dispatch : result;
}

int Agent::poll_fd() const {
  return impl_->poll.get();
}

Result<void> Agent::dispatch() {
  auto& impl = *impl_;
  impl.flows.dispatch();
  impl.learning->dispatch();
  impl.tidy();
  auto addresses = impl.handle_address_changes();
  impl.last_dispatch = impl.handle_interface_changes();
  if (impl.last_dispatch && !addresses) {
    impl.last_dispatch = std::move(addresses);
  }
  return impl.last_dispatch;
}

void Agent::on_notice(std::function<void(const std::string&)> handler) {
  impl_->notice = handler;
  impl_->adoption.on_notice(std::move(handler));
}

void Agent::on_event(std::function<void(const sluice_flow_event&)> handler) {
  impl_->flows.on_event(std::move(handler));
}

const std::vector<IpAddress>& Agent::node_addresses() const {
  return impl_->addresses.all();
}

const State& Agent::wanted() const {
  return impl_->wanted.get();
}

State Agent::view() const {
  auto state = impl_->wanted.get();
  sluice::apply(state, changes_for(impl_->own.layer()));
  return state;
}

AgentStatus Agent::status() const {
  const auto& impl = *impl_;
  AgentStatus status{.revision = impl.revision,
                     .epoch = impl.applier.epoch(),
                     .unclaimed_denied = impl.isolated_unclaimed.size(),
                     .problem = impl.last_dispatch
                                    ? impl.problem
                                    : impl.last_dispatch.error().message,
                     .shortfalls = impl.applier.shortfalls()};
  for (const auto& [name, item] : impl.endpoints.all()) {
    const auto shortfall = impl.applier.shortfall(name);
    const bool in_force =
        item.attached && shortfall.empty() && impl.applier.in_force(name);
    const auto& problem = shortfall.empty() ? impl.problem : shortfall;
    status.endpoints.push_back({.name = name,
                                .ifindex = item.ifindex,
                                .interface = impl.interfaces.name(item.ifindex),
                                .policy_set = item.entry.policy_set,
                                .isolated = item.entry.isolated,
                                .ips = item.entry.ips,
                                .attached = in_force,
                                .problem = item.problem.empty() && !in_force
                                               ? problem
                                               : item.problem});
  }
  for (const Map map : all_maps()) {
    const bool walked = describe(map).use == MapUse::kFlows ||
                        describe(map).use == MapUse::kNames;
    if (!walked && describe(map).use != MapUse::kApplied &&
        map != Map::kEndpoints) {
      continue;
    }
    status.maps.push_back({.name = std::string(map_name(map)),
                           .used = walked ? count_elements(impl.datapath, map)
                                          : impl.applier.used(map),
                           .capacity = impl.datapath.capacity(map)});
  }
  if (auto reasons = read_reasons(impl.datapath)) {
    status.reasons = std::move(*reasons);
  }
  status.events_lost = events_lost().value_or(0);
  status.names = impl.learning->counters();
  return status;
}

Result<std::uint64_t> Agent::events_lost() const {
  return read_events_lost(impl_->datapath);
}

std::map<std::uint32_t, std::string> Agent::shortfalls() const {
  return impl_->applier.shortfalls();
}

std::vector<std::pair<std::string, std::string>> Agent::endpoint_problems()
    const {
  std::vector<std::pair<std::string, std::string>> result;
  for (const auto& [name, item] : impl_->endpoints.all()) {
    if (!item.problem.empty()) {
      result.emplace_back(name, item.problem);
    } else if (auto why = impl_->applier.shortfall(name); !why.empty()) {
      result.emplace_back(name, std::move(why));
    } else if (!item.attached || !impl_->applier.in_force(name)) {
      result.emplace_back(
          name, impl_->problem.empty() ? "not in force yet" : impl_->problem);
    }
  }
  return result;
}

Result<std::vector<PolicyEntry>> Agent::dump_policy() const {
  return agent::dump_policy(impl_->datapath);
}

Result<std::vector<ConntrackEntry>> Agent::dump_conntrack() const {
  return agent::dump_conntrack(impl_->datapath);
}

const Learning& Agent::learning() const {
  return *impl_->learning;
}

std::uint32_t Agent::ifindex_of(const std::string& endpoint) const {
  const auto& all = impl_->endpoints.all();
  const auto found = all.find(endpoint);
  return found == all.end() ? 0 : found->second.ifindex;
}

std::string Agent::endpoint_name(std::uint32_t ifindex) const {
  return impl_->endpoints.name_of(ifindex);
}

}  // namespace sluice::agent
