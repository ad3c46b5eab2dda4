// SPDX-License-Identifier: Apache-2.0
#include "agent/program/operator_source.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include "agent/node/files.h"
#include "agent/node/runtime.h"
#include "agent/node/version.h"
#include "agent/program/announcements.h"
#include "agent/program/end_questions.h"
#include "agent/program/journal_keeper.h"
#include "agent/program/operator_metrics.h"
#include "agent/program/operator_policies.h"
#include "agent/program/questions.h"
#include "agent/program/status_requests.h"
#include "lib/base/printable.h"
#include "lib/flow/responder.h"

namespace sluice::agentd {
namespace {

constexpr std::chrono::seconds kHousekeeping{1};

}  // namespace

struct OperatorSource::Impl {
  explicit Impl(OperatorSourceOptions options_in)
      : options(std::move(options_in)) {
    link.address = options.client.target;
    link.problem = "not yet";
  }

  OperatorSourceOptions options;
  node::Runtime* runtime = nullptr;
  OperatorLink link;
  const Heard nothing_heard;
  std::optional<OperatorPolicies> policies;
  std::optional<JournalKeeper> journal;
  std::optional<Announcements> announcements;
  std::optional<wire::Client> client;
  std::optional<Questions> questions;
  std::optional<EndQuestions> end_questions;
  std::optional<StatusRequests> status_requests;
  std::optional<wire::Ack> acknowledged;  // to this operator
  bool denies_unknown = false;
  std::string logged_disconnect;
  Timer housekeeping_timer;
  std::unique_ptr<flow::Responder> responder;  // destroyed first

