// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include "lib/flow/cursor.h"
#include "observer.pb.h"

// One call of GetFlows. Internal to Observer.
namespace sluice::flow {

class FlowReader final
    : public grpc::ServerWriteReactor<::observer::GetFlowsResponse> {
 public:
  // Begins to write. `streams` is decremented at the end; deletes itself.
  FlowReader(FlowCursor cursor, std::atomic<std::size_t>& streams);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override;

 private:
  void write_next();
  void write_next_at(std::chrono::system_clock::time_point time);

  FlowCursor cursor_;
  std::atomic<std::size_t>& streams_;
  ::observer::GetFlowsResponse response_;
  grpc::Alarm alarm_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace sluice::flow
