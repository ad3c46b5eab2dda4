// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/preview_flows.h"
#include "cli/preview_text.h"
#include "cli/preview_worlds.h"
#include "cli/show.h"
#include "cli/tables.h"
#include "lib/base/printable.h"
#include "lib/preview/preview.h"
#include "lib/preview/preview_json.h"

namespace sluice::cli {
namespace {

constexpr const char* kFooter = R"(
Applies the objects of -f to a copy of what --against names, without those of
--delete, and shows what that changes: which pairs of workloads may connect
after the change and not before it, or the other way round, at which ports, and
by which policies and rules. Workloads, ends outside of pods and ports are those
of `sluice reach`; ports and prefixes that only one side names count on both.

An object of -f replaces the one of the same kind, namespace and name.

  sluice preview -f policy.yaml --against manifests/
  sluice preview --delete NetworkPolicy/shop/db --against manifests/ --expand
  kubectl get ns,nodes,pods,svc,endpointslices,netpol -A -o yaml \
    | sluice preview -f new/ --against - -o json

Warnings are about what the change does and is probably not meant: policies that
select nothing or that others make useless, workloads that it opens to the
world, and pods that can no longer ask a DNS server.

With --flows it also says which flows that have been seen would be denied, and
which would be allowed that are denied now:

  sluice observe --since 1h -o json > flows.json
  sluice preview -f policy.yaml --against manifests/ --flows flows.json

Exit status: 0 if nothing that is allowed becomes denied, 1 if something does,
whether or not anybody uses it; with --flows, 1 if a flow that has been seen
would be denied, and otherwise 0. 2 for bad input, also if an object of -f is not
valid or only a part of --against can be used.)";

struct Arguments {
  PreviewInput input;
  bool expand = false;
  bool allow_partial = false;
  Format format = Format::kTable;
};

nlohmann::json warnings_json(const std::vector<preview::Warning>& warnings) {
  auto result = nlohmann::json::array();
  for (const auto& warning : warnings) {
    result.push_back({{"source", warning.source},
                      {"object", warning.object},
                      {"message", warning.message}});
  }
  return result;
}

struct Answer {
  preview::View view;
  std::optional<preview::FlowsView> flows;
  std::vector<preview::Warning> warnings;

  [[nodiscard]] bool denies() const {
    const auto is_denied = [](const auto& change) { return !change.allowed; };
    return flows ? std::ranges::any_of(flows->changes, is_denied)
                 : std::ranges::any_of(view.changes, is_denied);
  }
};

void show(const Answer& answer, const Arguments& arguments) {
  const auto& view = answer.view;
  if (arguments.format == Format::kJson) {
    auto json = preview::preview_json(view);
    const auto counts = count_pairs(view);
    json["allowed"] = counts.allowed;
    json["denied"] = counts.denied;
    json["warnings"] = warnings_json(answer.warnings);
    if (answer.flows) {
      json["flows"] = preview::flows_json(*answer.flows);
    }
    show_json(json);
    return;
  }
  print_preview(std::cout, view, arguments.expand);
  if (answer.flows) {
    print(std::cout, *answer.flows);
  }
  print(std::cout, answer.warnings);
  for (const auto& note : view.notes) {
    std::cerr << "note: " << printable(note) << '\n';
  }
}

// What the change makes impossible: policies that no longer fit.
std::vector<node::ProblemView> new_errors(const PreviewWorlds& worlds) {
  const auto before = worlds.before.errors();
  auto errors = worlds.after.errors();
  std::erase_if(errors, [&](const node::ProblemView& error) {
    return std::ranges::any_of(before, [&](const node::ProblemView& other) {
      return error.object == other.object && error.message == other.message;
    });
  });
  return errors;
}

int run_preview(const Arguments& arguments) {
  if (arguments.input.files.empty() && arguments.input.deletes.empty()) {
    return node::complain("there is no change: give -f or --delete");
  }
  const auto worlds = read_worlds(arguments.input);
  if (!worlds) {
    return node::complain(worlds.error().message);
  }
  print(std::cerr, worlds->problems);
  if (worlds->refused) {
    return node::kExitError;
  }
  const auto& before = worlds->before.translator();
  Answer answer;
  if (!arguments.input.flows.empty()) {
    const auto flows = read_flows(arguments.input.flows, before);
    if (!flows) {
      return node::complain(flows.error().message);
    }
    answer.flows =
        preview::judge_flows(before, worlds->after.translator(), *flows);
  }
  answer.view =
      preview::compare(world_of(worlds->before), world_of(worlds->after));
  answer.warnings =
      preview::warnings_of({.translator = &worlds->after.translator(),
                            .inputs_before = &worlds->before.inputs(),
                            .inputs = &worlds->after.inputs(),
                            .findings = &worlds->after.findings()},
                           answer.view, worlds->changed);
  show(answer, arguments);
  const auto errors = new_errors(*worlds);
  print(std::cerr, errors);
  const int code = answer.denies() ? node::kExitNegative : node::kExitOk;
  return exit_code_of(
      worlds->before, arguments.allow_partial,
      errors.empty() || arguments.allow_partial ? code : node::kExitError);
}

}  // namespace

void add_preview(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "preview", "Show what a change of policies would allow and deny");
  command->footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("-f,--filename", arguments->input.files,
                   "The changed objects: a folder of manifests, a file, or - "
                   "for the standard input; may be repeated")
      ->allow_extra_args(false)
      ->type_name("PATH");
  command
      ->add_option("--delete", arguments->input.deletes,
                   "An object that is deleted; may be repeated")
      ->allow_extra_args(false)
      ->type_name("KIND/NAMESPACE/NAME");
  command
      ->add_option("--against", arguments->input.against,
                   "The objects that are there: a folder of manifests, a file, "
                   "or - for the standard input")
      ->required()
      ->type_name("PATH");
  command
      ->add_option("--flows", arguments->input.flows,
                   "Flows that have been seen, as `sluice observe -o json` "
                   "prints them; - for the standard input")
      ->type_name("FILE");
  command->add_flag("--expand", arguments->expand,
                    "A row for every pair of workloads");
  command->add_flag("--allow-partial", arguments->allow_partial,
                    "Files of --against that cannot be read and invalid "
                    "policies in it are reported, but do not make the exit "
                    "status 2");
  add_output_option(*command, arguments->format);
  command->callback(
      [arguments, &exit_code] { exit_code = run_preview(*arguments); });
}

}  // namespace sluice::cli
