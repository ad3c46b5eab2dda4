// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_call.h"

#include <algorithm>
#include <utility>

#include "lib/flow/namespaces.h"

namespace sluice::flow {
namespace {

grpc::Status too_many(const Error& why) {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, why.message};
}

grpc::Status invalid(const Error& why) {
  return {grpc::StatusCode::INVALID_ARGUMENT, why.message};
}

}  // namespace

void FlowCall::start(Gate* gate, const std::string& authorization) {
  if (gate == nullptr) {
    admitted(root_admission());
    return;
  }
  gate_ = gate;
  authorization_ = authorization;
  {
    const std::lock_guard lock(mutex_);
    if (auto taken = seat_.take(""); !taken) {
      finish(too_many(taken.error()));
      return;
    }
    const auto flows = request();
    if (!flows) {
      finish(invalid(flows.error()));
      return;
    }
    for (const auto& name : named_namespaces(*flows)) {
      if (namespaces_.size() < kGateNamespacesMax) {
        namespaces_.push_back(name);
      }
    }
  }
  ask();
}

void FlowCall::ask() {
  std::vector<std::string> namespaces;
  {
    const std::lock_guard lock(mutex_);
    namespaces = namespaces_;
  }
  gate_->admit(authorization_, namespaces,
               [weak = weak_from_this()](const Admission& admission) {
                 if (const auto call = weak.lock()) {
                   call->admitted(admission);
                 }
               });
}

void FlowCall::admitted(const Admission& admission) {
  const std::lock_guard lock(mutex_);
  if (ended_) {
    return;
  }
  if (reader_) {
    check(admission);
    return;
  }
  if (!admission.status.ok()) {
    finish(admission.status);
    return;
  }
  if (auto taken = seat_.take(admission.user); !taken) {
    finish(too_many(taken.error()));
    return;
  }
  begin(admission);
}

// A right that cannot be checked now is checked again later.
void FlowCall::check(const Admission& admission) {
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

void FlowCall::begin(const Admission& admission) {
  auto flows = request();
  if (!flows) {
    finish(invalid(flows.error()));
    return;
  }
  if (!admission.everything && !is_within(*flows, admission.namespaces)) {
    finish({grpc::StatusCode::PERMISSION_DENIED,
            admission.missing +
                ". With a right in a namespace, every filter has to name pods "
                "or Services there: --namespace"});
    return;
  }
  const auto nodes = cluster_.add(shared_from_this());
  auto reader = ClusterReader::open(
      {.flows = std::move(*flows),
       .namespaces = admission.everything ? std::vector<std::string>{}
                                          : admission.namespaces},
      nodes, [] { return Cluster::next_id(); }, cluster_.options().reader,
      Clock::now());
  if (!reader) {
    finish(invalid(reader.error()));
    return;
  }
  reader_.emplace(std::move(*reader));
  everything_ = admission.everything;
  if (!everything_) {
    namespaces_ = admission.namespaces;
  }
  if (gate_ != nullptr) {
    check_at_ = Clock::now() + cluster_.options().check_right_every;
  }
  pump(Clock::now());
  send_commands();
}

ClusterReader::Step FlowCall::next(::observer::GetFlowsResponse& response,
                                   Clock::time_point now) {
  if (ended_) {
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
    cluster_.send(shared_from_this(), reader_->take_commands());
  }
}

void FlowCall::finish(const grpc::Status& status) {
  if (std::exchange(ended_, true)) {
    return;
  }
  if (reader_) {
    reader_->close();
    send_commands();
  }
  on_finish(status);
}

void FlowCall::close() {
  cluster_.remove(shared_from_this());
  const std::lock_guard lock(mutex_);
  ended_ = true;
  seat_.leave();
}

void FlowCall::on_batch(wire::FlowBatch batch, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (reads()) {
    reader_->on_batch(std::move(batch), now);
    pump(now);
    send_commands();
  }
}

void FlowCall::on_node(const std::string& node, const NodeView& view,
                       Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (reads()) {
    reader_->on_node(node, view, now);
    pump(now);
    send_commands();
  }
}

void FlowCall::on_lost(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (reads()) {
    reader_->on_lost(id);
    pump(Clock::now());
    send_commands();
  }
}

void FlowCall::turn(Clock::time_point now) {
  {
    const std::lock_guard lock(mutex_);
    if (!reads()) {
      return;
    }
    if (reader_->wake_at() <= now) {
      pump(now);
    }
    check_client(now);
    if (ended_ || now < check_at_) {
      return;
    }
    check_at_ = now + cluster_.options().check_right_every;
  }
  ask();
}

}  // namespace sluice::flow
