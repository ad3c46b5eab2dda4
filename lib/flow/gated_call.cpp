// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/gated_call.h"

namespace sluice::flow {
namespace {

grpc::Status too_many(const Error& why) {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, why.message};
}

}  // namespace

void GatedCall::start(Gate* gate, const std::string& authorization) {
  if (gate == nullptr) {
    decide(root_admission());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    gate_ = gate;
    authorization_ = authorization;
    if (auto taken = seat_.take(""); !taken) {
      finish(too_many(taken.error()));
      return;
    }
  }
  ask();
}

void GatedCall::ask() {
  std::vector<std::string> namespaces;
  {
    const std::lock_guard lock(mutex_);
    auto named = namespaces_to_ask();
    if (!named) {
      finish({grpc::StatusCode::INVALID_ARGUMENT, named.error().message});
      return;
    }
    namespaces = std::move(*named);
  }
  gate_->admit(authorization_, namespaces,
               [weak = weak_from_this()](const Admission& admission) {
                 if (const auto call = weak.lock()) {
                   call->decide(admission);
                 }
               });
}

void GatedCall::decide(const Admission& admission) {
  const std::lock_guard lock(mutex_);
  if (ended_) {
    return;
  }
  if (admitted_) {
    on_checked(admission);
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
  admitted_ = true;
  on_admitted(admission);
}

void GatedCall::finish(const grpc::Status& status) {
  if (!std::exchange(ended_, true)) {
    on_finish(status);
  }
}

void GatedCall::close() {
  cluster_.remove(shared_from_this());
  const std::lock_guard lock(mutex_);
  ended_ = true;
  seat_.leave();
}

}  // namespace sluice::flow
