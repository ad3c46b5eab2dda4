// SPDX-License-Identifier: Apache-2.0
#include "operator/program/operator.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <map>
#include <optional>
#include <utility>

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include "lib/base/durations.h"
#include "lib/base/process.h"
#include "lib/health/health_server.h"
#include "lib/kube/api/leader_elector.h"
#include "operator/cluster_store.h"
#include "operator/enforcement.h"
#include "operator/program/agent_authenticator.h"
#include "operator/program/answers.h"
#include "operator/program/cluster_watch.h"
#include "operator/program/explain_server.h"
#include "operator/program/flow_relay.h"
#include "operator/program/flow_server.h"
#include "operator/program/kept_versions.h"
#include "operator/program/metrics.h"
#include "operator/program/other_engines.h"
#include "operator/program/policy_status.h"
#include "operator/program/replica_link.h"
#include "operator/program/status_writer.h"

namespace sluice::operatord {
namespace {

using op::Clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The longest wait of a turn; reports, status and metrics are handled at this
// interval.
constexpr milliseconds kTurn{50};
// A replica without a message for this time counts as gone, and its reports are
// dropped; its agents are connected elsewhere by then.
constexpr seconds kReplicaGone{6};
constexpr seconds kMeasured{1};
// Minimum interval between log messages about refused streams.
constexpr seconds kRefusedLogged{5};
constexpr milliseconds kListenAgain{2'000};
// How often a replica that stands by checks whether the port is free.
constexpr milliseconds kHealthAgain{200};
// After being not ready for the same reason for this long, log it.
constexpr seconds kWarnAfter{3};

// Of this thread: what else the machine computes does not count.
std::chrono::nanoseconds computing_time() {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

}  // namespace

struct Operator::Impl {
  explicit Impl(OperatorOptions options_in)
      : options(std::move(options_in)),
        translator(options.translator),
        store(translator, options.ns, options.on_invalid),
        answers(
            translator,
            [this](const policy::PolicyKey& key) {
              return status->warnings(key);
            },
            [this](const std::string& node, const wire::Answer& answer) {
              server->answer(node, answer);
            }) {}

  OperatorOptions options;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<kube::Client> client;
  policy::Translator translator;
  op::ClusterStore store;
  op::NodeProgress progress;
  Answers answers;
  std::unique_ptr<ExplainServer> explain_server;
  bool explain_due = false;  // it has to listen, with another certificate
  Clock::time_point explain_at;
  std::unique_ptr<ClusterWatch> watch;
  std::unique_ptr<AgentAuthenticator> authenticator;
  std::unique_ptr<Certificate> certificate;
  std::optional<wire::TlsMaterial> tls;
  double not_after_seconds = 0;
  std::unique_ptr<StatusWriter> writer;
  std::unique_ptr<KeptVersions> kept;
  std::unique_ptr<OtherEngines> others;
  std::unique_ptr<PolicyStatus> status;
  std::unique_ptr<ReplicaLink> link;
  std::unique_ptr<FlowRelay> relay;
  std::unique_ptr<kube::LeaderElector> elector;
  std::optional<wire::Server> server;
  std::optional<health::HealthServer> health;
  std::unique_ptr<FlowServer> flows;
  Durations translate_times;
  std::chrono::nanoseconds handed_in{};
  std::map<std::string, Clock::time_point> replicas;  // last heard of
  std::string identity;
  std::uint64_t revision = 0;
  bool dirty = false;
  std::string listen_problem;
  std::string last_problem;  // the last value of problem()
  Clock::time_point warn_at = Clock::time_point::max();
  Clock::time_point listen_at;
  Clock::time_point measured_at;
  Clock::time_point refused_at;
  std::uint64_t suppressed_refusals = 0;
  bool standing_by = false;
  Clock::time_point health_at;
  bool stopping = false;
  bool released = false;

  Result<void> prepare();
  void prepare_parts();
  Result<void> open_health();
  void on_certificate(const wire::TlsMaterial& material);
  [[nodiscard]] std::string server_name() const;
  [[nodiscard]] CertificateOptions certificate_options() const;

  [[nodiscard]] std::string problem() const;
  void warn_of_problem(Clock::time_point now);
  void serve_when_ready();
  void prepare_flows();
  wire::Server::Handlers handlers();
  void on_snapshot_needed(const std::string& node);
  void on_report(const std::string& replica, bool first,
                 const std::vector<wire::NodeReport>& nodes);
  void on_found(const std::vector<wire::FoundAddresses>& found);
  void on_refused(const std::string& peer, const std::string& why);

  void commit();
  void distribute();
  void distribute_changes();
  void look_after_replicas(Clock::time_point now);
  void measure();
  void answer_questions(Clock::time_point now);
  void turn(milliseconds wait);
};

std::string Operator::Impl::server_name() const {
  return options.service + "." + options.ns + ".svc";
}

CertificateOptions Operator::Impl::certificate_options() const {
  auto result = options.certificate;
  if (result.ns.empty()) {
    result.ns = options.ns;
  }
  if (result.dns_names.empty()) {
    result.dns_names = {server_name(), options.service + "." + options.ns,
                        server_name() + ".cluster.local", options.service};
  }
  return result;
}

// Replicas on one node share its ports: the health port belongs to the replica
// that serves. Another replica has read everything too, stands by, and takes
// over when the port is free.
Result<void> Operator::Impl::open_health() {
  if (options.health.empty() || health) {
    return {};
  }
  auto opened = health::HealthServer::open(options.health);
  if (opened) {
    health = std::move(*opened);
    if (std::exchange(standing_by, false)) {
      spdlog::info("{} is free: this replica no longer stands by",
                   options.health);
    }
    return {};
  }
  if (opened.error().code != EADDRINUSE) {
    return std::unexpected(opened.error());
  }
  if (!std::exchange(standing_by, true)) {
    spdlog::warn(
        "{}; another replica serves on this node, and this one stands by",
        opened.error().message);
  }
  health_at = Clock::now() + kHealthAgain;
  return {};
}

void Operator::Impl::prepare_parts() {
  watch =
      std::make_unique<ClusterWatch>(*client, store, [this] { dirty = true; });
  authenticator = std::make_unique<AgentAuthenticator>(
      *client,
      AgentAuthenticatorOptions{.username =
                                    "system:serviceaccount:" + options.ns +
                                    ":" + options.agent_account},
      [this](const std::string& pod) { return store.node_of(pod); });
  writer = std::make_unique<StatusWriter>(*client, options.identity);
  others =
      std::make_unique<OtherEngines>(*client, options.ns, options.identity);
  kept = std::make_unique<KeptVersions>(*client, store, options.ns,
                                        [this] { dirty = true; });
  status = std::make_unique<PolicyStatus>(store, translator, progress, *writer,
                                          *kept);
  if (!options.explain.empty()) {
    explain_server = std::make_unique<ExplainServer>(
        *client, options.explain, options.ns,
        [this](const explain::ExplainRequest& request) {
          return explanation(translator, request);
        });
  }
  if (!options.observer.empty() || !options.observer_socket.empty()) {
    prepare_flows();
  }
  link = std::make_unique<ReplicaLink>(
      *loop, progress, store, identity,
      [this](const std::vector<wire::FoundAddresses>& found) {
        on_found(found);
      });
}

void Operator::Impl::prepare_flows() {
  flows = std::make_unique<FlowServer>(
      *loop, *client,
      FlowServerOptions{.address = options.observer,
                        .plain_text = options.server.plain_text,
                        .socket = options.observer_socket,
                        .version = SLUICE_VERSION,
                        .identity = options.identity},
      relay->links());
  relay->set_clients(flows.get());
}

Result<void> Operator::Impl::prepare() {
  auto made_loop = Loop::create();
  if (!made_loop) {
    return std::unexpected(made_loop.error());
  }
  loop = std::move(*made_loop);
  auto made_client =
      kube::Client::create(*loop, options.cluster, options.client);
  if (!made_client) {
    return std::unexpected(made_client.error());
  }
  client = std::move(*made_client);
  if (auto opened = open_health(); !opened) {
    return opened;
  }
  identity = replica_identity(options.identity, options.advertise);
  auto made_relay = FlowRelay::create(*loop, identity);
  if (!made_relay) {
    return std::unexpected(made_relay.error());
  }
  relay = std::move(*made_relay);
  prepare_parts();
  elector = std::make_unique<kube::LeaderElector>(
      *client,
      kube::LeaderElectorOptions{
          .ns = options.ns,
          .name = options.lease,
          .identity = identity,
          .lease_duration = options.lease_duration,
          .renew_deadline = options.lease_duration * 2 / 3,
          .retry_period = options.lease_duration / 8},
      [this](bool leads) {
        spdlog::info("{}", leads ? "this replica leads and writes status"
                                 : "this replica does not lead");
        status->set_leading(leads);
        others->set_leading(leads);
        if (leads) {
          status->nodes_changed(progress.nodes());
        }
      });
  if (options.server.plain_text) {
    link->set_certificate(std::nullopt, {});
    relay->set_certificate(std::nullopt, {});
  } else {
    certificate = std::make_unique<Certificate>(
        *client, certificate_options(),
        [this](const wire::TlsMaterial& material) {
          on_certificate(material);
        });
    certificate->start();
  }
  watch->start();
  kept->start();
  return {};
}

void Operator::Impl::on_certificate(const wire::TlsMaterial& material) {
  tls = material;
  const auto until = wire::not_after(material.server.certificate_pem);
  not_after_seconds =
      until ? std::chrono::duration<double>(until->time_since_epoch()).count()
            : 0;
  link->set_certificate(tls, server_name());
  relay->set_certificate(tls, server_name());
  explain_due = explain_server != nullptr;
  if (flows) {
    flows->set_certificate(material.server);
  }
  if (!server) {
    return;
  }
  server->set_replica_token(wire::replica_token(material.server.key_pem));
  if (auto set = server->set_certificate(material.server); !set) {
    spdlog::error("certificate: {}", set.error().message);
  }
}

std::string Operator::Impl::problem() const {
  if (standing_by) {
    return {};  // logged when it began
  }
  if (!watch->synced()) {
    return watch->problem();
  }
  if (!kept->ready()) {
    return "what is kept of earlier versions has not been read yet";
  }
  if (!options.server.plain_text && !tls) {
    return "certificate: " + certificate->problem();
  }
  return server ? std::string{} : listen_problem;
}

// Logs a problem that persists, once.
void Operator::Impl::warn_of_problem(Clock::time_point now) {
  if (const auto current = problem(); current != last_problem) {
    last_problem = current;
    warn_at = current.empty() ? Clock::time_point::max() : now + kWarnAfter;
  }
  if (now >= warn_at) {
    warn_at = Clock::time_point::max();
    spdlog::warn("not ready: {}", last_problem);
  }
}

// Not before everything has been listed: a view of part of the cluster would
// allow what the rest of it denies.
void Operator::Impl::serve_when_ready() {
  if (server || standing_by || !watch->synced() || !kept->ready() ||
      (!options.server.plain_text && !tls) || Clock::now() < listen_at) {
    return;
  }
  auto how = options.server;
  how.replica_token = wire::replica_token(tls ? tls->server.key_pem : "");
  how.relay = relay->acceptor();
  if (tls) {
    how.certificate = tls->server;
  }
  auto started = wire::Server::start(how, handlers(), *authenticator);
  if (!started) {
    if (listen_problem != started.error().message) {
      listen_problem = started.error().message;
      spdlog::error("{}", listen_problem);
    }
    listen_at = Clock::now() + kListenAgain;
    return;
  }
  server = std::move(*started);
  auto watched = loop->set_fd(server->poll_fd(), EPOLLIN,
                              [this](std::uint32_t) { server->dispatch(); });
  if (!watched) {
    spdlog::critical("{}", watched.error().message);
    server.reset();
    listen_at = Clock::now() + kListenAgain;
    return;
  }
  relay->set_server(&*server);
  spdlog::info("serves agents at {}", options.server.address);
  if (flows) {
    flows->open(tls ? std::optional(tls->server) : std::nullopt);
  }
  // Not earlier, because the leader must know the state of the agents.
  elector->start();
}

wire::Server::Handlers Operator::Impl::handlers() {
  wire::Server::Handlers result;
  result.on_connect = [this](const wire::Connected& agent) {
    spdlog::info("agent of {} connected from {}, version {}{}", agent.node,
                 agent.peer, agent.agent_version,
                 agent.resumed ? ", resumes" : "");
    progress.connected(agent.node, agent.resumed);
    server->set_on_unknown(agent.node, store.on_unknown(agent.node));
    relay->agent_connected(agent.node, agent.version);
  };
  result.on_flows = [this](const std::string& node, wire::FlowBatch batch) {
    relay->on_flows(node, std::move(batch));
  };
  result.on_snapshot_needed = [this](const std::string& node) {
    on_snapshot_needed(node);
  };
  result.on_ack = [this](const std::string& node, const wire::Ack& ack) {
    progress.acknowledged(node, ack);
  };
  result.on_announcement = [this](const std::string& node, bool begins,
                                  const std::vector<wire::PodAddress>& pods) {
    dirty = store.announce(node, begins, pods) || dirty;
  };
  result.on_addresses = [this](const std::string& node,
                               const std::vector<IpAddress>& addresses) {
    dirty = store.set_node_addresses(node, addresses) || dirty;
    link->nodes_changed({node});
  };
  result.on_question = [this](const std::string& node,
                              wire::Question question) {
    answers.add(node, std::move(question));
  };
  result.on_disconnect = [this](const std::string& node,
                                const std::string& why) {
    spdlog::info("agent of {} disconnected: {}", node, why);
    progress.disconnected(node);
    dirty = store.agent_left(node) || dirty;
    relay->agent_left(node);
  };
  result.on_forget = [this](const std::string& node) {
    // The agent announces its pods again when it reconnects.
    dirty = store.announce(node, true, {}) || dirty;
    translator.forget_node(node);
    progress.forget(node);
  };
  result.on_report = [this](const std::string& replica, bool first,
                            const std::vector<wire::NodeReport>& nodes) {
    on_report(replica, first, nodes);
  };
  result.on_refused = [this](const std::string& peer, const std::string& why) {
    on_refused(peer, why);
  };
  return result;
}

void Operator::Impl::on_snapshot_needed(const std::string& node) {
  translator.watch_node(node);
  const auto all = translator.take(node);
  auto state = std::make_shared<State>();
  apply(*state, all);
  server->send_snapshot(node, all.revision, std::move(state));
  progress.snapshot(node, all.revision);
}

void Operator::Impl::on_report(const std::string& replica, bool first,
                               const std::vector<wire::NodeReport>& nodes) {
  replicas[replica] = Clock::now();
  status->report(replica, first, nodes);
  for (const auto& node : nodes) {
    if (node.addresses) {
      dirty = store.set_node_addresses_elsewhere(node.node, *node.addresses) ||
              dirty;
    }
  }
}

void Operator::Impl::on_found(const std::vector<wire::FoundAddresses>& found) {
  for (const auto& node : found) {
    dirty =
        store.set_node_addresses_elsewhere(node.node, node.addresses) || dirty;
  }
}

void Operator::Impl::on_refused(const std::string& peer,
                                const std::string& why) {
  const auto now = Clock::now();
  if (now - refused_at < kRefusedLogged) {
    ++suppressed_refusals;
    return;
  }
  refused_at = now;
  spdlog::warn(
      "{} refused: {}{}", peer, why,
      suppressed_refusals == 0
          ? ""
          : " (and " + std::to_string(suppressed_refusals) + " more since)");
  suppressed_refusals = 0;
}

// Sends each agent the changes that affect it, as one transaction. Events that
// arrive meanwhile are collected for the next call.
void Operator::Impl::distribute() {
  const auto begun = Clock::now();
  ++revision;
  for (const auto& node : translator.changed_nodes()) {
    auto changes = std::make_shared<Transaction>(translator.take(node));
    if (changes->empty() && changes->rules.empty() && changes->sets.empty()) {
      continue;
    }
    progress.sent(node, changes->revision);
    server->send(node, std::move(changes));
  }
  // This comes last: a pod that the transaction just claimed must not be opened
  // by the end of its namespace's setting for unknown pods.
  for (const auto& node : store.take_on_unknown_changes()) {
    server->set_on_unknown(node, store.on_unknown(node));
  }
  const auto now = Clock::now();
  translate_times.add(now - begun);
  handed_in = now - loop->dispatched_at();
}

void Operator::Impl::distribute_changes() {
  if (std::exchange(dirty, false)) {
    distribute();
    progress.advance(watch->versions());
  }
}

void Operator::Impl::commit() {
  serve_when_ready();
  if (!server) {
    return;
  }
  const auto begun = computing_time();
  distribute_changes();
  const auto passed = computing_time();
  watch->charge(passed - begun);
  // After everybody else's changes.
  if (watch->hand_over(Clock::now())) {
    distribute_changes();
    watch->charge_alone(computing_time() - passed, Clock::now());
  }
  for (const auto& [node, exists] : store.take_node_changes()) {
    if (flows) {
      flows->node_exists(node, exists);
    }
  }
  for (const auto& node : store.take_address_changes()) {
    server->set_found(node, store.node_addresses(node, false));
  }
  const auto nodes = progress.take_changed();
  status->objects_changed(store.take_changed());
  if (status->leads()) {
    status->nodes_changed(nodes);
  }
  link->set_leader(elector->leader());
  relay->set_leader(elector->leader());
  link->nodes_changed(nodes);
}

void Operator::Impl::look_after_replicas(Clock::time_point now) {
  for (auto at = replicas.begin(); at != replicas.end();) {
    if (now - at->second < kReplicaGone) {
      ++at;
      continue;
    }
    spdlog::info("replica {} no longer reports", at->first);
    status->forget_replica(at->first);
    server->forget_replica(at->first);
    at = replicas.erase(at);
  }
}

void Operator::Impl::measure() {
  Measured measured;
  measured.version = SLUICE_VERSION;
  measured.kinds = watch->kinds();
  for (const auto& [key, why] : store.undecodable()) {
    ++measured.undecodable[key.kind];
  }
  measured.policies = status->counts();
  if (server) {
    measured.server = server->stats();
  }
  measured.api = client->stats();
  measured.status = writer->stats();
  measured.translate_times = translate_times;
  measured.revision = revision;
  measured.nodes_behind = progress.behind();
  measured.leads = elector->leads();
  measured.relay = relay->counters();
  if (flows) {
    measured.flows = flows->counters();
  }
  measured.certificate_not_after_seconds = not_after_seconds;
  health->set_metrics(metrics_text(measured));
}

// After the changes of the turn.
void Operator::Impl::answer_questions(Clock::time_point now) {
  answers.turn();
  if (!explain_server) {
    return;
  }
  if (explain_due && now >= explain_at) {
    const auto opened = explain_server->open(tls->server);
    explain_due = !opened;
    explain_at = now + kListenAgain;
    if (!opened) {
      spdlog::error("explanations: {}", opened.error().message);
    }
  }
  explain_server->turn();
}

void Operator::Impl::turn(milliseconds wait) {
  loop->wait(answers.waiting() ? milliseconds(0) : std::min(wait, kTurn));
  if (standing_by && Clock::now() >= health_at) {
    if (auto opened = open_health(); !opened) {
      spdlog::error("{}", opened.error().message);
      health_at = Clock::now() + kListenAgain;
    }
  }
  commit();
  const auto now = Clock::now();
  status->turn(revision, now);
  if (server) {
    link->turn(now);
    look_after_replicas(now);
    answer_questions(now);
    if (flows) {
      flows->turn();
    }
  }
  if (health) {
    health->beat();
    health->set_ready(problem());
    if (health->wants_metrics() && now - measured_at >= kMeasured) {
      measured_at = now;
      measure();
    }
  }
}

Operator::Operator() = default;

Operator::~Operator() {
  if (impl_ && impl_->server) {
    impl_->loop->remove_fd(impl_->server->poll_fd());
  }
}

Result<std::unique_ptr<Operator>> Operator::start(OperatorOptions options) {
  auto made = std::unique_ptr<Operator>(new Operator());
  made->impl_ = std::make_unique<Impl>(std::move(options));
  if (auto ready = made->impl_->prepare(); !ready) {
    return std::unexpected(ready.error());
  }
  return made;
}

void Operator::turn(milliseconds wait) {
  impl_->turn(wait);
}

Result<void> Operator::run(int signals) {
  auto& impl = *impl_;
  auto watched = impl.loop->set_fd(signals, EPOLLIN, [&](std::uint32_t) {
    if (read_signals(signals).stop && !impl.stopping) {
      spdlog::info("stopping; agents keep what they have");
      impl.stopping = true;
      if (!impl.server) {
        impl.released = true;
        return;
      }
      impl.elector->release([&] { impl.released = true; });
    }
  });
  if (!watched) {
    return watched;
  }
  while (!impl.released) {
    impl.turn(kTurn);
    impl.warn_of_problem(Clock::now());
  }
  impl.loop->remove_fd(signals);
  return {};
}

int Operator::port() const {
  return impl_->server ? impl_->server->port() : 0;
}

std::string Operator::problem() const {
  return impl_->problem();
}

OperatorFigures Operator::figures() const {
  return {
      .revision = impl_->revision,
      .server = impl_->server ? impl_->server->stats() : wire::ServerStats{},
      .nodes_behind = impl_->progress.behind()};
}

std::uint64_t Operator::revision() const {
  return impl_->revision;
}

std::chrono::nanoseconds Operator::handed_in() const {
  return impl_->handed_in;
}

}  // namespace sluice::operatord
