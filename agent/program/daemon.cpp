// SPDX-License-Identifier: Apache-2.0
#include "agent/program/daemon.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/spdlog.h>

#include "agent/node/files.h"
#include "agent/node/flow.h"
#include "agent/node/json_text.h"
#include "agent/node/locks.h"
#include "agent/node/names.h"
#include "agent/node/progress.h"
#include "agent/node/requests.h"
#include "agent/node/server.h"
#include "agent/node/version.h"
#include "agent/node/views_json.h"
#include "agent/program/announcements.h"
#include "agent/program/metrics.h"
#include "agent/program/operator_source.h"
#include "agent/program/questions.h"
#include "lib/base/fd.h"
#include "lib/base/printable.h"
#include "lib/base/process.h"
#include "lib/health/health_server.h"
#include "lib/wire/journal.h"

namespace sluice::agentd {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Flow events are fetched at this interval, because the datapath does not wake
// the reader.
constexpr milliseconds kTurn{100};
constexpr seconds kHousekeeping{1};
constexpr seconds kJournalRetry{30};

// The map that an error of the applier names, or empty.
std::string map_in(const std::string& message) {
  constexpr std::string_view kPrefix = "map ";
  if (!message.starts_with(kPrefix)) {
    return {};
  }
  const auto end = message.find_first_of(": ", kPrefix.size());
  return message.substr(kPrefix.size(), end - kPrefix.size());
}

}  // namespace

struct Daemon::Impl {
  explicit Impl(DaemonOptions options_in) : options(std::move(options_in)) {}

  DaemonOptions options;
  node::Locks locks;
  Fd signals;
  node::Names names;
  std::optional<agent::Agent> agent;
  std::optional<Announcements> announcements;
  std::optional<CniInstaller> cni;
  std::optional<wire::Client> client;
  std::optional<node::Server> server;
  std::optional<Questions> questions;
  std::optional<health::HealthServer> health;
  health::Durations apply_times;
  std::uint64_t apply_failures = 0;
  std::uint64_t journal_failures = 0;
  std::optional<Clock::time_point> behind_since;
  std::uint64_t received = 0;
  std::uint64_t applied = 0;
  node::Progress progress;
  std::optional<wire::Ack> told;
  std::optional<std::vector<IpAddress>> told_addresses;  // of the node
  std::string logged_disconnect;
  std::unordered_map<IpAddress, std::string> pods;  // of this node
  bool pods_dirty = true;
  bool names_dirty = false;
  bool snapshot_in_force = false;
  bool from_journal = false;  // resumed from it
  std::optional<wire::Journal> journal;
  Clock::time_point journal_at;  // not restarted before this time
  wire::OnUnknown told_unknown = wire::OnUnknown::kAgentDefault;
  bool deny_unknown = false;
  bool stopping = false;
  OperatorLink link;
  Clock::time_point housekeeping_at = Clock::now();
  Clock::time_point measured_at;

  Result<void> open_agent();
  Result<void> open_servers();
  Result<void> connect();
  Result<void> install_cni();
  Result<void> prepare();
  void resume_from_journal();
  void note_journal(const Result<void>& written);
  void rewrite_journal(const State& state);
  void on_snapshot(std::uint64_t revision, const State& state);
  void on_transaction(const Transaction& transaction);
  void on_local_change(const Transaction::EndpointChange& change);
  [[nodiscard]] bool denies(wire::OnUnknown value) const;
  void on_unknown(wire::OnUnknown value);
  void on_connect(bool resumed, const std::string& version);
  void on_disconnect(const std::string& why);
  void outcome(const Result<void>& result, Clock::time_point begun);
  void acknowledge();
  void follow_node();
  void tell_addresses();
  void retry();
  void housekeeping();
  void measure();
  void save_names();
  void on_event(const sluice_flow_event& event);
  std::string pod_of(const IpAddress& address);
  void on_signal();
  [[nodiscard]] std::string problem() const;
  [[nodiscard]] std::string unready() const;
  node::Server::Answer answer(const std::string& request);
  node::Server::Answer answer_with(const std::string& request,
                                   const Heard& heard);
  void run_timers();
  Result<void> loop();
};

