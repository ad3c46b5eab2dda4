// SPDX-License-Identifier: Apache-2.0
#include "agent/node/runtime.h"

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include "agent/node/command_line.h"
#include "agent/node/files.h"
#include "agent/node/flow.h"
#include "agent/node/json_text.h"
#include "agent/node/metrics.h"
#include "agent/node/requests.h"
#include "agent/node/resolved.h"
#include "agent/node/version.h"
#include "agent/node/views_json.h"
#include "lib/base/process.h"
#include "lib/base/sequence.h"

namespace sluice::node {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// The datapath never wakes the reader of flow events (a wake-up costs more than
// a hundred packets), so they are fetched at this interval.
constexpr milliseconds kTurn{100};
constexpr seconds kHousekeeping{1};
// DNS names of an address that flows are shown with; a pod may know thousands.
constexpr std::size_t kFlowNamesMax = 8;
// The share of the flows that are kept which counters may take at a time.
constexpr std::uint32_t kTrafficPart = 16;

}  // namespace

Runtime::Runtime(RuntimeOptions options, std::unique_ptr<Source> source)
    : options_(std::move(options)),
      flows_([this](const auto& event) { return make_flow(event); }),
      flow_store_(options_.flows.kept,
                  std::random_device()() | std::uint64_t{std::random_device()()}
                                               << 32U),
      flow_counts_(options_.flows.metrics_series),
      ends_([this](const auto& addresses) { return ask_ends(addresses); }),
      recorder_(flow_store_, ends_, names_,
                {.name =
                     [this](std::uint32_t ifindex) {
                       return agent_->endpoint_name(ifindex);
                     },
                 .names_of =
                     [this](std::uint32_t ifindex, const IpAddress& address) {
                       return names_of(*agent_, ifindex, address,
                                       kFlowNamesMax);
                     }},
                &flow_counts_),
      source_(std::move(source)) {}

Runtime::~Runtime() = default;

Result<std::unique_ptr<Runtime>> Runtime::start(
    RuntimeOptions options, std::unique_ptr<Source> source) {
  std::unique_ptr<Runtime> runtime(
      new Runtime(std::move(options), std::move(source)));
  if (auto ready = runtime->prepare(); !ready) {
    return std::unexpected(ready.error());
  }
  return runtime;
}

Result<void> Runtime::prepare() {
  if (auto checked = FlowExport::check(options_.flows.exported); !checked) {
    return checked;
  }
  // Before any library starts a thread.
  auto signals = open_signals();
  if (!signals) {
    return std::unexpected(signals.error());
  }
  signals_ = std::move(*signals);
  auto locks = take_locks(options_.socket, options_.agent.datapath.pin_dir);
  if (!locks) {
    return std::unexpected(locks.error());
  }
  locks_ = std::move(*locks);
  auto loop = Loop::create();
  if (!loop) {
    return std::unexpected(loop.error());
  }
  loop_ = std::move(*loop);
  // A server's thread must not get signals.
  if (auto opened = open_health(); !opened) {
    return opened;
  }
  if (const auto& more = options_.before_load) {
    if (auto opened = more(); !opened) {
      return opened;
    }
  }
  if (auto opened = source_->open(); !opened) {
    return opened;
  }
  using Step = Result<void> (Runtime::*)();
  for (const Step step :
       {&Runtime::open_agent, &Runtime::open_server, &Runtime::watch}) {
    if (auto done = (this->*step)(); !done) {
      return done;
    }
  }
  if (auto started = source_->start(*this); !started) {
    return started;
  }
  for (const Step step : {&Runtime::open_observer, &Runtime::open_export}) {
    if (auto opened = (this->*step)(); !opened) {
      return opened;
    }
  }
  report_health();
  return {};
}

