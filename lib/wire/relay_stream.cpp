// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/relay_stream.h"

#include <utility>
#include <variant>

#include "lib/wire/codec.h"

namespace sluice::wire {
namespace {

using Reactor = grpc::ServerBidiReactor<v1::RelayMessage, v1::RelayMessage>;

// What gRPC takes at the other end (see set_limits()), less what is around the
// items.
constexpr std::size_t kBatchBytesMax = 500'000;
// Beyond their text.
constexpr std::size_t kBytesPerItem = 16;

// Ends a stream without reading it.
class Refusal : public Reactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

std::size_t size_of(const RelayRequest::To& to) {
  return to.node.size() + kBytesPerItem;
}

std::size_t size_of(const RelayMessage& message) {
  std::size_t size = kBytesPerItem;
  if (const auto* nodes = std::get_if<std::vector<RelayNode>>(&message)) {
    for (const auto& node : *nodes) {
      size += node.node.size() + kBytesPerItem;
    }
  } else if (const auto* request = std::get_if<RelayRequest>(&message)) {
    size += request->request->request.size();
    for (const auto& name : request->request->namespaces) {
      size += name.size() + kBytesPerItem;
    }
    for (const auto& to : request->to) {
      size += size_of(to);
    }
  } else if (const auto* batch = std::get_if<FlowBatch>(&message)) {
    size += batch->error.size();
    for (const auto& item : batch->items) {
      size += item.message.size() + kBytesPerItem;
    }
  }
  return size;
}

}  // namespace

void RelayEvents::push(RelayEvent event) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) {
      return;
    }
    events_.push_back(std::move(event));
  }
  poller_.notify();
}

std::deque<RelayEvent> RelayEvents::take() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(events_, {});
}

void RelayEvents::close() {
  std::deque<RelayEvent> dropped;
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  dropped.swap(events_);
}

bool RelayEvents::closed() {
  const std::scoped_lock lock(mutex_);
  return closed_;
}

// ---- both ends --------------------------------------------------------------

void RelayStream::read() {
  const std::scoped_lock lock(mutex_);
  if (!ended_ && !reading_) {
    reading_ = true;
    start_read(incoming_);
  }
}

void RelayStream::say_hello(const std::string& replica) {
  const std::scoped_lock lock(mutex_);
  hello_.emplace();
  *hello_->mutable_version() = encode(kVersion);
  hello_->set_replica(replica);
  write_next();
}

RelayStream::Sent RelayStream::send(RelayMessage message) {
  auto bytes = size_of(message);
  const std::scoped_lock lock(mutex_);
  if (ended_) {
    return Sent::kYes;
  }
  const auto* batch = std::get_if<FlowBatch>(&message);
  if (batch != nullptr && !batch->items.empty() &&
      (bytes > kBatchBytesMax || bytes_ + bytes > waiting_max_)) {
    return Sent::kRefused;
  }
  // One request goes to many nodes, and is large: once for all of them.
  auto* request = std::get_if<RelayRequest>(&message);
  auto* before = waiting_.empty()
                     ? nullptr
                     : std::get_if<RelayRequest>(&waiting_.back().message);
  if (request != nullptr && before != nullptr &&
      before->request == request->request &&
      before->to.size() + request->to.size() <= kRelayNodesMax) {
    bytes = 0;
    for (auto& to : request->to) {
      bytes += size_of(to);
      before->to.push_back(std::move(to));
    }
    waiting_.back().bytes += bytes;
  } else {
    waiting_.push_back({.message = std::move(message), .bytes = bytes});
  }
  bytes_ += bytes;
  write_next();
  return bytes_ > 2 * waiting_max_ ? Sent::kOverflow : Sent::kYes;
}

Clock::time_point RelayStream::writing_since() {
  const std::scoped_lock lock(mutex_);
  return writing_since_;
}

// Under the lock.
void RelayStream::write_next() {
  if (ended_ || writing_ || (!hello_ && waiting_.empty())) {
    return;
  }
  outgoing_.Clear();
  if (hello_) {
    *outgoing_.mutable_hello() = std::move(*hello_);
    hello_.reset();
  } else {
    bytes_ -= waiting_.front().bytes;
    encode(std::move(waiting_.front().message), outgoing_);
    waiting_.pop_front();
  }
  writing_ = true;
  writing_since_ = Clock::now();
  start_write(outgoing_);
}

