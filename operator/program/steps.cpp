// SPDX-License-Identifier: Apache-2.0
#include "operator/program/steps.h"

#include <utility>

namespace sluice::operatord {

void Steps::add(Step step) {
  steps_.push_back(std::move(step));
  if (steps_.size() == 1) {
    run_later();
  }
}

// What is posted by what was posted runs in the next dispatch().
void Steps::run_later() {
  loop_.post([weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock()) {
      (*self)->run();
    }
  });
}

void Steps::run() {
  auto step = std::move(steps_.front());
  const bool more = step();
  steps_.pop_front();
  if (more) {
    steps_.push_back(std::move(step));
  }
  if (!steps_.empty()) {
    run_later();
  }
}

}  // namespace sluice::operatord
