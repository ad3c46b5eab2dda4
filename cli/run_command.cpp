// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <map>
#include <memory>
#include <system_error>

#include <CLI/CLI.hpp>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "agent/agent.h"
#include "cli/commands.h"
#include "cli/host.h"
#include "cli/instance.h"
#include "cli/options.h"
#include "cli/output.h"

namespace sluice::cli {
namespace {

constexpr const char* kRunFooter = R"(
Every *.yaml, *.yml and *.json in DIR and its subfolders is read, and again
whenever it changes: Namespaces, Pods, Nodes, EndpointSlices, NetworkPolicies,
CiliumNetworkPolicies, CiliumClusterwideNetworkPolicies, CiliumCIDRGroups and
ClusterNetworkPolicies. Other kinds are passed over. An object that becomes
invalid keeps its last valid version in force; `sluice policy list` says why.

The node is the Node object that has an address of this host, else the host's
name. Pods that name no node are taken for this one's. All addresses of the
host count as the node's own, which always reaches its pods.

SIGTERM and SIGINT end the process and leave what is enforced in force; the
next start takes it over. SIGHUP reads the folder again.)";

constexpr const char* kCleanupFooter = R"(
No policy is enforced any more. Refused while an instance is running.)";

struct RunArguments {
  RunOptions options;
  bool cleanup = false;
};

void start_log() {
  auto logger = spdlog::stderr_color_mt("sluice");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::flush_on(spdlog::level::info);
}

// Removes what an instance that has ended left behind.
int clean_up(const std::filesystem::path& pin_dir,
             const std::filesystem::path& socket) {
  std::error_code ignored;
  Fd pin_lock;
  Fd socket_lock;
  auto lock_path = socket;
  lock_path.replace_extension(".lock");
  if (std::filesystem::exists(pin_dir, ignored)) {
    auto locked = lock_folder(pin_dir);
    if (!locked) {
      return complain(locked.error().message);
    }
    pin_lock = std::move(*locked);
  }
  if (std::filesystem::exists(lock_path, ignored)) {
    auto locked = lock_file(lock_path);
    if (!locked) {
      return complain(locked.error().message);
    }
    socket_lock = std::move(*locked);
  }
  if (auto done = agent::cleanup(pin_dir); !done) {
    return complain(done.error().message);
  }
  for (const auto& file : {socket, names_file(socket), lock_path}) {
    std::filesystem::remove(file, ignored);
  }
  // Only if it is empty; it may be somebody else's.
  std::filesystem::remove(pin_dir, ignored);
  return kExitOk;
}

int run(const RunArguments& arguments) {
  const auto& options = arguments.options;
  if (options.dir.empty()) {
    return arguments.cleanup
               ? clean_up(options.agent.datapath.pin_dir, options.socket)
               : complain("DIR is required");
  }
  start_log();
  {
    auto instance = Instance::start(options);
    if (!instance) {
      return complain(instance.error().message);
    }
    if (auto result = instance->run(); !result) {
      return complain(result.error().message);
    }
  }
  return arguments.cleanup
             ? clean_up(options.agent.datapath.pin_dir, options.socket)
             : kExitOk;
}

void add_size_options(CLI::App& command, agent::DatapathOptions& sizes) {
  const auto size = [&](const char* name, std::uint32_t& value,
                        const char* what) {
    command.add_option(name, value, what)
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

void add_behaviour_options(CLI::App& command, RunOptions& options) {
  static const std::map<std::string, std::uint32_t> changes{
      {"reevaluate", SLUICE_CHANGE_REEVALUATE},
      {"continue", SLUICE_CHANGE_CONTINUE}};
  static const std::map<std::string, bool> events{{"all", true},
                                                  {"drops", false}};
  static const std::map<std::string, bool> cidr{{"external", false},
                                                {"all", true}};
  command
      .add_option("--on-policy-change", options.agent.on_policy_change,
                  "What a change means for established flows: reevaluate (the "
                  "default: judged again at their next packet) or continue "
                  "(they keep their verdict)")
      ->transform(CLI::CheckedTransformer(changes).description(""))
      ->type_name("reevaluate|continue");
  command
      .add_option("--events", options.agent.events_new_flows,
                  "Report drops and every new flow (all, the default), or "
                  "drops only")
      ->transform(CLI::CheckedTransformer(events).description(""))
      ->type_name("all|drops");
  command
      .add_option("--events-per-second", options.agent.events_per_second,
                  "Most events per second and CPU; the rest is counted")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--cidr-match", options.translator.cidr_match_all,
                  "What CIDRs in Cilium policies match: external addresses "
                  "only (the default), or all, pods and nodes too")
      ->transform(CLI::CheckedTransformer(cidr).description(""))
      ->type_name("external|all");
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "run", "Enforce the policies of a folder of manifests on this host");
  command->footer(kRunFooter);
  const auto arguments = std::make_shared<RunArguments>();
  auto& options = arguments->options;
  command->add_option("DIR", options.dir, "Folder of manifests");
  command->add_option("--node", options.node, "Name of this node; see below")
      ->type_name("NAME");
  add_pin_dir_option(*command, options.agent.datapath.pin_dir);
  add_socket_option(*command, options.socket);
  command->add_flag("--cleanup", arguments->cleanup,
                    "Remove every trace at the end; without DIR, do only that");
  add_behaviour_options(*command, options);
  add_size_options(*command, options.agent.datapath);
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

void add_cleanup(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "cleanup", "Remove programs, maps and files that `run` has left");
  command->footer(kCleanupFooter);
  struct Arguments {
    std::filesystem::path pin_dir;
    std::filesystem::path socket;
  };
  const auto arguments = std::make_shared<Arguments>();
  add_pin_dir_option(*command, arguments->pin_dir);
  add_socket_option(*command, arguments->socket);
  command->callback([arguments, &exit_code] {
    exit_code = clean_up(arguments->pin_dir, arguments->socket);
  });
}

}  // namespace sluice::cli
