// SPDX-License-Identifier: Apache-2.0
#include "operator/program/operator.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <optional>
#include <utility>

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include "lib/base/process.h"
#include "lib/kube/api/leader_elector.h"
#include "operator/cluster_store.h"
#include "operator/enforcement.h"
#include "operator/program/agent_authenticator.h"
#include "operator/program/answers.h"
#include "operator/program/cluster_watch.h"
#include "operator/program/distribution.h"
#include "operator/program/flow_relay.h"
#include "operator/program/flow_server.h"
#include "operator/program/health_port.h"
#include "operator/program/kept_versions.h"
#include "operator/program/metrics.h"
#include "operator/program/other_engines.h"
#include "operator/program/policy_status.h"
#include "operator/program/query_server.h"
#include "operator/program/query_sources.h"
#include "operator/program/refusal_log.h"
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
constexpr milliseconds kListenAgain{2'000};
// After being not ready for the same reason for this long, log it.
constexpr seconds kWarnAfter{3};
// What an agent computes to put one changed policy entry into force.
constexpr std::chrono::microseconds kEntryCost{2};

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
        distribution(translator, store, progress),
        answers(
            translator,
            [this](const policy::PolicyKey& key) {
              return status->warnings(key);
            },
            [this](const std::string& node, const wire::Answer& answer) {
              server->answer(node, answer);
            }),
        health(options.health) {}

  OperatorOptions options;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<kube::Client> client;
  policy::Translator translator;
  op::ClusterStore store;
  op::NodeProgress progress;
  Distribution distribution;
  Answers answers;
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
  HealthPort health;
  std::unique_ptr<FlowServer> flows;
  std::unique_ptr<QueryServer> queries;  // destroyed before what it asks
  std::map<std::string, Clock::time_point> replicas;  // last heard of
  std::string identity;
  std::string listen_problem;
  std::string last_problem;  // the last value of problem()
  Clock::time_point warn_at = Clock::time_point::max();
  Clock::time_point listen_at;
  RefusalLog refusals;
  bool stopping = false;
  bool released = false;

  Result<void> prepare();
  void prepare_parts();
  void on_certificate(const wire::TlsMaterial& material);
  [[nodiscard]] std::string server_name() const;
  [[nodiscard]] CertificateOptions certificate_options() const;

  [[nodiscard]] std::string problem() const;
  void warn_of_problem(Clock::time_point now);
  void serve_when_ready();
  void prepare_flows();
  wire::Server::Handlers handlers();
  void on_report(const std::string& replica, bool first,
                 const std::vector<wire::NodeReport>& nodes);
  void on_found(const std::vector<wire::FoundAddresses>& found);

  void commit();
  std::chrono::nanoseconds distribute_changes();
  void look_after_replicas(Clock::time_point now);
  [[nodiscard]] std::string metrics() const;
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

void Operator::Impl::prepare_parts() {
  watch = std::make_unique<ClusterWatch>(*client, store,
                                         [this] { distribution.note(true); });
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
                                        [this] { distribution.note(true); });
  status = std::make_unique<PolicyStatus>(store, translator, progress, *writer,
                                          *kept);
  if (!options.observer.empty() || !options.observer_socket.empty() ||
      !options.explain.empty()) {
    prepare_flows();
  }
  if (!options.explain.empty()) {
    queries = std::make_unique<QueryServer>(
        *client, options.explain, options.ns,
        query_sources({.loop = *loop,
                       .flows = *flows,
                       .translator = translator,
                       .store = store,
                       .status = *status,
                       .version = SLUICE_VERSION,
                       .identity = options.identity}));
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
  if (auto opened = health.open(); !opened) {
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
  if (queries) {
    queries->set_certificate(material.server);
  }
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
  if (health.stands_by()) {
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
  if (server || health.stands_by() || !watch->synced() || !kept->ready() ||
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
    distribution.send_snapshot(*server, node);
  };
  result.on_ack = [this](const std::string& node, const wire::Ack& ack) {
    progress.acknowledged(node, ack);
  };
  result.on_announcement = [this](const std::string& node, bool begins,
                                  const std::vector<wire::PodAddress>& pods) {
    for (const auto& pod : pods) {
      watch->release(pod.ns);
    }
    distribution.note(store.announce(node, begins, pods));
  };
  result.on_addresses = [this](const std::string& node,
                               const std::vector<IpAddress>& addresses) {
    distribution.note(store.set_node_addresses(node, addresses));
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
    distribution.note(store.agent_left(node));
    relay->agent_left(node);
  };
  result.on_forget = [this](const std::string& node) {
    // The agent announces its pods again when it reconnects.
    distribution.note(store.announce(node, true, {}));
    translator.forget_node(node);
    progress.forget(node);
  };
  result.on_report = [this](const std::string& replica, bool first,
                            const std::vector<wire::NodeReport>& nodes) {
    on_report(replica, first, nodes);
  };
  result.on_refused = [this](const std::string& peer, const std::string& why) {
    refusals.add(peer, why);
  };
  return result;
}

void Operator::Impl::on_report(const std::string& replica, bool first,
                               const std::vector<wire::NodeReport>& nodes) {
  replicas[replica] = Clock::now();
  status->report(replica, first, nodes);
  for (const auto& node : nodes) {
    if (node.addresses) {
      distribution.note(
          store.set_node_addresses_elsewhere(node.node, *node.addresses));
    }
  }
}

void Operator::Impl::on_found(const std::vector<wire::FoundAddresses>& found) {
  for (const auto& node : found) {
    distribution.note(
        store.set_node_addresses_elsewhere(node.node, node.addresses));
  }
}

// Returns the computing that it takes, here and at an agent.
std::chrono::nanoseconds Operator::Impl::distribute_changes() {
  const auto begun = computing_time();
  if (distribution.turn(*server, loop->dispatched_at())) {
    progress.advance(watch->taken_in());
  }
  return computing_time() - begun + (kEntryCost * distribution.entries());
}

void Operator::Impl::commit() {
  serve_when_ready();
  if (!server) {
    return;
  }
  watch->charge(distribute_changes(), Clock::now());
  // After everybody else's changes, one namespace after the other, until they
  // were expensive.
  std::chrono::nanoseconds spent{};
  while (spent < op::Pacing::kExpensive) {
    const auto begun = computing_time();
    if (!watch->hand_over(Clock::now())) {
      break;
    }
    const auto taken_in = computing_time() - begun;
    const auto cost = taken_in + distribute_changes();
    watch->charge_alone(cost, Clock::now());
    spent += cost;
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

std::string Operator::Impl::metrics() const {
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
  measured.translate_times = distribution.times();
  measured.revision = distribution.revision();
  measured.nodes_behind = progress.behind();
  measured.leads = elector->leads();
  measured.relay = relay->counters();
  if (flows) {
    measured.flows = flows->counters();
  }
  measured.certificate_not_after_seconds = not_after_seconds;
  return metrics_text(measured);
}

void Operator::Impl::turn(milliseconds wait) {
  loop->wait(answers.waiting() ? milliseconds(0) : std::min(wait, kTurn));
  health.turn(Clock::now());
  commit();
  const auto now = Clock::now();
  status->turn(distribution.revision(), now);
  if (server) {
    link->turn(now);
    look_after_replicas(now);
    // After the changes of the turn.
    answers.turn();
    if (queries) {
      queries->turn();
    }
    if (flows) {
      flows->turn();
    }
  }
  health.report(problem(), [this] { return metrics(); });
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
      .revision = impl_->distribution.revision(),
      .handed_in = impl_->distribution.handed_in(),
      .server = impl_->server ? impl_->server->stats() : wire::ServerStats{},
      .nodes_behind = impl_->progress.behind()};
}

}  // namespace sluice::operatord
