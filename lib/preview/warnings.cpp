// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/warnings.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "lib/explain/reach_ends.h"
#include "lib/lint/dns.h"

namespace sluice::preview {
namespace {

constexpr const char* kWorld = "world";

// The part of a message that says where in the object it is about.
std::string path_in(const std::string& message) {
  const auto colon = message.find(": ");
  return colon == std::string::npos ? std::string() : message.substr(0, colon);
}

bool is_found(const std::vector<const lint::Finding*>& findings,
              const std::string& path) {
  return std::ranges::any_of(findings, [&](const lint::Finding* finding) {
    return path_in(finding->message) == path;
  });
}

bool selects_nothing(const policy::Translator& translator,
                     const policy::PolicyKey& key) {
  bool nothing = true;
  translator.visit_subjects(key,
                            [&](const kube::Pod& /*pod*/) { nothing = false; });
  return nothing;
}

void warn_of_policy(const ChangedWorld& world, const lint::PolicyObject& object,
                    std::vector<Warning>& warnings) {
  const auto& key = object.policy.key;
  const auto name = to_string(key);
  const auto source = object.file + ":" + std::to_string(object.line);
  std::vector<const lint::Finding*> findings;
  for (const auto& finding : *world.findings) {
    if (finding.object == name && lint::place_of(finding) == source) {
      findings.push_back(&finding);
      warnings.push_back(
          {.source = source, .object = name, .message = text_of(finding)});
    }
  }
  const bool said =
      std::ranges::any_of(findings, [](const lint::Finding* finding) {
        return finding->code == lint::Code::kSelectsNoPod;
      });
  if (!said && selects_nothing(*world.translator, key)) {
    warnings.push_back({.source = source,
                        .object = name,
                        .message = "selects no pod that is there"});
  }
  for (auto& text : world.translator->warnings(key)) {
    const auto path = path_in(text);  // none: about DNS, see warn_of_dns()
    if (!path.empty() && !is_found(findings, path)) {
      warnings.push_back(
          {.source = source, .object = name, .message = std::move(text)});
    }
  }
}

// By the rule that opens them, the workloads that the world may talk to now, or
// that may talk to it.
void warn_of_world(const View& view, std::vector<Warning>& warnings) {
  using By = std::tuple<std::string, std::string, bool>;  // policy, path
  std::map<By, std::set<std::string>> opened;
  for (const auto& change : view.changes) {
    const auto& from = view.ends[change.from];
    const auto& to = view.ends[change.to];
    const bool egress = to.name == kWorld && to.pods.empty();
    if (change.allowed &&
        (egress || (from.name == kWorld && from.pods.empty()))) {
      const auto& decision = view.decisions[change.after];
      opened[{decision.policy, decision.path, egress}].insert(egress ? from.name
                                                                     : to.name);
    }
  }
  for (const auto& [by, workloads] : opened) {
    const auto& [policy, path, egress] = by;
    const auto names =
        explain::some_names({workloads.begin(), workloads.end()});
    auto message = path;
    message += path.empty() ? "opens " : ": opens ";
    message += names;
    message += " to the world for ";
    message += egress ? "egress" : "ingress";
    message +=
        policy.empty() ? ": no policy isolates this direction any longer" : "";
    warnings.push_back(
        {.source = {}, .object = policy, .message = std::move(message)});
  }
}

void warn_of_dns(const ChangedWorld& world, std::vector<Warning>& warnings) {
  const auto before = lint::pods_without_dns(*world.inputs_before);
  const auto after = lint::pods_without_dns(*world.inputs);
  std::vector<std::string> isolated;
  std::ranges::set_difference(after, before, std::back_inserter(isolated));
  if (!isolated.empty()) {
    warnings.push_back({.source = {},
                        .object = {},
                        .message = "isolates DNS: no rule lets " +
                                   explain::some_names(isolated) +
                                   " ask a DNS server (UDP port 53) any "
                                   "longer"});
  }
}

}  // namespace

std::vector<Warning> warnings_of(const ChangedWorld& world, const View& view,
                                 const std::set<policy::PolicyKey>& changed) {
  std::vector<Warning> warnings;
  for (const auto& [file, input] : *world.inputs) {
    for (const auto& object : input.policies) {
      if (changed.contains(object.policy.key)) {
        warn_of_policy(world, object, warnings);
      }
    }
  }
  warn_of_world(view, warnings);
  warn_of_dns(world, warnings);
  return warnings;
}

}  // namespace sluice::preview
