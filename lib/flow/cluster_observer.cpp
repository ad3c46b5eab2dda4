// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_observer.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include <grpcpp/resource_quota.h>

#include "lib/flow/cluster_stream.h"
#include "lib/flow/time.h"

namespace sluice::flow {
namespace {

// A request beyond it is refused before it is read; one that is a little larger
// than possible, with an explanation.
constexpr int kRequestBytesMax = kClusterRequestBytesMax + 4'096;
constexpr int kMetadataMax = 32 * 1024;
constexpr int kCallsPerConnection = 100;
constexpr int kHandshakeMs = 10'000;
constexpr int kIdleConnectionMs = 300'000;
constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kPingEveryMs = 5'000;
// Of all connections together, for what clients send.
constexpr std::size_t kReceiveBytesMax = 64 << 20;

std::string authorization_of(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  return found == metadata.end()
             ? std::string{}
             : std::string(found->second.data(), found->second.size());
}

::relay::NodeState state_of(const NodeQuery::Answers& answers,
                            const std::string& node) {
  if (answers.messages.contains(node)) {
    return ::relay::NODE_CONNECTED;
  }
  const auto found = answers.nodes.find(node);
  return found != answers.nodes.end() && found->second.state == NodeState::kGone
             ? ::relay::NODE_GONE
             : ::relay::NODE_UNAVAILABLE;
}

// What nodes have sent may be anything.
template <typename Message, typename Take>
void for_each(const NodeQuery::Answers& answers, const Take& take) {
  for (const auto& [node, messages] : answers.messages) {
    Message message;
    if (messages.size() == 1 && message.ParseFromString(messages.front())) {
      take(node, message);
    }
  }
}

void add_up(const NodeQuery::Answers& answers,
            ::observer::ServerStatusResponse& response) {
  std::uint32_t connected = 0;
  for_each<::observer::ServerStatusResponse>(
      answers, [&](const std::string&, const auto& status) {
        response.set_num_flows(response.num_flows() + status.num_flows());
        response.set_max_flows(response.max_flows() + status.max_flows());
        response.set_seen_flows(response.seen_flows() + status.seen_flows());
        response.set_flows_rate(response.flows_rate() + status.flows_rate());
        ++connected;
      });
  response.mutable_num_connected_nodes()->set_value(connected);
  for (const auto& [node, view] : answers.nodes) {
    if (state_of(answers, node) == ::relay::NODE_UNAVAILABLE) {
      response.add_unavailable_nodes(node);
    }
  }
  response.mutable_num_unavailable_nodes()->set_value(
      static_cast<std::uint32_t>(response.unavailable_nodes_size()));
}

void list_nodes(const NodeQuery::Answers& answers,
                ::observer::GetNodesResponse& response) {
  std::map<std::string, ::observer::ServerStatusResponse> statuses;
  for_each<::observer::ServerStatusResponse>(
      answers, [&](const std::string& node, const auto& status) {
        statuses[node] = status;
      });
  for (const auto& [name, view] : answers.nodes) {
    auto& node = *response.add_nodes();
    const auto& status = statuses[name];
    node.set_name(name);
    node.set_state(state_of(answers, name));
    node.set_version(status.version());
    node.set_uptime_ns(status.uptime_ns());
    node.set_num_flows(status.num_flows());
    node.set_max_flows(status.max_flows());
    node.set_seen_flows(status.seen_flows());
  }
}

grpc::ServerUnaryReactor* ask(Cluster& cluster, Gate* gate,
                              const grpc::CallbackServerContext& context,
                              wire::FlowKind kind, ClusterQuery::Fill fill) {
  auto query = std::make_unique<ClusterQuery>(cluster, kind, std::move(fill));
  query->start(gate, authorization_of(context));
  return query.release();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* ClusterObserver::GetFlows(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  const auto stream =
      std::make_shared<ClusterStream>(cluster_, *context, *request);
  auto* reactor = stream.get();
  stream->begin_call(gate_, authorization_of(*context));
  return reactor;
}

grpc::ServerUnaryReactor* ClusterObserver::GetNodes(
    grpc::CallbackServerContext* context,
    const ::observer::GetNodesRequest* /*request*/,
    ::observer::GetNodesResponse* response) {
  return ask(cluster_, gate_, *context, wire::FlowKind::kStatus,
             [response](const NodeQuery::Answers& answers) {
               list_nodes(answers, *response);
             });
}

grpc::ServerUnaryReactor* ClusterObserver::GetNamespaces(
    grpc::CallbackServerContext* context,
    const ::observer::GetNamespacesRequest* /*request*/,
    ::observer::GetNamespacesResponse* response) {
  return ask(cluster_, gate_, *context, wire::FlowKind::kNamespaces,
             [response](const NodeQuery::Answers& answers) {
               std::set<std::string> names;
               for_each<::observer::GetNamespacesResponse>(
                   answers, [&](const std::string&, const auto& message) {
                     for (const auto& one : message.namespaces()) {
                       names.insert(one.namespace_());
                     }
                   });
               for (const auto& name : names) {
                 response->add_namespaces()->set_namespace_(name);
               }
             });
}

grpc::ServerUnaryReactor* ClusterObserver::ServerStatus(
    grpc::CallbackServerContext* context,
    const ::observer::ServerStatusRequest* /*request*/,
    ::observer::ServerStatusResponse* response) {
  return ask(
      cluster_, gate_, *context, wire::FlowKind::kStatus,
      [response, &cluster = cluster_](const NodeQuery::Answers& answers) {
        response->set_version(cluster.options().version);
        response->set_uptime_ns(
            static_cast<std::uint64_t>(now() - cluster.started()));
        add_up(answers, *response);
      });
}

void set_observer_limits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  grpc::ResourceQuota quota("observer");
  quota.Resize(kReceiveBytesMax);
  builder.SetResourceQuota(quota);
  for (const auto& [name, value] :
       {std::pair{GRPC_ARG_MAX_METADATA_SIZE, kMetadataMax},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, kCallsPerConnection},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleConnectionMs},
        {GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kPingEveryMs},
        {GRPC_ARG_HTTP2_BDP_PROBE, 0},
        {GRPC_ARG_ALLOW_REUSEPORT, 0}}) {
    builder.AddChannelArgument(name, value);
  }
}

}  // namespace sluice::flow
