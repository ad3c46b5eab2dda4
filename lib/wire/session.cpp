// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/session.h"

#include <string_view>
#include <utility>

#include "lib/wire/authenticator.h"
#include "lib/wire/codec.h"

namespace sluice::wire {
namespace {

// Ends a stream without reading it.
class Refusal
    : public grpc::ServerBidiReactor<v1::FromAgent, v1::FromOperator> {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

std::string bearer_token(const grpc::CallbackServerContext& context) {
  constexpr std::string_view kBearer = "Bearer ";
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  if (found == metadata.end()) {
    return {};
  }
  const std::string_view value(found->second.data(), found->second.size());
  if (!value.starts_with(kBearer) || value.size() > kTokenBytesMax) {
    return {};
  }
  return std::string(value.substr(kBearer.size()));
}

void StreamEvents::push(StreamEvent event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  poller_.notify();
}

std::deque<StreamEvent> StreamEvents::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(events_, {});
}

Stream::Stream(std::shared_ptr<StreamEvents> events,
               grpc::CallbackServerContext& context, std::string token,
               std::size_t chunk_bytes)
    : events_(std::move(events)),
      context_(context),
      token_(std::move(token)),
      peer_(context.peer()),
      chunk_bytes_(chunk_bytes) {}

void Stream::start() {
  self_ = shared_from_this();
  read();
}

void Stream::read() {
  const std::lock_guard lock(mutex_);
  if (!ended_ && !reading_) {
    reading_ = true;
    StartRead(&incoming_);
  }
}

void Stream::subscribe(std::shared_ptr<Outbox> outbox, v1::Welcome welcome) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) {
      return;
    }
    known_ = true;
    outbox_ = std::move(outbox);
    welcome_ = std::move(welcome);
  }
  --events_->unknown;
  pump();
}

// Decides what to send next, under both locks. False if there is nothing.
bool Stream::choose() {
  outgoing_.Clear();
  if (welcome_) {
    *outgoing_.mutable_welcome() = std::move(*welcome_);
    welcome_.reset();
    return true;
  }
  if (encoder_) {
    return true;  // its next chunk
  }
  auto& outbox = *outbox_;
  const std::lock_guard lock(outbox.mutex);
  if (outbox.settings_due &&
      (outbox.settings_next || !outbox.backlog.waiting())) {
    outbox.settings_due = outbox.settings_next = false;
    outgoing_.mutable_settings()->set_on_unknown(
        wire::encode(outbox.on_unknown));
    return true;
  }
  encoder_ = outbox.backlog.next();
  if (encoder_) {
    ++(encoder_->snapshot() ? events_->snapshots_sent
                            : events_->transactions_sent);
    // Everything that waited is in this message or, for a snapshot, after it.
    outbox.settings_next = outbox.settings_due && !outbox.backlog.waiting();
  } else if (!outbox.answers.empty()) {
    *outgoing_.mutable_answer() = std::move(outbox.answers.front());
    outbox.answers.pop_front();
    return true;
  } else if (!outbox.flows.empty()) {
    const auto next = std::move(outbox.flows.front());
    outbox.flows.pop_front();
    if (next.request) {
      *outgoing_.mutable_flow_request() = wire::encode(*next.request);
      outgoing_.mutable_flow_request()->set_id(next.control.id);
    } else {
      *outgoing_.mutable_flow_control() = wire::encode(next.control);
    }
    return true;
  }
  return encoder_.has_value();
}

// Encodes the next chunk, without a lock: only the thread that set `writing_`
// is here.
void Stream::encode() {
  if (!encoder_ || outgoing_.has_welcome() || outgoing_.has_settings()) {
    return;
  }
  encoder_->next(chunk_bytes_, *outgoing_.mutable_chunk());
  if (encoder_->done()) {
    if (encoder_->snapshot()) {
      events_->push(
          {.kind = StreamEvent::kSnapshotSent, .stream = shared_from_this()});
    }
    encoder_.reset();
  }
}

void Stream::pump() {
  {
    const std::lock_guard lock(mutex_);
    if (!known_ || writing_ || ended_ || !choose()) {
      return;
    }
    writing_ = true;
  }
  encode();
  ++events_->messages_sent;
  events_->bytes_sent += outgoing_.ByteSizeLong();
  const std::lock_guard lock(mutex_);
  if (ended_) {
    write_over();
  } else {
    StartWrite(&outgoing_);
  }
}

// Under the lock.
void Stream::write_over() {
  writing_ = false;
  if (last_words_) {
    Finish(*std::exchange(last_words_, std::nullopt));
  }
}

void Stream::end(const grpc::Status& status) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(ended_, true)) {
    return;
  }
  if (writing_) {
    last_words_ = status;
  } else {
    Finish(status);
  }
}

void Stream::abort() {
  const std::lock_guard lock(mutex_);
  if (!done_) {
    context_.TryCancel();
  }
}

void Stream::OnReadDone(bool ok) {
  StreamEvent event{.kind = StreamEvent::kMessage,
                    .stream = shared_from_this()};
  {
    const std::lock_guard lock(mutex_);
    reading_ = false;
    event.message = std::move(incoming_);
    incoming_.Clear();
  }
  if (!ok) {
    end(grpc::Status(grpc::StatusCode::CANCELLED, "the agent has ended it"));
    abort();
    return;
  }
  events_->push(std::move(event));
}

void Stream::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    write_over();
  }
  if (ok) {
    pump();
  } else {
    end(grpc::Status::CANCELLED);
  }
}

void Stream::OnCancel() {
  end(grpc::Status::CANCELLED);
}

void Stream::OnDone() {
  --events_->open;
  {
    const std::lock_guard lock(mutex_);
    ended_ = done_ = true;
    if (!known_) {
      --events_->unknown;
    }
  }
  events_->push({.kind = StreamEvent::kGone, .stream = std::move(self_)});
}

grpc::ServerBidiReactor<v1::FromAgent, v1::FromOperator>* Service::Subscribe(
    grpc::CallbackServerContext* context) {
  // Counted at once, so that simultaneous streams cannot all pass the check.
  const bool many = ++events_->open > streams_max_;
  if (++events_->unknown > unknown_max_ || many) {
    --events_->open;
    --events_->unknown;
    ++events_->refused;
    // Owned by gRPC: it deletes itself.
    // NOLINTNEXTLINE(cppcoreguidelines-owning-memory)
    return new Refusal(
        grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many streams"));
  }
  auto stream = std::make_shared<Stream>(events_, *context,
                                         bearer_token(*context), chunk_bytes_);
  {
    const std::lock_guard lock(mutex_);
    new_.push_back(stream);
  }
  events_->poller().notify();
  stream->start();
  return stream.get();
}

std::vector<std::shared_ptr<Stream>> Service::take_new() {
  const std::lock_guard lock(mutex_);
  return std::exchange(new_, {});
}

}  // namespace sluice::wire
