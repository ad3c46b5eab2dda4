// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "agent/node/command_line.h"
#include "agent/node/version.h"
#include "cli/commands.h"
#include "cli/operator_options.h"
#include "lib/base/man_page.h"
#include "lib/base/suggestion.h"
#include "lib/base/version_text.h"

namespace {

constexpr const char* kDescription =
    "Enforces Kubernetes network policy with eBPF; shows, tests and explains "
    "it.";

constexpr const char* kFooter = R"(
`sluice run DIR` enforces the policies of a folder of manifests on this host.
While it runs, the other commands ask it through its socket, in the same way as
a node's agent; `policy`, `peer`, `explain`, `reach`, `preview`, `lint` and `test`
also work on files alone.

Exit status: 0 all is well, 1 the answer is no (denied, a check failed),
2 bad usage or input, or no running program can be reached.)";

// The command that the arguments lead to.
const CLI::App& innermost(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : innermost(*chosen.front());
}

// About the first argument that nothing knows; empty if there is none.
std::string unknown_argument(const CLI::App& app) {
  const auto& command = innermost(app);
  std::vector<std::string> known;
  for (const auto* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) {
      known.push_back("--" + name);
    }
  }
  const bool group = command.get_require_subcommand_max() > 0;
  for (const auto& text : command.remaining()) {
    if (text.starts_with("-")) {
      return "there is no option " + text +
             sluice::did_you_mean(text.substr(0, text.find('=')), known);
    }
    if (group) {
      known.clear();
      for (const auto* subcommand : command.get_subcommands({})) {
        known.push_back(subcommand->get_name());
      }
      return "there is no command \"" + text + "\"" +
             sluice::did_you_mean(text, known);
    }
  }
  return {};
}

// What is missing is not said before what is wrong: a misspelt option is both.
int complain_about_usage(const CLI::App& app, const CLI::ParseError& error) {
  const auto unknown = unknown_argument(app);
  if (unknown.empty() || error.get_exit_code() == 0) {
    return app.exit(error) == 0 ? sluice::node::kExitOk
                                : sluice::node::kExitError;
  }
  const int code = sluice::node::complain(unknown);
  std::cerr << "Run with --help for more information.\n";
  return code;
}

int run(int argc, char** argv) {
  using namespace sluice::cli;  // NOLINT(google-build-using-namespace)
  namespace node = sluice::node;
  CLI::App app(kDescription, "sluice");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       sluice::version_text("sluice", node::kVersion));
  sluice::add_man_pages_option(
      app, {.version = node::kVersion,
            .section = 1,
            .related = {"sluice-agent(8)", "sluice-operator(8)"}});
  int exit_code = node::kExitOk;
  set_command_line(argc, argv);
  for (const auto add :
       {add_run, add_cleanup, add_status, add_endpoint, add_policy, add_peer,
        add_conntrack, add_fqdn, add_monitor, add_observe, add_ui, add_explain,
        add_reach, add_preview, add_lint, add_test, add_completion}) {
    add(app, exit_code);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return complain_about_usage(app, error);
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  // When a reader disconnects (`| head`), write() fails instead of ending the
  // process.
  (void)std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    return sluice::node::complain(error.what());
  }
}
