// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <csignal>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <utility>

#include <CLI/CLI.hpp>

#include "agent/node/cleanup.h"
#include "agent/node/command_line.h"
#include "agent/node/flow_options.h"
#include "agent/node/version.h"
#include "agent/program/daemon.h"
#include "agent/program/target.h"
#include "cni/install.h"
#include "lib/base/man_page.h"
#include "lib/base/option_words.h"
#include "lib/base/process.h"
#include "lib/base/version_text.h"
#include "lib/health/health_option.h"

namespace sluice::agentd {
namespace {

constexpr const char* kFooter = R"(
Enforces the policies that an operator sends for this node. While no operator is
connected, everything stays as it is. SIGTERM and SIGINT end the process; what
is in force stays in force, and the next start takes it over.

These commands of `sluice` work with it: status, endpoint list, policy list,
policy dump, peer list, conntrack list, monitor, explain.)";

struct Arguments {
  DaemonOptions options;
  bool cleanup = false;
};

// Checks the options that the daemon needs, so that a wrong command line
// changes nothing in the kernel.
Result<void> check(DaemonOptions& options) {
  auto& client = options.client;
  if (client.node.empty()) {
    return fail("--node, or NODE_NAME in the environment, is needed");
  }
  if (client.target.empty()) {
    return fail("--operator is needed");
  }
  auto target = operator_target(client.target);
  if (!target) {
    return std::unexpected(target.error());
  }
  client.target = std::move(*target);
  if (client.ca_file.empty() && !client.plain_text) {
    return fail("--ca-file is needed, or --plain-text");
  }
  return {};
}

int run(Arguments& arguments) {
  auto& options = arguments.options;
  if (arguments.cleanup) {
    // First, because starting pods would wait for an agent that is gone.
    if (auto removed = cni::remove_plugin(options.cni.install.conf_dir,
                                          options.cni.install.bin_dir);
        !removed) {
      return node::complain(removed.error().message);
    }
    const auto done =
        node::clean_up(options.agent.datapath.pin_dir, options.socket);
    return done ? node::kExitOk : node::complain(done.error().message);
  }
  if (auto checked = check(options); !checked) {
    return node::complain(checked.error().message);
  }
  start_log("sluice-agent");
  options.cni.install.plugin.socket = options.socket.string();
  auto daemon = Daemon::start(options);
  if (!daemon) {
    return node::complain(daemon.error().message);
  }
  if (auto result = daemon->run(); !result) {
    return node::complain(result.error().message);
  }
  return node::kExitOk;
}

void add_operator_options(CLI::App& app, DaemonOptions& options) {
  auto& client = options.client;
  const char* group = "Operator";
  app.add_option("--node", client.node, "Name of this node")
      ->envname("NODE_NAME")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--operator", client.target, "Address of the operator")
      ->type_name("HOST:PORT")
      ->group(group);
  app.add_option("--operator-name", client.server_name,
                 "Name in the operator's certificate; default: HOST")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--ca-file", client.ca_file,
                 "CA of that certificate; read at every connect")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--token-file", client.token_file,
                 "Service-account token; read at every connect")
      ->type_name("FILE")
      ->group(group);
  app.add_flag(
         "--plain-text", client.plain_text,
         "No TLS: for tests. Anybody with access to the connection can take "
         "the token and change what is enforced")
      ->group(group);
}

void add_node_options(CLI::App& app, DaemonOptions& options) {
  options.agent.pod_interfaces = {"veth*", "cali*", "lxc*", "eni*"};
  app.add_option_function<std::string>(
         "--on-unknown",
         [&options](const std::string& word) {
           options.deny_unknown = word == "deny";
         },
         "What to do with traffic of pods whose verdict is not known yet, "
         "unless the operator says otherwise: allow (the default) or deny")
      ->check(CLI::IsMember({"allow", "deny"}).description(""))
      ->type_name("allow|deny");
  app.add_option(
         "--pod-interfaces", options.agent.pod_interfaces,
         "Name patterns of pods' interfaces, for --on-unknown=deny and the "
         "annotation sluice.io/interface; default veth*,cali*,lxc*,eni*")
      ->delimiter(',')
      ->type_name("PATTERN,...");
  node::add_agent_options(app, options.agent);
  health::add_health_option(app, options.health);
}

std::filesystem::path beside_this_program() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored)
             .parent_path() /
         cni::kPluginName;
}

void add_cni_options(CLI::App& app, CniOptions& options) {
  const char* group = "CNI plugin";
  auto& install = options.install;
  install.program = beside_this_program();
  app.add_option(
         "--cni", options.mode,
         "Chain sluice-cni into the node's network configuration: auto (if "
         "there is one; the default), on (the folder must exist), off (remove "
         "it)")
      ->transform(one_of<CniOptions::Mode>({{"auto", CniOptions::Mode::kAuto},
                                            {"on", CniOptions::Mode::kOn},
                                            {"off", CniOptions::Mode::kOff}}))
      ->type_name("auto|on|off")
      ->group(group);
  app.add_option("--cni-conf-dir", install.conf_dir,
                 "Folder of network configurations; default: none")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--cni-bin-dir", install.bin_dir,
                 "Folder of plugins; default: none")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--cni-program", install.program,
                 "The plugin to copy; default: beside this program")
      ->type_name("FILE")
      ->group(group);
  app.add_option_function<double>(
         "--cni-timeout",
         [&install](double value) {
           install.plugin.timeout =
               std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::duration<double>(value));
         },
         "How long a new pod waits for its policies to be in force; default 10")
      ->check(CLI::Range(0.1, 120.0).description(""))
      ->type_name("SECONDS")
      ->group(group);
  app.add_option_function<std::string>(
         "--cni-on-timeout",
         [&install](const std::string& word) {
           install.plugin.on_timeout =
               cni::parse_on_timeout(word).value_or(cni::OnTimeout::kFail);
         },
         "What happens to the pod then: fail (kubelet retries; the default), "
         "closed (it starts, cut off) or open")
      ->check(CLI::IsMember({"fail", "closed", "open"}).description(""))
      ->type_name("fail|closed|open")
      ->group(group);
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Sluice's agent: enforces network policy on a Kubernetes node",
               "sluice-agent");
  app.footer(kFooter);
  app.set_version_flag("--version",
                       version_text("sluice-agent", node::kVersion));
  add_man_pages_option(app, {.version = node::kVersion,
                             .section = 8,
                             .related = {"sluice(1)", "sluice-operator(8)"}});
  Arguments arguments;
  auto& options = arguments.options;
  options.client.program_version = node::kVersion;
  add_operator_options(app, options);
  add_node_options(app, options);
  node::add_pin_dir_option(app, options.agent.datapath.pin_dir);
  node::add_socket_option(app, options.socket);
  node::add_flow_options(app, options.flows);
  add_cni_options(app, options.cni);
  node::add_size_options(app, options.agent.datapath);
  app.add_flag("--cleanup", arguments.cleanup,
               "Remove programs, maps and files of an agent, and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? node::kExitOk : node::kExitError;
  }
  return run(arguments);
}

}  // namespace
}  // namespace sluice::agentd

int main(int argc, char** argv) {
  // When a reader disconnects, write() fails instead of ending the process.
  (void)std::signal(SIGPIPE, SIG_IGN);
  try {
    return sluice::agentd::parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    return sluice::node::complain(error.what());
  }
}
