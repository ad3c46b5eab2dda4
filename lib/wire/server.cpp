// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/server.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "lib/base/printable.h"
#include "lib/wire/announcement.h"
#include "lib/wire/codec.h"
#include "lib/wire/deadlines.h"
#include "lib/wire/node_feeds.h"
#include "lib/wire/report_service.h"
#include "lib/wire/session.h"
#include "lib/wire/transport.h"

namespace sluice::wire {
namespace {

// How long an ended stream may take to deliver its status.
constexpr std::chrono::seconds kLastWords{1};

// As much of a text from an agent as a message should repeat.
std::string excerpt(const std::string& text) {
  constexpr std::size_t kMax = 64;
  return printable(std::string_view(text).substr(0, kMax));
}

std::string text_of(const Version& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

}  // namespace

struct Server::Impl {
  ServerOptions options;
  Handlers handlers;
  Authenticator* authenticator = nullptr;
  std::shared_ptr<StreamEvents> events;
  std::unique_ptr<Service> service;
  std::unique_ptr<ReportService> reports;
  std::optional<ReloadableCertificate> certificate;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::optional<NodeFeeds> feeds;
  Deadlines<std::weak_ptr<Stream>> hello_by;
  Deadlines<std::weak_ptr<Stream>> abort_at;

  Result<void> open();
  void handle(StreamEvent& event);
  void on_message(Stream& stream, v1::FromAgent& message);
  void on_hello(Stream& stream, const v1::Hello& hello);
  void on_progress(Stream& stream, const v1::Progress& progress);
  void on_announcement(Stream& stream, const v1::PodAddresses& message);
  void on_addresses(Stream& stream, const v1::NodeAddresses& message);
  void on_question(Stream& stream, const v1::Question& message);
  void on_flows(Stream& stream, v1::FlowBatch& message);
  [[nodiscard]] bool may_ask(Stream::Notes& notes) const;
  void on_identity(const std::shared_ptr<Stream>& stream,
                   const StreamEvent& event);
  void subscribe(const std::shared_ptr<Stream>& stream);
  void on_gone(const std::shared_ptr<Stream>& stream);
  void refuse(Stream& stream, grpc::StatusCode code, const std::string& why);
  void ask_for_snapshots();
  void end(Stream& stream, grpc::StatusCode code, const std::string& why);
  void run_timers();
};

Result<void> Server::Impl::open() {
  auto poller = Poller::open();
  if (!poller) {
    return std::unexpected(poller.error());
  }
  events = std::make_shared<StreamEvents>(std::move(*poller));
  feeds.emplace(options, events);
  service = std::make_unique<Service>(events, options.streams_max,
                                      options.unknown_streams_max,
                                      options.chunk_bytes);
  reports = std::make_unique<ReportService>(
      events->poller(), options.replica_token, options.relay);
  auto credentials = grpc::InsecureServerCredentials();
  if (options.certificate) {
    auto made = ReloadableCertificate::create(*options.certificate);
    if (!made) {
      return std::unexpected(made.error());
    }
    certificate = std::move(*made);
    credentials = certificate->credentials();
  } else if (!options.plain_text) {
    return fail(
        "a server without a certificate must be told to use plain text");
  }
  grpc::ServerBuilder builder;
  set_limits(builder, options);
  builder.AddListeningPort(options.address, credentials, &port);
  builder.RegisterService(service.get());
  builder.RegisterService(reports.get());
  server = builder.BuildAndStart();
  if (!server || port == 0) {
    return fail(options.address + ": cannot listen there");
  }
  return {};
}

// An agent that reads nothing does not receive the reason, but the stream ends
// all the same.
void Server::Impl::end(Stream& stream, grpc::StatusCode code,
                       const std::string& why) {
  stream.end(grpc::Status(code, why));
  abort_at.add(Clock::now() + kLastWords, stream.weak_from_this());
  events->poller().notify();
}

void Server::Impl::refuse(Stream& stream, grpc::StatusCode code,
                          const std::string& why) {
  if (stream.notes.state == Stream::Notes::kEnded) {
    return;
  }
  if (stream.notes.state != Stream::Notes::kKnown) {
    stream.notes.state = Stream::Notes::kEnded;
  }
  stream.notes.why = why;
  ++events->refused;
  end(stream, code, why);
  if (handlers.on_refused) {
    handlers.on_refused(stream.peer(), why);
  }
}

void Server::Impl::on_hello(Stream& stream, const v1::Hello& hello) {
  const auto version = decode(hello.version());
  if (version.major != kVersion.major) {
    refuse(stream, grpc::StatusCode::FAILED_PRECONDITION,
           "the agent speaks version " + text_of(version) +
               " of the protocol, the operator " + text_of(kVersion) +
               ": their major versions must be the same");
    return;
  }
  if (!is_node_name(hello.node())) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT,
           "not a node's name: \"" + excerpt(hello.node()) + "\"");
    return;
  }
  stream.notes.state = Stream::Notes::kAsking;
  stream.notes.hello = hello;
  stream.notes.node = hello.node();
  authenticator->authenticate(
      stream.take_token(),
      [to = std::weak_ptr(events),
       about = stream.weak_from_this()](const Identity& identity) {
        const auto queue = to.lock();
        const auto alive = about.lock();
        if (queue && alive) {
          queue->push({.kind = StreamEvent::kIdentity,
                       .stream = alive,
                       .message = {},
                       .allowed = identity.allowed,
                       .node = identity.node,
                       .error = identity.error});
        }
      });
}

