// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/views_json.h"
#include "cli/commands.h"
#include "cli/operator_options.h"
#include "cli/operator_views.h"
#include "cli/options.h"
#include "cli/show.h"

namespace sluice::cli {
namespace {

struct Arguments {
  std::filesystem::path socket;
  Format format = Format::kTable;
  bool check = false;
  OperatorAccess access;
};

int status(const Arguments& arguments) {
  auto view =
      ask_view<node::StatusView>(arguments.socket, {{"command", "status"}});
  if (!view) {
    return node::complain(view.error().message);
  }
  show(*view, arguments.format);
  return arguments.check && !view->enforced ? node::kExitNegative
                                            : node::kExitOk;
}

int endpoint_list(const Arguments& arguments) {
  auto view = ask_view<node::EndpointListView>(arguments.socket,
                                               {{"command", "endpoint list"}});
  if (!view) {
    return node::complain(view.error().message);
  }
  show(*view, arguments.format);
  return node::kExitOk;
}

}  // namespace

void add_status(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "status", "Show whether the policies are in force and, if not, why");
  command->footer(R"(
enforced: yes if the kernel holds the current valid policies. Below it: the
usage of the maps, packets by reason, and all problems of the objects, with file
and line. With --operator, the same of all nodes of a cluster, a line for each.)");
  const auto arguments = std::make_shared<Arguments>();
  node::add_socket_option(*command, arguments->socket);
  add_output_option(*command, arguments->format);
  command->add_flag("--check", arguments->check,
                    "Exit with 1 if the policies are not in force");
  add_operator_options(*command, arguments->access);
  command->callback([arguments, command, &exit_code] {
    exit_code = asks_operator(*command)
                    ? show_cluster_status(arguments->access, arguments->format,
                                          arguments->check)
                    : status(*arguments);
  });
}

void add_endpoint(CLI::App& app, int& exit_code) {
  auto* group = app.add_subcommand(
      "endpoint", "Inspect the pods of this node, or of a cluster");
  group->require_subcommand(1);
  auto* command =
      group->add_subcommand("list", "List pods, their interfaces and policies");
  command->footer(R"(
ISOLATED: the directions in which traffic is denied unless a rule allows it. A
pod whose interface is not attached is not protected; STATE says why.)");
  const auto arguments = std::make_shared<Arguments>();
  node::add_socket_option(*command, arguments->socket);
  add_output_option(*command, arguments->format);
  add_operator_options(*command, arguments->access);
  command->callback([arguments, command, &exit_code] {
    exit_code =
        asks_operator(*command)
            ? show_cluster_endpoints(arguments->access, arguments->format)
            : endpoint_list(*arguments);
  });
}

}  // namespace sluice::cli
