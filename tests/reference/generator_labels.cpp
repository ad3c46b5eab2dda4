// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "tests/reference/generator_pools.h"

// Labels in policies.
namespace sluice::reference {

using nlohmann::json;

const std::vector<const char*> kLabelKeys{
    "app", "tier", "version", "pod-template-hash", "empty", "nowhere"};

std::vector<const char*> label_values(const std::string& key) {
  if (key == "app") {
    return {"web", "db", "api"};
  }
  if (key == "tier") {
    return {"front", "back"};
  }
  if (key == "env") {
    return {"prod", "dev"};
  }
  if (key == "team") {
    return {"red", "blue"};
  }
  if (key == "pod-template-hash") {
    return {"x1", "x2"};
  }
  return key == "empty" ? std::vector<const char*>{""}
                        : std::vector<const char*>{"v1", "v2"};
}

json random_expression(Random& random, const std::string& key,
                       const std::vector<const char*>& values) {
  static constexpr std::array kOperators{"In", "NotIn", "Exists",
                                         "DoesNotExist"};
  const std::string op = random.pick(kOperators);
  json result{{"key", key}, {"operator", op}};
  if (op == "In" || op == "NotIn") {
    json list = json::array({random.pick(values)});
    if (random.percent(40)) {
      list.push_back(random.pick(values));
    }
    result["values"] = list;
  }
  return result;
}

namespace {

void maybe_match_label(Random& random, const std::vector<const char*>& keys,
                       json& selector) {
  if (random.percent(55)) {
    const std::string key = random.pick(keys);
    selector["matchLabels"][key] = random.pick(label_values(key));
  }
}

void maybe_match_expression(Random& random,
                            const std::vector<const char*>& keys,
                            json& selector) {
  if (random.percent(30)) {
    const std::string key = random.pick(keys);
    selector["matchExpressions"] =
        json::array({random_expression(random, key, label_values(key))});
  }
}

}  // namespace

json random_pod_selector(Random& random) {
  json result = json::object();
  maybe_match_label(random, kLabelKeys, result);
  maybe_match_expression(random, kLabelKeys, result);
  return result;
}

json random_namespace_selector(Random& random,
                               const std::vector<std::string>& namespaces) {
  static const std::vector<const char*> keys{"env", "team"};
  json result = json::object();
  maybe_match_label(random, keys, result);
  if (random.percent(20)) {
    result["matchLabels"]["kubernetes.io/metadata.name"] =
        random.pick(namespaces);
  }
  maybe_match_expression(random, keys, result);
  return result;
}

}  // namespace sluice::reference
