// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "tests/reference/generator_pools.h"

// Names in policies.
namespace sluice::reference {

using nlohmann::json;

json random_fqdn(Random& random) {
  static constexpr std::array kPatterns{
      "*",           "*.example.com",   "**.example.com", "*example.com",
      "a*.ex*.com.", "*.*.example.com", "API*.test",      "**.test",
      "a**.test"};
  return random.percent(50) ? json{{"matchName", random.pick(kNames)}}
                            : json{{"matchPattern", random.pick(kPatterns)}};
}

json random_dns_element(Random& random) {
  static constexpr std::array kProtocols{"TCP", "UDP", "ANY"};
  json names = json::array();
  for (int i = random.between(1, 2); i > 0; --i) {
    names.push_back(random_fqdn(random));
  }
  return {{"ports", json::array({{{"port", random.percent(80) ? "53" : "dns"},
                                  {"protocol", random.pick(kProtocols)}}})},
          {"rules", {{"dns", names}}}};
}

json random_domain_names(Random& random) {
  static constexpr std::array kDomains{"*.example.com", "*.apis.test",
                                       "example.com", "api.Example.com.",
                                       "*.b.example.com"};
  json names = json::array({random.pick(kDomains)});
  if (random.percent(30)) {
    names.push_back(random.pick(kDomains));
  }
  return {{"domainNames", names}};
}

}  // namespace sluice::reference
