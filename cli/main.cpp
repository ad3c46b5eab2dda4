// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <exception>

#include <CLI/CLI.hpp>

#include "agent/node/command_line.h"
#include "agent/node/version.h"
#include "cli/commands.h"

namespace {

constexpr const char* kDescription =
    "Enforces Kubernetes network policy with eBPF; shows, tests and explains "
    "it.";

constexpr const char* kFooter = R"(
`sluice run DIR` enforces the policies of a folder of manifests on this host.
While it runs, the other commands ask it through its socket, in the same way as
a node's agent; `policy`, `peer`, `explain` and `test` also work on files alone.

Exit status: 0 all is well, 1 the answer is no (denied, a check failed),
2 bad usage or input, or no running program can be reached.)";

int run(int argc, char** argv) {
  using namespace sluice::cli;  // NOLINT(google-build-using-namespace)
  namespace node = sluice::node;
  CLI::App app(kDescription, "sluice");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("sluice ") + node::kVersion);
  int exit_code = node::kExitOk;
  for (const auto add :
       {add_run, add_cleanup, add_status, add_endpoint, add_policy, add_peer,
        add_conntrack, add_fqdn, add_monitor, add_explain, add_test}) {
    add(app, exit_code);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? node::kExitOk : node::kExitError;
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
