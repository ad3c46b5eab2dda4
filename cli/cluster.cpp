// SPDX-License-Identifier: Apache-2.0
#include "cli/cluster.h"

#include <algorithm>
#include <iostream>
#include <utility>
#include <vector>

#include "agent/node/command_line.h"
#include "cli/host.h"
#include "cli/sources.h"
#include "cli/tables.h"
#include "lib/base/suggestion.h"
#include "lib/explain/all_ports.h"
#include "lib/explain/cluster.h"
#include "lib/explain/reach.h"
#include "lib/kube/manifest.h"

namespace sluice::cli {
namespace {

std::string severity_text(op::Severity severity) {
  return severity == op::Severity::kError ? "error" : "note";
}

// A node is one that there is an object of, or one where a pod is.
Result<void> check_node(const op::Store& store, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& node : store.nodes()) {
    known.push_back(node.name);
  }
  for (const auto& object : store.objects()) {
    const auto* pod = object.key.kind == "Pod"
                          ? store.pod(object.key.ns, object.key.name)
                          : nullptr;
    if (pod != nullptr && !pod->node.empty()) {
      known.push_back(pod->node);
    }
  }
  if (known.empty() || std::ranges::find(known, name) != known.end()) {
    return {};
  }
  return fail("--node: there is no node \"" + name + "\"" +
              did_you_mean(name, known));
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
      set_source(change.file, kube::parse_manifest(change.text, change.file));
      return;
    case Kind::kUnreadable:
      store_->fail_source(change.file, change.text);
      return;
    case Kind::kGone:
      store_->remove_source(change.file);
      inputs_.erase(change.file);
      findings_.reset();
      return;
  }
}

void Cluster::set_source(const std::string& source,
                         const kube::Manifest& manifest) {
  store_->set_source(source, manifest);
  inputs_[source] = lint::read_input(manifest);
  findings_.reset();
}

const std::vector<lint::Finding>& Cluster::findings() const {
  if (!findings_) {
    findings_ = lint::lint(inputs_);
  }
  return *findings_;
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
  view.problems = problems(true);
  std::map<std::string, std::vector<std::string>> warnings;
  for (const auto& finding : findings()) {
    const auto source = lint::place_of(finding);
    auto text = lint::text_of(finding);
    if (!finding.of_policy) {
      // The note that its kind is not known says less.
      std::erase_if(view.problems, [&](const node::ProblemView& problem) {
        return problem.source == source && problem.object == finding.object &&
               problem.severity == severity_text(op::Severity::kNote);
      });
      view.problems.push_back({.severity = severity_text(op::Severity::kNote),
                               .source = source,
                               .object = finding.object,
                               .message = std::move(text)});
    } else {
      warnings[source + " " + finding.object].push_back(std::move(text));
    }
  }
  for (auto& status : store_->objects()) {
    if (!status.policy) {
      continue;
    }
    // Of a version that is not valid, the one in force has warnings.
    if (const auto found =
            warnings.find(status.source + " " + to_string(status.key));
        found != warnings.end() && status.valid) {
      status.warnings = found->second;
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
  return view;
}

std::vector<std::string> names_of_pods(const op::Store& store) {
  std::vector<std::string> names;
  for (const auto& object : store.objects()) {
    if (object.key.kind == "Pod") {
      names.push_back(object.key.ns + "/" + object.key.name);
    }
  }
  return names;
}

Result<void> load(Cluster& cluster, const std::filesystem::path& path) {
  const auto sources = read_sources(path);
  if (!sources) {
    return std::unexpected(sources.error());
  }
  for (const auto& source : *sources) {
    set_source(cluster, source);
  }
  cluster.store().commit();
  return {};
}

Result<Cluster> load_cluster(const std::filesystem::path& path,
                             const policy::TranslatorOptions& options) {
  Cluster cluster(options);
  if (auto loaded = load(cluster, path); !loaded) {
    return std::unexpected(loaded.error());
  }
  return cluster;
}

Result<std::string> choose_node(Cluster& cluster, const std::string& wanted) {
  const auto nodes = cluster.store().nodes();
  std::string chosen = wanted;
  if (!chosen.empty()) {
    if (auto known = check_node(cluster.store(), chosen); !known) {
      return std::unexpected(known.error());
    }
  } else {
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

int exit_code_of(const Cluster& cluster, bool allow_partial, int code) {
  const auto errors = cluster.errors();
  print(std::cerr, errors);
  return errors.empty() || allow_partial ? code : node::kExitError;
}

Result<std::vector<node::ExplainView>> explain_all_ports(
    const Cluster& cluster, const node::ExplainRequest& request) {
  return explain::explain_all_ports(cluster.translator(), request, [&] {
    return names_of_pods(cluster.store());
  });
}

Result<node::ExplainView> explain(const Cluster& cluster,
                                  const node::ExplainRequest& request) {
  return explain::explain_cluster(cluster.translator(), request, {}, [&] {
    return names_of_pods(cluster.store());
  });
}

Result<explain::ReachView> reach(const Cluster& cluster,
                                 const explain::ReachRequest& request) {
  std::vector<std::string> namespaces;
  for (const auto& object : cluster.store().objects()) {
    if (object.key.kind == "Namespace") {
      namespaces.push_back(object.key.name);
    }
  }
  return explain::reach(cluster.translator(), request,
                        names_of_pods(cluster.store()), namespaces);
}

}  // namespace sluice::cli
