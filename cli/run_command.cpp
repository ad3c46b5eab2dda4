// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include "agent/agent.h"
#include "agent/node/cleanup.h"
#include "agent/node/command_line.h"
#include "agent/node/flow_options.h"
#include "agent/node/runtime.h"
#include "agent/node/version.h"
#include "cli/commands.h"
#include "cli/manifest_source.h"
#include "cli/ui_sources.h"
#include "cni/install.h"
#include "lib/base/ip.h"
#include "lib/base/process.h"
#include "lib/health/health_option.h"
#include "lib/health/listener.h"
#include "lib/ui/server.h"
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
  std::string ui;  // where the web page is served; empty: nowhere
};

int clean_up_and_report(const std::filesystem::path& pin_dir,
                        const std::filesystem::path& socket) {
  const auto done = node::clean_up(pin_dir, socket);
  return done ? node::kExitOk : node::complain(done.error().message);
}

Result<ui::Server> open_page(health::Listener listener, ui::Sources& sources,
                             const std::string& node) {
  const auto address = to_string(listener.address());
  const auto place = (listener.address().v6 ? "[" + address + "]" : address) +
                     ":" + std::to_string(listener.port());
  if (!is_loopback(listener.address())) {
    spdlog::warn("the page at {} is for everybody who reaches it", place);
  }
  auto server = ui::Server::open(std::move(listener), sources,
                                 {.node = node, .version = node::kVersion});
  if (!server) {
    return with_context("--ui", server.error());
  }
  spdlog::info("page at http://{}/", place);
  return server;
}

Result<void> enforce(const RunArguments& arguments) {
  auto source = std::make_unique<ManifestSource>(arguments.source);
  const auto& manifests = *source;  // the runtime's, and as long there
  std::optional<health::Listener> listener;
  auto options = arguments.runtime;
  if (!arguments.ui.empty()) {
    options.before_load = [&listener, &arguments]() -> Result<void> {
      auto opened = health::Listener::open(arguments.ui);
      if (!opened) {
        return with_context("--ui", opened.error());
      }
      listener = std::move(*opened);
      return {};
    };
  }
  auto runtime = node::Runtime::start(std::move(options), std::move(source));
  if (!runtime) {
    return std::unexpected(runtime.error());
  }
  UiSources sources(**runtime, manifests);
  std::optional<ui::Server> page;
  if (listener) {
    auto opened = open_page(std::move(*listener), sources, manifests.node());
    if (!opened) {
      return std::unexpected(opened.error());
    }
    page = std::move(*opened);
  }
  return (*runtime)->run();
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
  node::add_flow_options(*command, runtime.flows);
  command
      ->add_option_function<std::string>(
          "--ui",
          [arguments](const std::string& text) {
            arguments->ui = ui_address(text);
            if (arguments->ui.empty()) {
              throw CLI::ValidationError(
                  "--ui", "\"" + text +
                              "\" is neither a port nor an address "
                              "and a port");
            }
          },
          "Serve a page with a map of the flows; a port alone is one of "
          "127.0.0.1. Nobody who reaches it has to say who they are")
      ->type_name("[ADDRESS:]PORT");
  health::add_health_option(*command, runtime.health);
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
