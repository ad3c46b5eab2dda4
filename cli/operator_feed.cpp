// SPDX-License-Identifier: Apache-2.0
#include "cli/operator_feed.h"

#include <utility>

namespace sluice::cli {
namespace {

// In a call of next().
constexpr std::chrono::milliseconds kWait{5};
// After the first message, there may be no flows to come.
constexpr std::chrono::seconds kFlowsCome{1};

}  // namespace

OperatorFeed::OperatorFeed(const Options& options, Read read)
    : options_(options),
      thread_([this, read = std::move(read)] { run(read); }) {}

OperatorFeed::~OperatorFeed() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  thread_.join();
}

void OperatorFeed::run(const Read& read) {
  const auto done =
      read([this](const Message& message) { return take(message); },
           [this] { return is_over(); });
  const std::lock_guard lock(mutex_);
  ended_ = true;
  if (!done && !over_) {
    problem_ = done.error().message;
  }
  changed_.notify_all();
}

bool OperatorFeed::take(const Message& message) {
  const std::lock_guard lock(mutex_);
  if (over_) {
    return false;
  }
  if (first_ == Clock::time_point::max()) {
    first_ = Clock::now();
  }
  has_flows_ = has_flows_ || message.has_flow();
  if (messages_.size() < options_.most) {
    messages_.push_back(message);
  } else {
    lost_ += message.has_flow() ? 1 : 0;
  }
  changed_.notify_all();
  return true;
}

bool OperatorFeed::is_over() {
  const std::lock_guard lock(mutex_);
  over_ = over_ || Clock::now() - asked_ > options_.idle;
  return over_;
}

bool OperatorFeed::has_begun() const {
  return has_flows_ || (first_ != Clock::time_point::max() &&
                        Clock::now() - first_ > kFlowsCome);
}

OperatorFeed::Step OperatorFeed::next(Message& response) {
  std::unique_lock lock(mutex_);
  asked_ = Clock::now();
  if (messages_.empty() && lost_ == 0 && !ended_ &&
      !(options_.follow && has_begun())) {
    changed_.wait_for(lock, kWait,
                      [this] { return ended_ || !messages_.empty(); });
  }
  if (!messages_.empty()) {
    response = std::move(messages_.front());
    messages_.pop_front();
    return Step::kMessage;
  }
  if (lost_ > 0) {
    response.Clear();
    response.mutable_lost_events()->set_num_events_lost(
        std::exchange(lost_, 0));
    return Step::kMessage;
  }
  if (ended_) {
    return Step::kEnd;
  }
  return options_.follow && has_begun() ? Step::kWait : Step::kBusy;
}

std::string OperatorFeed::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

}  // namespace sluice::cli
