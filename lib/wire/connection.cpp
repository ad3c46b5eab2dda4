// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/connection.h"

#include <utility>

namespace sluice::wire {

void ConnectionEvents::push(ConnectionEvent event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  poller_.notify();
}

std::optional<ConnectionEvent> ConnectionEvents::pop() {
  const std::lock_guard lock(mutex_);
  if (events_.empty()) {
    return std::nullopt;
  }
  auto event = std::move(events_.front());
  events_.pop_front();
  return event;
}

void Connection::start(const std::shared_ptr<grpc::Channel>& channel,
                       const std::string& token, v1::Hello hello) {
  self_ = shared_from_this();
  if (!token.empty()) {
    context_.AddMetadata("authorization", "Bearer " + token);
  }
  stub_ = v1::Distribution::NewStub(channel);
  *outgoing_.mutable_hello() = std::move(hello);
  writing_ = true;
  reading_ = true;
  stub_->async()->Subscribe(&context_, this);
  // Held open between reads, which the owner begins; given up by close().
  AddHold();
  StartWrite(&outgoing_);
  StartRead(&incoming_);
  StartCall();
}

void Connection::read() {
  const std::lock_guard lock(mutex_);
  if (!closed_ && !reading_) {
    reading_ = true;
    StartRead(&incoming_);
  }
}

// Under the lock.
void Connection::write_next() {
  if (closed_ || writing_ || !progress_) {
    return;
  }
  writing_ = true;
  outgoing_.Clear();
  *outgoing_.mutable_progress() = std::move(*progress_);
  progress_.reset();
  StartWrite(&outgoing_);
}

void Connection::tell(v1::Progress progress) {
  const std::lock_guard lock(mutex_);
  progress_ = std::move(progress);
  write_next();
}

void Connection::close() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) {
      return;
    }
  }
  RemoveHold();
}

void Connection::cancel() {
  // Of what the context points to, nothing goes before OnDone().
  const auto alive = shared_from_this();
  context_.TryCancel();
  close();
}

void Connection::OnReadDone(bool ok) {
  if (!ok) {
    close();
    return;
  }
  ConnectionEvent event{
      .connection = number_, .message = {}, .status = {}, .over = {}};
  {
    const std::lock_guard lock(mutex_);
    reading_ = false;
    event.message = std::move(incoming_);
    incoming_.Clear();
  }
  events_->push(std::move(event));
}

void Connection::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  writing_ = false;
  if (ok) {
    write_next();
  }
}

void Connection::OnDone(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  // Once it is pushed, the owner may end this object.
  const auto events = events_;
  events->push({.connection = number_,
                .message = {},
                .status = status,
                .over = std::move(self_)});
}

}  // namespace sluice::wire
