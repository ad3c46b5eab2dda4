// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>

#include <grpcpp/grpcpp.h>

#include "lib/base/result.h"

namespace sluice::flow {

// Starts the server on a Unix socket for the user of this process alone, and
// replaces a stale one. Not for several threads: it changes the umask for a
// moment. The caller removes the socket.
Result<std::unique_ptr<grpc::Server>> serve_at(
    const std::filesystem::path& socket, grpc::ServerBuilder& builder);

}  // namespace sluice::flow
