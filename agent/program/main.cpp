// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>

#include <CLI/CLI.hpp>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "agent/program/daemon.h"
#include "cli/host.h"
#include "cli/instance.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/version.h"

namespace sluice::agentd {
namespace {

constexpr const char* kFooter = R"(
Enforces on this node what an operator says. While there is none, everything
stays as it was. SIGTERM and SIGINT end the process and leave what is enforced
in force; the next start takes it over.

The `sluice` command works with it: status, endpoint list, policy list and
dump, conntrack list, monitor.)";

struct Arguments {
  DaemonOptions options;
  bool cleanup = false;
};

void start_log() {
  auto logger = spdlog::stderr_color_mt("sluice-agent");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::flush_on(spdlog::level::info);
}

// What an agent that has ended left behind.
int clean_up(const DaemonOptions& options) {
  const auto& pin_dir = options.agent.datapath.pin_dir;
  auto lock_path = options.socket;
  lock_path.replace_extension(".lock");
  std::error_code ignored;
  Fd pin_lock;
  Fd socket_lock;
  if (std::filesystem::exists(pin_dir, ignored)) {
    auto locked = cli::lock_folder(pin_dir);
    if (!locked) {
      return cli::complain(locked.error().message);
    }
    pin_lock = std::move(*locked);
  }
  if (std::filesystem::exists(lock_path, ignored)) {
    auto locked = cli::lock_file(lock_path);
    if (!locked) {
      return cli::complain(locked.error().message);
    }
    socket_lock = std::move(*locked);
  }
  if (auto done = agent::cleanup(pin_dir); !done) {
    return cli::complain(done.error().message);
  }
  for (const auto& file :
       {options.socket, cli::names_file(options.socket), lock_path}) {
    std::filesystem::remove(file, ignored);
  }
  std::filesystem::remove(pin_dir, ignored);
  return cli::kExitOk;
}

int run(const Arguments& arguments) {
  if (arguments.cleanup) {
    return clean_up(arguments.options);
  }
  start_log();
  auto daemon = Daemon::start(arguments.options);
  if (!daemon) {
    return cli::complain(daemon.error().message);
  }
  if (auto result = daemon->run(); !result) {
    return cli::complain(result.error().message);
  }
  return cli::kExitOk;
}

void add_operator_options(CLI::App& app, DaemonOptions& options) {
  auto& client = options.client;
  const char* group = "Operator";
  app.add_option("--node", client.node, "Name of this node")
      ->envname("NODE_NAME")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--operator", client.target, "Where the operator listens")
      ->type_name("HOST:PORT")
      ->group(group);
  app.add_option("--operator-name", client.server_name,
                 "Name in the operator's certificate; default: HOST")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--ca-file", client.ca_file,
                 "Who may have signed that certificate; read at every connect")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--token-file", client.token_file,
                 "Service-account token; read at every connect")
      ->type_name("FILE")
      ->group(group);
  app.add_flag("--plain-text", client.plain_text,
               "No TLS: for tests. Whoever can reach the connection can take "
               "the token and change what is enforced")
      ->group(group);
}

void add_node_options(CLI::App& app, DaemonOptions& options) {
  static const std::map<std::string, bool> unknown{{"allow", false},
                                                   {"deny", true}};
  static const std::map<std::string, std::uint32_t> changes{
      {"reevaluate", SLUICE_CHANGE_REEVALUATE},
      {"continue", SLUICE_CHANGE_CONTINUE}};
  static const std::map<std::string, bool> events{{"all", true},
                                                  {"drops", false}};
  options.agent.pod_interfaces = {"veth*", "cali*", "lxc*", "eni*"};
  app.add_option("--on-unknown", options.deny_unknown,
                 "What passes to and from pods that no verdict is known for "
                 "yet, unless the operator says otherwise: allow (everything; "
                 "the default) or deny (nothing)")
      ->transform(CLI::CheckedTransformer(unknown).description(""))
      ->type_name("allow|deny");
  app.add_option("--pod-interfaces", options.agent.pod_interfaces,
                 "Interfaces that are pods', for --on-unknown=deny; default "
                 "veth*,cali*,lxc*,eni*")
      ->delimiter(',')
      ->type_name("PATTERN,...");
  app.add_option("--on-policy-change", options.agent.on_policy_change,
                 "What a change means for established flows: reevaluate (the "
                 "default) or continue")
      ->transform(CLI::CheckedTransformer(changes).description(""))
      ->type_name("reevaluate|continue");
  app.add_option("--events", options.agent.events_new_flows,
                 "Report drops and every new flow (all, the default), or drops "
                 "only")
      ->transform(CLI::CheckedTransformer(events).description(""))
      ->type_name("all|drops");
  app.add_option("--events-per-second", options.agent.events_per_second,
                 "Most events per second and CPU; the rest is counted")
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--health", options.health,
                 "Where /healthz, /readyz and /metrics are served; default: "
                 "nowhere")
      ->type_name("ADDRESS:PORT");
}

void add_size_options(CLI::App& app, agent::DatapathOptions& sizes) {
  const auto size = [&](const char* name, std::uint32_t& value,
                        const char* what) {
    app.add_option(name, value, what)
        ->type_name("N")
        ->check(CLI::Range(1U, 1U << 26U).description(""))
        ->capture_default_str()
        ->group("Sizes");
  };
  size("--policy-entries", sizes.policy_entries, "Entries of the policy map");
  size("--peers", sizes.peers, "Peer addresses, of each family");
  size("--prefixes", sizes.prefixes, "Peer prefixes, of each family");
  size("--conntrack", sizes.conntrack, "Flows remembered, of each family");
  size("--fragments", sizes.fragments,
       "Fragmented datagrams remembered, of each family");
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Sluice's agent: enforces network policy on a Kubernetes node",
               "sluice-agent");
  app.footer(kFooter);
  app.set_version_flag("--version", cli::kVersion);
  Arguments arguments;
  auto& options = arguments.options;
  options.client.program_version = cli::kVersion;
  add_operator_options(app, options);
  add_node_options(app, options);
  cli::add_pin_dir_option(app, options.agent.datapath.pin_dir);
  cli::add_socket_option(app, options.socket);
  add_size_options(app, options.agent.datapath);
  app.add_flag(
      "--cleanup", arguments.cleanup,
      "Remove programs, maps and files that an agent has left, and end");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? cli::kExitOk : cli::kExitError;
  }
  return run(arguments);
}

}  // namespace
}  // namespace sluice::agentd

int main(int argc, char** argv) {
  // A reader that goes away is an error of write(), not a death.
  (void)std::signal(SIGPIPE, SIG_IGN);
  try {
    return sluice::agentd::parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    return sluice::cli::complain(error.what());
  }
}
