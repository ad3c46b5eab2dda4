// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/client.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include <poll.h>

#include "lib/wire/announcement.h"
#include "lib/wire/authenticator.h"
#include "lib/wire/codec.h"
#include "lib/wire/connection.h"
#include "lib/wire/transport.h"

namespace sluice::wire {
namespace {

constexpr std::size_t kCaBytesMax = 4 << 20;
constexpr std::chrono::milliseconds kEndTime{5'000};
constexpr int kEndTurnMs = 100;

// A mounted Secret or ConfigMap; small, and replaced as a whole.
Result<std::string> read_small(const std::filesystem::path& path,
                               std::size_t most) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail_errno(path.string());
  }
  std::string text(most + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad() || text.size() > most) {
    return fail(path.string() + ": cannot be read, or is too large");
  }
  return text;
}

// Header values are printable; anything else would abort the call.
Result<std::string> read_token(const std::filesystem::path& path) {
  if (path.empty()) {
    return std::string{};
  }
  auto token = read_small(path, kTokenBytesMax);
  if (!token) {
    return token;
  }
  while (!token->empty() && (token->back() == '\n' || token->back() == '\r' ||
                             token->back() == ' ')) {
    token->pop_back();
  }
  if (token->empty() ||
      std::ranges::any_of(*token, [](char c) { return c <= ' ' || c > '~'; })) {
    return fail(path.string() + ": holds no token");
  }
  return token;
}

std::string text_of(const grpc::Status& status) {
  static const auto* const names = new std::map<int, std::string>{
      {grpc::StatusCode::CANCELLED, "cancelled"},
      {grpc::StatusCode::INVALID_ARGUMENT, "invalid argument"},
      {grpc::StatusCode::DEADLINE_EXCEEDED, "deadline exceeded"},
      {grpc::StatusCode::PERMISSION_DENIED, "permission denied"},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, "resource exhausted"},
      {grpc::StatusCode::FAILED_PRECONDITION, "failed precondition"},
      {grpc::StatusCode::ABORTED, "aborted"},
      {grpc::StatusCode::UNIMPLEMENTED, "unimplemented"},
      {grpc::StatusCode::INTERNAL, "internal"},
      {grpc::StatusCode::UNAVAILABLE, "unavailable"},
      {grpc::StatusCode::UNAUTHENTICATED, "unauthenticated"}};
  if (status.ok()) {
    return "the operator has ended the stream";
  }
  constexpr std::size_t kMax = 512;
  const auto name = names->find(status.error_code());
  auto text =
      (name == names->end() ? "status " + std::to_string(status.error_code())
                            : name->second) +
      ": " + status.error_message().substr(0, kMax);
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

}  // namespace

struct Client::Impl {
  ClientOptions options;
  Handlers handlers;
  std::shared_ptr<ConnectionEvents> events;
  std::shared_ptr<Connection> connection;
  std::uint64_t number = 0;  // of `connection`
  bool welcomed = false;
  std::string why;  // we ended it
  Decoder decoder{0};
  std::uint64_t origin = 0;
  std::uint64_t revision = 0;
  std::optional<Ack> ack;
  std::uint64_t ack_origin = 0;
  std::map<std::string, PodAddress> pods;  // announced, by "namespace/name"
  std::optional<std::vector<IpAddress>> addresses;  // of the node
  ClientStats stats;
  std::mt19937_64 random{std::random_device{}()};
  std::chrono::milliseconds backoff{0};
  Clock::time_point connect_at = Clock::now();
  Clock::time_point welcome_by = Clock::time_point::max();

  void connect();
  [[nodiscard]] Result<std::shared_ptr<grpc::Channel>> channel() const;
  void lost(const std::string& reason);
  void forget_view();
  void give_up(const std::string& reason);
  // True if the owner was given something.
  bool handle(ConnectionEvent& event);
  bool on_message(v1::FromOperator& message);
  void on_flow_request(v1::FlowRequest&& message);
  void on_welcome(const v1::Welcome& welcome);
  bool on_chunk(const v1::Chunk& chunk);
  bool deliver(Update update);
  void run_timers();
  void tell_addresses();
};

void Client::Impl::tell_addresses() {
  if (addresses && connection && stats.version.minor >= kNodeAddressesSince) {
    connection->tell(encode_addresses(*addresses));
  }
}

Result<std::shared_ptr<grpc::Channel>> Client::Impl::channel() const {
  auto credentials = grpc::InsecureChannelCredentials();
  if (!options.plain_text) {
    auto ca = read_small(options.ca_file, kCaBytesMax);
    if (!ca) {
      return std::unexpected(ca.error());
    }
    // Without any certificate, gRPC would use those that the system trusts.
    if (ca->find("-----BEGIN CERTIFICATE-----") == std::string::npos) {
      return fail(options.ca_file.string() + ": holds no certificate");
    }
    credentials = grpc::SslCredentials({.pem_root_certs = std::move(*ca),
                                        .pem_private_key = {},
                                        .pem_cert_chain = {}});
  }
  return grpc::CreateCustomChannel(options.target, credentials,
                                   channel_arguments(options));
}

