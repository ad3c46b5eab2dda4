// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/node/runtime.h"
#include "cli/manifest_source.h"
#include "lib/base/result.h"
#include "lib/ui/sources.h"

namespace sluice::cli {

// What the web page of `sluice run` shows: the flows of this node, and the
// policies of its folder. The runtime must outlive it.
class UiSources final : public ui::Sources {
 public:
  // `source`: the runtime's.
  UiSources(node::Runtime& runtime, const ManifestSource& source)
      : runtime_(&runtime), source_(&source), node_(source.node()) {}

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
  [[nodiscard]] std::vector<std::string> pods_of(const std::string& ns) const;

  node::Runtime* runtime_;
  const ManifestSource* source_;
  const std::string node_;
};

// An address for the page: a port, which is one of 127.0.0.1, or an address and
// a port. Empty if it is neither.
std::string ui_address(const std::string& text);

}  // namespace sluice::cli
