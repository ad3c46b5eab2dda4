// SPDX-License-Identifier: Apache-2.0
#include "agent/node/observer_server.h"

#include <chrono>
#include <system_error>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "agent/node/version.h"
#include "lib/flow/health_service.h"
#include "lib/flow/observer.h"
#include "lib/flow/socket_server.h"

namespace sluice::node {
namespace {

// Of a request, mostly its filters.
constexpr int kRequestBytesMax = 1 << 20;

}  // namespace

struct ObserverServer::Impl {
  Impl(std::filesystem::path path, const flow::Store& store,
       const std::string& node)
      : socket(std::move(path)),
        service(store, {.node = node, .version = SLUICE_VERSION}) {}

  std::filesystem::path socket;
  flow::Observer service;
  flow::HealthService health;
  std::unique_ptr<grpc::Server> server;
};

ObserverServer::ObserverServer() = default;

ObserverServer::~ObserverServer() {
  if (impl_ && impl_->server) {
    impl_->server->Shutdown(std::chrono::system_clock::now());
  }
  if (impl_) {
    std::error_code ignored;
    std::filesystem::remove(impl_->socket, ignored);
  }
}

Result<std::unique_ptr<ObserverServer>> ObserverServer::open(
    const std::filesystem::path& socket, const flow::Store& store,
    const std::string& node) {
  std::unique_ptr<ObserverServer> result(new ObserverServer);
  result->impl_ = std::make_unique<Impl>(socket, store, node);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  builder.RegisterService(&result->impl_->service);
  builder.RegisterService(&result->impl_->health);
  auto server = flow::serve_at(socket, builder);
  if (!server) {
    return std::unexpected(server.error());
  }
  result->impl_->server = std::move(*server);
  return result;
}

}  // namespace sluice::node