void Client::Impl::connect() {
  connect_at = Clock::time_point::max();
  ++stats.attempts;
  const auto token = read_token(options.token_file);
  if (!token) {
    lost("token: " + token.error().message);
    return;
  }
  auto opened = channel();
  if (!opened) {
    lost("CA: " + opened.error().message);
    return;
  }
  v1::Hello hello;
  *hello.mutable_version() = encode(kVersion);
  hello.set_node(options.node);
  hello.set_origin(origin);
  hello.set_revision(revision);
  hello.set_program_version(options.program_version);
  decoder = Decoder(options.update_bytes_max);
  welcomed = false;
  why.clear();
  welcome_by = Clock::now() + options.welcome_timeout;
  connection = std::make_shared<Connection>(events, ++number);
  connection->start(*opened, *token, std::move(hello));
}

// The connection is lost or failed: retry later.
void Client::Impl::lost(const std::string& reason) {
  connection.reset();
  ++stats.disconnects;
  stats.connected = false;
  stats.problem = reason;
  welcome_by = Clock::time_point::max();
  backoff = std::clamp(backoff * 2, options.backoff_first, options.backoff_max);
  // Between half and all of it, so that a thousand agents do not connect at
  // once.
  std::uniform_real_distribution<double> part(0.5, 1.0);
  connect_at =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(
                         part(random) * std::chrono::duration<double>(backoff));
  if (handlers.on_disconnect) {
    handlers.on_disconnect(reason);
  }
}

void Client::Impl::forget_view() {
  origin = 0;
  revision = 0;
}

// Ends the connection because of the operator's behaviour.
void Client::Impl::give_up(const std::string& reason) {
  why = reason;
  welcome_by = Clock::time_point::max();
  connection->cancel();
}

void Client::Impl::on_welcome(const v1::Welcome& welcome) {
  const auto version = decode(welcome.version());
  if (version.major != kVersion.major) {
    give_up("the operator speaks version " + std::to_string(version.major) +
            " of the protocol, this agent " + std::to_string(kVersion.major));
    return;
  }
  if (welcome.resumed() && origin == 0) {
    give_up("the operator resumes a view that was never begun");
    return;
  }
  welcomed = true;
  welcome_by = Clock::time_point::max();
  if (!welcome.resumed()) {
    forget_view();
  }
  ++stats.connects;
  stats.connected = true;
  stats.version = version;
  stats.problem.clear();
  if (handlers.on_connect) {
    handlers.on_connect(welcome.resumed(),
                        welcome.program_version().substr(0, 64));
  }
  if (connection && version.minor >= kAnnouncementsSince) {
    std::map<std::string, v1::PodAddress> all;
    for (const auto& [name, pod] : pods) {
      all[name] = encode(pod);
    }
    connection->announce_all(std::move(all));
  }
  // Sends what could not be sent without a connection.
  tell_addresses();
  if (ack && ack_origin == origin && origin != 0 && connection) {
    connection->tell(encode(*ack, origin));
  }
}

bool Client::Impl::deliver(Update update) {
  if (!update.snapshot &&
      (update.origin != origin || update.revision <= revision)) {
    ++stats.refused_updates;
    forget_view();
    give_up("a transaction that does not follow the previous revision");
    return false;
  }
  origin = update.origin;
  revision = update.revision;
  stats.revision = revision;
  backoff = std::chrono::milliseconds(0);
  if (update.snapshot) {
    if (handlers.on_snapshot) {
      handlers.on_snapshot(revision, std::move(update.state));
    }
  } else if (handlers.on_transaction) {
    handlers.on_transaction(std::move(update.transaction));
  }
  return true;
}

bool Client::Impl::on_chunk(const v1::Chunk& chunk) {
  auto update = decoder.add(chunk);
  if (!update) {
    ++stats.refused_updates;
    forget_view();
    give_up("the operator sent an invalid message: " + update.error().message);
    return false;
  }
  return *update && deliver(std::move(**update));
}

// A request that cannot be taken ends at once; the policies that share its
// connection must not suffer.
void Client::Impl::on_flow_request(v1::FlowRequest&& message) {
  const auto id = message.id();
  auto request = decode(std::move(message));
  if (request && handlers.on_flow_request) {
    handlers.on_flow_request(std::move(*request));
    return;
  }
  FlowBatch refusal;
  refusal.id = id;
  refusal.last = true;
  refusal.code = grpc::StatusCode::UNIMPLEMENTED;
  refusal.error = request
                      ? "this agent gives no flows"
                      : "the agent does not take " + request.error().message;
  connection->give(encode(std::move(refusal)));
}