void Server::Impl::on_identity(const std::shared_ptr<Stream>& stream,
                               const StreamEvent& event) {
  if (stream->notes.state != Stream::Notes::kAsking) {
    return;  // ended, or answered twice
  }
  if (!event.allowed) {
    refuse(*stream, grpc::StatusCode::UNAUTHENTICATED,
           "the token is not accepted" +
               (event.error.empty() ? "" : ": " + event.error));
    return;
  }
  if (!event.node.empty() && event.node != stream->notes.node) {
    refuse(
        *stream, grpc::StatusCode::PERMISSION_DENIED,
        "the token is for node " + event.node + ", not " + stream->notes.node);
    return;
  }
  subscribe(stream);
}

void Server::Impl::subscribe(const std::shared_ptr<Stream>& stream) {
  auto& notes = stream->notes;
  notes.state = Stream::Notes::kKnown;
  if (const auto old = feeds->detach(notes.node)) {
    // After this call, the old stream takes nothing from the outbox.
    end(*old, grpc::StatusCode::ABORTED,
        "another agent has subscribed for " + notes.node);
    old->notes.state = Stream::Notes::kEnded;
  }
  v1::Welcome welcome;
  *welcome.mutable_version() = encode(kVersion);
  welcome.set_program_version(options.program_version);
  const bool resumed = feeds->attach(stream, std::move(welcome));
  if (handlers.on_connect) {
    handlers.on_connect(
        {.node = notes.node,
         .peer = stream->peer(),
         .agent_version = excerpt(notes.hello.program_version()),
         .version = decode(notes.hello.version()),
         .resumed = resumed});
  }
}

void Server::Impl::ask_for_snapshots() {
  while (const auto node = feeds->next_snapshot()) {
    if (handlers.on_snapshot_needed) {
      handlers.on_snapshot_needed(*node);
    }
  }
}

void Server::Impl::on_progress(Stream& stream, const v1::Progress& progress) {
  auto ack = decode(progress);
  if (!ack) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT, ack.error().message);
    return;
  }
  if (!feeds->is_current(stream)) {
    return;
  }
  const auto said =
      feeds->acknowledge(stream, progress.origin(), ack->received);
  if (!said.known) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT,
           "progress: revision " + std::to_string(ack->received) +
               " is none that was sent and not yet acknowledged");
    return;
  }
  stream.pump();  // there may be room now
  stream.read();
  if (said.current && handlers.on_ack) {
    handlers.on_ack(stream.notes.node, *ack);
  }
}

void Server::Impl::on_announcement(Stream& stream,
                                   const v1::PodAddresses& message) {
  const auto pods = decode(message);
  if (!pods) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT, pods.error().message);
    return;
  }
  if (!feeds->is_current(stream)) {
    return;
  }
  stream.read();
  if (handlers.on_announcement) {
    handlers.on_announcement(stream.notes.node, message.begins(), *pods);
  }
  if (std::exchange(stream.notes.will_announce, false)) {
    feeds->need_snapshot(stream.notes.node);
  }
}

