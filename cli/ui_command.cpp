// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <csignal>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <poll.h>
#include <spawn.h>
#include <unistd.h>

#include "agent/node/command_line.h"
#include "agent/node/version.h"
#include "cli/commands.h"
#include "cli/observe_operator.h"
#include "cli/operator_options.h"
#include "cli/operator_sources.h"
#include "lib/base/printable.h"
#include "lib/base/process.h"
#include "lib/health/listener.h"
#include "lib/kube/api/cluster_config.h"
#include "lib/ui/server.h"
#include "observer.pb.h"

namespace sluice::cli {
namespace {

constexpr std::uint16_t kPortByDefault = 4280;

constexpr const char* kFooter = R"(
The page shows the flows of all nodes as a map, the policies and where they are
in force, and who may reach whom. It is served at 127.0.0.1 until the command is
ended by Ctrl-C. Everything comes from the operator, through the API server of
the kubeconfig and with the rights of its user, so every user of this machine
who can connect to 127.0.0.1 sees what this user may see.)";

struct Arguments {
  OperatorAccess access;
  std::uint16_t port = kPortByDefault;
  bool open = false;
};

// A program that fails says so itself.
void open_browser(const std::string& url) {
  std::array<char*, 3> arguments{const_cast<char*>("xdg-open"),  // NOLINT
                                 const_cast<char*>(url.c_str()), nullptr};
  // It gets the signals that this program waits for.
  posix_spawnattr_t attributes;
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, arguments[0], nullptr, &attributes,
                                  arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    std::cerr << "note: xdg-open cannot be started; open the page yourself\n";
  }
}

Result<void> try_flows(const OperatorAccess& access) {
  ::observer::GetFlowsRequest request;
  request.set_number(1);
  return read_operator_messages(
      access, request,
      [](const ::observer::GetFlowsResponse& /*message*/) { return false; });
}

// Fails if the user may read nothing at all; says what is missing.
Result<void> check_rights(OperatorSources& sources,
                          const OperatorAccess& access) {
  const auto views = sources.namespaces();
  const auto flows = try_flows(access);
  if (!views && !flows) {
    return std::unexpected(views.error());
  }
  if (!views) {
    std::cerr << "note: the page shows only flows: "
              << printable(views.error().message) << '\n';
  }
  if (!flows) {
    std::cerr << "note: the page shows no flows: "
              << printable(flows.error().message) << '\n';
  }
  return {};
}

void wait_for_signal(int signals) {
  while (true) {
    pollfd entry{.fd = signals, .events = POLLIN, .revents = 0};
    if (poll(&entry, 1, -1) > 0 && read_signals(signals).stop) {
      return;
    }
  }
}

Result<void> serve(const Arguments& arguments) {
  const auto config = kube::load_cluster_config(arguments.access.kubeconfig,
                                                arguments.access.context);
  if (!config) {
    return std::unexpected(config.error());
  }
  auto listener =
      health::Listener::open("127.0.0.1:" + std::to_string(arguments.port));
  if (!listener) {
    return with_context("--port", listener.error());
  }
  OperatorSources sources(arguments.access);
  if (auto checked = check_rights(sources, arguments.access); !checked) {
    return checked;
  }
  // Before any thread is started that lives on.
  const auto signals = open_signals();
  if (!signals) {
    return std::unexpected(signals.error());
  }
  const auto url = "http://127.0.0.1:" + std::to_string(listener->port()) + "/";
  const auto server = ui::Server::open(
      std::move(*listener), sources,
      {.node = "cluster at " + config->server, .version = node::kVersion});
  if (!server) {
    return std::unexpected(server.error());
  }
  sources.start();
  std::cout << "page of the cluster at " << url << '\n' << std::flush;
  if (arguments.open) {
    open_browser(url);
  }
  wait_for_signal(signals->get());
  sources.stop();  // before the server goes
  return {};
}

}  // namespace

void add_ui(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "ui", "Serve the web page of a cluster, from its operator");
  command->footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("--port", arguments->port,
                   "Port of 127.0.0.1; 0: any that is free")
      ->capture_default_str()
      ->type_name("PORT")
      ->check(CLI::Range(0, 65'535).description(""));
  command->add_flag("--open", arguments->open,
                    "Open the page in the browser, by xdg-open");
  add_cluster_options(*command, arguments->access);
  add_account_option(*command, arguments->access);
  command->callback([arguments, &exit_code] {
    const auto served = serve(*arguments);
    exit_code = served ? node::kExitOk : node::complain(served.error().message);
  });
}

}  // namespace sluice::cli
