// SPDX-License-Identifier: Apache-2.0
#include "cli/operator_options.h"

#include <algorithm>
#include <array>

#include <CLI/CLI.hpp>

namespace sluice::cli {
namespace {

constexpr std::array kOptions{"--operator", "--kubeconfig", "--context",
                              "--operator-namespace"};
// What else a command may ask.
constexpr std::array kOthers{"DIR", "--socket", "--server"};

bool& plugin() {
  static bool value = false;
  return value;
}

}  // namespace

void set_program_name(const std::string& program) {
  plugin() = std::filesystem::path(program).filename().string().starts_with(
      "kubectl-");
}

bool is_kubectl_plugin() {
  return plugin();
}

void add_cluster_options(CLI::App& command, OperatorAccess& access) {
  command
      .add_option("--kubeconfig", access.kubeconfig,
                  "Where the cluster is; default: $KUBECONFIG, else "
                  "~/.kube/config")
      ->type_name("FILE");
  command
      .add_option("--context", access.context,
                  "Context of the kubeconfig; default: its current one")
      ->type_name("NAME");
  command
      .add_option("--operator-namespace", access.ns,
                  "Where the operator runs; default sluice-system")
      ->type_name("NAME");
}

void add_operator_options(CLI::App& command, OperatorAccess& access) {
  command.add_flag("--operator", access.flag,
                   "Ask the operator of a cluster, through its API server; see "
                   "docs/operations.md for the rights");
  add_cluster_options(command, access);
  for (const auto* other : kOthers) {
    auto* excluded = command.get_option_no_throw(other);
    if (excluded == nullptr || !excluded->get_envname().empty()) {
      continue;  // a variable of the environment is no contradiction
    }
    for (const auto* option : kOptions) {
      command.get_option(option)->excludes(excluded);
    }
  }
}

void add_account_option(CLI::App& command, OperatorAccess& access) {
  command
      .add_option("--service-account", access.account,
                  "Whose right to read the operator's flows is used; default: "
                  "sluice-observer, in the operator's namespace")
      ->type_name("NAMESPACE/NAME")
      ->check(
          [](const std::string& text) {
            const auto slash = text.find('/');
            const bool valid = slash != std::string::npos && slash > 0 &&
                               slash + 1 < text.size();
            return valid ? std::string{} : text + ": not NAMESPACE/NAME";
          },
          "");
}

bool asks_operator(const CLI::App& command) {
  if (std::ranges::any_of(kOptions, [&](const char* option) {
        return command.count(option) > 0;
      })) {
    return true;
  }
  return is_kubectl_plugin() &&
         std::ranges::none_of(kOthers, [&](const char* other) {
           return command.get_option_no_throw(other) != nullptr &&
                  command.count(other) > 0;
         });
}

}  // namespace sluice::cli
