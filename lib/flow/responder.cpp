// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/responder.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <grpcpp/support/status.h>

#include "lib/flow/figures.h"
#include "lib/flow/time.h"
#include "observer.pb.h"

namespace sluice::flow {
namespace {

// How long a request that follows may wait for a new flow.
constexpr std::chrono::milliseconds kPeriod{50};
// Of one request, that have been asked for and not given.
constexpr std::uint32_t kWantedMax = 4;

void end(wire::FlowBatch& batch, grpc::StatusCode code = grpc::StatusCode::OK,
         std::string why = {}) {
  batch.last = true;
  batch.code = code;
  batch.error = std::move(why);
}

// The answer to what is answered at once.
void give(const google::protobuf::Message& message, wire::FlowBatch& batch) {
  batch.items.push_back(
      {.time = now(), .message = message.SerializeAsString()});
  end(batch);
}

}  // namespace

Responder::Responder(const Store& store, ResponderOptions options, Send send)
    : store_(store),
      options_(std::move(options)),
      started_(now()),
      send_(std::move(send)) {}

Responder::~Responder() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Responder::request(wire::FlowRequest request) {
  const auto id = request.id;
  {
    const std::scoped_lock lock(mutex_);
    if (requests_.size() < options_.requests_max) {
      auto open = std::make_shared<Open>();
      open->request = std::move(request);
      requests_.insert_or_assign(id, std::move(open));
      if (!thread_.joinable()) {
        thread_ = std::thread([this] { run(); });
      }
      changed_.notify_all();
      return;
    }
  }
  wire::FlowBatch refusal;
  refusal.id = id;
  end(refusal, grpc::StatusCode::RESOURCE_EXHAUSTED,
      "the agent answers " + std::to_string(options_.requests_max) +
          " requests already");
  send_(std::move(refusal));
}

void Responder::control(const wire::FlowControl& control) {
  const std::scoped_lock lock(mutex_);
  const auto found = requests_.find(control.id);
  if (found == requests_.end()) {
    return;
  }
  if (control.cancel) {
    requests_.erase(found);
    return;
  }
  auto& open = *found->second;
  open.wanted = std::min(open.wanted + 1, kWantedMax);
  changed_.notify_all();
}

void Responder::cancel_all() {
  const std::scoped_lock lock(mutex_);
  requests_.clear();
}

// Under the lock: the next request from which a batch is wanted and which need
// not wait, in turn.
std::shared_ptr<Responder::Open> Responder::choose() {
  auto at = requests_.upper_bound(last_);
  for (std::size_t i = 0; i < requests_.size(); ++i, ++at) {
    if (at == requests_.end()) {
      at = requests_.begin();
    }
    if (at->second->wanted > 0 && !at->second->waits) {
      last_ = at->first;
      return at->second;
    }
  }
  return nullptr;
}

// Under the lock, which it gives up meanwhile. Requests that wait for flows
// have another look when kPeriod has passed.
void Responder::wait(std::unique_lock<std::mutex>& lock) {
  const bool waits = std::ranges::any_of(
      requests_, [](const auto& item) { return item.second->waits; });
  if (!waits) {
    changed_.wait(lock);
    return;
  }
  if (look_at_ <= Clock::now()) {
    look_at_ = Clock::now() + kPeriod;
  }
  changed_.wait_until(lock, look_at_);
  if (Clock::now() >= look_at_) {
    for (const auto& [id, open] : requests_) {
      open->waits = false;
    }
  }
}

// Under the lock: what becomes of a request whose answer is complete. nullopt
// if it is not to be sent.
std::optional<wire::FlowBatch> Responder::settle(
    const std::shared_ptr<Open>& open) {
  const auto found = requests_.find(open->request.id);
  if (found == requests_.end() || found->second != open) {
    return std::nullopt;  // cancelled
  }
  auto batch = std::exchange(open->batch, {});
  open->bytes = 0;
  open->waits =
      batch.items.empty() && batch.lost == 0 && !batch.caught_up && !batch.last;
  if (open->waits) {
    return std::nullopt;
  }
  --open->wanted;
  if (batch.last) {
    requests_.erase(found);
  }
  batch.id = open->request.id;
  return batch;
}

void Responder::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto open = choose();
    if (open == nullptr) {
      wait(lock);
      continue;
    }
    lock.unlock();
    const bool complete = work(*open);
    lock.lock();
    if (auto batch = complete ? settle(open) : std::nullopt) {
      lock.unlock();
      send_(std::move(*batch));
      lock.lock();
    }
  }
}

// One step, so that between two of them others have their turn, and a request
// that is cancelled or a responder that stops ends. True if the answer is
// complete.
bool Responder::work(Open& open) const {
  switch (open.request.kind) {
    case wire::FlowKind::kFlows:
      return read_flow(open);
    case wire::FlowKind::kStatus:
      give(status_of(store_, options_.version, started_), open.batch);
      return true;
    case wire::FlowKind::kNamespaces:
      give(namespaces_of(store_), open.batch);
      return true;
  }
  std::unreachable();
}

// False if the request is refused.
bool Responder::open_cursor(Open& open) const {
  ::observer::GetFlowsRequest request;
  if (!request.ParseFromString(open.request.request)) {
    end(open.batch, grpc::StatusCode::INVALID_ARGUMENT,
        "not a GetFlowsRequest");
    return false;
  }
  auto cursor =
      FlowCursor::open(store_, request, options_.node, open.request.namespaces);
  if (!cursor) {
    end(open.batch, grpc::StatusCode::INVALID_ARGUMENT, cursor.error().message);
    return false;
  }
  open.cursor = std::move(*cursor);
  return true;
}

bool Responder::read_flow(Open& open) const {
  if (!open.cursor && !open_cursor(open)) {
    return true;
  }
  auto& batch = open.batch;
  ::observer::GetFlowsResponse response;
  switch (open.cursor->next(response)) {
    case FlowCursor::Step::kBusy:
      return false;
    case FlowCursor::Step::kWait:
      batch.caught_up = !std::exchange(open.caught_up, true);
      return true;
    case FlowCursor::Step::kEnd:
      end(batch);
      return true;
    case FlowCursor::Step::kMessage:
      break;
  }
  if (response.has_lost_events()) {
    batch.lost += response.lost_events().num_events_lost();
    return false;
  }
  auto message = response.SerializeAsString();
  if (message.size() > wire::kFlowBatchBytesMax) {
    ++batch.lost;  // the operator would take it for an error
    return false;
  }
  open.bytes += message.size();
  batch.items.push_back(
      {.time = nanoseconds(response.time()), .message = std::move(message)});
  return open.bytes >= open.request.batch_bytes ||
         batch.items.size() >= wire::kFlowBatchItemsMax;
}

}  // namespace sluice::flow
