// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>

#include "lib/base/loop.h"

namespace sluice::operatord {

// Work on what belongs to the loop's thread, in pieces: each dispatch() of the
// loop does one piece of all that waits, so that no question delays a policy.
// Belongs to the loop's thread; pieces that are left when it is destroyed are
// not done.
class Steps {
 public:
  // Does a piece. False: there is none after it.
  using Step = std::function<bool()>;

  // `loop` must outlive this object.
  explicit Steps(Loop& loop) : loop_(loop) {}
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;
  Steps(Steps&&) = delete;
  Steps& operator=(Steps&&) = delete;
  ~Steps() = default;

  // Those that wait are served in turn.
  void add(Step step);
  [[nodiscard]] std::size_t waiting() const { return steps_.size(); }

 private:
  void run();
  void run_later();

  Loop& loop_;
  std::deque<Step> steps_;
  // Of this object: what the loop calls later finds out whether it still lives.
  std::shared_ptr<Steps*> self_ = std::make_shared<Steps*>(this);
};

}  // namespace sluice::operatord