bool Client::Impl::on_message(v1::FromOperator& message) {
  stats.bytes_received += message.ByteSizeLong();
  if (!welcomed) {
    if (message.has_welcome()) {
      on_welcome(message.welcome());
    } else {
      give_up("the operator did not begin with a welcome");
    }
    return false;
  }
  if (message.has_chunk()) {
    return on_chunk(message.chunk());
  }
  if (message.has_answer() && handlers.on_answer) {
    handlers.on_answer(decode(message.answer()));
  }
  if (message.has_flow_request()) {
    on_flow_request(std::move(*message.mutable_flow_request()));
  }
  if (message.has_flow_control() && handlers.on_flow_control) {
    handlers.on_flow_control(decode(message.flow_control()));
  }
  if (message.has_settings() && handlers.on_unknown) {
    handlers.on_unknown(decode(message.settings().on_unknown()));
  }
  return false;
}

bool Client::Impl::handle(ConnectionEvent& event) {
  if (!connection || event.connection != number) {
    return false;
  }
  if (!event.message) {
    const auto code = event.status.error_code();
    // The operator's messages cannot be read, and it would send the same ones
    // again.
    if (why.empty() && (code == grpc::StatusCode::RESOURCE_EXHAUSTED ||
                        code == grpc::StatusCode::INTERNAL ||
                        code == grpc::StatusCode::INVALID_ARGUMENT)) {
      forget_view();
    }
    lost(why.empty() ? text_of(event.status) : why);
    return false;
  }
  if (!why.empty()) {
    return false;  // ending
  }
  const bool given = on_message(*event.message);
  if (connection && why.empty()) {
    connection->read();
  }
  return given;
}

void Client::Impl::run_timers() {
  const auto now = Clock::now();
  if (now >= welcome_by && connection) {
    give_up("no welcome in time");
  }
  if (now >= connect_at) {
    connect();
  }
  events->poller().wake_at(std::min(connect_at, welcome_by));
}

Client::Client() : impl_(std::make_unique<Impl>()) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Client::~Client() {
  if (!impl_ || !impl_->connection) {
    return;
  }
  impl_->connection->cancel();
  // The connection ends here; if that takes too long, it is abandoned with its
  // resources.
  const auto& poller = impl_->events->poller();
  const auto end = Clock::now() + kEndTime;
  while (Clock::now() < end) {
    while (const auto event = impl_->events->pop()) {
      if (event->over == impl_->connection) {
        return;
      }
    }
    pollfd fd{.fd = poller.fd(), .events = POLLIN, .revents = 0};
    ::poll(&fd, 1, kEndTurnMs);
    poller.drain();
  }
}

Result<Client> Client::start(const ClientOptions& options, Handlers handlers) {
  if (options.target.empty() || options.node.empty()) {
    return fail("the operator's address and the node's name are needed");
  }
  if (!options.plain_text && options.ca_file.empty()) {
    return fail("a CA file or the option for plain text is needed");
  }
  prepare_grpc();
  auto poller = Poller::open();
  if (!poller) {
    return std::unexpected(poller.error());
  }
  Client client;
  client.impl_->options = options;
  client.impl_->handlers = std::move(handlers);
  client.impl_->events = std::make_shared<ConnectionEvents>(std::move(*poller));
  client.impl_->events->poller().notify();  // connects in dispatch()
  return client;
}

int Client::poll_fd() const {
  return impl_->events->poller().fd();
}

void Client::dispatch() {
  auto& impl = *impl_;
  impl.events->poller().drain();
  while (auto event = impl.events->pop()) {
    if (impl.handle(*event)) {
      // One at a time; there may be more.
      impl.events->poller().notify();
      break;
    }
  }
  impl.run_timers();
}

void Client::acknowledge(const Ack& ack) {
  auto& impl = *impl_;
  impl.ack = ack;
  impl.ack_origin = impl.origin;
  if (impl.connection && impl.welcomed && impl.origin != 0) {
    impl.connection->tell(encode(ack, impl.origin));
  }
}

bool Client::announce(const PodAddress& pod) {
  auto& impl = *impl_;
  const auto name = pod.ns + "/" + pod.name;
  if (pod.ips.empty()) {
    impl.pods.erase(name);
  } else {
    impl.pods[name] = pod;
  }
  if (impl.connection && impl.welcomed) {
    impl.connection->announce(encode(pod));
  }
  return !impl.stats.connected ||
         impl.stats.version.minor >= kAnnouncementsSince;
}

void Client::set_addresses(const std::vector<IpAddress>& addresses) {
  auto& impl = *impl_;
  impl.addresses = addresses;
  if (impl.welcomed) {
    impl.tell_addresses();
  }
}

bool Client::ask(const Question& question) {
  auto& impl = *impl_;
  if (!impl.connection || !impl.welcomed || !impl.why.empty() ||
      impl.stats.version.minor < (question.kind == Question::Kind::kEnds
                                      ? kEndsSince
                                      : kQuestionsSince)) {
    return false;
  }
  impl.connection->ask(encode(question));
  return true;
}

void Client::give(FlowBatch batch) {
  auto& impl = *impl_;
  if (impl.connection && impl.welcomed && impl.why.empty()) {
    impl.connection->give(encode(std::move(batch)));
  }
}

ClientStats Client::stats() const {
  return impl_->stats;
}

}  // namespace sluice::wire
