// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/health_service.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice::flow {
namespace {

// Hubble's servers have the second name, its API the third.
constexpr std::array<std::string_view, 3> kServices{
    "", "hubble.server.Observer", "observer.Observer"};

}  // namespace

grpc::ServerUnaryReactor* HealthService::Check(
    grpc::CallbackServerContext* context,
    const ::grpc::health::v1::HealthCheckRequest* request,
    ::grpc::health::v1::HealthCheckResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (std::ranges::find(kServices, request->service()) == kServices.end()) {
    reactor->Finish({grpc::StatusCode::NOT_FOUND, "no such service"});
    return reactor;
  }
  response->set_status(::grpc::health::v1::HealthCheckResponse::SERVING);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace sluice::flow
