// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <iostream>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/views_json.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/pins.h"
#include "cli/show.h"
#include "cli/tables.h"

namespace sluice::cli {
namespace {

constexpr const char* kFooter = R"(
Entries of the policy map refer to classes of peers (their cidr_id); this lists
the class of each address. An address that is not listed has the class of the
longest prefix that contains it or, without such a prefix, class 0: any peer.
Without DIR: those of the running program or, if there is none or --pin-dir is
given, what the pinned maps hold. With DIR: the classes that result from the
folder's policies on a node.)";

struct Arguments {
  std::filesystem::path dir;
  std::filesystem::path socket;
  std::filesystem::path pin_dir;
  bool pins_only = false;
  std::string node;
  bool allow_partial = false;
  Format format = Format::kTable;
};

void show_peers(const std::vector<PeerEntry>& peers, Format format) {
  node::PeerListView view;
  for (const auto& peer : peers) {
    view.peers.push_back(
        {.prefix = to_string(peer.prefix), .cidr_id = peer.cidr_id});
  }
  show(view, format);
}

int list_dir(const Arguments& arguments) {
  auto cluster = load_cluster(arguments.dir);
  if (!cluster) {
    return node::complain(cluster.error().message);
  }
  const auto node = choose_node(*cluster, arguments.node);
  if (!node) {
    return node::complain(node.error().message);
  }
  show_peers(cluster->translator().snapshot(*node).peers, arguments.format);
  return exit_code_of(*cluster, arguments.allow_partial, node::kExitOk);
}

int list_pins(const Arguments& arguments) {
  const auto peers = read_pinned_peers(arguments.pin_dir);
  if (!peers) {
    return node::complain((arguments.pins_only ? ""
                                               : "no running program at " +
                                                     arguments.socket.string() +
                                                     ", and no pins: ") +
                          peers.error().message);
  }
  show_peers(*peers, arguments.format);
  return node::kExitOk;
}

int list_running(const Arguments& arguments) {
  const auto view = ask_view<node::PeerListView>(
      arguments.socket, {{"command", "peer list"}}, "peers");
  if (view) {
    show(*view, arguments.format);
    return node::kExitOk;
  }
  const auto code = view.error().code;
  return code == ENOENT || code == ECONNREFUSED  // no program is running
             ? list_pins(arguments)
             : node::complain(view.error().message);
}

int list(const Arguments& arguments) {
  if (!arguments.dir.empty()) {
    return list_dir(arguments);
  }
  return arguments.pins_only ? list_pins(arguments) : list_running(arguments);
}

}  // namespace

void add_peer(CLI::App& app, int& exit_code) {
  auto* group = app.add_subcommand("peer", "Inspect peer classes");
  group->require_subcommand(1);
  auto* command =
      group->add_subcommand("list", "List addresses and their peer classes");
  command->footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();
  command->add_option(
      "DIR", arguments->dir,
      "Folder of manifests, or one file; - for the standard input");
  command
      ->add_option("--node", arguments->node,
                   "With DIR: the node whose peers are shown")
      ->type_name("NAME");
  node::add_socket_option(*command, arguments->socket);
  node::add_pin_dir_option(*command, arguments->pin_dir);
  add_output_option(*command, arguments->format);
  add_partial_option(*command, arguments->allow_partial);
  command->callback([arguments, command, &exit_code] {
    arguments->pins_only = command->count("--pin-dir") > 0;
    exit_code = list(*arguments);
  });
}

}  // namespace sluice::cli
