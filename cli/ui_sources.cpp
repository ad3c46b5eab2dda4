// SPDX-License-Identifier: Apache-2.0
#include "cli/ui_sources.h"

#include <set>
#include <utility>

#include "lib/base/ip.h"
#include "lib/kube/workload.h"
#include "lib/ui/reach.h"
#include "lib/ui/store_feed.h"

namespace sluice::cli {
namespace {

constexpr std::size_t kSubjectsMax = 500;

void add_subjects(const policy::Translator& translator, ui::PolicyView& view) {
  std::set<ui::Workload> subjects;
  translator.visit_subjects(
      {.kind = view.kind, .ns = view.ns, .name = view.name},
      [&](const kube::Pod& pod) {
        auto owner = kube::workload_of(pod);
        ui::Workload workload{.ns = pod.ns,
                              .kind = std::move(owner.kind),
                              .name = std::move(owner.name)};
        if (subjects.size() < kSubjectsMax || subjects.contains(workload)) {
          subjects.insert(std::move(workload));
        } else {
          view.more_subjects = true;
        }
      });
  view.subjects.assign(subjects.begin(), subjects.end());
}

}  // namespace

Result<std::unique_ptr<ui::FlowFeed>> UiSources::open(
    const ::observer::GetFlowsRequest& request) {
  return ui::StoreFeed::open(runtime_->flow_store(), request, node_);
}

void UiSources::post(std::function<void()> callback) {
  runtime_->loop().post(std::move(callback));
}

std::vector<std::string> UiSources::namespaces() {
  std::set<std::string> result;
  for (const auto& object : source_->cluster().store().objects()) {
    if (object.key.kind == "Namespace") {
      result.insert(object.key.name);
    } else if (object.key.kind == "Pod") {
      result.insert(object.key.ns);
    }
  }
  return {result.begin(), result.end()};
}

std::vector<ui::PolicyView> UiSources::policies() {
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
    add_subjects(source_->cluster().translator(), view);
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
