// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "lib/flow/cluster.h"
#include "observer.grpc.pb.h"

namespace sluice::flow {

// What a client may read.
struct Admission {
  // Not OK: nothing, and why.
  grpc::Status status;
  std::string user;         // who it is; not empty if the status is OK
  bool everything = false;  // of the whole cluster
  // Otherwise: of those of the namespaces that were asked about.
  std::vector<std::string> namespaces;
  std::string missing;  // the right without which there is no more than this
};

// Decides who may read what.
class Gate {
 public:
  using Done = std::function<void(const Admission& admission)>;

  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  Gate(Gate&&) = delete;
  Gate& operator=(Gate&&) = delete;
  virtual ~Gate() = default;

  // Called on threads of gRPC's. `authorization`: the header of the call, which
  // may be empty or anything. `namespaces`: those that matter if the client may
  // not read everything, at most kGateNamespacesMax. `done` must be called
  // once, from any thread, also before this returns.
  virtual void admit(const std::string& authorization,
                     const std::vector<std::string>& namespaces, Done done) = 0;
};

inline constexpr std::size_t kGateNamespacesMax = 16;

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
