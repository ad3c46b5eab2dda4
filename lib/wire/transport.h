// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/wire/client.h"
#include "lib/wire/server.h"
#include "lib/wire/tls.h"

// gRPC's setup, shared by the two ends.
namespace sluice::wire {

// To be called before gRPC is used; may be called again. gRPC logs every
// mistake of a peer to standard error. This is switched off unless
// GRPC_VERBOSITY is set, because we report such mistakes ourselves.
void prepare_grpc();

// A certificate that can be replaced for new connections of a running server.
// gRPC watches files for this; these files have no name.
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
// To another replica. `ca_pem`: what to trust; empty: plain text.
std::shared_ptr<grpc::Channel> replica_channel(
    const std::string& target, const std::string& server_name,
    const std::string& ca_pem, std::chrono::milliseconds timeout);

}  // namespace sluice::wire
