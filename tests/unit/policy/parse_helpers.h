// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/policy/parse.h"

namespace sluice::policy::test {

using nlohmann::json;

inline json object(std::string_view api_version, std::string_view kind,
                   std::string_view ns, json spec) {
  json result{{"apiVersion", api_version},
              {"kind", kind},
              {"metadata", {{"name", "p"}}},
              {"spec", std::move(spec)}};
  if (!ns.empty()) {
    result["metadata"]["namespace"] = ns;
  }
  return result;
}

// Objects named "p", in namespace "x" where their kind has namespaces. `spec`
// is JSON text.
inline json cnp(std::string_view spec) {
  return object("cilium.io/v2", "CiliumNetworkPolicy", "x", json::parse(spec));
}
inline json ccnp(std::string_view spec) {
  return object("cilium.io/v2", "CiliumClusterwideNetworkPolicy", "",
                json::parse(spec));
}
inline json netpol(std::string_view spec) {
  return object("networking.k8s.io/v1", "NetworkPolicy", "x",
                json::parse(spec));
}
inline json kcnp(std::string_view spec) {
  return object("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", "",
                json::parse(spec));
}

// A CiliumNetworkPolicy for all pods of x with one ingress or egress rule.
inline json cnp_ingress(std::string_view rule) {
  return cnp(R"({"endpointSelector": {}, "ingress": [)" + std::string(rule) +
             "]}");
}
inline json cnp_egress(std::string_view rule) {
  return cnp(R"({"endpointSelector": {}, "egress": [)" + std::string(rule) +
             "]}");
}

// The policy, or an empty one and a failed test.
inline Policy accepted(const json& object) {
  auto policy = parse_policy(object);
  EXPECT_TRUE(policy.has_value()) << policy.error().message << "\n" << object;
  return policy ? *policy : Policy{};
}

// Its one rule, or an empty one and a failed test.
inline Rule only_rule(const json& object) {
  const Policy policy = accepted(object);
  EXPECT_EQ(policy.specs.size(), 1U);
  if (policy.specs.size() != 1 || policy.specs[0].rules.size() != 1) {
    ADD_FAILURE() << "not one rule: " << object;
    return {};
  }
  return policy.specs[0].rules[0];
}

// The error's text, or "accepted".
inline std::string rejection(const json& object) {
  const auto policy = parse_policy(object);
  return policy ? "accepted" : policy.error().message;
}

inline Requirement in(std::string key, std::vector<std::string> values) {
  return {.key = std::move(key),
          .op = Requirement::Op::kIn,
          .values = std::move(values)};
}
inline Requirement not_in(std::string key, std::vector<std::string> values) {
  return {.key = std::move(key),
          .op = Requirement::Op::kNotIn,
          .values = std::move(values)};
}
inline Requirement exists(std::string key) {
  return {.key = std::move(key), .op = Requirement::Op::kExists};
}
inline Requirement missing(std::string key) {
  return {.key = std::move(key), .op = Requirement::Op::kDoesNotExist};
}

// What every peer selector without a reserved: key asks for.
inline Requirement in_cluster() {
  return exists("io.cilium.k8s.policy.cluster");
}
inline Requirement in_namespace(std::string ns) {
  return in("io.kubernetes.pod.namespace", {std::move(ns)});
}
inline Requirement any_namespace() {
  return exists("io.kubernetes.pod.namespace");
}

}  // namespace sluice::policy::test
