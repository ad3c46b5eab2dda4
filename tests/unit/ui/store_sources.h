// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lib/flow/store.h"
#include "lib/ui/store_feed.h"

namespace sluice::ui {

// A store with nothing around it. What is posted waits.
class StoreSources final : public Sources {
 public:
  flow::Store store{64, 1};
  std::mutex mutex;  // guards `posted`
  std::condition_variable changed;
  std::vector<std::function<void()>> posted;

  Result<std::unique_ptr<FlowFeed>> open(
      const ::observer::GetFlowsRequest& request) override {
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
    return std::vector<PolicyView>{};
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
