// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/wire/client.h"
#include "lib/wire/server.h"
#include "lib/wire/tls.h"

// How the two ends set gRPC up.
namespace sluice::wire {

// To be called before gRPC is used; may be called again. gRPC writes to
// standard error whatever a peer does wrong; unless GRPC_VERBOSITY asks for it,
// we report it ourselves.
void prepare_grpc();

// A certificate that new connections of a running server get. gRPC watches
// files for that; these are files without a name.
class ReloadableCertificate {
 public:
  static Result<ReloadableCertificate> create(const TlsCertificate& first);
  Result<void> set(const TlsCertificate& certificate);
  [[nodiscard]] std::shared_ptr<grpc::ServerCredentials> credentials() const;

 private:
  ReloadableCertificate() = default;
  Fd certificate_;
  Fd key_;
};

void set_limits(grpc::ServerBuilder& builder, const ServerOptions& options);
grpc::ChannelArguments channel_arguments(const ClientOptions& options);

}  // namespace sluice::wire