void RelayStream::read_done() {
  RelayEvent event{.kind = RelayEvent::kMessage,
                   .stream = shared_from_this(),
                   .message = {},
                   .status = {}};
  {
    const std::scoped_lock lock(mutex_);
    reading_ = false;
    event.message = std::move(incoming_);
    incoming_.Clear();
  }
  events_->push(std::move(event));
}

// Under the lock.
void RelayStream::write_done(bool ok) {
  writing_ = false;
  writing_since_ = Clock::time_point::max();
  if (ok) {
    write_next();
  }
}

void RelayStream::over(const grpc::Status& status) {
  {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    waiting_.clear();
    bytes_ = 0;
  }
  // After the push, the owner may destroy this object.
  const auto events = events_;
  events->push({.kind = RelayEvent::kOver,
                .stream = std::exchange(self_, nullptr),
                .message = {},
                .status = status});
}

// ---- the end that another replica has opened --------------------------------

void AcceptedRelay::start() {
  self_ = shared_from_this();
  events_->push({.kind = RelayEvent::kAccepted,
                 .stream = self_,
                 .message = {},
                 .status = {}});
  if (events_->closed()) {
    end({grpc::StatusCode::UNAVAILABLE, "the replica ends"});
  } else {
    read();
  }
}

void AcceptedRelay::end(const grpc::Status& status) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(ended_, true)) {
    return;
  }
  if (writing_) {
    // The other end may not read, and only this ends the write.
    last_words_ = status;
    context_.TryCancel();
  } else {
    Finish(status);
  }
}

void AcceptedRelay::OnReadDone(bool ok) {
  if (ok) {
    read_done();
  } else {
    end({grpc::StatusCode::CANCELLED, "the other replica has ended it"});
  }
}

void AcceptedRelay::OnWriteDone(bool ok) {
  {
    const std::scoped_lock lock(mutex_);
    write_done(ok);
    if (last_words_) {
      Finish(*std::exchange(last_words_, std::nullopt));
    }
  }
  if (!ok) {
    end(grpc::Status::CANCELLED);
  }
}

void AcceptedRelay::OnCancel() {
  end(grpc::Status::CANCELLED);
}

void AcceptedRelay::OnDone() {
  --*open_;
  over({grpc::StatusCode::CANCELLED, "the stream has ended"});
}

// ---- the end that this replica has opened -----------------------------------

void OpenedRelay::start(const std::shared_ptr<grpc::Channel>& channel,
                        const std::string& token, const std::string& replica) {
  self_ = shared_from_this();
  context_.AddMetadata("authorization", "Bearer " + token);
  stub_ = v1::Replication::NewStub(channel);
  stub_->async()->Relay(&context_, this);
  // Keeps the call open between reads, which the owner starts; close() releases
  // it.
  AddHold();
  say_hello(replica);
  read();
  StartCall();
}

void OpenedRelay::close() {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(ended_, true)) {
      return;
    }
  }
  RemoveHold();
}

void OpenedRelay::end(const grpc::Status& /*status*/) {
  // Nothing that the context points to may be destroyed before OnDone().
  const auto alive = shared_from_this();
  context_.TryCancel();
  close();
}

void OpenedRelay::OnReadDone(bool ok) {
  if (ok) {
    read_done();
  } else {
    close();
  }
}

void OpenedRelay::OnWriteDone(bool ok) {
  const std::scoped_lock lock(mutex_);
  write_done(ok);
}

void OpenedRelay::OnDone(const grpc::Status& status) {
  over(status);
}

// ---- where streams arrive ---------------------------------------------------

Reactor* RelayAcceptor::accept(grpc::CallbackServerContext& context) {
  // Counted at once, so that simultaneous streams cannot all pass the check.
  if (++*open_ > accepted_max_) {
    --*open_;
    return refuse({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many streams"});
  }
  const auto stream =
      std::make_shared<AcceptedRelay>(events_, waiting_max_, context, open_);
  auto* reactor = stream.get();
  stream->start();
  return reactor;
}

Reactor* RelayAcceptor::refuse(const grpc::Status& status) {
  // Owned by gRPC: it deletes itself.
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory)
  return new Refusal(status);
}

}  // namespace sluice::wire
