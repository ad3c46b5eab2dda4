// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include "health.grpc.pb.h"

namespace sluice::flow {

// Says of a server of flows that it serves, to everybody who reaches it: what
// the hubble command and relays ask first. It has no Watch(), which clients of
// the protocol understand as no news.
class HealthService final : public ::grpc::health::v1::Health::CallbackService {
 public:
  grpc::ServerUnaryReactor* Check(
      grpc::CallbackServerContext* context,
      const ::grpc::health::v1::HealthCheckRequest* request,
      ::grpc::health::v1::HealthCheckResponse* response) override;
};

}  // namespace sluice::flow
