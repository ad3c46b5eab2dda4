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
    for (const auto& object : input.pods) {
      for (const auto& ip : object.pod.ips) {
        if (!object.pod.host_network && !object.pod.finished) {
          owners_[ip] = "pod " + object.pod.ns + "/" + object.pod.name;
        }
      }
    }
    for (const auto& node : input.nodes) {
      for (const auto& ip : node.ips) {
        owners_[ip] = "node " + node.name;
      }
    }
    for (const auto& service : input.services) {
      for (const auto* list : {&service.cluster_ips, &service.external_ips,
                               &service.load_balancer_ips}) {
        for (const auto& ip : *list) {
          services_[ip] = service.ns + "/" + service.name;
        }
      }
    }
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
