// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "lib/flow/flow_call.h"

namespace sluice::flow {

// A call whose client fetches its flows one by one, whenever it likes. Any
// thread may call it.
class FlowPull final : public FlowCall {
 public:
  // Begins at once. `bytes`: a GetFlowsRequest, or anything. Without a gate,
  // root at this host asks. The call ends when nobody has the pointer any more.
  static std::shared_ptr<FlowPull> open(Cluster& cluster, Gate* gate,
                                        const std::string& authorization,
                                        std::string bytes);
  // Use open().
  FlowPull(Cluster& cluster, std::string bytes)
      : FlowCall(cluster), bytes_(std::move(bytes)) {}

  // nullopt: whether the client may read is not known yet. Otherwise OK, or why
  // the call has ended.
  std::optional<grpc::Status> status();
  // kWait: none now.
  ClusterReader::Step fetch(::observer::GetFlowsResponse& response);

 protected:
  Result<::observer::GetFlowsRequest> request() override;
  void pump(Clock::time_point /*now*/) override {}
  void on_end(const grpc::Status& status) override;

 private:
  void end();

  const std::string bytes_;
  std::optional<grpc::Status> ended_with_;  // under the lock
};

}  // namespace sluice::flow
