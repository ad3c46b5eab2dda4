// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/socket_server.h"

#include <system_error>

#include <sys/stat.h>

namespace sluice::flow {

Result<std::unique_ptr<grpc::Server>> serve_at(
    const std::filesystem::path& socket, grpc::ServerBuilder& builder) {
  std::error_code ignored;
  std::filesystem::create_directories(socket.parent_path(), ignored);
  std::filesystem::remove(socket, ignored);
  builder.AddListeningPort("unix:" + socket.string(),
                           grpc::InsecureServerCredentials());
  const mode_t before = ::umask(0177);
  auto server = builder.BuildAndStart();
  ::umask(before);
  if (!server) {
    return fail("cannot listen on " + socket.string());
  }
  return server;
}

}  // namespace sluice::flow
