// SPDX-License-Identifier: Apache-2.0
#include "cli/operator_options.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace sluice::cli {
namespace {

constexpr std::array kOptions{"--operator", "--kubeconfig", "--context",
                              "--operator-namespace"};
// What else a command may ask.
constexpr std::array kOthers{"DIR", "--socket", "--server"};

constexpr const char* kAccount = "--service-account";

std::vector<std::string>& command_line() {
  static std::vector<std::string> words;
  return words;
}

// CLI11 does not tell an option of the command line from one of the
// environment.
bool is_on_command_line(const std::string& option) {
  return std::ranges::any_of(command_line(), [&](const std::string& word) {
    return word == option || word.starts_with(option + "=");
  });
}

bool is_given(const CLI::App& command, const char* name) {
  const auto* option = command.get_option_no_throw(name);
  return option != nullptr && option->count() > 0 &&
         (option->get_envname().empty() || is_on_command_line(name));
}

// The first one that is given; null if there is none.
template <typename Names>
const char* given(const CLI::App& command, const Names& names) {
  const auto found = std::ranges::find_if(
      names, [&](const char* name) { return is_given(command, name); });
  return found == names.end() ? nullptr : *found;
}

}  // namespace

void set_command_line(int argc, const char* const* argv) {
  command_line().assign(argv, argv + argc);
}

bool is_kubectl_plugin() {
  return !command_line().empty() &&
         std::filesystem::path(command_line().front())
             .filename()
             .string()
             .starts_with("kubectl-");
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
      continue;  // the environment is no contradiction; see asks_operator()
    }
    for (const auto* option : kOptions) {
      command.get_option(option)->excludes(excluded);
    }
  }
}

void add_account_option(CLI::App& command, OperatorAccess& access) {
  command
      .add_option(kAccount, access.account,
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
  const auto* access = given(command, kOptions);
  const auto* other = given(command, kOthers);
  if (access != nullptr && other != nullptr) {
    throw CLI::ExcludesError(access, other);
  }
  const bool asks =
      access != nullptr || (is_kubectl_plugin() && other == nullptr);
  if (!asks && is_given(command, kAccount)) {
    throw CLI::RequiresError(kAccount, "--operator");
  }
  return asks;
}

}  // namespace sluice::cli
