// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/replication.h"

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/wire/codec.h"
#include "lib/wire/relay_stream.h"
#include "lib/wire/report_service.h"
#include "lib/wire/session.h"
#include "lib/wire/transport.h"

namespace sluice::wire {
namespace {

constexpr std::size_t kReplicasMax = 64;
constexpr std::size_t kReplicaNameMax = 512;
// Reports that wait for the owner; more than there can be replicas.
constexpr std::size_t kWaitingMax = 1'024;
// Nodes with their addresses in one reply: 100 nodes with as many addresses as
// permitted stay below gRPC's default limit.
constexpr std::size_t kFoundMax = 100;

bool equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

std::string replica_token(std::string_view key_pem) {
  constexpr std::string_view kPurpose = "sluice operator replica";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (::HMAC(EVP_sha256(), key_pem.data(), static_cast<int>(key_pem.size()),
             reinterpret_cast<const unsigned char*>(kPurpose.data()),
             kPurpose.size(), digest.data(), &size) == nullptr) {
    return {};
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += kHex[digest.at(i) >> 4U];
    text += kHex[digest.at(i) & 15U];
  }
  return text;
}

// ---- where reports arrive ---------------------------------------------------

bool ReportService::is_replica(
    const grpc::CallbackServerContext& context) const {
  return !token_.empty() && equal(bearer_token(context), token_);
}

grpc::ServerBidiReactor<v1::RelayMessage, v1::RelayMessage>*
ReportService::Relay(grpc::CallbackServerContext* context) {
  if (!relay_) {
    return RelayAcceptor::refuse(
        {grpc::StatusCode::UNIMPLEMENTED, "this replica relays no flows"});
  }
  {
    const std::lock_guard lock(mutex_);
    if (!is_replica(*context)) {
      return RelayAcceptor::refuse(
          {grpc::StatusCode::UNAUTHENTICATED, "not a replica's token"});
    }
  }
  return relay_->accept(*context);
}

grpc::Status ReportService::receive(const grpc::CallbackServerContext& context,
                                    const v1::ReplicaReport& request,
                                    v1::ReplicaReply& reply) {
  if (decode(request.version()).major != kVersion.major) {
    return {grpc::StatusCode::FAILED_PRECONDITION,
            "another major version of the protocol"};
  }
  ReplicaReport report{.replica = request.replica(), .nodes = {}};
  for (const auto& node : request.nodes()) {
    auto decoded = decode(node);
    if (!decoded) {
      return {grpc::StatusCode::INVALID_ARGUMENT, decoded.error().message};
    }
    report.nodes.push_back(std::move(*decoded));
  }
  const std::lock_guard lock(mutex_);
  if (!is_replica(context)) {
    return {grpc::StatusCode::UNAUTHENTICATED, "not a replica's token"};
  }
  if (report.replica.size() > kReplicaNameMax ||
      (known_.size() >= kReplicasMax && !known_.contains(report.replica)) ||
      reports_.size() >= kWaitingMax) {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "too many replicas"};
  }
  const bool is_new = known_.insert(report.replica).second;
  report.first = is_new || request.begins();
  reply.set_tell_all(is_new);
  add_found(report.first ? 0 : request.seen(), reply);
  reports_.push_back(std::move(report));
  return grpc::Status::OK;
}

void ReportService::add_found(std::uint64_t seen,
                              v1::ReplicaReply& reply) const {
  reply.set_sequence(seen);
  auto next = found_in_order_.upper_bound(seen);
  for (; next != found_in_order_.end(); ++next) {
    if (static_cast<std::size_t>(reply.found_size()) == kFoundMax) {
      reply.set_more(true);
      return;
    }
    auto& to = *reply.add_found();
    to.set_node(next->second);
    *to.mutable_addresses() = found_.at(next->second).addresses;
    reply.set_sequence(next->first);
  }
}

void ReportService::set_found(
    const std::string& node,
    const std::optional<std::vector<IpAddress>>& addresses) {
  const std::lock_guard lock(mutex_);
  const auto known = found_.find(node);
  if (known != found_.end()) {
    found_in_order_.erase(known->second.sequence);
    found_.erase(known);
  }
  if (addresses) {
    found_[node] = {.addresses = encode_addresses(*addresses),
                    .sequence = ++sequence_};
    found_in_order_[sequence_] = node;
  }
}

grpc::ServerUnaryReactor* ReportService::Report(
    grpc::CallbackServerContext* context, const v1::ReplicaReport* request,
    v1::ReplicaReply* reply) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(receive(*context, *request, *reply));
  poller_.notify();
  return reactor;
}