void Server::Impl::on_addresses(Stream& stream,
                                const v1::NodeAddresses& message) {
  const auto addresses = decode(message);
  if (!addresses) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT,
           addresses.error().message);
    return;
  }
  if (!feeds->is_current(stream)) {
    return;
  }
  stream.read();
  if (handlers.on_addresses) {
    handlers.on_addresses(stream.notes.node, *addresses);
  }
}

bool Server::Impl::may_ask(Stream::Notes& notes) const {
  if (!notes.questions) {
    notes.questions.emplace(options.questions_per_second);
  }
  return notes.questions->take(Clock::now());
}

void Server::Impl::on_question(Stream& stream, const v1::Question& message) {
  if (!feeds->is_current(stream)) {
    return;
  }
  stream.read();
  const auto refuse_it = [&](const std::string& why) {
    feeds->answer(
        stream.notes.node,
        {.id = message.id(), .error = why, .explanation = {}, .names = {}});
  };
  auto question = decode(message);
  if (!question) {
    refuse_it("the operator does not take " + question.error().message);
  } else if (!may_ask(stream.notes)) {
    refuse_it("too many questions; ask again in a second");
  } else if (!handlers.on_question) {
    refuse_it("this operator answers no questions");
  } else {
    handlers.on_question(stream.notes.node, std::move(*question));
  }
}

void Server::Impl::on_flows(Stream& stream, v1::FlowBatch& message) {
  auto batch = decode(std::move(message));
  if (!batch) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT, batch.error().message);
    return;
  }
  if (!feeds->is_current(stream)) {
    return;
  }
  stream.read();
  if (handlers.on_flows) {
    handlers.on_flows(stream.notes.node, std::move(*batch));
  }
}

void Server::Impl::on_message(Stream& stream, v1::FromAgent& message) {
  using State = Stream::Notes::State;
  switch (stream.notes.state) {
    case State::kNew:
      if (message.has_hello()) {
        on_hello(stream, message.hello());
      } else {
        refuse(stream, grpc::StatusCode::INVALID_ARGUMENT,
               "the first message is no hello");
      }
      return;
    case State::kKnown:
      if (message.has_progress()) {
        on_progress(stream, message.progress());
      } else if (message.has_announcement()) {
        on_announcement(stream, message.announcement());
      } else if (message.has_addresses()) {
        on_addresses(stream, message.addresses());
      } else if (message.has_question()) {
        on_question(stream, message.question());
      } else if (message.has_flows()) {
        on_flows(stream, *message.mutable_flows());
      } else if (message.has_hello()) {
        refuse(stream, grpc::StatusCode::INVALID_ARGUMENT, "a second hello");
      } else {
        stream.read();  // from a newer agent; ignored
      }
      return;
    case State::kAsking:
    case State::kEnded:
      return;
  }
}

void Server::Impl::on_gone(const std::shared_ptr<Stream>& stream) {
  const bool was_known = stream->notes.state == Stream::Notes::kKnown;
  stream->notes.state = Stream::Notes::kEnded;
  if (!was_known || !feeds->is_current(*stream)) {
    return;
  }
  feeds->detach(stream->notes.node);
  feeds->forget_at(Clock::now() + options.resume_for, stream->notes.node);
  if (handlers.on_disconnect) {
    handlers.on_disconnect(stream->notes.node, stream->notes.why.empty()
                                                   ? "the stream has ended"
                                                   : stream->notes.why);
  }
}

void Server::Impl::handle(StreamEvent& event) {
  switch (event.kind) {
    case StreamEvent::kMessage:
      on_message(*event.stream, event.message);
      return;
    case StreamEvent::kIdentity:
      on_identity(event.stream, event);
      return;
    case StreamEvent::kSnapshotSent:
      feeds->snapshot_sent(*event.stream);
      return;
    case StreamEvent::kGone:
      on_gone(event.stream);
      return;
  }
}