// Until the first report, the program is neither alive nor ready.
Result<void> Runtime::open_health() {
  if (options_.health.empty()) {
    return {};
  }
  auto opened = health::HealthServer::open(options_.health);
  if (!opened) {
    return with_context("--health", opened.error());
  }
  health_ = std::move(*opened);
  return {};
}

Result<void> Runtime::open_agent() {
  auto agent = agent::Agent::start(options_.agent);
  if (!agent) {
    return std::unexpected(agent.error());
  }
  agent_ = std::move(*agent);
  agent_->on_notice([](const std::string& text) { spdlog::info(text); });
  agent_->on_event([this](const sluice_flow_event& event) { on_event(event); });
  events_lost_ = agent_->events_lost().value_or(0);
  // The names of the state that the last process has left in force.
  if (auto kept = Names::load(names_file(options_.socket))) {
    names_ = std::move(*kept);
  }
  return {};
}

Result<void> Runtime::open_server() {
  auto server = Server::open(options_.socket, [this](const std::string& text) {
    auto answered = source_->answer(text);
    return answered ? std::move(*answered) : answer(text, source_->policies());
  });
  if (!server) {
    return std::unexpected(server.error());
  }
  server_ = std::move(*server);
  flows_.add({.wants = [this] { return server_->has_subscribers(); },
              .take =
                  [this](const FlowView& flow, bool denied) {
                    server_->publish(dump(nlohmann::json{{"event", flow}}),
                                     denied);
                  }});
  return {};
}

// When the source has told the node's name.
Result<void> Runtime::open_observer() {
  const auto& socket = options_.flows.socket;
  auto observer = ObserverServer::open(
      socket.empty() ? observer_socket_of(options_.socket) : socket,
      flow_store_, source_->node());
  if (!observer) {
    return std::unexpected(observer.error());
  }
  observer_ = std::move(*observer);
  return {};
}

Result<void> Runtime::open_export() {
  if (options_.flows.exported.path.empty()) {
    return {};
  }
  auto started =
      FlowExport::start(options_.flows.exported, flow_store_, source_->node());
  if (!started) {
    return std::unexpected(started.error());
  }
  export_ = std::move(*started);
  return {};
}

void Runtime::on_event(const sluice_flow_event& event) {
  recorder_.on_event(event, Clock::now());
  flows_.on_event(event);
}

bool Runtime::ask_ends(const std::vector<IpAddress>& addresses) {
  return source_->ask_ends(addresses,
                           [this](const IpAddress& address, flow::End end) {
                             ends_.learn(address, std::move(end), Clock::now());
                           });
}

Result<void> Runtime::watch() {
  using Handler = void (Runtime::*)();
  const auto call = [this](int fd, Handler handler) {
    return loop_->set_fd(
        fd, EPOLLIN, [this, handler](std::uint32_t) { (this->*handler)(); });
  };
  if (auto done = call(signals_.get(), &Runtime::on_signal); !done) {
    return done;
  }
  if (auto done = call(agent_->poll_fd(), &Runtime::follow_node); !done) {
    return done;
  }
  housekeeping_timer_ = loop_->every(kHousekeeping, [this] { housekeeping(); });
  if (const auto every = options_.flows.traffic_every; every.count() > 0) {
    traffic_timer_ = loop_->every(every, [this] { record_traffic(); });
  }
  return loop_->set_fd(server_->poll_fd(), EPOLLIN,
                       [this](std::uint32_t) { server_->dispatch(); });
}

// Handles changes of the node's interfaces and addresses, and flow events. A
// failure that lasts is noted once; retry() says when it is over.
void Runtime::follow_node() {
  const auto begun = Clock::now();
  if (const auto followed = agent_->dispatch();
      !followed && followed.error().message != apply_state_.problem()) {
    finish(followed, begun);
  }
  if (addresses_ != agent_->node_addresses()) {
    addresses_ = agent_->node_addresses();
    source_->on_node_addresses(*addresses_);
  }
}

