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
  write_next_at({});
}

// On a thread of gRPC's, never the caller's: others have their turn before, as
// OnCancel().
void FlowReader::write_next_at(std::chrono::system_clock::time_point time) {
  alarm_.Set(time, [this](bool /*expired*/) { write_next(); });
}

void FlowReader::write_next() {
  if (cancelled_) {
    Finish(grpc::Status::CANCELLED);
    return;
  }
  switch (cursor_.next(response_)) {
    case FlowCursor::Step::kMessage:
      StartWrite(&response_);
      break;
    case FlowCursor::Step::kBusy:
      write_next_at({});
      break;
    case FlowCursor::Step::kWait:
      write_next_at(std::chrono::system_clock::now() + kPeriod);
      break;
    case FlowCursor::Step::kEnd:
      Finish(grpc::Status::OK);
      break;
  }
}

void FlowReader::OnWriteDone(bool ok) {
  if (ok) {
    write_next();
  } else {
    Finish(grpc::Status::CANCELLED);
  }
}

void FlowReader::OnDone() {
  --streams_;
  delete this;
}

}  // namespace sluice::flow
