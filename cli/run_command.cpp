// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>

#include "agent/agent.h"
#include "agent/node/cleanup.h"
#include "agent/node/command_line.h"
#include "agent/node/runtime.h"
#include "cli/commands.h"
#include "cli/manifest_source.h"
#include "cni/install.h"
#include "lib/base/process.h"
#include "operator/command_line.h"

namespace sluice::cli {
namespace {

constexpr const char* kRunFooter = R"(
Every *.yaml, *.yml and *.json in DIR and its subfolders is read, and again
whenever it changes: Namespaces, Pods, Nodes, Services, EndpointSlices,
NetworkPolicies, CiliumNetworkPolicies, CiliumClusterwideNetworkPolicies,
CiliumCIDRGroups and ClusterNetworkPolicies. Other kinds are passed over. An
object that becomes invalid keeps its last valid version in force, and a
NetworkPolicy that never had one isolates its pods; `sluice policy list` says
why.

The node is the Node object that has an address of this host, else the host's
name. Pods that name no node are taken for this one's. All addresses of the
host count as the node's own, which always reaches its pods.

SIGTERM and SIGINT end the process and leave what is enforced in force; the
next start takes it over. SIGHUP reads the folder again.)";

constexpr const char* kCleanupFooter = R"(
No policy is enforced any more. Refused while an instance is running.)";

struct RunArguments {
  ManifestSourceOptions source;
  node::RuntimeOptions runtime;
  bool cleanup = false;
};

int clean_up_and_report(const std::filesystem::path& pin_dir,
                        const std::filesystem::path& socket) {
  const auto done = node::clean_up(pin_dir, socket);
  return done ? node::kExitOk : node::complain(done.error().message);
}

Result<void> enforce(const RunArguments& arguments) {
  auto runtime = node::Runtime::start(
      arguments.runtime, std::make_unique<ManifestSource>(arguments.source));
  return runtime ? (*runtime)->run() : std::unexpected(runtime.error());
}

int run(const RunArguments& arguments) {
  const auto& runtime = arguments.runtime;
  if (!arguments.source.dir.empty()) {
    start_log("sluice");
    if (auto done = enforce(arguments); !done) {
      return node::complain(done.error().message);
    }
  } else if (!arguments.cleanup) {
    return node::complain("DIR is required");
  }
  return arguments.cleanup ? clean_up_and_report(runtime.agent.datapath.pin_dir,
                                                 runtime.socket)
                           : node::kExitOk;
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "run", "Enforce the policies of a folder of manifests on this host");
  command->footer(kRunFooter);
  const auto arguments = std::make_shared<RunArguments>();
  auto& source = arguments->source;
  auto& runtime = arguments->runtime;
  command->add_option("DIR", source.dir, "Folder of manifests");
  command->add_option("--node", source.node, "Name of this node; see below")
      ->type_name("NAME");
  node::add_pin_dir_option(*command, runtime.agent.datapath.pin_dir);
  node::add_socket_option(*command, runtime.socket);
  command->add_flag("--cleanup", arguments->cleanup,
                    "Remove every trace at the end; without DIR, do only that");
  node::add_agent_options(*command, runtime.agent);
  op::add_policy_options(*command, source.translator, source.on_invalid);
  node::add_size_options(*command, runtime.agent.datapath);
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

void add_cleanup(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "cleanup", "Remove programs, maps and files that `run` has left");
  command->footer(kCleanupFooter);
  struct Arguments {
    std::filesystem::path pin_dir;
    std::filesystem::path socket;
    std::filesystem::path cni_conf_dir;
    std::filesystem::path cni_bin_dir;
  };
  const auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("--cni-conf-dir", arguments->cni_conf_dir,
                   "Folder of network configurations to take sluice-cni out of")
      ->type_name("DIR");
  command
      ->add_option("--cni-bin-dir", arguments->cni_bin_dir,
                   "Folder of plugins to remove sluice-cni from")
      ->type_name("DIR");
  node::add_pin_dir_option(*command, arguments->pin_dir);
  node::add_socket_option(*command, arguments->socket);
  command->callback([arguments, &exit_code] {
    // First, because starting pods would wait for an agent that is gone.
    const auto removed =
        cni::remove_plugin(arguments->cni_conf_dir, arguments->cni_bin_dir);
    exit_code = removed
                    ? clean_up_and_report(arguments->pin_dir, arguments->socket)
                    : node::complain(removed.error().message);
  });
}

}  // namespace sluice::cli
