// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/transport.h"

#include <cstdlib>
#include <string>

#include <grpc/support/log.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <sys/mman.h>
#include <unistd.h>

namespace sluice::wire {
namespace {

constexpr unsigned kReloadSeconds = 1;
// An agent sends little.
constexpr int kServerMessageMax = 512 * 1024;
constexpr int kMetadataMax = 32 * 1024;
constexpr int kHandshakeMs = 10'000;
constexpr int kIdleConnectionMs = 30'000;
constexpr int kStreamsPerConnection = 4;
constexpr int kPingEveryMs = 1'000;

Result<void> rewrite(const Fd& file, const std::string& text) {
  // Truncate first: a reader in between sees text that does not parse, and
  // reads again.
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), text.data(), text.size(), 0) !=
          static_cast<ssize_t>(text.size())) {
    return fail_errno("certificate");
  }
  return {};
}

std::string path_of(const Fd& file) {
  return "/proc/self/fd/" + std::to_string(file.get());
}

}  // namespace

void prepare_grpc() {
  // Before there are threads that could change the environment.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  if (std::getenv("GRPC_VERBOSITY") == nullptr) {
    gpr_set_log_function([](gpr_log_func_args*) {});
  }
  // gRPC destroys the queue of its callbacks with the last channel or server
  // that uses it, and 1.51 may then abort in the thread that drains the queue.
  // A server without ports, which is never destroyed, keeps the queue. Its
  // address is stored, as volatile demands, for leak checkers to find.
  static const grpc::Server* volatile const keeper = [] {
    auto service = std::make_unique<grpc::CallbackGenericService>();
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(service.release());
    return builder.BuildAndStart().release();
  }();
  (void)keeper;
}

Result<ReloadableCertificate> ReloadableCertificate::create(
    const TlsCertificate& first) {
  ReloadableCertificate result;
  result.certificate_ = Fd(::memfd_create("certificate", MFD_CLOEXEC));
  result.key_ = Fd(::memfd_create("key", MFD_CLOEXEC));
  if (!result.certificate_.valid() || !result.key_.valid()) {
    return fail_errno("memfd_create");
  }
  if (auto done = result.set(first); !done) {
    return std::unexpected(done.error());
  }
  return result;
}

Result<void> ReloadableCertificate::set(const TlsCertificate& certificate) {
  if (auto good = check_certificate(certificate); !good) {
    return good;
  }
  if (auto written = rewrite(key_, certificate.key_pem); !written) {
    return written;
  }
  return rewrite(certificate_, certificate.certificate_pem);
}

std::shared_ptr<grpc::ServerCredentials> ReloadableCertificate::credentials()
    const {
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          path_of(key_), path_of(certificate_), kReloadSeconds));
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return grpc::experimental::TlsServerCredentials(options);
}

void set_limits(grpc::ServerBuilder& builder, const ServerOptions& options) {
  builder.SetMaxReceiveMessageSize(kServerMessageMax);
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             kHandshakeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                             kIdleConnectionMs);
  // Flow-control windows stay small, because little is received.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(
      GRPC_ARG_KEEPALIVE_TIME_MS,
      static_cast<int>(options.keepalive_interval.count()));
  builder.AddChannelArgument(
      GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
      static_cast<int>(options.keepalive_timeout.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kPingEveryMs);
}

grpc::ChannelArguments channel_arguments(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(
      static_cast<int>(options.message_bytes_max));
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMetadataMax);
  // Every connection is new, with the current certificates, and we reconnect,
  // not gRPC.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   static_cast<int>(options.welcome_timeout.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                   static_cast<int>(options.keepalive_interval.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   static_cast<int>(options.keepalive_timeout.count()));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Do not use a proxy from the node's environment between agent and operator.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!options.server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.server_name);
  }
  return arguments;
}

std::shared_ptr<grpc::Channel> replica_channel(
    const std::string& target, const std::string& server_name,
    const std::string& ca_pem, std::chrono::milliseconds timeout) {
  auto credentials = ca_pem.empty()
                         ? grpc::InsecureChannelCredentials()
                         : grpc::SslCredentials({.pem_root_certs = ca_pem,
                                                 .pem_private_key = {},
                                                 .pem_cert_chain = {}});
  ClientOptions options;
  options.server_name = server_name;
  options.welcome_timeout = timeout;
  return grpc::CreateCustomChannel(target, credentials,
                                   channel_arguments(options));
}

}  // namespace sluice::wire
