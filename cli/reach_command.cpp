// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/host.h"
#include "cli/options.h"
#include "cli/reach_text.h"
#include "cli/show.h"
#include "lib/base/option_words.h"
#include "lib/base/printable.h"
#include "lib/explain/reach_json.h"

namespace sluice::cli {
namespace {

constexpr const char* kFooter = R"(
Each pair of workloads is judged by the policies of both, not by traffic, as
`explain` judges pods. Pods are one workload if the same object has created
them, or if nobody has and their labels are equal. Where pods of two workloads
differ, the port is neither allowed nor denied but under SOME PODS, with how many
pairs of pods may connect.

Ports are those that rules and containers name; other/TCP is every TCP port that
none of them names, and "any" is every port. Beside the workloads there are ends
outside: world (addresses that no rule names), the prefixes of rules, host (the
pod's own node), remote-node and kube-apiserver; those that are treated as world
are not shown.

  sluice reach manifests/
  sluice reach -n shop --port 5432/TCP manifests/
  kubectl get ns,nodes,pods,svc,endpointslices,netpol -A -o yaml | sluice reach -
  sluice reach -o dot manifests/ | dot -Tsvg > reach.svg

JSON and CSV have every verdict. Exit status: 0, or 2 for bad input, also if only
a part of DIR cannot be used.)";

enum class ReachFormat : std::uint8_t { kTable, kJson, kCsv, kDot };

struct Arguments {
  explain::ReachRequest request;
  std::filesystem::path dir;
  std::filesystem::path socket;
  bool pods_only = false;
  bool denied = false;
  bool all = false;
  bool allow_partial = false;
  ReachFormat format = ReachFormat::kTable;

  [[nodiscard]] ReachShown shown() const {
    if (all) {
      return ReachShown::kAll;
    }
    return denied ? ReachShown::kDenied : ReachShown::kAllowed;
  }
};

void show(const explain::ReachView& view, const Arguments& arguments) {
  switch (arguments.format) {
    case ReachFormat::kTable:
      print_reach(std::cout, view, arguments.shown());
      break;
    case ReachFormat::kJson:
      show_json(explain::reach_json(view));
      return;  // notes are in it
    case ReachFormat::kCsv:
      print_reach_csv(std::cout, view);
      break;
    case ReachFormat::kDot:
      print_reach_dot(std::cout, view, arguments.shown());
      break;
  }
  for (const auto& note : view.notes) {
    std::cerr << "note: " << printable(note) << '\n';
  }
}

int show_answer(const Result<explain::ReachView>& view,
                const Arguments& arguments) {
  if (!view) {
    return node::complain(view.error().message);
  }
  show(*view, arguments);
  return node::kExitOk;
}

int reach_dir(const Arguments& arguments) {
  auto cluster = load_cluster(arguments.dir);
  if (!cluster) {
    return node::complain(cluster.error().message);
  }
  cluster->store().set_local_node(
      {.name = host_name(), .labels = {}, .ips = {}});
  cluster->store().commit();
  const int code = show_answer(reach(*cluster, arguments.request), arguments);
  return exit_code_of(*cluster, arguments.allow_partial, code);
}

Result<explain::ReachView> ask_running(const Arguments& arguments) {
  const auto& request = arguments.request;
  const auto answer = ask(arguments.socket,
                          {{"command", "reach"},
                           {"namespace", request.ns},
                           {"ports", request.ports},
                           {"outside", request.outside}},
                          "cells");
  if (!answer) {
    return std::unexpected(answer.error());
  }
  return explain::reach_view(*answer);
}

int run_reach(Arguments& arguments) {
  const bool whole = arguments.format == ReachFormat::kJson ||
                     arguments.format == ReachFormat::kCsv;
  if (whole && (arguments.denied || arguments.all)) {
    return node::complain(
        std::string(arguments.all ? "--all" : "--denied") +
        ": JSON and CSV always have every verdict; only the table and dot can "
        "be narrowed");
  }
  arguments.request.outside = !arguments.pods_only;
  return arguments.dir.empty() ? show_answer(ask_running(arguments), arguments)
                               : reach_dir(arguments);
}

void add_format_option(CLI::App& command, ReachFormat& format) {
  static const std::map<std::string, ReachFormat> formats{
      {"table", ReachFormat::kTable},
      {"json", ReachFormat::kJson},
      {"csv", ReachFormat::kCsv},
      {"dot", ReachFormat::kDot}};
  command
      .add_option("-o,--output", format,
                  "Output for people (table, the default), programs (json), "
                  "spreadsheets (csv) or Graphviz (dot)")
      ->transform(one_of(formats))
      ->type_name("table|json|csv|dot");
}

}  // namespace

void add_reach(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "reach", "Show which workloads may reach which, at which ports");
  command->footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();
  command->add_option(
      "DIR", arguments->dir,
      "Folder of manifests, or one file; - for the standard input; default: "
      "ask the running program");
  command
      ->add_option("-n,--namespace", arguments->request.ns,
                   "Only what is from or to pods of this namespace")
      ->type_name("NAMESPACE");
  command
      ->add_option("--port", arguments->request.ports,
                   "Only this port, TCP if no protocol is named; the name of a "
                   "container port; or an ICMP type; may be repeated")
      ->allow_extra_args(false)
      ->type_name("80/TCP|udp/53|http|8/ICMP|EchoRequest/ICMP");
  command->add_flag("--pods-only", arguments->pods_only,
                    "Without ends outside of pods");
  auto* denied =
      command->add_flag("--denied", arguments->denied, "Show what is denied");
  command->add_flag("--all", arguments->all, "Show what is allowed and denied")
      ->excludes(denied);
  node::add_socket_option(*command, arguments->socket);
  add_partial_option(*command, arguments->allow_partial);
  add_format_option(*command, arguments->format);
  command->callback(
      [arguments, &exit_code] { exit_code = run_reach(*arguments); });
}

}  // namespace sluice::cli
