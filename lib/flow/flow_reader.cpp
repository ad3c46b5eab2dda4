// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_reader.h"

#include <chrono>
#include <utility>

namespace sluice::flow {
namespace {

// How long a reader that follows may wait for a new flow.
constexpr std::chrono::milliseconds kPeriod{50};

}  // namespace

FlowReader::FlowReader(FlowCursor cursor, std::atomic<std::size_t>& streams)
    : cursor_(std::move(cursor)), streams_(streams) {
  go_on_at({});
}

// On a thread of gRPC's, never the caller's: others have their turn before, as
// OnCancel().
void FlowReader::go_on_at(std::chrono::system_clock::time_point time) {
  alarm_.Set(time, [this](bool /*expired*/) { go_on(); });
}

void FlowReader::go_on() {
  if (cancelled_) {
    Finish(grpc::Status::CANCELLED);
    return;
  }
  switch (cursor_.next(response_)) {
    case FlowCursor::Step::kMessage:
      StartWrite(&response_);
      break;
    case FlowCursor::Step::kBusy:
      go_on_at({});
      break;
    case FlowCursor::Step::kWait:
      go_on_at(std::chrono::system_clock::now() + kPeriod);
      break;
    case FlowCursor::Step::kEnd:
      Finish(grpc::Status::OK);
      break;
  }
}

void FlowReader::OnWriteDone(bool ok) {
  if (ok) {
    go_on();
  } else {
    Finish(grpc::Status::CANCELLED);
  }
}

void FlowReader::OnDone() {
  --streams_;
  delete this;
}

}  // namespace sluice::flow
