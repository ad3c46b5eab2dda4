// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/views_json.h"

#include <nlohmann/json.hpp>

namespace sluice::ui {

using nlohmann::json;

void to_json(json& out, const Workload& workload) {
  out = {{"namespace", workload.ns},
         {"kind", workload.kind},
         {"name", workload.name}};
}

void to_json(json& out, const PolicyNode& node) {
  out = {{"node", node.node}, {"problem", node.problem}};
}

void to_json(json& out, const PolicyView& view) {
  out = {{"kind", view.kind},
         {"namespace", view.ns},
         {"name", view.name},
         {"valid", view.valid},
         {"in_force", view.in_force},
         {"source", view.source},
         {"reason", view.reason},
         {"warnings", view.warnings},
         {"subjects", view.subjects},
         {"more_subjects", view.more_subjects},
         {"nodes", view.nodes},
         {"nodes_in_all", view.nodes_in_all},
         {"nodes_in_force", view.nodes_in_force}};
}

void to_json(json& out, const ReachView& view) {
  out = {{"namespace", view.ns},    {"workloads", view.workloads},
         {"pods", view.pods},       {"last_pods", view.last_pods},
         {"ports", view.ports},     {"more", view.more},
         {"allowed", view.allowed}, {"some", view.some}};
}

void from_json(const json& in, Workload& workload) {
  workload = {.ns = in.value("namespace", ""),
              .kind = in.value("kind", ""),
              .name = in.value("name", "")};
}

void from_json(const json& in, PolicyNode& node) {
  node = {.node = in.value("node", ""), .problem = in.value("problem", "")};
}

void from_json(const json& in, PolicyView& view) {
  view = {.kind = in.value("kind", ""),
          .ns = in.value("namespace", ""),
          .name = in.value("name", ""),
          .valid = in.value("valid", false),
          .in_force = in.value("in_force", false),
          .source = in.value("source", ""),
          .reason = in.value("reason", ""),
          .warnings = in.value("warnings", view.warnings),
          .subjects = in.value("subjects", view.subjects),
          .more_subjects = in.value("more_subjects", false),
          .nodes = in.value("nodes", view.nodes),
          .nodes_in_all = in.value("nodes_in_all", std::uint64_t{0}),
          .nodes_in_force = in.value("nodes_in_force", std::uint64_t{0})};
}

void from_json(const json& in, ReachView& view) {
  view = {.ns = in.value("namespace", ""),
          .workloads = in.value("workloads", view.workloads),
          .pods = in.value("pods", view.pods),
          .last_pods = in.value("last_pods", view.last_pods),
          .ports = in.value("ports", view.ports),
          .more = in.value("more", false),
          .allowed = in.value("allowed", view.allowed),
          .some = in.value("some", view.some)};
}

}  // namespace sluice::ui
