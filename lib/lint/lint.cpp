// SPDX-License-Identifier: Apache-2.0
#include "lib/lint/lint.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/lint/checks.h"

namespace sluice::lint {
namespace {

constexpr std::array kWords{
    std::string_view{"selects-no-pod"},
    std::string_view{"peer-selects-nothing"},
    std::string_view{"unknown-namespace"},
    std::string_view{"no-namespace"},
    std::string_view{"unknown-kind"},
    std::string_view{"other-engine"},
    std::string_view{"shadowed"},
    std::string_view{"no-such-port"},
    std::string_view{"names-without-dns"},
    std::string_view{"names-not-learned"},
    std::string_view{"no-dns"},
    std::string_view{"service-address"},
    std::string_view{"cidr-in-cluster"},
    std::string_view{"field"},
};

}  // namespace

std::string_view word_of(Code code) {
  return kWords.at(static_cast<std::size_t>(code));
}

std::string place_of(const Finding& finding) {
  return finding.file + ":" + std::to_string(finding.line);
}

std::string text_of(const Finding& finding) {
  return finding.message + " [" + std::string(word_of(finding.code)) + "]";
}

std::string path_of(const policy::Spec& spec) {
  return spec.rules.empty()
             ? "spec"
             : spec.rules[0].path.substr(0, spec.rules[0].path.find('.'));
}

Checks::Checks(const std::map<std::string, Input>& inputs)
    : inputs_(inputs), population_(inputs) {
  for (const auto& [file, input] : inputs) {
    for (const auto& object : input.policies) {
      for (const auto& spec : object.policy.specs) {
        places_.push_back({.object = &object, .spec = &spec});
      }
    }
    index_addresses(input);
  }
}

void Checks::index_addresses(const Input& input) {
  const auto index = [](const std::vector<IpAddress>& ips,
                        const std::string& name, auto& names) {
    for (const auto& ip : ips) {
      names[ip] = name;
    }
  };
  for (const auto& object : input.pods) {
    if (!object.pod.host_network && !object.pod.finished) {
      index(object.pod.ips, "pod " + object.pod.ns + "/" + object.pod.name,
            owners_);
    }
  }
  for (const auto& node : input.nodes) {
    index(node.ips, "node " + node.name, owners_);
  }
  for (const auto& service : input.services) {
    const auto name = service.ns + "/" + service.name;
    index(service.cluster_ips, name, services_);
    index(service.external_ips, name, services_);
    index(service.load_balancer_ips, name, services_);
  }
}

void Checks::add(const PolicyObject& object, Code code, std::string message) {
  findings_.push_back({.code = code,
                       .file = object.file,
                       .line = object.line,
                       .object = to_string(object.policy.key),
                       .message = std::move(message)});
}

std::vector<Finding> Checks::run() && {
  for (const auto& [file, input] : inputs_) {
    for (const auto& object : input.policies) {
      check_object(object);
    }
    for (const auto& object : input.others) {
      check_kind(object);
    }
  }
  for (const auto& place : places_) {
    check_selectors(place);
    check_dns(place);
  }
  check_shadowed();
  std::ranges::stable_sort(findings_, {}, [](const Finding& finding) {
    return std::tie(finding.file, finding.line);
  });
  // A peer that stands in a rule twice is one.
  const auto repeated = std::ranges::unique(findings_);
  findings_.erase(repeated.begin(), repeated.end());
  return std::move(findings_);
}

std::vector<Finding> lint(const std::map<std::string, Input>& inputs) {
  return Checks(inputs).run();
}

}  // namespace sluice::lint
