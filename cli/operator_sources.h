// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cli/operator_options.h"
#include "lib/base/result.h"
#include "lib/ui/sources.h"

namespace sluice::cli {

// What the web page of `sluice ui` shows: the flows of all nodes and the
// policies of the cluster, from its operator. Threads of its own wait for the
// answers.
class OperatorSources final : public ui::Sources {
 public:
  explicit OperatorSources(OperatorAccess access);
  OperatorSources(const OperatorSources&) = delete;
  OperatorSources& operator=(const OperatorSources&) = delete;
  OperatorSources(OperatorSources&&) = delete;
  OperatorSources& operator=(OperatorSources&&) = delete;
  ~OperatorSources() override { stop(); }

  // Begins to call what is posted. To be called once.
  void start();
  // Ends what is asked, and calls nothing any more.
  void stop();

  Result<std::unique_ptr<ui::FlowFeed>> open(
      const ::observer::GetFlowsRequest& request) override;
  void post(std::function<void()> callback) override;
  Result<std::vector<std::string>> namespaces() override;
  Result<std::vector<ui::PolicyView>> policies() override;
  Result<explain::ExplainView> explain(
      const explain::ExplainRequest& request) override;
  Result<ui::ReachView> reach(const std::string& ns,
                              const std::vector<std::string>& ports) override;

 private:
  void work();

  OperatorAccess access_;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;  // guards `posted_`
  std::condition_variable changed_;
  std::deque<std::function<void()>> posted_;
  std::vector<std::thread> workers_;
};

}  // namespace sluice::cli