Result<void> Daemon::Impl::open_agent() {
  auto started = agent::Agent::start(options.agent);
  if (!started) {
    return std::unexpected(started.error());
  }
  agent = std::move(*started);
  agent->on_notice([](const std::string& text) { spdlog::info(text); });
  agent->on_event([this](const sluice_flow_event& event) { on_event(event); });
  // The names of the state that the last process left in force.
  if (auto kept = node::Names::load(node::names_file(options.socket))) {
    names = std::move(*kept);
  }
  resume_from_journal();
  return {};
}

// Resumes from the journal of the previous process. Unclaimed interfaces come
// first, so that those claimed by an endpoint are taken over in one step.
void Daemon::Impl::resume_from_journal() {
  const auto file = node::journal_file(options.socket);
  journal.emplace(file, options.client.node);
  auto kept = wire::Journal::load(file, options.client.node);
  if (!kept) {
    spdlog::warn("the journal cannot be read: {}", kept.error().message);
  } else if (*kept) {
    told_unknown = (*kept)->on_unknown;
  }
  announcements.emplace(node::pods_file(options.socket), link, *agent);
  announcements->load();
  deny_unknown = denies(told_unknown);
  if (auto denied = agent->deny_unclaimed(deny_unknown); !denied) {
    spdlog::error("traffic of unknown pods cannot be denied: {}",
                  denied.error().message);
    progress.retry_later();
  }
  if (!kept || !*kept) {
    return;
  }
  State& state = (*kept)->state;
  announcements->add_siblings(state);
  names = node::Names(state);
  names_dirty = true;
  const auto result = agent->replace(state);
  from_journal = true;
  progress.note(result);
  spdlog::info("resuming from the journal: {} endpoints, {} entries, {} peers",
               state.endpoints.size(), state.entries.size(),
               state.peers.size());
}

void Daemon::Impl::note_journal(const Result<void>& written) {
  if (!written) {
    ++journal_failures;
    journal_at = Clock::now() + kJournalRetry;
    spdlog::warn(
        "the journal cannot be written, so the next start cannot resume from "
        "it: {}",
        written.error().message);
  }
}

void Daemon::Impl::rewrite_journal(const State& state) {
  note_journal(journal->begin(state, told_unknown));
}

Result<void> Daemon::Impl::open_servers() {
  auto opened = node::Server::open(
      options.socket,
      [this](const std::string& request) { return answer(request); });
  if (!opened) {
    return std::unexpected(opened.error());
  }
  server = std::move(*opened);
  if (options.health.empty()) {
    return {};
  }
  auto listening = health::HealthServer::open(options.health);
  if (!listening) {
    return std::unexpected(listening.error());
  }
  health = std::move(*listening);
  return {};
}

Result<void> Daemon::Impl::connect() {
  wire::Client::Handlers handlers;
  handlers.on_snapshot = [this](std::uint64_t revision, const State& state) {
    on_snapshot(revision, state);
  };
  handlers.on_transaction = [this](const Transaction& transaction) {
    on_transaction(transaction);
  };
  handlers.on_unknown = [this](wire::OnUnknown value) { on_unknown(value); };
  handlers.on_answer = [this](const wire::Answer& answer) {
    questions->on_answer(answer);
  };
  handlers.on_connect = [this](bool resumed, const std::string& version) {
    on_connect(resumed, version);
  };
  handlers.on_disconnect = [this](const std::string& why) {
    on_disconnect(why);
  };
  auto begun = wire::Client::start(options.client, std::move(handlers));
  if (!begun) {
    return std::unexpected(begun.error());
  }
  client = std::move(*begun);
  questions.emplace(*client, *server, link, *agent,
                    [this](const std::string& request, const Heard& heard) {
                      return answer_with(request, heard);
                    });
  announcements->serve(*client, *server,
                       [this](const auto& change) { on_local_change(change); });
  return {};
}

