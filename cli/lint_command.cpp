// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/json_text.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/tables.h"
#include "lib/base/printable.h"

namespace sluice::cli {
namespace {

constexpr const char* kFooter = R"(
Finds what is legal and almost surely wrong: policies and rules that select
nothing, namespaces that are not there, rules that change nothing, misspelt and
foreign kinds, forgotten DNS. docs/lint.md lists the findings by their codes.

Only what the input shows counts: selectors are judged by the namespaces of
which it has pods or workloads (Deployments and the like), names of namespaces
if it has any Namespace.

The exit status is 0, also with findings; with --strict it is 1 if there is a
finding. It is 2 if a part of the input cannot be read or is not valid.)";

struct Arguments {
  std::vector<std::filesystem::path> paths;
  bool strict = false;
  bool allow_partial = false;
  Format format = Format::kTable;
};

struct Counts {
  std::size_t policies = 0;
  std::size_t pods = 0;
  std::size_t namespaces = 0;
};

Counts count(const Cluster& cluster) {
  Counts counts;
  for (const auto& [file, input] : cluster.inputs()) {
    counts.policies += input.policies.size();
    counts.pods += input.pods.size();
    counts.namespaces += input.namespaces.size();
  }
  return counts;
}

// "1 pod", "2 pods".
std::string number_of(std::size_t count, const std::string& one,
                      const std::string& many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

void show_text(const std::vector<lint::Finding>& findings,
               const Counts& counts) {
  for (const auto& finding : findings) {
    std::cout << printable(lint::place_of(finding)) << ": "
              << printable(finding.object) << ": "
              << printable(lint::text_of(finding)) << '\n';
  }
  std::cout << number_of(findings.size(), "finding", "findings") << " in "
            << number_of(counts.policies, "policy", "policies") << ", "
            << number_of(counts.pods, "pod or workload", "pods and workloads")
            << ", " << number_of(counts.namespaces, "namespace", "namespaces")
            << '\n';
}

void show_json(const std::vector<lint::Finding>& findings,
               const std::vector<node::ProblemView>& errors,
               const Counts& counts) {
  auto list = nlohmann::json::array();
  for (const auto& finding : findings) {
    list.push_back({{"code", lint::word_of(finding.code)},
                    {"file", finding.file},
                    {"line", finding.line},
                    {"object", finding.object},
                    {"message", finding.message}});
  }
  auto problems = nlohmann::json::array();
  for (const auto& error : errors) {
    problems.push_back({{"severity", error.severity},
                        {"source", error.source},
                        {"object", error.object},
                        {"message", error.message}});
  }
  std::cout << node::dump({{"findings", std::move(list)},
                           {"problems", std::move(problems)},
                           {"policies", counts.policies},
                           {"pods", counts.pods},
                           {"namespaces", counts.namespaces}},
                          2)
            << '\n';
}

int run(const Arguments& arguments) {
  Cluster cluster;
  if (std::ranges::count(arguments.paths, std::filesystem::path("-")) > 1) {
    return node::complain("the standard input (-) can be given once only");
  }
  for (const auto& path : arguments.paths) {
    if (const auto loaded = load(cluster, path); !loaded) {
      return node::complain(loaded.error().message);
    }
  }
  const auto& findings = cluster.findings();
  // A kind in another version is a finding, and not an error besides.
  auto errors = cluster.errors();
  std::erase_if(errors, [&](const node::ProblemView& error) {
    return std::ranges::any_of(findings, [&](const lint::Finding& finding) {
      return !finding.of_policy && lint::place_of(finding) == error.source;
    });
  });
  const auto counts = count(cluster);
  if (arguments.format == Format::kJson) {
    show_json(findings, errors, counts);
  } else {
    show_text(findings, counts);
  }
  print(std::cerr, errors);
  if (!errors.empty() && !arguments.allow_partial) {
    return node::kExitError;
  }
  return arguments.strict && !findings.empty() ? node::kExitNegative
                                               : node::kExitOk;
}

}  // namespace

void add_lint(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "lint", "Find what is legal in manifests and almost surely wrong");
  command->footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("DIR", arguments->paths,
                   "Folders of manifests or files; - for the standard input")
      ->required();
  command->add_flag("--strict", arguments->strict,
                    "Exit status 1 if there is a finding");
  add_partial_option(*command, arguments->allow_partial);
  add_output_option(*command, arguments->format);
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace sluice::cli