std::vector<ReplicaReport> ReportService::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(reports_, {});
}

void ReportService::forget(const std::string& replica) {
  const std::lock_guard lock(mutex_);
  known_.erase(replica);
}

void ReportService::set_token(std::string token) {
  const std::lock_guard lock(mutex_);
  token_ = std::move(token);
}

// ---- where they come from ---------------------------------------------------

namespace {

// One report in flight; gRPC and the sender hold it.
struct Flight {
  grpc::ClientContext context;
  v1::ReplicaReport request;
  v1::ReplicaReply reply;
};

// Results that gRPC's threads leave for the owner.
struct Landed {
  explicit Landed(Poller poller_in) : poller(std::move(poller_in)) {}
  Poller poller;
  std::mutex mutex;
  std::optional<ReportSender::Outcome> outcome;
};

}  // namespace

struct ReportSender::Impl {
  ReportSenderOptions options;
  Handler handler;
  std::shared_ptr<Landed> landed;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Replication::Stub> stub;
  std::shared_ptr<Flight> flight;
  bool heard = false;  // a report has arrived
  std::uint64_t seen = 0;
};

namespace {

ReportSender::Outcome outcome_of(const grpc::Status& status,
                                 const v1::ReplicaReply& reply) {
  ReportSender::Outcome outcome;
  if (!status.ok()) {
    outcome.problem = status.error_message().empty()
                          ? "status " + std::to_string(status.error_code())
                          : status.error_message();
    return outcome;
  }
  outcome.tell_all = reply.tell_all();
  outcome.more = reply.more();
  outcome.sequence = reply.sequence();
  for (const auto& found : reply.found()) {
    auto addresses = decode(found.addresses());
    if (!addresses) {
      outcome.problem = addresses.error().message;
      return outcome;
    }
    outcome.found.push_back(
        {.node = found.node(), .addresses = std::move(*addresses)});
  }
  return outcome;
}

}  // namespace

ReportSender::ReportSender() : impl_(std::make_unique<Impl>()) {}
ReportSender::ReportSender(ReportSender&&) noexcept = default;
ReportSender& ReportSender::operator=(ReportSender&&) noexcept = default;

ReportSender::~ReportSender() {
  if (impl_ && impl_->flight) {
    impl_->flight->context.TryCancel();
  }
}

Result<ReportSender> ReportSender::start(const ReportSenderOptions& options,
                                         Handler handler) {
  prepare_grpc();
  auto poller = Poller::open();
  if (!poller) {
    return std::unexpected(poller.error());
  }
  ReportSender sender;
  auto& impl = *sender.impl_;
  impl.options = options;
  impl.handler = std::move(handler);
  impl.landed = std::make_shared<Landed>(std::move(*poller));
  impl.channel = replica_channel(options.target, options.server_name,
                                 options.ca_pem, options.timeout);
  impl.stub = v1::Replication::NewStub(impl.channel);
  return sender;
}

int ReportSender::poll_fd() const {
  return impl_->landed->poller.fd();
}

bool ReportSender::busy() const {
  return impl_->flight != nullptr;
}

void ReportSender::dispatch() {
  auto& impl = *impl_;
  impl.landed->poller.drain();
  std::optional<Outcome> outcome;
  {
    const std::lock_guard lock(impl.landed->mutex);
    outcome = std::exchange(impl.landed->outcome, std::nullopt);
  }
  if (outcome) {
    impl.flight.reset();
    if (outcome->problem.empty()) {
      impl.heard = true;
      impl.seen = outcome->sequence;
    }
    impl.handler(*outcome);
  }
}

void ReportSender::send(const std::vector<NodeReport>& nodes) {
  auto& impl = *impl_;
  auto flight = std::make_shared<Flight>();
  *flight->request.mutable_version() = encode(kVersion);
  flight->request.set_replica(impl.options.replica);
  flight->request.set_begins(!impl.heard);
  flight->request.set_seen(impl.seen);
  for (const auto& node : nodes) {
    encode(node, *flight->request.add_nodes());
  }
  flight->context.AddMetadata("authorization", "Bearer " + impl.options.token);
  flight->context.set_deadline(std::chrono::system_clock::now() +
                               impl.options.timeout);
  impl.flight = flight;
  impl.stub->async()->Report(
      &flight->context, &flight->request, &flight->reply,
      [flight, landed = impl.landed](const grpc::Status& status) {
        auto outcome = outcome_of(status, flight->reply);
        {
          const std::lock_guard lock(landed->mutex);
          landed->outcome = std::move(outcome);
        }
        landed->poller.notify();
      });
}

}  // namespace sluice::wire
