// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lib/flow/store.h"
#include "lib/ui/store_feed.h"

namespace sluice::ui {

// Gives what a test has put into it, and then ends.
class EndingFeed final : public FlowFeed {
 public:
  EndingFeed(std::vector<::observer::GetFlowsResponse> messages,
             std::string problem)
      : messages_(std::move(messages)), problem_(std::move(problem)) {}
  Step next(::observer::GetFlowsResponse& response) override {
    if (place_ == messages_.size()) {
      return Step::kEnd;
    }
    response = messages_[place_++];
    return Step::kMessage;
  }
  [[nodiscard]] std::string problem() const override { return problem_; }

 private:
  std::vector<::observer::GetFlowsResponse> messages_;
  std::size_t place_ = 0;
  std::string problem_;
};

// A store with nothing around it. What is posted waits. If `messages` or
// `problem` is set, feeds are of these instead.
class StoreSources final : public Sources {
 public:
  flow::Store store{64, 1};
  std::mutex mutex;  // guards `posted`
  std::condition_variable changed;
  std::vector<std::function<void()>> posted;
  std::vector<::observer::GetFlowsResponse> messages;
  std::string problem;

  Result<std::unique_ptr<FlowFeed>> open(
      const ::observer::GetFlowsRequest& request) override {
    if (!messages.empty() || !problem.empty()) {
      return std::make_unique<EndingFeed>(messages, problem);
    }
    return StoreFeed::open(store, request, "node1");
  }
  void post(std::function<void()> callback) override {
    const std::lock_guard lock(mutex);
    posted.push_back(std::move(callback));
    changed.notify_all();
  }
  Result<std::vector<std::string>> namespaces() override {
    return std::vector<std::string>{};
  }
  Result<std::vector<PolicyView>> policies() override {
    return problem.empty()
               ? Result<std::vector<PolicyView>>(std::vector<PolicyView>{})
               : fail(problem);
  }
  Result<explain::ExplainView> explain(
      const explain::ExplainRequest& /*request*/) override {
    return fail("unknown");
  }
  Result<ReachView> reach(const std::string& /*ns*/,
                          const std::vector<std::string>& /*ports*/) override {
    return fail("unknown");
  }

  void add(const std::string& pod) {
    flow::Record record;
    record.ip = true;
    record.protocol = 6;
    record.destination_port = 80;
    record.allowed = true;
    record.from =
        std::make_shared<const flow::End>(flow::End{.ns = "shop", .pod = pod});
    record.to =
        std::make_shared<const flow::End>(flow::End{.ns = "shop", .pod = "db"});
    record.decision = std::make_shared<const flow::Decision>();
    store.add(std::move(record));
  }
};

}  // namespace sluice::ui
