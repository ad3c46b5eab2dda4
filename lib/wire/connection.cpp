// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/connection.h"

#include <utility>

namespace sluice::wire {
namespace {

// More than a node has, and not more than an operator accepts.
constexpr int kPodsPerMessage = 512;

}  // namespace

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
  // Keeps the call open between reads, which the owner starts; close() releases
  // it.
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
void Connection::take_pods(v1::PodAddresses& message) {
  message.set_begins(std::exchange(pods_begin_, false));
  for (int i = 0; i < kPodsPerMessage && !pods_.empty(); ++i) {
    *message.add_pods() = std::move(pods_.begin()->second);
    pods_.erase(pods_.begin());
  }
}

void Connection::announce(v1::PodAddress pod) {
  const std::lock_guard lock(mutex_);
  auto name = pod.pod_namespace() + "/" + pod.pod_name();
  pods_[std::move(name)] = std::move(pod);
  write_next();
}

void Connection::announce_all(std::map<std::string, v1::PodAddress> pods) {
  const std::lock_guard lock(mutex_);
  pods_ = std::move(pods);
  pods_begin_ = true;
  write_next();
}

// Under the lock.
void Connection::write_next() {
  if (closed_ || writing_) {
    return;
  }
  outgoing_.Clear();
  if (pods_begin_ || !pods_.empty()) {
    take_pods(*outgoing_.mutable_announcement());
  } else if (addresses_) {
    *outgoing_.mutable_addresses() = std::move(*addresses_);
    addresses_.reset();
  } else if (progress_) {
    *outgoing_.mutable_progress() = std::move(*progress_);
    progress_.reset();
  } else if (!questions_.empty()) {
    *outgoing_.mutable_question() = std::move(questions_.front());
    questions_.pop_front();
  } else if (!flows_.empty()) {
    *outgoing_.mutable_flows() = std::move(flows_.front());
    flows_.pop_front();
  } else {
    return;
  }
  writing_ = true;
  StartWrite(&outgoing_);
}

void Connection::tell(v1::Progress progress) {
  const std::lock_guard lock(mutex_);
  progress_ = std::move(progress);
  write_next();
}

void Connection::tell(v1::NodeAddresses addresses) {
  const std::lock_guard lock(mutex_);
  addresses_ = std::move(addresses);
  write_next();
}

void Connection::ask(v1::Question question) {
  const std::lock_guard lock(mutex_);
  questions_.push_back(std::move(question));
  write_next();
}

void Connection::give(v1::FlowBatch flows) {
  const std::lock_guard lock(mutex_);
  if (!closed_) {
    flows_.push_back(std::move(flows));
    write_next();
  }
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
  // Nothing that the context points to may be destroyed before OnDone().
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
  // After the push, the owner may destroy this object.
  const auto events = events_;
  events->push({.connection = number_,
                .message = {},
                .status = status,
                .over = std::move(self_)});
}

}  // namespace sluice::wire
