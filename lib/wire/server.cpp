// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/server.h"

#include <algorithm>
#include <random>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "lib/base/printable.h"
#include "lib/wire/announcement.h"
#include "lib/wire/codec.h"
#include "lib/wire/deadlines.h"
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
  struct Node {
    std::shared_ptr<Outbox> outbox;
    std::shared_ptr<Stream> stream;  // null: not connected
    bool needs_snapshot = true;
    bool queued = false;  // in snapshot_queue
    bool asked = false;   // a snapshot is being made or sent
    Clock::time_point forget_at;
  };

  ServerOptions options;
  Handlers handlers;
  Authenticator* authenticator = nullptr;
  std::shared_ptr<StreamEvents> events;
  std::unique_ptr<Service> service;
  std::unique_ptr<ReportService> reports;
  std::optional<ReloadableCertificate> certificate;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::random_device random;
  std::unordered_map<std::string, Node> nodes;
  std::deque<std::string> snapshot_queue;
  std::size_t snapshots_active = 0;
  Deadlines<std::weak_ptr<Stream>> hello_by;
  Deadlines<std::weak_ptr<Stream>> abort_at;
  Deadlines<std::string> forget_at;
  std::uint64_t merged = 0;

  Result<void> open();
  Node* find(const std::string& name);
  void handle(StreamEvent& event);
  void on_message(Stream& stream, v1::FromAgent& message);
  void on_hello(Stream& stream, const v1::Hello& hello);
  void on_progress(Stream& stream, const v1::Progress& progress);
  void on_announcement(Stream& stream, const v1::PodAddresses& message);
  void on_addresses(Stream& stream, const v1::NodeAddresses& message);
  void on_question(Stream& stream, const v1::Question& message);
  void on_flows(Stream& stream, v1::FlowBatch& message);
  [[nodiscard]] bool may_ask(Stream::Notes& notes) const;
  [[nodiscard]] Node* node_of(const Stream& stream);
  void answer(const std::string& name, const Answer& answer);
  void on_identity(const std::shared_ptr<Stream>& stream,
                   const StreamEvent& event);
  void subscribe(const std::shared_ptr<Stream>& stream);
  void on_gone(const std::shared_ptr<Stream>& stream);
  void refuse(Stream& stream, grpc::StatusCode code, const std::string& why);
  void need_snapshot(const std::string& name, Node& node);
  void snapshot_over(Node& node);
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

Server::Impl::Node* Server::Impl::find(const std::string& name) {
  const auto found = nodes.find(name);
  return found == nodes.end() ? nullptr : &found->second;
}

// nullptr if another stream has taken the node's place.
Server::Impl::Node* Server::Impl::node_of(const Stream& stream) {
  auto* node = find(stream.notes.node);
  return node != nullptr && node->stream.get() == &stream ? node : nullptr;
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
  const auto& hello = notes.hello;
  auto& node = nodes[notes.node];
  if (!node.outbox) {
    node.outbox = std::make_shared<Outbox>(options.pending_changes_max,
                                           options.unacknowledged_max);
  }
  if (node.stream) {
    // After this call, the old stream takes nothing from the outbox.
    end(*node.stream, grpc::StatusCode::ABORTED,
        "another agent has subscribed for " + notes.node);
    node.stream->notes.state = Stream::Notes::kEnded;
    snapshot_over(node);
  }
  node.stream = stream;
  bool resumed = false;
  {
    const std::lock_guard lock(node.outbox->mutex);
    resumed = !node.needs_snapshot &&
              node.outbox->backlog.resume(hello.origin(), hello.revision());
    node.outbox->settings_due = true;
    node.outbox->settings_next = false;
    node.outbox->answers.clear();
    node.outbox->flows.clear();
  }
  v1::Welcome welcome;
  *welcome.mutable_version() = encode(kVersion);
  welcome.set_resumed(resumed);
  welcome.set_program_version(options.program_version);
  stream->subscribe(node.outbox, std::move(welcome));
  stream->read();
  if (!resumed) {
    notes.will_announce = hello.version().minor() >= kAnnouncementsSince;
    need_snapshot(notes.node, node);
  }
  if (handlers.on_connect) {
    handlers.on_connect({.node = notes.node,
                         .peer = stream->peer(),
                         .agent_version = excerpt(hello.program_version()),
                         .version = decode(hello.version()),
                         .resumed = resumed});
  }
}