// This comes last, because the plugin that runtimes then call needs this
// process.
Result<void> Daemon::Impl::install_cni() {
  auto installed = CniInstaller::start(options.cni);
  if (!installed) {
    return std::unexpected(installed.error());
  }
  cni = std::move(*installed);
  return {};
}

Result<void> Daemon::Impl::prepare() {
  link.address = options.client.target;
  link.problem = "not yet";
  // Before any library starts a thread.
  auto opened = open_signals();
  if (!opened) {
    return std::unexpected(opened.error());
  }
  signals = std::move(*opened);
  auto locked =
      node::take_locks(options.socket, options.agent.datapath.pin_dir);
  if (!locked) {
    return std::unexpected(locked.error());
  }
  locks = std::move(*locked);
  using Step = Result<void> (Impl::*)();
  for (const Step step : {&Impl::open_agent, &Impl::open_servers,
                          &Impl::connect, &Impl::install_cni}) {
    if (auto done = (this->*step)(); !done) {
      return done;
    }
  }
  return {};
}

void Daemon::Impl::outcome(const Result<void>& result,
                           Clock::time_point begun) {
  if (result) {
    apply_times.add(Clock::now() - begun);
    applied = received;
    behind_since.reset();
  } else {
    ++apply_failures;
    behind_since = behind_since.value_or(begun);
  }
  progress.note(result);
  acknowledge();
}

void Daemon::Impl::on_snapshot(std::uint64_t revision, const State& state) {
  const auto begun = Clock::now();
  received = revision;
  applied = 0;  // of another numbering
  told.reset();
  names = node::Names(state);
  names_dirty = pods_dirty = true;
  rewrite_journal(state);
  announcements->on_snapshot();
  const auto result = agent->replace(state, revision);
  snapshot_in_force = snapshot_in_force || result.has_value();
  spdlog::info("snapshot: revision {}, {} endpoints, {} entries, {} peers",
               revision, state.endpoints.size(), state.entries.size(),
               state.peers.size());
  outcome(result, begun);
}

void Daemon::Impl::on_transaction(const Transaction& transaction) {
  const auto begun = Clock::now();
  received = transaction.revision;
  names.apply(transaction);
  names_dirty = true;
  pods_dirty = pods_dirty || !transaction.endpoints.empty();
  note_journal(journal->add(transaction));
  announcements->on_transaction(transaction);
  outcome(agent->apply(transaction), begun);
}

void Daemon::Impl::on_local_change(const Transaction::EndpointChange& change) {
  const auto begun = Clock::now();
  Transaction transaction;
  transaction.revision = received;
  transaction.endpoints.push_back(change);
  pods_dirty = true;
  outcome(agent->apply(transaction), begun);
}

bool Daemon::Impl::denies(wire::OnUnknown value) const {
  return value == wire::OnUnknown::kDeny ||
         (value == wire::OnUnknown::kAgentDefault && options.deny_unknown);
}

void Daemon::Impl::on_unknown(wire::OnUnknown value) {
  const bool deny = denies(value);
  if (std::exchange(told_unknown, value) != value) {
    note_journal(journal->set_on_unknown(value));
  }
  if (deny != deny_unknown) {
    spdlog::info("pods without a known verdict: {}",
                 deny ? "denied" : "allowed");
  }
  deny_unknown = deny;
  if (auto done = agent->deny_unclaimed(deny); !done) {
    outcome(done, Clock::now());
  }
}

void Daemon::Impl::on_connect(bool resumed, const std::string& version) {
  spdlog::info("connected to operator {} at {}{}", printable(version),
               options.client.target, resumed ? ", resuming" : "");
  logged_disconnect.clear();
  link.connected = true;
  link.problem.clear();
}

// Logs each reason once, because connecting is retried again and again.
void Daemon::Impl::on_disconnect(const std::string& why) {
  link.connected = false;
  link.problem = why;
  questions->on_disconnect();
  if (why != logged_disconnect) {
    logged_disconnect = why;
    spdlog::warn("no operator is connected; its last state stays in force: {}",
                 why);
  }
}

