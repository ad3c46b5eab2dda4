// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace CLI {
class App;
}

// The subcommands, one file each. Each function adds its own to `app`; if it is
// the one on the command line, it runs and sets `exit_code`.
namespace sluice::cli {

void add_run(CLI::App& app, int& exit_code);
void add_cleanup(CLI::App& app, int& exit_code);
void add_status(CLI::App& app, int& exit_code);
void add_endpoint(CLI::App& app, int& exit_code);
void add_policy(CLI::App& app, int& exit_code);
void add_peer(CLI::App& app, int& exit_code);
void add_conntrack(CLI::App& app, int& exit_code);
void add_fqdn(CLI::App& app, int& exit_code);
void add_monitor(CLI::App& app, int& exit_code);
void add_observe(CLI::App& app, int& exit_code);
void add_ui(CLI::App& app, int& exit_code);
void add_explain(CLI::App& app, int& exit_code);
void add_reach(CLI::App& app, int& exit_code);
void add_preview(CLI::App& app, int& exit_code);
void add_lint(CLI::App& app, int& exit_code);
void add_test(CLI::App& app, int& exit_code);
void add_completion(CLI::App& app, int& exit_code);

}  // namespace sluice::cli