void Runtime::finish(const Result<void>& result, Clock::time_point begun) {
  apply_state_.note(result);
  if (result && phase_ == Phase::kReceived) {
    phase_ = Phase::kInForce;
  }
  plan_retry();
  if (result) {
    applied_.times.add(Clock::now() - begun);
    applied_.applied = applied_.received;
    applied_.behind_since.reset();
  } else {
    ++applied_.failures;
    applied_.behind_since = applied_.behind_since.value_or(begun);
  }
  source_->on_outcome();
}

void Runtime::plan_retry() {
  const auto at = apply_state_.retry_at();
  retry_timer_ = at == Clock::time_point::max()
                     ? Timer()
                     : loop_->after(at - Clock::now(), [this] { retry(); });
}

void Runtime::retry() {
  const auto begun = Clock::now();
  finish(agent_->retry(), begun);
}

void Runtime::report_failure(const Result<void>& failure) {
  finish(failure, Clock::now());
}

void Runtime::retry_later() {
  apply_state_.retry_later();
  plan_retry();
}

void Runtime::resume(const State& state) {
  names_ = Names(state);
  names_changed_ = true;
  recorder_.forget_rules();
  pods_.reset();
  phase_ = Phase::kResumed;
  // This says nothing about the source, so it gets no outcome.
  apply_state_.note(agent_->replace(state));
  plan_retry();
}

void Runtime::snapshot(std::uint64_t revision, const State& state) {
  const auto begun = Clock::now();
  names_ = Names(state);
  names_changed_ = true;
  recorder_.forget_rules();
  pods_.reset();
  if (phase_ != Phase::kInForce) {
    phase_ = Phase::kReceived;
  }
  applied_.received = revision;
  applied_.applied = 0;  // of another numbering
  finish(agent_->replace(state, revision), begun);
}

void Runtime::change(const Transaction& transaction) {
  const auto begun = Clock::now();
  applied_.received = transaction.revision;
  names_.apply(transaction);
  names_changed_ = true;
  if (!transaction.rules.empty() || !transaction.sets.empty()) {
    recorder_.forget_rules();
  }
  for (const auto& peer : transaction.peers) {
    if (peer.prefix.length == peer.prefix.address.bits()) {
      ends_.forget(peer.prefix.address);
    }
  }
  for (const auto& endpoint : transaction.endpoints) {
    if (endpoint.value) {
      std::ranges::for_each(endpoint.value->ips,
                            [this](const auto& ip) { ends_.forget(ip); });
    }
    pods_.reset();
  }
  finish(agent_->apply(transaction), begun);
}

std::string Runtime::problem() const {
  return apply_problem().empty() ? source_->problem() : apply_problem();
}

std::string Runtime::enforcement_problem() const {
  if (auto why = problem(); !why.empty()) {
    return why;
  }
  const auto shortfalls = agent_->shortfalls();
  if (shortfalls.empty()) {
    return {};
  }
  const auto& [id, why] = *shortfalls.begin();
  const auto* set = names_.set(id);
  return (set == nullptr ? "policy set " + std::to_string(id)
                         : joined(set->policies)) +
         ": " + why;
}

std::string Runtime::pod_of(const IpAddress& address) const {
  if (!pods_) {
    pods_.emplace();
    for (const auto& endpoint : agent_->wanted().endpoints) {
      for (const auto& ip : endpoint.ips) {
        (*pods_)[ip] = endpoint.name;
      }
    }
  }
  const auto found = pods_->find(address);
  return found == pods_->end() ? std::string{} : found->second;
}

Server::Answer Runtime::answer(const std::string& request,
                               const PolicyInfo& policies) const {
  return answer_request({.policies = &policies,
                         .agent = &*agent_,
                         .names = &names_,
                         .node = source_->node(),
                         .problem = enforcement_problem()},
                        request);
}

