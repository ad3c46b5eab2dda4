// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include "lib/flow/cluster.h"
#include "lib/flow/gate.h"
#include "observer.grpc.pb.h"

namespace sluice::flow {

// The service; requests of GetFlows come as bytes. What gRPC has parsed it
// keeps as long as the call, also before the client is admitted: many times the
// bytes.
using ClusterService = ::observer::Observer::WithRawCallbackMethod_GetFlows<
    ::observer::Observer::WithCallbackMethod_GetNodes<
        ::observer::Observer::WithCallbackMethod_GetNamespaces<
            ::observer::Observer::WithCallbackMethod_ServerStatus<
                ::observer::Observer::Service>>>>;

// Hubble's API for all nodes of a cluster. The cluster, and the gate if there
// is one, must outlive the service, and the service its server.
//
// Without a gate, every client may read everything: for a socket that only root
// can reach.
class ClusterObserver final : public ClusterService {
 public:
  ClusterObserver(Cluster& cluster, Gate* gate)
      : cluster_(cluster), gate_(gate) {}

  using ClusterService::GetFlows;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GetFlows(
      grpc::CallbackServerContext* context,
      const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* GetNodes(
      grpc::CallbackServerContext* context,
      const ::observer::GetNodesRequest* request,
      ::observer::GetNodesResponse* response) override;
  grpc::ServerUnaryReactor* GetNamespaces(
      grpc::CallbackServerContext* context,
      const ::observer::GetNamespacesRequest* request,
      ::observer::GetNamespacesResponse* response) override;
  grpc::ServerUnaryReactor* ServerStatus(
      grpc::CallbackServerContext* context,
      const ::observer::ServerStatusRequest* request,
      ::observer::ServerStatusResponse* response) override;

 private:
  Cluster& cluster_;
  Gate* gate_;
};

// Limits of a server of this API that anybody may reach: for messages, streams,
// and connections that are not used or whose other end is gone.
void set_observer_limits(grpc::ServerBuilder& builder);

}  // namespace sluice::flow
