// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

// Random scenarios: small clusters with policies of every kind and feature, and
// probes at the edges of what the policies name. The same seed gives the same
// scenario. All objects are valid.
namespace sluice::reference {

// splitmix64: the same numbers with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next();
  // 0 .. count - 1; count is not 0.
  std::size_t below(std::size_t count) { return next() % count; }
  int between(int first, int last) {
    return first +
           static_cast<int>(below(static_cast<std::size_t>(last - first) + 1));
  }
  bool percent(int chance) { return below(100) < std::size_t(chance); }
  template <typename Range>
  const auto& pick(const Range& range) {
    return range[below(std::size(range))];
  }

 private:
  std::uint64_t state_;
};

struct GeneratorOptions {
  int probes = 60;
  // A finished pod may have left its address to another one. Which pod has it
  // then depends on the order in which changes arrive.
  bool reuse_addresses = true;
};

// In the format of docs/scenarios.md, without expectations.
nlohmann::json random_scenario(std::uint64_t seed,
                               const GeneratorOptions& options = {});

// Its parts, for those who change a cluster step by step.
class Generator {
 public:
  Generator(std::uint64_t seed, const GeneratorOptions& options);

  nlohmann::json cluster();           // all objects but policies; call it first
  nlohmann::json policies();          // a few
  nlohmann::json policy(int number);  // one; the number makes its name
  // Probes that fit the objects.
  nlohmann::json probes(const nlohmann::json& objects);

 private:
  Random random_;
  GeneratorOptions options_;
  bool v6_ = false;
  std::vector<std::string> namespaces_;
  std::vector<std::string> nodes_;
  std::vector<std::string> groups_;

  nlohmann::json make_node(int number);
  nlohmann::json make_pod(int number);
  nlohmann::json make_group(int number);
  nlohmann::json make_api_server();
  nlohmann::json make_service(int number);
  nlohmann::json make_slices(const nlohmann::json& service);

  // A probe to a port of one of the Services, or null if there is none.
  nlohmann::json service_probe(const nlohmann::json& objects,
                               const std::vector<std::string>& pods);
  nlohmann::json probe_end(const std::vector<std::string>& pods,
                           const std::vector<std::string>& ips);
};

}  // namespace sluice::reference
