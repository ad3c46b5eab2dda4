// SPDX-License-Identifier: Apache-2.0
#include "cli/ui_sources.h"

#include <optional>
#include <set>
#include <utility>

#include "lib/base/ip.h"
#include "lib/ui/reach.h"
#include "lib/ui/store_feed.h"
#include "lib/ui/subjects.h"

namespace sluice::cli {

Result<std::unique_ptr<ui::FlowFeed>> UiSources::open(
    const ::observer::GetFlowsRequest& request) {
  return ui::StoreFeed::open(runtime_->flow_store(), request, node_);
}

void UiSources::post(std::function<void()> callback) {
  runtime_->loop().post(std::move(callback));
}

Result<std::vector<std::string>> UiSources::namespaces() {
  std::set<std::string> result;
  for (const auto& object : source_->cluster().store().objects()) {
    if (object.key.kind == "Namespace") {
      result.insert(object.key.name);
    } else if (object.key.kind == "Pod") {
      result.insert(object.key.ns);
    }
  }
  return std::vector<std::string>(result.begin(), result.end());
}

// Of other nodes' pods nothing is known but that they are selected.
Result<std::vector<ui::PolicyView>> UiSources::policies() {
  ui::SubjectFinder finder(source_->cluster().translator(),
                           [this, problem = runtime_->enforcement_problem()](
                               const std::string& node) {
                             return node == node_ ? std::optional(problem)
                                                  : std::nullopt;
                           });
  std::vector<ui::PolicyView> result;
  for (auto& policy : source_->policies().policy_list().policies) {
    ui::PolicyView view{.kind = std::move(policy.kind),
                        .ns = std::move(policy.ns),
                        .name = std::move(policy.name),
                        .valid = policy.valid,
                        .in_force = policy.in_force,
                        .source = std::move(policy.source),
                        .reason = std::move(policy.reason),
                        .warnings = std::move(policy.warnings)};
    finder.find(view);
    result.push_back(std::move(view));
  }
  return result;
}

Result<explain::ExplainView> UiSources::explain(
    const explain::ExplainRequest& request) {
  return source_->policies().explain(request);
}

std::vector<std::string> UiSources::pods_of(const std::string& ns) const {
  std::vector<std::string> result;
  for (const auto& object : source_->cluster().store().objects()) {
    if (object.key.kind == "Pod" && object.key.ns == ns) {
      result.push_back(ns + "/" + object.key.name);
    }
  }
  return result;
}

Result<ui::ReachView> UiSources::reach(const std::string& ns,
                                       const std::vector<std::string>& ports) {
  return ui::reach_of(source_->cluster().translator(), ns, pods_of(ns), ports);
}

std::string ui_address(const std::string& text) {
  for (const auto& address : {text, "127.0.0.1:" + text}) {
    if (parse_ip_and_port(address)) {
      return address;
    }
  }
  return {};
}

}  // namespace sluice::cli