// Reports changes since the last report to the operator.
void Daemon::Impl::acknowledge() {
  if (received == 0 && !snapshot_in_force) {
    return;
  }
  wire::Ack ack{.received = received, .applied = applied, .failures = {}};
  if (const auto& problem = progress.problem(); !problem.empty()) {
    ack.failures.push_back({.policy_set = 0,
                            .map = map_in(problem),
                            .endpoint = {},
                            .message = problem});
  }
  for (auto& [name, problem] : agent->endpoint_problems()) {
    ack.failures.push_back({.policy_set = 0,
                            .map = {},
                            .endpoint = name,
                            .message = std::move(problem)});
  }
  if (told != ack) {
    client->acknowledge(ack);
    told = std::move(ack);
  }
}

// A failure that lasts is noted once; retry() says when it is over.
void Daemon::Impl::follow_node() {
  const auto begun = Clock::now();
  if (const auto followed = agent->dispatch();
      !followed && followed.error().message != progress.problem()) {
    outcome(followed, begun);
  }
}

// Link-local addresses are not reported.
void Daemon::Impl::tell_addresses() {
  if (told_addresses == agent->node_addresses()) {
    return;
  }
  told_addresses = agent->node_addresses();
  std::vector<IpAddress> global;
  std::ranges::copy_if(*told_addresses, std::back_inserter(global), is_global);
  if (global.size() > wire::kNodeAddressesMax) {
    spdlog::warn(
        "only {} of the node's {} addresses are reported to the operator",
        wire::kNodeAddressesMax, global.size());
  }
  client->set_addresses(global);
}

void Daemon::Impl::retry() {
  const auto begun = Clock::now();
  const auto result = agent->retry();
  snapshot_in_force =
      snapshot_in_force || (result.has_value() && told.has_value());
  outcome(result, begun);
}

void Daemon::Impl::save_names() {
  if (!std::exchange(names_dirty, false)) {
    return;
  }
  if (auto saved = names.save(node::names_file(options.socket)); !saved) {
    spdlog::warn("names for `policy dump`: {}", saved.error().message);
  }
}

void Daemon::Impl::measure() {
  measured_at = Clock::now();
  health->set_metrics(
      metrics_text({.version = node::kVersion,
                    .node = options.client.node,
                    .agent = agent->status(),
                    .client = client->stats(),
                    .apply_times = apply_times,
                    .apply_failures = apply_failures,
                    .pod_start_times = announcements->waits(),
                    .journal_failures = journal_failures,
                    .behind = behind_since ? measured_at - *behind_since
                                           : Clock::duration::zero(),
                    .received = received,
                    .applied = applied,
                    .deny_unknown = deny_unknown}));
}

void Daemon::Impl::housekeeping() {
  housekeeping_at = Clock::now() + kHousekeeping;
  save_names();
  // Without a message to this process there is nothing to start a journal with.
  const bool lacking = received != 0 && !journal->complete();
  if (journal->grown() || (lacking && Clock::now() >= journal_at)) {
    rewrite_journal(agent->wanted());
  }
  server->expire(Clock::now());
}

std::string Daemon::Impl::pod_of(const IpAddress& address) {
  if (std::exchange(pods_dirty, false)) {
    pods.clear();
    for (const auto& endpoint : agent->wanted().endpoints) {
      for (const auto& ip : endpoint.ips) {
        pods[ip] = endpoint.name;
      }
    }
  }
  const auto found = pods.find(address);
  return found == pods.end() ? std::string{} : found->second;
}

void Daemon::Impl::on_event(const sluice_flow_event& event) {
  if (!server || !server->has_subscribers()) {
    return;
  }
  const auto flow = node::make_flow(
      event, agent->endpoint_name(event.ifindex), names,
      [this](const IpAddress& address) { return pod_of(address); });
  server->publish(node::dump(nlohmann::json{{"event", flow}}),
                  event.verdict != SLUICE_VERDICT_ALLOW);
}