FlowView Runtime::make_flow(const sluice_flow_event& event) const {
  return node::make_flow(event, agent_->endpoint_name(event.ifindex), names_,
                         [this, &event](const IpAddress& address) {
                           return owner_or_name(source_->policies(), *agent_,
                                                event.ifindex, address);
                         });
}

void Runtime::save_names() {
  if (!std::exchange(names_changed_, false)) {
    return;
  }
  if (auto saved = names_.save(names_file(options_.socket)); !saved) {
    spdlog::warn("names for `policy dump`: {}", saved.error().message);
  }
}

void Runtime::housekeeping() {
  save_names();
  server_->expire(Clock::now());
  record_lost_events();
  flow_counts_.turn(Clock::now());
}

void Runtime::record_lost_events() {
  const auto lost = agent_->events_lost();
  if (lost) {
    const auto before = std::exchange(events_lost_, *lost);
    recorder_.on_lost(*lost - std::min(before, *lost), Clock::now());
  }
}

void Runtime::record_traffic() {
  auto entries = agent_->dump_conntrack();
  if (!entries) {
    spdlog::warn("counters of flows: {}", entries.error().message);
    return;
  }
  const auto now = Clock::now();
  std::map<std::pair<std::uint32_t, bool>, std::optional<IpAddress>> addresses;
  const auto address_of = [&](const agent::ConntrackEntry& entry) {
    const auto [found, fresh] =
        addresses.try_emplace({entry.ifindex, entry.v6}, std::nullopt);
    if (fresh) {
      found->second = own_address(entry.ifindex, entry.v6);
    }
    return found->second;
  };
  // Only a part of the flows that are kept: counters must not push decisions
  // out.
  const auto max = std::max(options_.flows.kept / kTrafficPart, 1U);
  for (const auto& report : long_flows_.read(*entries, max)) {
    const auto local = address_of(report.entry);
    auto record = local ? traffic_record(report, *local) : std::nullopt;
    if (record) {
      recorder_.on_traffic(std::move(*record), report.entry.value.rule, now);
    }
  }
}

std::optional<IpAddress> Runtime::own_address(std::uint32_t ifindex,
                                              bool v6) const {
  const auto name = agent_->endpoint_name(ifindex);
  for (const auto& endpoint : agent_->wanted().endpoints) {
    const auto found = std::ranges::find(endpoint.ips, v6, &IpAddress::v6);
    if (endpoint.name == name && found != endpoint.ips.end()) {
      return *found;
    }
  }
  return std::nullopt;
}

void Runtime::report_health() {
  if (health_) {
    health_->report(source_->unready(), [this] { return metrics(); });
  }
}

std::string Runtime::metrics() const {
  health::MetricFamilies families;
  add_metrics(families, {.version = kVersion,
                         .node = source_->node(),
                         .agent = agent_->status(),
                         .applied = applied_,
                         .flows = flow_counts_.view(),
                         .exported = export_ ? export_->counters()
                                             : FlowExport::Counters{}});
  source_->add_metrics(families);
  families.process();
  return families.text();
}

void Runtime::on_signal() {
  const auto arrived = read_signals(signals_.get());
  if (arrived.stop) {
    spdlog::info("stopping; what is in force stays in force");
    stopping_ = true;
  }
  if (arrived.reload) {
    source_->reload();
  }
}

Result<void> Runtime::turn_until_stopped() {
  pollfd ready{.fd = loop_->poll_fd(), .events = POLLIN, .revents = 0};
  while (!stopping_) {
    if (::poll(&ready, 1, static_cast<int>(kTurn.count())) < 0 &&
        errno != EINTR) {
      return fail_errno("poll");
    }
    // Interfaces first, because the source's messages refer to existing ones.
    follow_node();
    loop_->dispatch();
    source_->turn();
    recorder_.turn(Clock::now());
    report_health();
  }
  return {};
}

Result<void> Runtime::run() {
  auto result = turn_until_stopped();
  save_names();
  return result;
}

}  // namespace sluice::node