  void resume();
  void prepare_responder();
  Result<void> connect();
  [[nodiscard]] wire::Client::Handlers handlers();
  void on_snapshot(std::uint64_t revision, const State& state);
  void on_transaction(const Transaction& transaction);
  void on_local_change(const Transaction::EndpointChange& change) const;
  [[nodiscard]] bool denies(wire::OnUnknown value) const;
  void on_unknown(wire::OnUnknown value);
  void on_connect(bool resumed, const std::string& version);
  void on_disconnect(const std::string& why);
  void acknowledge();
  void housekeeping();
};

// Resumes from the journal of the previous process. Unclaimed interfaces come
// first, so that those claimed by an endpoint are taken over in one step.
void OperatorSource::Impl::resume() {
  auto& agent = runtime->agent();
  auto kept = journal->load();
  announcements->load();
  denies_unknown = denies(journal->on_unknown());
  if (auto denied = agent.deny_unclaimed(denies_unknown); !denied) {
    spdlog::error("traffic of unknown pods cannot be denied: {}",
                  denied.error().message);
    runtime->retry_later();
  }
  if (!kept) {
    return;
  }
  State& state = kept->state;
  announcements->add_siblings(state);
  runtime->resume(state);
  spdlog::info("resuming from the journal: {} endpoints, {} entries, {} peers",
               state.endpoints.size(), state.entries.size(),
               state.peers.size());
}

wire::Client::Handlers OperatorSource::Impl::handlers() {
  return {
      .on_snapshot = [this](
                         std::uint64_t revision,
                         const State& state) { on_snapshot(revision, state); },
      .on_transaction =
          [this](const Transaction& transaction) {
            on_transaction(transaction);
          },
      .on_unknown = [this](wire::OnUnknown value) { on_unknown(value); },
      .on_answer =
          [this](const wire::Answer& answer) {
            if (!end_questions->on_answer(answer)) {
              questions->on_answer(answer);
            }
          },
      .on_flow_request =
          [this](wire::FlowRequest request) {
            if (!status_requests->take(request)) {
              responder->request(std::move(request));
            }
          },
      .on_flow_control =
          [this](const wire::FlowControl& control) {
            if (!status_requests->control(control)) {
              responder->control(control);
            }
          },
      .on_connect =
          [this](bool resumed, const std::string& version) {
            on_connect(resumed, version);
          },
      .on_disconnect = [this](const std::string& why) { on_disconnect(why); }};
}

// Batches are made in a thread of the responder's, and sent in the loop's.
void OperatorSource::Impl::prepare_responder() {
  responder = std::make_unique<flow::Responder>(
      runtime->flow_store(),
      flow::ResponderOptions{.node = options.client.node,
                             .version = node::kVersion},
      [this](wire::FlowBatch batch) {
        runtime->loop().post(
            [this, batch = std::move(batch)] { client->give(batch); });
      });
}

Result<void> OperatorSource::Impl::connect() {
  prepare_responder();
  auto begun = wire::Client::start(options.client, handlers());
  if (!begun) {
    return std::unexpected(begun.error());
  }
  client = std::move(*begun);
  end_questions.emplace(*client);
  status_requests.emplace(
      [this](const std::string& request) {
        return runtime->answer(request,
                               OperatorPolicies(link, *runtime, nothing_heard));
      },
      [this](wire::FlowBatch batch) { client->give(std::move(batch)); });
  questions.emplace(*client, runtime->server(), link, runtime->agent(),
                    [this](const std::string& request, const Heard& heard) {
                      return runtime->answer(
                          request, OperatorPolicies(link, *runtime, heard));
                    });
  announcements->serve(*client, runtime->server(),
                       [this](const auto& change) { on_local_change(change); });
  housekeeping_timer =
      runtime->loop().every(kHousekeeping, [this] { housekeeping(); });
  return runtime->loop().set_fd(client->poll_fd(), EPOLLIN,
                                [this](std::uint32_t) { client->dispatch(); });
}

void OperatorSource::Impl::on_snapshot(std::uint64_t revision,
                                       const State& state) {
  acknowledged.reset();
  journal->rewrite(state);
  announcements->on_snapshot();
  runtime->snapshot(revision, state);
  spdlog::info("snapshot: revision {}, {} endpoints, {} entries, {} peers",
               revision, state.endpoints.size(), state.entries.size(),
               state.peers.size());
}

void OperatorSource::Impl::on_transaction(const Transaction& transaction) {
  journal->add(transaction);
  announcements->on_transaction(transaction);
  runtime->change(transaction);
}

void OperatorSource::Impl::on_local_change(
    const Transaction::EndpointChange& change) const {
  Transaction transaction;
  transaction.revision = runtime->applied().received;
  transaction.endpoints.push_back(change);
  runtime->change(transaction);
}

bool OperatorSource::Impl::denies(wire::OnUnknown value) const {
  return value == wire::OnUnknown::kDeny ||
         (value == wire::OnUnknown::kAgentDefault && options.deny_unknown);
}

void OperatorSource::Impl::on_unknown(wire::OnUnknown value) {
  const bool deny = denies(value);
  journal->set_on_unknown(value);
  if (deny != denies_unknown) {
    spdlog::info("pods without a known verdict: {}",
                 deny ? "denied" : "allowed");
  }
  denies_unknown = deny;
  if (const auto done = runtime->agent().deny_unclaimed(deny); !done) {
    runtime->report_failure(done);
  }
}

void OperatorSource::Impl::on_connect(bool resumed,
                                      const std::string& version) {
  spdlog::info("connected to operator {} at {}{}", printable(version),
               options.client.target, resumed ? ", resuming" : "");
  logged_disconnect.clear();
  link.connected = true;
  link.problem.clear();
}

// Logs each reason once, because connecting is retried again and again.
void OperatorSource::Impl::on_disconnect(const std::string& why) {
  link.connected = false;
  link.problem = why;
  questions->on_disconnect();
  end_questions->on_disconnect();
  responder->cancel_all();
  status_requests->cancel_all();
  if (why != logged_disconnect) {
    logged_disconnect = why;
    spdlog::warn("no operator is connected; its last state stays in force: {}",
                 why);
  }
}

// Reports changes since the last report to the operator.
void OperatorSource::Impl::acknowledge() {
  if (runtime->phase() < node::Phase::kReceived) {
    return;
  }
  const auto& applied = runtime->applied();
  wire::Ack ack{
      .received = applied.received, .applied = applied.applied, .failures = {}};
  if (const auto& problem = runtime->apply_problem(); !problem.empty()) {
    ack.failures.push_back(
        {.policy_set = 0, .endpoint = {}, .message = problem});
  }
  for (auto& [name, problem] : runtime->agent().endpoint_problems()) {
    ack.failures.push_back(
        {.policy_set = 0, .endpoint = name, .message = std::move(problem)});
  }
  if (acknowledged != ack) {
    client->acknowledge(ack);
    acknowledged = std::move(ack);
  }
}

void OperatorSource::Impl::housekeeping() {
  // Without a message to this process there is nothing to start a journal with.
  if (journal->wants_rewrite(runtime->applied().received != 0)) {
    journal->rewrite(runtime->agent().wanted());
  }
}

OperatorSource::OperatorSource(OperatorSourceOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

OperatorSource::~OperatorSource() = default;

Result<void> OperatorSource::start(node::Runtime& runtime) {
  auto& impl = *impl_;
  const auto& socket = runtime.options().socket;
  impl.runtime = &runtime;
  impl.policies.emplace(impl.link, runtime, impl.nothing_heard);
  impl.journal.emplace(node::journal_file(socket), impl.options.client.node);
  impl.announcements.emplace(node::pods_file(socket), impl.link,
                             runtime.agent());
  impl.resume();
  return impl.connect();
}

const std::string& OperatorSource::node() const {
  return impl_->options.client.node;
}

const node::PolicyInfo& OperatorSource::policies() const {
  return *impl_->policies;
}

std::string OperatorSource::problem() const {
  return impl_->runtime->phase() == node::Phase::kWaiting
             ? "no operator has connected yet; what was in force stays in force"
             : "";
}

// Link-local addresses are not reported.
void OperatorSource::on_node_addresses(
    const std::vector<IpAddress>& addresses) {
  std::vector<IpAddress> global;
  std::ranges::copy_if(addresses, std::back_inserter(global), is_global);
  if (global.size() > wire::kNodeAddressesMax) {
    spdlog::warn(
        "only {} of the node's {} addresses are reported to the operator",
        wire::kNodeAddressesMax, global.size());
  }
  impl_->client->set_addresses(global);
}

void OperatorSource::on_outcome() {
  impl_->acknowledge();
}

std::optional<node::Server::Answer> OperatorSource::answer(
    const std::string& request) {
  if (auto answered = impl_->announcements->answer(request)) {
    return answered;
  }
  return impl_->questions->take(request);
}

bool OperatorSource::ask_ends(const std::vector<IpAddress>& addresses,
                              const LearnEnd& learn) {
  return impl_->end_questions && impl_->end_questions->ask(addresses, learn);
}

void OperatorSource::turn() {
  impl_->announcements->run();
  impl_->questions->turn();
  // Interfaces may have come or gone.
  impl_->acknowledge();
}

// An agent that has resumed from the journal is not ready until it has
// connected to an operator, so that a roll-out stops at an agent that cannot
// reach any.
std::string OperatorSource::unready() const {
  const auto& runtime = *impl_->runtime;
  return runtime.apply_problem().empty() &&
                 runtime.phase() != node::Phase::kInForce
             ? "no operator has connected yet: " + impl_->link.problem
             : runtime.apply_problem();
}

void OperatorSource::add_metrics(health::MetricFamilies& families) const {
  agentd::add_metrics(families,
                      {.client = impl_->client->stats(),
                       .pod_start_times = impl_->announcements->waits(),
                       .journal_failures = impl_->journal->failures(),
                       .deny_unknown = impl_->denies_unknown});
}

}  // namespace sluice::agentd
