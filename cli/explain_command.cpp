// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <memory>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/views_json.h"
#include "cli/ask_operator.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/host.h"
#include "cli/operator_options.h"
#include "cli/options.h"
#include "cli/show.h"
#include "cli/tables.h"
#include "lib/explain/view_json.h"
#include "lib/explain/view_text.h"

namespace sluice::cli {
namespace {

constexpr const char* kFooter = R"(
Both the sender's egress and the receiver's ingress are evaluated, in every
address family that the two share. The output names the deciding rule, the
policies that isolate the pod, and near misses: rules that differ in one respect
from one that would have decided otherwise. Exit status: 0 allowed, 1 denied,
2 bad input, also if only a part of DIR cannot be used.

  sluice explain --from shop/web --to shop/db --port 5432/TCP manifests/
  sluice explain --from 203.0.113.7 --to shop/web --port 8/ICMP
  sluice explain --from shop/web --to 203.0.113.7 --to-name api.example.com --port 443 manifests/
  sluice explain --operator --from shop/web --to 10.96.0.10 --port 80

To a Service (svc/shop/db, its DNS name db.shop.svc, or one of its addresses),
every backend is judged: the connection is allowed if all of them accept it.
Against a CIDR or an entity (world, host, remote-node, kube-apiserver), the pod is
judged for every part of it that the policies or the cluster tell apart: the
connection is allowed if all of it is)";

using Views = std::vector<node::ExplainView>;

struct Arguments {
  node::ExplainRequest request;
  std::filesystem::path dir;
  std::filesystem::path socket;
  OperatorAccess access;
  bool allow_partial = false;
  bool verbose = false;
  Format format = Format::kTable;
};

int show_answer(const Result<node::ExplainView>& view,
                const Arguments& arguments) {
  if (!view) {
    return node::complain(view.error().message);
  }
  if (arguments.format == Format::kJson) {
    show_json(*view);
  } else {
    print(std::cout, *view, arguments.verbose);
  }
  return view->allowed ? node::kExitOk : node::kExitNegative;
}

// One for each group of ports with the same answer.
int show_answers(const Result<Views>& views, const Arguments& arguments) {
  if (!views) {
    return node::complain(views.error().message);
  }
  if (views->empty()) {
    return node::complain("--to: " + arguments.request.to +
                          ": there is no port to ask about");
  }
  if (arguments.format == Format::kJson) {
    show_json(*views);
  } else {
    for (const auto& view : *views) {
      print(std::cout, view, arguments.verbose);
    }
  }
  return std::ranges::all_of(*views, &node::ExplainView::allowed)
             ? node::kExitOk
             : node::kExitNegative;
}

int explain_dir(const Arguments& arguments) {
  auto cluster = load_cluster(arguments.dir);
  if (!cluster) {
    return node::complain(cluster.error().message);
  }
  cluster->store().set_local_node(
      {.name = host_name(), .labels = {}, .ips = {}});
  cluster->store().commit();
  const int code =
      arguments.request.port.empty()
          ? show_answers(explain_all_ports(*cluster, arguments.request),
                         arguments)
          : show_answer(explain(*cluster, arguments.request), arguments);
  return exit_code_of(*cluster, arguments.allow_partial, code);
}

Result<Views> ask_cluster(const Arguments& arguments) {
  const auto& request = arguments.request;
  const auto text = ask_operator(
      arguments.access, "/explain",
      {{"from", request.from}, {"to", request.to}, {"port", request.port}});
  if (!text) {
    return std::unexpected(text.error());
  }
  return explain::views_from_json_text(*text);
}

Result<Views> ask_node(const Arguments& arguments) {
  const auto& request = arguments.request;
  const auto answer = cli::ask(arguments.socket, {{"command", "explain"},
                                                  {"from", request.from},
                                                  {"to", request.to},
                                                  {"port", request.port}});
  if (!answer) {
    return std::unexpected(answer.error());
  }
  return explain::views_from_json(*answer);
}

int explain_running(const Arguments& arguments, bool by_operator) {
  const auto views = by_operator ? ask_cluster(arguments) : ask_node(arguments);
  if (!views || arguments.request.port.empty() || views->size() != 1) {
    return show_answers(views, arguments);
  }
  return show_answer(views->front(), arguments);
}

}  // namespace

void add_explain(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "explain", "Explain whether a packet would pass, and which rule decides");
  command->footer(kFooter);

  const auto arguments = std::make_shared<Arguments>();
  auto& request = arguments->request;
  command->add_option("--from", request.from, "Sender")
      ->required()
      ->type_name("NAMESPACE/POD|ADDRESS|CIDR|node/NAME|ENTITY");
  command
      ->add_option("--to", request.to,
                   "Receiver; of a running program also a DNS name that the "
                   "sender has resolved")
      ->required()
      ->type_name(
          "NAMESPACE/POD|ADDRESS|CIDR|node/NAME|ENTITY|svc/NAMESPACE/NAME|"
          "NAME");
  command
      ->add_option("--port", request.port,
                   "Destination port and protocol (TCP if none is named); the "
                   "name of a port of --to; or ICMP type. Without "
                   "this option: every port that the policies or "
                   "containers of the two ends name; an agent needs it")
      ->type_name("80/TCP|udp/53|http|8/ICMP|EchoRequest/ICMP");
  auto* dir = command->add_option(
      "DIR", arguments->dir,
      "Folder of manifests, or one file; - for the standard input; default: "
      "ask the running program");
  command
      ->add_option("--to-name", request.to_names,
                   "DNS name for which the sender knows the receiver's "
                   "address; may be repeated")
      ->allow_extra_args(false)
      ->needs(dir)
      ->type_name("NAME");
  node::add_socket_option(*command, arguments->socket);
  add_operator_options(*command, arguments->access);
  command->add_flag("-v,--verbose", arguments->verbose,
                    "Also show the deciding entries of the policy map");
  add_partial_option(*command, arguments->allow_partial);
  add_output_option(*command, arguments->format);
  command->callback([arguments, command, &exit_code] {
    exit_code = arguments->dir.empty()
                    ? explain_running(*arguments, asks_operator(*command))
                    : explain_dir(*arguments);
  });
}

}  // namespace sluice::cli
