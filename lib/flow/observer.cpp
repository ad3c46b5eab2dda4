// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/observer.h"

#include <memory>
#include <utility>

#include "lib/flow/cursor.h"
#include "lib/flow/figures.h"
#include "lib/flow/flow_reader.h"
#include "lib/flow/time.h"
#include "lib/wire/transport.h"

namespace sluice::flow {
namespace {

using Reactor = grpc::ServerWriteReactor<::observer::GetFlowsResponse>;

// A stream that ends at once. Deletes itself, as all that are given to gRPC.
class Refusal final : public Reactor {
 public:
  static Reactor* make(grpc::StatusCode code, const std::string& why) {
    return std::make_unique<Refusal>(grpc::Status(code, why)).release();
  }
  explicit Refusal(const grpc::Status& why) { Finish(why); }
  void OnDone() override { delete this; }
};

grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace

Observer::Observer(const Store& store, ObserverOptions options)
    : store_(store), options_(std::move(options)), started_(now()) {
  wire::prepare_grpc();
}

grpc::ServerWriteReactor<::observer::GetFlowsResponse>* Observer::GetFlows(
    grpc::CallbackServerContext* /*context*/,
    const ::observer::GetFlowsRequest* request) {
  if (++streams_ > options_.streams_max) {
    --streams_;
    return Refusal::make(grpc::StatusCode::RESOURCE_EXHAUSTED,
                         "too many streams are open");
  }
  auto cursor = FlowCursor::open(store_, *request, options_.node);
  if (!cursor) {
    --streams_;
    return Refusal::make(grpc::StatusCode::INVALID_ARGUMENT,
                         cursor.error().message);
  }
  return std::make_unique<FlowReader>(std::move(*cursor), streams_).release();
}

grpc::ServerUnaryReactor* Observer::GetNodes(
    grpc::CallbackServerContext* context,
    const ::observer::GetNodesRequest* /*request*/,
    ::observer::GetNodesResponse* response) {
  const auto counters = store_.counters();
  auto& node = *response->add_nodes();
  node.set_name(options_.node);
  node.set_version(options_.version);
  node.set_state(::relay::NODE_CONNECTED);
  node.set_uptime_ns(static_cast<std::uint64_t>(now() - started_));
  node.set_num_flows(counters.flows);
  node.set_max_flows(counters.capacity);
  node.set_seen_flows(counters.seen);
  return finish(context);
}

grpc::ServerUnaryReactor* Observer::GetNamespaces(
    grpc::CallbackServerContext* context,
    const ::observer::GetNamespacesRequest* /*request*/,
    ::observer::GetNamespacesResponse* response) {
  *response = namespaces_of(store_);
  return finish(context);
}

grpc::ServerUnaryReactor* Observer::ServerStatus(
    grpc::CallbackServerContext* context,
    const ::observer::ServerStatusRequest* /*request*/,
    ::observer::ServerStatusResponse* response) {
  *response = status_of(store_, options_.version, started_);
  return finish(context);
}

}  // namespace sluice::flow
