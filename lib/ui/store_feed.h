// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "lib/base/result.h"
#include "lib/flow/store.h"
#include "lib/ui/sources.h"

namespace sluice::ui {

// The flows of one node's store, which must outlive it.
class StoreFeed final : public FlowFeed {
 public:
  static Result<std::unique_ptr<FlowFeed>> open(
      const flow::Store& store, const ::observer::GetFlowsRequest& request,
      const std::string& node) {
    auto cursor = flow::FlowCursor::open(store, request, node);
    if (!cursor) {
      return std::unexpected(cursor.error());
    }
    return std::unique_ptr<FlowFeed>(new StoreFeed(std::move(*cursor)));
  }
  Step next(::observer::GetFlowsResponse& response) override {
    return cursor_.next(response);
  }

 private:
  explicit StoreFeed(flow::FlowCursor cursor) : cursor_(std::move(cursor)) {}
  flow::FlowCursor cursor_;
};

}  // namespace sluice::ui
