// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "lib/base/result.h"
#include "lib/ui/sources.h"
#include "observer.pb.h"

namespace sluice::cli {

// Flows that come from an operator, in a thread of its own, and wait to be
// taken. If too many wait, the newest ones are lost, and counted. A feed of
// which nothing is taken for a while ends, because its call has one of few
// places at the operator.
class OperatorFeed final : public ui::FlowFeed {
 public:
  using Message = ::observer::GetFlowsResponse;
  struct Options {
    bool follow = false;
    std::size_t most = 20'000;  // that wait
    std::chrono::milliseconds idle{30'000};
  };
  // Reads until there is no more, `take` returns false, or `stopped` does not.
  using Take = std::function<bool(const Message& message)>;
  using Stopped = std::function<bool()>;
  using Read = std::function<Result<void>(const Take& take, Stopped stopped)>;

  OperatorFeed(const Options& options, Read read);
  OperatorFeed(const OperatorFeed&) = delete;
  OperatorFeed& operator=(const OperatorFeed&) = delete;
  OperatorFeed(OperatorFeed&&) = delete;
  OperatorFeed& operator=(OperatorFeed&&) = delete;
  // Ends the call, and waits until it has ended.
  ~OperatorFeed() override;

  // kBusy after some milliseconds, until the first flows have come.
  Step next(Message& response) override;
  [[nodiscard]] std::string problem() const override;

 private:
  using Clock = std::chrono::steady_clock;

  void run(const Read& read);
  bool take(const Message& message);
  [[nodiscard]] bool is_over();
  [[nodiscard]] bool has_begun() const;

  const Options options_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Message> messages_;
  std::uint64_t lost_ = 0;  // and not told yet
  bool has_flows_ = false;
  Clock::time_point first_ = Clock::time_point::max();  // message
  Clock::time_point asked_ = Clock::now();
  bool over_ = false;  // nobody wants more
  bool ended_ = false;
  std::string problem_;
  std::thread thread_;  // uses all of it
};

}  // namespace sluice::cli
