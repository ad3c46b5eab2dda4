// SPDX-License-Identifier: Apache-2.0
#include "operator/program/flow_server.h"

#include <atomic>
#include <chrono>
#include <list>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include "lib/flow/cluster_observer.h"
#include "lib/flow/health_service.h"
#include "lib/flow/socket_server.h"
#include "lib/wire/transport.h"
#include "operator/program/flow_gate.h"

namespace sluice::operatord {
namespace {

using Clock = Loop::Clock;

constexpr std::chrono::milliseconds kListenAgain{2'000};
// For calls that are open when the server ends.
constexpr std::chrono::milliseconds kLastWords{200};

}  // namespace

struct FlowServer::Impl {
  Impl(Loop& loop_in, kube::Client& client, FlowServerOptions options_in,
       Links links)
      : loop(loop_in),
        options(std::move(options_in)),
        gate(loop, client),
        cluster(
            {.version = options.version, .reader = {.name = options.identity}},
            with_wake(std::move(links))),
        remote(cluster, &gate),
        local(cluster, nullptr) {}

  // Several wakes before the next turn are one.
  Links with_wake(Links links) {
    links.wake = [this] {
      if (!woken.exchange(true)) {
        loop.post([this] { turn(); });
      }
    };
    return links;
  }

  Loop& loop;
  FlowServerOptions options;
  std::atomic<bool> woken = false;
  FlowGate gate;
  flow::Cluster cluster;
  flow::ClusterObserver remote;
  flow::ClusterObserver local;
  flow::HealthService health;
  std::optional<wire::ReloadableCertificate> certificate;
  std::map<std::string, bool> connected;  // nodes, and whether they give flows
  std::set<std::string> objects;          // nodes
  bool wanted = false;                    // open() has been called
  Clock::time_point listen_at;
  std::string told_problem;
  std::unique_ptr<grpc::Server> port;
  std::unique_ptr<grpc::Server> socket;
  struct Query {
    std::shared_ptr<flow::NodeQuery> query;
    std::shared_ptr<std::atomic<bool>> done;
  };
  std::list<Query> queries;

  void tell(const std::string& node);
  void turn();
  void listen();
  Result<void> open_port();
  Result<void> open_socket();
};

void FlowServer::Impl::tell(const std::string& node) {
  const auto found = connected.find(node);
  if (found != connected.end()) {
    cluster.set_node(node, found->second ? flow::NodeState::kConnected
                                         : flow::NodeState::kTooOld);
  } else {
    cluster.set_node(node, objects.contains(node) ? flow::NodeState::kAway
                                                  : flow::NodeState::kGone);
  }
}

void FlowServer::Impl::turn() {
  woken = false;
  listen();
  cluster.turn();
  std::erase_if(queries, [](const Query& query) {
    const bool done = *query.done;
    if (done) {
      query.query->close();
    }
    return done;
  });
}

Result<void> FlowServer::Impl::open_port() {
  const bool ready = certificate || options.plain_text;
  if (port || options.address.empty() || !ready) {
    return {};
  }
  grpc::ServerBuilder builder;
  flow::set_observer_limits(builder);
  builder.AddListeningPort(options.address,
                           certificate ? certificate->credentials()
                                       : grpc::InsecureServerCredentials());
  builder.RegisterService(&remote);
  builder.RegisterService(&health);
  port = builder.BuildAndStart();
  if (!port) {
    return fail(options.address + ": cannot listen there");
  }
  spdlog::info("serves flows at {}", options.address);
  return {};
}

Result<void> FlowServer::Impl::open_socket() {
  if (socket || options.socket.empty()) {
    return {};
  }
  grpc::ServerBuilder builder;
  flow::set_observer_limits(builder);
  builder.RegisterService(&local);
  builder.RegisterService(&health);
  auto server = flow::serve_at(options.socket, builder);
  if (!server) {
    return std::unexpected(server.error());
  }
  socket = std::move(*server);
  return {};
}

void FlowServer::Impl::listen() {
  if (!wanted || Clock::now() < listen_at) {
    return;
  }
  auto opened = open_port();
  if (opened) {
    opened = open_socket();
  }
  if (opened) {
    listen_at = Clock::time_point::max();
    return;
  }
  listen_at = Clock::now() + kListenAgain;
  if (told_problem != opened.error().message) {
    told_problem = opened.error().message;
    spdlog::error("flows: {}", told_problem);
  }
}

FlowServer::FlowServer(Loop& loop, kube::Client& client,
                       FlowServerOptions options, Links links)
    : impl_(std::make_unique<Impl>(loop, client, std::move(options),
                                   std::move(links))) {}

FlowServer::~FlowServer() {
  for (const auto& query : impl_->queries) {
    query.query->cancel();
    query.query->close();
  }
  for (auto* server : {impl_->port.get(), impl_->socket.get()}) {
    if (server != nullptr) {
      server->Shutdown(std::chrono::system_clock::now() + kLastWords);
    }
  }
  if (impl_->socket) {
    std::error_code ignored;
    std::filesystem::remove(impl_->options.socket, ignored);
  }
}

void FlowServer::open(const std::optional<wire::TlsCertificate>& certificate) {
  wire::prepare_grpc();
  impl_->wanted = true;
  if (certificate) {
    set_certificate(*certificate);
  } else if (!impl_->options.plain_text) {
    spdlog::error("flows: there is no certificate yet");
  }
  impl_->listen();
}

void FlowServer::set_certificate(const wire::TlsCertificate& certificate) {
  auto& used = impl_->certificate;
  Result<void> done;
  if (used) {
    done = used->set(certificate);
  } else if (auto made = wire::ReloadableCertificate::create(certificate)) {
    used = std::move(*made);
    impl_->listen_at = {};
  } else {
    done = std::unexpected(made.error());
  }
  if (!done) {
    spdlog::error("flows: certificate: {}", done.error().message);
  }
}

void FlowServer::node_exists(const std::string& node, bool exists) {
  const bool changed = exists ? impl_->objects.insert(node).second
                              : impl_->objects.erase(node) != 0;
  if (changed && !impl_->connected.contains(node)) {
    impl_->tell(node);
  }
}

void FlowServer::node_connected(const std::string& node, bool gives_flows) {
  impl_->connected[node] = gives_flows;
  impl_->tell(node);
}

void FlowServer::node_left(const std::string& node) {
  if (impl_->connected.erase(node) != 0) {
    impl_->tell(node);
  }
}

void FlowServer::on_flows(wire::FlowBatch batch) {
  impl_->cluster.on_batch(std::move(batch));
}

void FlowServer::turn() {
  impl_->turn();
}

std::shared_ptr<flow::FlowPull> FlowServer::read(
    const std::string& authorization, std::string request) {
  return flow::FlowPull::open(impl_->cluster, &impl_->gate, authorization,
                              std::move(request));
}

void FlowServer::ask_nodes(std::string request, flow::NodeQuery::Done done) {
  auto ended = std::make_shared<std::atomic<bool>>(false);
  auto query = flow::NodeQuery::create(
      impl_->cluster, wire::FlowKind::kStatus, std::move(request),
      [done = std::move(done), ended](const grpc::Status& status,
                                      const auto& answers) {
        done(status, answers);
        *ended = true;
      },
      flow::Places::kQuestions);
  query->start(nullptr, {});
  impl_->queries.push_back({.query = std::move(query), .done = ended});
}

flow::Cluster::Counters FlowServer::counters() const {
  return impl_->cluster.counters();
}

}  // namespace sluice::operatord