void Daemon::Impl::on_signal() {
  if (read_signals(signals.get()).stop) {
    spdlog::info("stopping; what is in force stays in force");
    stopping = true;
  }
}

// Returns why the wanted state is not in force; empty if it is.
std::string Daemon::Impl::problem() const {
  if (progress.problem().empty() && !snapshot_in_force && !from_journal) {
    return "no operator has connected yet; what was in force stays in force";
  }
  return progress.problem();
}

// An agent that has resumed from the journal is not ready until it has
// connected to an operator, so that a roll-out stops at an agent that cannot
// reach any.
std::string Daemon::Impl::unready() const {
  if (!progress.problem().empty() || snapshot_in_force) {
    return progress.problem();
  }
  return "no operator has connected yet: " + link.problem;
}

node::Server::Answer Daemon::Impl::answer(const std::string& request) {
  if (auto answered = announcements->answer(request)) {
    return std::move(*answered);
  }
  if (auto asked = questions->take(request)) {
    return std::move(*asked);
  }
  return answer_with(request, {});
}

node::Server::Answer Daemon::Impl::answer_with(const std::string& request,
                                               const Heard& heard) {
  const auto why = problem();
  const OperatorSource source(
      link, *agent,
      [this](const IpAddress& address) { return pod_of(address); }, why, heard);
  return node::answer_request({.source = &source,
                               .agent = &*agent,
                               .names = &names,
                               .node = options.client.node,
                               .problem = why},
                              request);
}

void Daemon::Impl::run_timers() {
  const auto now = Clock::now();
  if (now >= progress.retry_at()) {
    retry();
  }
  if (now >= housekeeping_at) {
    housekeeping();
  }
  if (health) {
    health->beat();
    health->set_ready(unready());
    // Measure at most once a second, however often metrics are requested.
    if (health->wants_metrics() && now - measured_at >= seconds(1)) {
      measure();
    }
  }
  // Interfaces may have come or gone.
  acknowledge();
}

Result<void> Daemon::Impl::loop() {
  std::array<pollfd, 5> fds{
      pollfd{.fd = signals.get(), .events = POLLIN, .revents = 0},
      pollfd{.fd = client->poll_fd(), .events = POLLIN, .revents = 0},
      pollfd{.fd = agent->poll_fd(), .events = POLLIN, .revents = 0},
      pollfd{.fd = server->poll_fd(), .events = POLLIN, .revents = 0},
      pollfd{.fd = cni->fd(), .events = POLLIN, .revents = 0}};
  while (!stopping) {
    if (::poll(fds.data(), fds.size(), static_cast<int>(kTurn.count())) < 0 &&
        errno != EINTR) {
      return fail_errno("poll");
    }
    if (fds[0].revents != 0) {
      on_signal();
    }
    // Interfaces first, because the operator's messages refer to existing ones.
    follow_node();
    tell_addresses();
    if (fds[1].revents != 0) {
      client->dispatch();
    }
    if (fds[3].revents != 0) {
      server->dispatch();
    }
    announcements->run();
    questions->turn();
    cni->turn();
    run_timers();
  }
  return {};
}

Daemon::Daemon() = default;
Daemon::Daemon(Daemon&&) noexcept = default;
Daemon& Daemon::operator=(Daemon&&) noexcept = default;
Daemon::~Daemon() = default;

Result<Daemon> Daemon::start(DaemonOptions options) {
  Daemon daemon;
  daemon.impl_ = std::make_unique<Impl>(std::move(options));
  if (auto ready = daemon.impl_->prepare(); !ready) {
    return std::unexpected(ready.error());
  }
  return daemon;
}

Result<void> Daemon::run() {
  auto& impl = *impl_;
  spdlog::info("node {}: socket {}, operator {}", impl.options.client.node,
               impl.options.socket.string(), impl.options.client.target);
  auto result = impl.loop();
  impl.save_names();
  return result;
}

}  // namespace sluice::agentd
