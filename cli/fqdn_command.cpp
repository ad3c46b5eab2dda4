// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/views_json.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/show.h"
#include "lib/dns/name.h"

namespace sluice::cli {
namespace {

struct Arguments {
  std::filesystem::path socket;
  Format format = Format::kTable;
  std::string endpoint;
  std::string name;
};

int list(const Arguments& arguments) {
  std::string name;
  if (!arguments.name.empty()) {
    const auto parsed = dns::Name::from_text(arguments.name);
    if (!parsed) {
      return node::complain("--name: \"" + arguments.name + "\" " +
                            parsed.error().message);
    }
    name = parsed->text();
  }
  auto view = ask_view<node::ResolvedNameListView>(
      arguments.socket, {{"command", "fqdn list"}}, "names");
  if (!view) {
    return node::complain(view.error().message);
  }
  std::erase_if(view->names, [&](const node::ResolvedNameView& resolved) {
    return (!arguments.endpoint.empty() &&
            resolved.endpoint != arguments.endpoint) ||
           (!name.empty() && resolved.name != name);
  });
  if (!arguments.endpoint.empty() && view->names.empty()) {
    if (const auto known = check_endpoint(arguments.socket, arguments.endpoint);
        !known) {
      return node::complain(known.error().message);
    }
  }
  show(*view, arguments.format);
  return node::kExitOk;
}

}  // namespace

void add_fqdn(CLI::App& app, int& exit_code) {
  auto* group = app.add_subcommand("fqdn", "Inspect DNS names");
  group->require_subcommand(1);
  auto* command = group->add_subcommand(
      "list", "List the names that pods have resolved, and their addresses");
  command->footer(R"(
A pod reaches an address by a rule for names until the time in EXPIRES IN is
over. The list begins with the start of the running program.)");
  const auto arguments = std::make_shared<Arguments>();
  node::add_socket_option(*command, arguments->socket);
  add_output_option(*command, arguments->format);
  command
      ->add_option("--endpoint", arguments->endpoint, "Only names of this pod")
      ->type_name("NAMESPACE/POD");
  command->add_option("--name", arguments->name, "Only this name")
      ->type_name("NAME");
  command->callback([arguments, &exit_code] { exit_code = list(*arguments); });
}

}  // namespace sluice::cli
