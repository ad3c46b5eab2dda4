// SPDX-License-Identifier: Apache-2.0
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
Without DIR: the contents of the kernel, read from the pins. With DIR: the
classes that result from the folder's policies on a node.)";

struct Arguments {
  std::filesystem::path dir;
  std::filesystem::path pin_dir;
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
    return node::complain(peers.error().message);
  }
  show_peers(*peers, arguments.format);
  return node::kExitOk;
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
  node::add_pin_dir_option(*command, arguments->pin_dir);
  add_output_option(*command, arguments->format);
  add_partial_option(*command, arguments->allow_partial);
  command->callback([arguments, &exit_code] {
    exit_code =
        arguments->dir.empty() ? list_pins(*arguments) : list_dir(*arguments);
  });
}

}  // namespace sluice::cli