void Server::Impl::run_timers() {
  const auto now = Clock::now();
  hello_by.run(now, [&](const std::weak_ptr<Stream>& waiting, auto) {
    const auto stream = waiting.lock();
    if (stream && stream->notes.state != Stream::Notes::kKnown) {
      refuse(*stream, grpc::StatusCode::DEADLINE_EXCEEDED,
             stream->notes.state == Stream::Notes::kNew
                 ? "no hello in time"
                 : "the token could not be checked in time");
    }
  });
  abort_at.run(now, [](const std::weak_ptr<Stream>& ended, auto) {
    if (const auto stream = ended.lock()) {
      stream->abort();
    }
  });
  feeds->run_timers(now, [&](const std::string& node) {
    if (handlers.on_forget) {
      handlers.on_forget(node);
    }
  });
  events->poller().wake_at(
      std::min({hello_by.next(), abort_at.next(), feeds->next_timer()}));
}

Server::Server() : impl_(std::make_unique<Impl>()) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;

Server::~Server() {
  if (!impl_ || !impl_->server) {
    return;
  }
  impl_->server->Shutdown(std::chrono::system_clock::now());
  // Waiting events refer to streams, and streams to waiting events, so the
  // cycle is broken here.
  impl_->events->take();
  impl_->service->take_new();
}

Result<Server> Server::start(const ServerOptions& options, Handlers handlers,
                             Authenticator& authenticator) {
  prepare_grpc();
  Server server;
  auto& impl = *server.impl_;
  impl.options = options;
  impl.handlers = std::move(handlers);
  impl.authenticator = &authenticator;
  if (auto opened = impl.open(); !opened) {
    return std::unexpected(opened.error());
  }
  return server;
}

int Server::port() const {
  return impl_->port;
}

int Server::poll_fd() const {
  return impl_->events->poller().fd();
}

void Server::dispatch() {
  auto& impl = *impl_;
  impl.events->poller().drain();
  for (const auto& stream : impl.service->take_new()) {
    impl.hello_by.add(Clock::now() + impl.options.hello_timeout, stream);
  }
  for (auto& event : impl.events->take()) {
    impl.handle(event);
  }
  for (const auto& report : impl.reports->take()) {
    if (impl.handlers.on_report) {
      impl.handlers.on_report(report.replica, report.first, report.nodes);
    }
  }
  impl.run_timers();
  impl.ask_for_snapshots();
}

void Server::send_snapshot(const std::string& node, std::uint64_t revision,
                           std::shared_ptr<const State> state) {
  impl_->feeds->send_snapshot(node, revision, std::move(state));
}

void Server::send(const std::string& node,
                  std::shared_ptr<const Transaction> transaction) {
  impl_->feeds->send(node, std::move(transaction));
}

void Server::set_on_unknown(const std::string& node, OnUnknown value) {
  impl_->feeds->set_on_unknown(node, value);
}

void Server::answer(const std::string& node, const Answer& answer) {
  impl_->feeds->answer(node, answer);
}

bool Server::request_flows(const std::string& node, std::uint64_t id,
                           std::shared_ptr<const FlowRequest> request) {
  return impl_->feeds->request_flows(node, id, std::move(request));
}

void Server::control_flows(const std::string& node,
                           const FlowControl& control) {
  impl_->feeds->control_flows(node, control);
}

void Server::disconnect(const std::string& node, const std::string& why) {
  if (const auto stream = impl_->feeds->stream_of(node)) {
    stream->notes.why = why;
    impl_->end(*stream, grpc::StatusCode::UNAVAILABLE, why);
  }
}

Result<void> Server::set_certificate(const TlsCertificate& certificate) {
  if (!impl_->certificate) {
    return fail("the server uses plain text");
  }
  return impl_->certificate->set(certificate);
}

void Server::set_found(const std::string& node,
                       const std::optional<std::vector<IpAddress>>& addresses) {
  impl_->reports->set_found(node, addresses);
}

void Server::forget_replica(const std::string& replica) {
  impl_->reports->forget(replica);
}

void Server::set_replica_token(const std::string& token) {
  impl_->reports->set_token(token);
}

ServerStats Server::stats() const {
  const auto& events = *impl_->events;
  return {.streams = events.open,
          .agents = impl_->feeds->connected(),
          .messages_sent = events.messages_sent,
          .bytes_sent = events.bytes_sent,
          .snapshots_sent = events.snapshots_sent,
          .transactions_sent = events.transactions_sent,
          .transactions_merged = impl_->feeds->merged(),
          .refused = events.refused};
}

}  // namespace sluice::wire
