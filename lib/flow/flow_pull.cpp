// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_pull.h"

#include "lib/flow/cluster_request.h"

namespace sluice::flow {

// The cluster shares calls that take part in it, so the last owner outside has
// to end the call.
std::shared_ptr<FlowPull> FlowPull::open(Cluster& cluster, Gate* gate,
                                         const std::string& authorization,
                                         std::string bytes) {
  auto call = std::make_shared<FlowPull>(cluster, std::move(bytes));
  call->start(gate, authorization);
  auto* raw = call.get();
  return {raw, [call = std::move(call)](FlowPull*) mutable {
            call->end();
            call.reset();
          }};
}

void FlowPull::end() {
  {
    const std::lock_guard lock(mutex());
    finish(grpc::Status::CANCELLED);
  }
  close();
}

std::optional<grpc::Status> FlowPull::status() {
  const std::lock_guard lock(mutex());
  if (ended_with_) {
    return ended_with_;
  }
  return reads() ? std::optional(grpc::Status::OK) : std::nullopt;
}

ClusterReader::Step FlowPull::fetch(::observer::GetFlowsResponse& response) {
  const std::lock_guard lock(mutex());
  return next(response, Clock::now());
}

Result<::observer::GetFlowsRequest> FlowPull::request() {
  return parse_flows_request(bytes_);
}

void FlowPull::on_end(const grpc::Status& status) {
  ended_with_ = status;
}

}  // namespace sluice::flow
