// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <strings.h>

#include "agent/node/command_line.h"
#include "agent/node/views_json.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/show.h"
#include "lib/base/printable.h"

namespace sluice::cli {
namespace {

struct Arguments {
  std::filesystem::path socket;
  Format format = Format::kTable;
  std::string endpoint;
  std::string remote;
  std::string protocol;
  std::string direction;
  std::uint32_t port = 0;
  bool stale = false;
};

bool matches(const node::ConntrackView& flow, const Arguments& filter) {
  return (filter.endpoint.empty() || flow.endpoint == filter.endpoint) &&
         (filter.remote.empty() || flow.remote == filter.remote ||
          flow.remote_name == filter.remote) &&
         (filter.protocol.empty() ||
          ::strcasecmp(flow.protocol.c_str(), filter.protocol.c_str()) == 0) &&
         (filter.direction.empty() || flow.direction == filter.direction) &&
         (filter.port == 0 || flow.local_port == filter.port ||
          flow.remote_port == filter.port) &&
         (!filter.stale || !flow.current);
}

int list(const Arguments& arguments) {
  auto view = ask_view<node::ConntrackListView>(
      arguments.socket, {{"command", "conntrack list"}}, "entries");
  if (!view) {
    return node::complain(view.error().message);
  }
  std::erase_if(view->entries, [&](const node::ConntrackView& flow) {
    return !matches(flow, arguments);
  });
  // The flows of a pod that has gone are listed as long as there are any.
  if (!arguments.endpoint.empty() && view->entries.empty()) {
    if (const auto known = check_endpoint(arguments.socket, arguments.endpoint);
        !known) {
      return node::complain(known.error().message);
    }
  }
  if (!view->names_problem.empty()) {
    std::cerr << "note: names of pods of other nodes are missing: "
              << printable(view->names_problem) << '\n';
  }
  show(*view, arguments.format);
  return node::kExitOk;
}

}  // namespace

void add_conntrack(CLI::App& app, int& exit_code) {
  auto* group = app.add_subcommand("conntrack", "Inspect the conntrack table");
  group->require_subcommand(1);
  auto* command = group->add_subcommand(
      "list", "List flows and the rule that decided each");
  command->footer(R"(
A flow marked "older policies" is judged again at its next packet. Only flows
that match all given filters are listed.)");
  const auto arguments = std::make_shared<Arguments>();
  node::add_socket_option(*command, arguments->socket);
  add_output_option(*command, arguments->format);
  command
      ->add_option("--endpoint", arguments->endpoint, "Only flows of this pod")
      ->type_name("NAMESPACE/POD");
  command
      ->add_option("--remote", arguments->remote,
                   "Only flows with this address or pod at the other end")
      ->type_name("ADDRESS");
  command
      ->add_option("--protocol", arguments->protocol,
                   "Only flows of this protocol")
      ->type_name("TCP|UDP|...");
  command
      ->add_option("--port", arguments->port,
                   "Only flows with this port on either side")
      ->type_name("PORT")
      ->check(CLI::Range(1U, 65'535U).description(""));
  command
      ->add_option("--opened-by", arguments->direction,
                   "Only flows opened by a packet of this direction")
      ->check(CLI::IsMember({"ingress", "egress"}).description(""))
      ->type_name("ingress|egress");
  command->add_flag("--stale", arguments->stale,
                    "Only flows whose verdict is from older policies");
  command->callback([arguments, &exit_code] { exit_code = list(*arguments); });
}

}  // namespace sluice::cli
