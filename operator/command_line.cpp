// SPDX-License-Identifier: Apache-2.0
#include "operator/command_line.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "lib/base/option_words.h"

namespace sluice::op {

void parse(CLI::App& app, int argc, const char* const* argv) {
  std::vector<std::string> last_first;
  for (int i = argc - 1; i > 0; --i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--") &&
        argument.find('=') + 1 == argument.size()) {
      last_first.emplace_back();
      last_first.emplace_back(argument.substr(0, argument.size() - 1));
    } else {
      last_first.emplace_back(argument);
    }
  }
  app.parse(std::move(last_first));
}

void add_policy_options(CLI::App& command, policy::TranslatorOptions& options,
                        OnInvalid& on_invalid) {
  static const std::map<std::string, bool> cidr{{"external", false},
                                                {"all", true}};
  command
      .add_option("--cidr-match", options.cidr_match_all,
                  "What CIDRs in Cilium policies match: external addresses "
                  "only (the default), or all, pods and nodes too")
      ->transform(one_of(cidr))
      ->type_name("external|all");
  static const std::map<std::string, OnInvalid> words{
      {"open", OnInvalid::kOpen}, {"isolate", OnInvalid::kIsolate}};
  command
      .add_option("--on-invalid", on_invalid,
                  "What a Cilium or ClusterNetworkPolicy does that is not "
                  "valid and never was: nothing (open, the default), or "
                  "isolate the pods that it selects. A NetworkPolicy always "
                  "isolates them")
      ->transform(one_of(words))
      ->type_name("open|isolate");
  command
      .add_option("--max-set-entries", options.max_set_entries,
                  "Entries of the policy map that the policies of one pod may "
                  "become. A policy that needs more by itself is not valid; "
                  "pods whose policies need more together are isolated. 0: as "
                  "many as they need")
      ->type_name("N")
      ->check(CLI::Range(0U, UINT32_MAX).description(""))
      ->capture_default_str();
  command
      .add_option("--max-namespace-entries", options.max_namespace_entries,
                  "A namespace's share of the policy map: entries that the "
                  "policies of all its pods may become together. Pods whose "
                  "policies would exceed it are isolated. 0: as many as they "
                  "need")
      ->type_name("N")
      ->check(CLI::Range(0U, UINT32_MAX).description(""))
      ->capture_default_str();
}

}  // namespace sluice::op
