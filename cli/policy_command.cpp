// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <iostream>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/files.h"
#include "agent/node/names.h"
#include "agent/node/views_json.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/operator_options.h"
#include "cli/operator_views.h"
#include "cli/options.h"
#include "cli/pins.h"
#include "cli/show.h"
#include "cli/tables.h"
#include "lib/base/printable.h"

namespace sluice::cli {
namespace {

constexpr const char* kListFooter = R"(
With DIR (or one file), only its objects are checked, and none is in force. The
exit status is 1 if a policy is invalid, and 2 if a file or another object cannot
be read. Without DIR, the running program reports which version of each policy
is in force. With --operator, the operator reports which policies of the cluster
are in force on all nodes with pods that they select, and where they are not.)";

constexpr const char* kDumpFooter = R"(
Without DIR: the entries in the kernel, with the same keys as `bpftool map dump`
of the pinned map, from the running program or, if there is none, from the
pins. With DIR: the entries that result from the folder's policies on a node.
In -o json, each row begins with the fields of key and value.)";

struct Arguments {
  std::filesystem::path dir;
  std::filesystem::path socket;
  std::filesystem::path pin_dir;
  std::string node;
  bool allow_partial = false;
  Format format = Format::kTable;
  OperatorAccess access;
};

int list(const Arguments& arguments) {
  if (arguments.dir.empty()) {
    auto view = ask_view<node::PolicyListView>(arguments.socket,
                                               {{"command", "policy list"}});
    if (!view) {
      return node::complain(view.error().message);
    }
    show(*view, arguments.format);
    return node::kExitOk;
  }
  const auto cluster = load_cluster(arguments.dir);
  if (!cluster) {
    return node::complain(cluster.error().message);
  }
  auto view = cluster->policy_list();
  for (auto& policy : view.policies) {
    policy.in_force = false;  // nothing is, of files
  }
  show(view, arguments.format);
  const bool all_read =
      std::ranges::none_of(view.problems, [](const node::ProblemView& problem) {
        return problem.severity == "error";
      });
  if (!all_read && !arguments.allow_partial) {
    return node::kExitError;
  }
  return std::ranges::all_of(view.policies, &node::PolicyView::valid)
             ? node::kExitOk
             : node::kExitNegative;
}

int dump_dir(const Arguments& arguments) {
  auto cluster = load_cluster(arguments.dir);
  if (!cluster) {
    return node::complain(cluster.error().message);
  }
  const auto node = choose_node(*cluster, arguments.node);
  if (!node) {
    return node::complain(node.error().message);
  }
  const auto state = cluster->translator().snapshot(*node);
  const node::Names names(state);
  node::PolicyDumpView view;
  for (const auto& entry : state.entries) {
    view.entries.push_back(names.entry_view(entry, false));
  }
  show(view, arguments.format);
  return exit_code_of(*cluster, arguments.allow_partial, node::kExitOk);
}

int dump_pins(const Arguments& arguments) {
  auto entries = read_pinned_policy(arguments.pin_dir);
  if (!entries) {
    return node::complain("no running program at " + arguments.socket.string() +
                          ", and no pins: " + entries.error().message);
  }
  auto names = node::Names::load(node::names_file(arguments.socket));
  if (!names) {
    std::cerr << "note: no names: " << printable(names.error().message) << '\n';
    names = node::Names();
  }
  if (const auto peers = read_pinned_peers(arguments.pin_dir)) {
    names->set_peers(*peers);
  }
  node::PolicyDumpView view;
  for (const auto& entry : *entries) {
    view.entries.push_back(names->entry_view(entry, true));
  }
  show(view, arguments.format);
  return node::kExitOk;
}

int dump_policy(const Arguments& arguments) {
  if (!arguments.dir.empty()) {
    return dump_dir(arguments);
  }
  auto view = ask_view<node::PolicyDumpView>(
      arguments.socket, {{"command", "policy dump"}}, "entries");
  if (!view && (view.error().code == ENOENT ||
                view.error().code == ECONNREFUSED)) {  // no program is running
    return dump_pins(arguments);
  }
  if (!view) {
    return node::complain(view.error().message);
  }
  show(*view, arguments.format);
  return node::kExitOk;
}

}  // namespace

void add_policy(CLI::App& app, int& exit_code) {
  auto* group =
      app.add_subcommand("policy", "Inspect policies and their entries");
  group->require_subcommand(1);

  auto* list_command = group->add_subcommand(
      "list", "List policies, whether they are valid, and why not");
  list_command->footer(kListFooter);
  const auto list_arguments = std::make_shared<Arguments>();
  list_command->add_option(
      "DIR", list_arguments->dir,
      "Folder of manifests, or one file; - for the standard input");
  node::add_socket_option(*list_command, list_arguments->socket);
  add_partial_option(*list_command, list_arguments->allow_partial);
  add_output_option(*list_command, list_arguments->format);
  add_operator_options(*list_command, list_arguments->access);
  list_command->callback([list_arguments, list_command, &exit_code] {
    exit_code = asks_operator(*list_command)
                    ? show_cluster_policies(list_arguments->access,
                                            list_arguments->format)
                    : list(*list_arguments);
  });

  auto* dump_command = group->add_subcommand(
      "dump", "Show policy-map entries with addresses and rules");
  dump_command->footer(kDumpFooter);
  const auto dump_arguments = std::make_shared<Arguments>();
  dump_command->add_option(
      "DIR", dump_arguments->dir,
      "Folder of manifests, or one file; - for the standard input");
  dump_command
      ->add_option("--node", dump_arguments->node,
                   "With DIR: the node whose entries are shown")
      ->type_name("NAME");
  node::add_socket_option(*dump_command, dump_arguments->socket);
  node::add_pin_dir_option(*dump_command, dump_arguments->pin_dir);
  add_partial_option(*dump_command, dump_arguments->allow_partial);
  add_output_option(*dump_command, dump_arguments->format);
  dump_command->callback([dump_arguments, &exit_code] {
    exit_code = dump_policy(*dump_arguments);
  });
}

}  // namespace sluice::cli
