// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include <grpcpp/grpcpp.h>

#include "lib/flow/store.h"
#include "observer.grpc.pb.h"

namespace sluice::flow {

struct ObserverOptions {
  std::string node;
  std::string version;
  // Streams of GetFlows at a time; others are refused.
  std::size_t streams_max = 100;
};

// Gives the flows of a store to clients of Hubble's API. Its calls run on
// gRPC's threads. The store must outlive the service, and the service its
// server.
class Observer final : public ::observer::Observer::CallbackService {
 public:
  Observer(const Store& store, ObserverOptions options);

  grpc::ServerWriteReactor<::observer::GetFlowsResponse>* GetFlows(
      grpc::CallbackServerContext* context,
      const ::observer::GetFlowsRequest* request) override;
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
  const Store& store_;
  const ObserverOptions options_;
  const std::int64_t started_;  // nanoseconds since 1970
  std::atomic<std::size_t> streams_ = 0;
};

}  // namespace sluice::flow
