// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace sluice::cli {

// The way to a cluster's operator.
struct OperatorAccess {
  bool flag = false;                 // --operator
  std::filesystem::path kubeconfig;  // empty: as for kubectl
  std::string context;               // empty: the current one
  std::string ns = "sluice-system";  // of the operator
  std::string service = "sluice-operator";
  // Whose token is used for flows, "namespace/name"; empty: sluice-observer's,
  // in the operator's namespace.
  std::string account;
  // If set, asked several times a second while an answer is waited for: true
  // ends the waiting, and what was asked fails.
  std::function<bool()> stopped;
};

// Adds the options --kubeconfig, --context and --operator-namespace.
void add_cluster_options(CLI::App& command, OperatorAccess& access);
// Adds the same and --operator. Any of them has the operator answer. Call it
// after the option DIR, --socket or --server, which exclude them, was added.
void add_operator_options(CLI::App& command, OperatorAccess& access);
// Adds --service-account, for commands that read flows.
void add_account_option(CLI::App& command, OperatorAccess& access);
// Whether the operator is to be asked: an option says so, or the program runs
// as a plugin of kubectl and no option names anything else to ask. What the
// environment names does not count. Throws what CLI11 throws for options that
// contradict each other; for callbacks of commands.
bool asks_operator(const CLI::App& command);

// To be called before the command line is parsed. If the program is called
// "kubectl-sluice", it is a plugin of kubectl.
void set_command_line(int argc, const char* const* argv);
bool is_kubectl_plugin();

}  // namespace sluice::cli
