// SPDX-License-Identifier: Apache-2.0
#include "operator/program/page_answers.h"

#include <cstddef>
#include <set>

#include <nlohmann/json.hpp>

#include "lib/ui/reach.h"
#include "lib/ui/views_json.h"

namespace sluice::operatord {
namespace {

using nlohmann::json;

// The work of a matrix grows with the pods, and with the nodes that they are
// on, each of which has its own view of the policies.
constexpr std::size_t kPodsMax = 2'000;
constexpr std::size_t kNodesMax = 100;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<void> check_size(const policy::Translator& translator,
                        const std::string& ns,
                        const std::vector<std::string>& pods) {
  std::set<std::string> nodes;
  for (const auto& name : pods) {
    const auto* pod = translator.pod(name);
    if (pod != nullptr && !pod->host_network && !pod->finished) {
      nodes.insert(pod->node);
    }
  }
  if (pods.size() <= kPodsMax && nodes.size() <= kNodesMax) {
    return {};
  }
  return fail("the namespace " + ns + " has " + std::to_string(pods.size()) +
              " pods on " + std::to_string(nodes.size()) +
              " nodes; the operator answers for at most " +
              std::to_string(kPodsMax) + " on " + std::to_string(kNodesMax) +
              ". `sluice reach` answers for any number, from manifests");
}

}  // namespace

Result<std::string> page_text(
    const QueryContext& context, const std::string& path,
    const std::vector<std::pair<std::string, std::string>>& arguments) {
  if (path == "/api/namespaces") {
    return dump({{"namespaces", context.store.namespaces()}});
  }
  std::string ns;
  std::vector<std::string> ports;
  for (const auto& [name, value] : arguments) {
    if (name == "namespace") {
      ns = value;
    } else if (name == "port") {
      ports.push_back(value);
    }
  }
  const auto pods = context.store.pods_of(ns);
  if (auto fits = check_size(context.translator, ns, pods); !fits) {
    return std::unexpected(fits.error());
  }
  const auto view = ui::reach_of(context.translator, ns, pods, ports);
  return view ? Result<std::string>(dump(*view))
              : std::unexpected(view.error());
}

}  // namespace sluice::operatord
