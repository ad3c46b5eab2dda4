// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/json_text.h"
#include "agent/node/views_json.h"
#include "cli/commands.h"
#include "cli/observe_operator.h"
#include "cli/operator_options.h"
#include "cli/options.h"
#include "cli/show.h"
#include "observer.pb.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

struct Arguments {
  std::filesystem::path socket;
  Format format = Format::kTable;
  bool drops = false;
  OperatorAccess access;
};

// False if the output is gone.
bool show_line(const json& line, Format format) {
  if (format == Format::kJson) {
    const auto event = line.find("event");
    std::cout << node::dump(event == line.end() ? line : *event) << '\n';
  } else if (line.contains("event")) {
    print(std::cout, line["event"].get<node::FlowView>());
  } else if (line.contains("lost")) {
    std::cout << "-- " << node::dump(line["lost"])
              << " events lost: this reader is too slow\n";
  }
  return static_cast<bool>(std::cout.flush());
}

int monitor(const Arguments& arguments) {
  const auto followed = follow(
      arguments.socket, {{"command", "monitor"}, {"drops", arguments.drops}},
      [&](const json& line) {
        try {
          return show_line(line, arguments.format);
        } catch (const json::exception&) {
          return true;  // from a newer version; ignored
        }
      });
  return followed ? node::kExitOk : node::complain(followed.error().message);
}

int monitor_operator(const Arguments& arguments) {
  ::observer::GetFlowsRequest request;
  request.set_follow(true);
  if (arguments.drops) {
    request.add_whitelist()->add_verdict(::flow::DROPPED);
  }
  return observe_operator(arguments.access, request,
                          arguments.format == Format::kJson
                              ? FlowFormat::kJson
                              : FlowFormat::kCompact);
}

}  // namespace

void add_monitor(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("monitor", "Show flows as they happen");
  command->footer(R"(
One line per new flow and per drop: time, verdict, direction as seen from the
pod, source and destination with the pods' names, protocol, reason, and the
policy and rule that decided. For a default deny, the policies that isolate the
pod are named. With -o json, one object per line; {"lost": N} counts events
lost because this reader was too slow. Ends when the running program ends.

With --operator, the flows of all nodes, in the form of `sluice observe
--follow`.)");
  const auto arguments = std::make_shared<Arguments>();
  node::add_socket_option(*command, arguments->socket);
  add_output_option(*command, arguments->format);
  command->add_flag("--drops", arguments->drops, "Only drops");
  add_operator_options(*command, arguments->access);
  add_account_option(*command, arguments->access);
  command->callback([arguments, command, &exit_code] {
    exit_code = asks_operator(*command) ? monitor_operator(*arguments)
                                        : monitor(*arguments);
  });
}

}  // namespace sluice::cli
