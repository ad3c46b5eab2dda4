// SPDX-License-Identifier: Apache-2.0
#include "cli/cluster.h"

#include <algorithm>
#include <utility>

#include "cli/host.h"
#include "lib/explain/cluster.h"
#include "lib/kube/manifest.h"

namespace sluice::cli {
namespace {

std::string severity_text(op::Severity severity) {
  return severity == op::Severity::kError ? "error" : "note";
}

}  // namespace

Cluster::Cluster(const policy::TranslatorOptions& options,
                 op::OnInvalid on_invalid)
    : translator_(std::make_unique<policy::Translator>(options)),
      store_(std::make_unique<op::Store>(*translator_, on_invalid)) {}

void Cluster::take(const op::ManifestDir::Change& change) {
  using Kind = op::ManifestDir::Change::Kind;
  switch (change.kind) {
    case Kind::kText:
      store_->set_source(change.file,
                         kube::parse_manifest(change.text, change.file));
      return;
    case Kind::kUnreadable:
      store_->fail_source(change.file, change.text);
      return;
    case Kind::kGone:
      store_->remove_source(change.file);
      return;
  }
}

std::vector<node::ProblemView> Cluster::problems(bool without_policies) const {
  std::vector<node::ProblemView> views;
  for (auto& problem : store_->problems()) {
    if (!without_policies || !problem.policy) {
      views.push_back({.severity = severity_text(problem.severity),
                       .source = std::move(problem.source),
                       .object = std::move(problem.object),
                       .message = std::move(problem.message)});
    }
  }
  if (without_policies) {
    return views;
  }
  for (const auto& status : store_->objects()) {
    if (auto why = shortfall(status); !why.empty()) {
      views.push_back({.severity = severity_text(op::Severity::kError),
                       .source = status.source,
                       .object = to_string(status.key),
                       .message = std::move(why)});
    }
  }
  return views;
}

std::string Cluster::shortfall(const op::ObjectStatus& status) const {
  return status.policy ? translator_->shortfall({.kind = status.key.kind,
                                                 .ns = status.key.ns,
                                                 .name = status.key.name})
                       : std::string{};
}

std::vector<node::ProblemView> Cluster::errors() const {
  auto views = problems(false);
  std::erase_if(views, [](const node::ProblemView& view) {
    return view.severity != severity_text(op::Severity::kError);
  });
  return views;
}

node::PolicyListView Cluster::policy_list() const {
  node::PolicyListView view;
  for (auto& status : store_->objects()) {
    if (!status.policy) {
      continue;
    }
    for (auto& warning : translator_->warnings({.kind = status.key.kind,
                                                .ns = status.key.ns,
                                                .name = status.key.name})) {
      status.warnings.push_back(std::move(warning));
    }
    if (auto why = shortfall(status); !why.empty()) {
      status.reason += (status.reason.empty() ? "" : "; ") + why;
    }
    view.policies.push_back({.kind = std::move(status.key.kind),
                             .ns = std::move(status.key.ns),
                             .name = std::move(status.key.name),
                             .valid = status.valid,
                             .in_force = status.in_force,
                             .source = std::move(status.source),
                             .reason = std::move(status.reason),
                             .warnings = std::move(status.warnings)});
  }
  view.problems = problems(true);
  return view;
}

Result<Cluster> load_cluster(const std::filesystem::path& path,
                             const policy::TranslatorOptions& options) {
  Cluster cluster(options);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) {
    auto manifest = kube::read_manifest(path);
    if (!manifest) {
      return std::unexpected(manifest.error());
    }
    cluster.store().set_source(path.string(), *manifest);
    cluster.store().commit();
    return cluster;
  }
  auto dir = op::ManifestDir::open(path);
  if (!dir) {
    return std::unexpected(dir.error());
  }
  for (const auto& change : dir->scan()) {
    cluster.take(change);
  }
  if (!dir->problem().empty()) {
    return fail(dir->problem());
  }
  if (dir->pending()) {
    return fail(path.string() + ": a file is being written");
  }
  cluster.store().commit();
  return cluster;
}

Result<std::string> choose_node(Cluster& cluster, const std::string& wanted) {
  const auto nodes = cluster.store().nodes();
  std::string chosen = wanted;
  if (chosen.empty()) {
    chosen = nodes.size() == 1 ? nodes[0].name : host_name();
    if (!nodes.empty() &&
        std::ranges::find(nodes, chosen, &kube::Node::name) == nodes.end()) {
      return fail("there are several nodes: choose one with --node");
    }
  }
  cluster.store().set_local_node({.name = chosen, .labels = {}, .ips = {}});
  cluster.store().commit();
  return chosen;
}

Result<node::ExplainView> explain(const Cluster& cluster,
                                  const node::ExplainRequest& request) {
  return explain::explain_cluster(cluster.translator(), request);
}

}  // namespace sluice::cli
