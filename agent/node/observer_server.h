// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "lib/base/result.h"
#include "lib/flow/store.h"

namespace sluice::node {

// Serves the flows of a store by Hubble's API on a socket of this host, for
// root alone. Its calls run on threads of gRPC's.
class ObserverServer {
 public:
  // Replaces a stale socket. The store must outlive the server.
  static Result<std::unique_ptr<ObserverServer>> open(
      const std::filesystem::path& socket, const flow::Store& store,
      const std::string& node);
  ObserverServer(const ObserverServer&) = delete;
  ObserverServer& operator=(const ObserverServer&) = delete;
  ObserverServer(ObserverServer&&) = delete;
  ObserverServer& operator=(ObserverServer&&) = delete;
  ~ObserverServer();  // ends all streams and removes the socket

 private:
  ObserverServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
