// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_call.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "lib/flow/namespaces.h"

namespace sluice::flow {

// Before it reads, those that the request names; later, those that were
// granted.
Result<std::vector<std::string>> FlowCall::namespaces_to_ask() {
  if (reader_) {
    return namespaces_;
  }
  const auto flows = request();
  if (!flows) {
    return std::unexpected(flows.error());
  }
  std::vector<std::string> namespaces;
  for (const auto& name : named_namespaces(*flows)) {
    if (namespaces.size() < kGateNamespacesMax) {
      namespaces.push_back(name);
    }
  }
  return namespaces;
}

// A right that cannot be checked now is checked again later.
void FlowCall::on_checked(const Admission& admission) {
  if (admission.status.error_code() == grpc::StatusCode::UNAUTHENTICATED) {
    finish(admission.status);
    return;
  }
  const auto is_granted = [&](const std::string& name) {
    return std::ranges::find(admission.namespaces, name) !=
           admission.namespaces.end();
  };
  if (admission.status.ok() && !admission.everything &&
      (everything_ || !std::ranges::all_of(namespaces_, is_granted))) {
    finish({grpc::StatusCode::PERMISSION_DENIED,
            "the right to read these flows has been revoked"});
  }
}

void FlowCall::on_admitted(const Admission& admission) {
  auto flows = request();
  if (!flows) {
    finish({grpc::StatusCode::INVALID_ARGUMENT, flows.error().message});
    return;
  }
  if (!admission.everything && !is_within(*flows, admission.namespaces)) {
    finish({grpc::StatusCode::PERMISSION_DENIED,
            admission.missing +
                ". With a right in a namespace, every filter has to name pods "
                "or Services there: --namespace"});
    return;
  }
  const auto nodes = cluster().add(shared_from_this());
  auto reader = ClusterReader::open(
      {.flows = std::move(*flows),
       .namespaces = admission.everything ? std::vector<std::string>{}
                                          : admission.namespaces},
      nodes, [] { return Cluster::next_id(); }, cluster().options().reader,
      Clock::now());
  if (!reader) {
    finish({grpc::StatusCode::INVALID_ARGUMENT, reader.error().message});
    return;
  }
  reader_.emplace(std::move(*reader));
  everything_ = admission.everything;
  if (!everything_) {
    namespaces_ = admission.namespaces;
  }
  if (has_gate()) {
    check_at_ = Clock::now() + cluster().options().check_right_every;
  }
  pump(Clock::now());
  send_commands();
}

ClusterReader::Step FlowCall::next(::observer::GetFlowsResponse& response,
                                   Clock::time_point now) {
  if (has_ended()) {
    return ClusterReader::Step::kEnd;
  }
  if (!reader_) {
    return ClusterReader::Step::kWait;
  }
  const auto step = reader_->next(response, now);
  if (step == ClusterReader::Step::kEnd) {
    finish(grpc::Status::OK);
  } else {
    send_commands();
  }
  return step;
}

void FlowCall::send_commands() {
  if (reader_) {
    cluster().send(shared_from_this(), reader_->take_commands());
  }
}

void FlowCall::on_finish(const grpc::Status& status) {
  if (reader_) {
    reader_->close();
    send_commands();
  }
  on_end(status);
}

void FlowCall::on_batch(wire::FlowBatch batch, Clock::time_point now) {
  const std::lock_guard lock(mutex());
  if (reads()) {
    reader_->on_batch(std::move(batch), now);
    pump(now);
    send_commands();
  }
}

void FlowCall::on_node(const std::string& node, const NodeView& view,
                       Clock::time_point now) {
  const std::lock_guard lock(mutex());
  if (reads()) {
    reader_->on_node(node, view, now);
    pump(now);
    send_commands();
  }
}

void FlowCall::on_lost(std::uint64_t id) {
  const std::lock_guard lock(mutex());
  if (reads()) {
    reader_->on_lost(id);
    pump(Clock::now());
    send_commands();
  }
}

void FlowCall::turn(Clock::time_point now) {
  {
    const std::lock_guard lock(mutex());
    if (!reads()) {
      return;
    }
    if (reader_->wake_at() <= now) {
      pump(now);
    }
    check_client(now);
    if (has_ended() || now < check_at_) {
      return;
    }
    check_at_ = now + cluster().options().check_right_every;
  }
  ask();
}

}  // namespace sluice::flow