// Agents announce their pods after each Welcome. A snapshot without pods that
// are known by their announcement only would end what is in force for them.
void Server::Impl::need_snapshot(const std::string& name, Node& node) {
  node.needs_snapshot = true;
  if (!node.queued && !node.asked && node.stream &&
      !node.stream->notes.will_announce) {
    node.queued = true;
    snapshot_queue.push_back(name);
    events->poller().notify();
  }
}

void Server::Impl::snapshot_over(Node& node) {
  if (std::exchange(node.asked, false)) {
    --snapshots_active;
  }
}

void Server::Impl::ask_for_snapshots() {
  while (snapshots_active < options.snapshots_max && !snapshot_queue.empty()) {
    const auto name = std::move(snapshot_queue.front());
    snapshot_queue.pop_front();
    auto* node = find(name);
    if (node == nullptr) {
      continue;
    }
    node->queued = false;
    if (!node->stream || !node->needs_snapshot || node->asked) {
      continue;
    }
    node->asked = true;
    ++snapshots_active;
    if (handlers.on_snapshot_needed) {
      handlers.on_snapshot_needed(name);
    }
  }
}

void Server::Impl::on_progress(Stream& stream, const v1::Progress& progress) {
  auto ack = decode(progress);
  if (!ack) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT, ack.error().message);
    return;
  }
  auto* node = node_of(stream);
  if (node == nullptr) {
    return;
  }
  bool current = false;
  bool known = false;
  {
    const std::lock_guard lock(node->outbox->mutex);
    auto& backlog = node->outbox->backlog;
    current = progress.origin() != 0 && progress.origin() == backlog.origin();
    known = backlog.acknowledge(progress.origin(), ack->received);
  }
  if (!known) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT,
           "progress: revision " + std::to_string(ack->received) +
               " is none that was sent and not yet acknowledged");
    return;
  }
  stream.pump();  // there may be room now
  stream.read();
  if (current && handlers.on_ack) {
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
  auto* node = node_of(stream);
  if (node == nullptr) {
    return;
  }
  stream.read();
  if (handlers.on_announcement) {
    handlers.on_announcement(stream.notes.node, message.begins(), *pods);
  }
  if (std::exchange(stream.notes.will_announce, false)) {
    need_snapshot(stream.notes.node, *node);
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
  if (node_of(stream) == nullptr) {
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
  if (node_of(stream) == nullptr) {
    return;
  }
  stream.read();
  const auto refuse_it = [&](const std::string& why) {
    answer(stream.notes.node,
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

// An agent that reads nothing gets no further answers until it does.
void Server::Impl::answer(const std::string& name, const Answer& answer) {
  constexpr std::size_t kAnswersMax = 16;
  auto* node = find(name);
  if (node == nullptr || !node->stream) {
    return;
  }
  {
    const std::lock_guard lock(node->outbox->mutex);
    if (node->outbox->answers.size() >= kAnswersMax) {
      return;
    }
    node->outbox->answers.push_back(encode(answer));
  }
  node->stream->pump();
}

void Server::Impl::on_flows(Stream& stream, v1::FlowBatch& message) {
  auto batch = decode(std::move(message));
  if (!batch) {
    refuse(stream, grpc::StatusCode::INVALID_ARGUMENT, batch.error().message);
    return;
  }
  if (node_of(stream) == nullptr) {
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
  auto* node = was_known ? find(stream->notes.node) : nullptr;
  if (node == nullptr || node->stream != stream) {
    return;
  }
  node->stream.reset();
  snapshot_over(*node);
  node->forget_at = Clock::now() + options.resume_for;
  forget_at.add(node->forget_at, stream->notes.node);
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
      if (auto* node = find(event.stream->notes.node);
          node != nullptr && node->stream == event.stream) {
        snapshot_over(*node);
        if (node->needs_snapshot) {
          need_snapshot(event.stream->notes.node, *node);
        }
      }
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
  forget_at.run(now, [&](const std::string& name, Clock::time_point when) {
    const auto* node = find(name);
    if (node != nullptr && !node->stream && node->forget_at == when) {
      nodes.erase(name);
      if (handlers.on_forget) {
        handlers.on_forget(name);
      }
    }
  });
  events->poller().wake_at(
      std::min({hello_by.next(), abort_at.next(), forget_at.next()}));
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
  auto* found = impl_->find(node);
  if (found == nullptr || !found->stream) {
    return;
  }
  std::uniform_int_distribution<std::uint64_t> any(1);
  {
    const std::lock_guard lock(found->outbox->mutex);
    found->outbox->backlog.replace(any(impl_->random), revision,
                                   std::move(state));
  }
  found->needs_snapshot = false;
  found->stream->pump();
}

void Server::send(const std::string& node,
                  std::shared_ptr<const Transaction> transaction) {
  auto* found = impl_->find(node);
  if (found == nullptr || found->needs_snapshot) {
    return;
  }
  auto added = Backlog::Added::kAlone;
  {
    const std::lock_guard lock(found->outbox->mutex);
    added = found->outbox->backlog.add(std::move(transaction));
  }
  if (added == Backlog::Added::kTooMuch) {
    impl_->need_snapshot(node, *found);
    return;
  }
  impl_->merged += added == Backlog::Added::kMerged ? 1 : 0;
  if (found->stream) {
    found->stream->pump();
  }
}

void Server::set_on_unknown(const std::string& node, OnUnknown value) {
  auto* found = impl_->find(node);
  if (found == nullptr) {
    return;
  }
  {
    const std::lock_guard lock(found->outbox->mutex);
    if (std::exchange(found->outbox->on_unknown, value) == value) {
      return;
    }
    found->outbox->settings_due = true;
    found->outbox->settings_next = false;
  }
  if (found->stream) {
    found->stream->pump();
  }
}

void Server::answer(const std::string& node, const Answer& answer) {
  impl_->answer(node, answer);
}

bool Server::request_flows(const std::string& node, std::uint64_t id,
                           std::shared_ptr<const FlowRequest> request) {
  auto* found = impl_->find(node);
  if (found == nullptr || !found->stream ||
      found->stream->notes.hello.version().minor() < kFlowsSince) {
    return false;
  }
  {
    const std::lock_guard lock(found->outbox->mutex);
    found->outbox->flows.push_back({.control = {.id = id, .cancel = false},
                                    .request = std::move(request)});
  }
  found->stream->pump();
  return true;
}

// A request that has not been sent goes with its cancellation, so that nothing
// grows for an agent that reads nothing.
void Server::control_flows(const std::string& node,
                           const FlowControl& control) {
  auto* found = impl_->find(node);
  if (found == nullptr || !found->stream) {
    return;
  }
  {
    const std::lock_guard lock(found->outbox->mutex);
    auto& waiting = found->outbox->flows;
    bool sent = true;
    if (control.cancel) {
      std::erase_if(waiting, [&](const Outbox::AboutFlows& about) {
        const bool same = about.control.id == control.id;
        sent = sent && !(same && about.request);
        return same;
      });
    }
    if (sent) {
      waiting.push_back({.control = control, .request = nullptr});
    }
  }
  found->stream->pump();
}

void Server::disconnect(const std::string& node, const std::string& why) {
  auto* found = impl_->find(node);
  if (found != nullptr && found->stream) {
    found->stream->notes.why = why;
    impl_->end(*found->stream, grpc::StatusCode::UNAVAILABLE, why);
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
          .agents = static_cast<std::size_t>(std::ranges::count_if(
              impl_->nodes,
              [](const auto& item) { return item.second.stream != nullptr; })),
          .messages_sent = events.messages_sent,
          .bytes_sent = events.bytes_sent,
          .snapshots_sent = events.snapshots_sent,
          .transactions_sent = events.transactions_sent,
          .transactions_merged = impl_->merged,
          .refused = events.refused};
}

}  // namespace sluice::wire
