// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <grpcpp/grpcpp.h>

#include "agent/node/command_line.h"
#include "cli/commands.h"
#include "cli/flow_filters.h"
#include "cli/flow_printer.h"
#include "cli/observe_operator.h"
#include "cli/operator_options.h"
#include "lib/base/option_words.h"
#include "lib/base/result.h"
#include "lib/flow/time_text.h"
#include "observer.grpc.pb.h"

namespace sluice::cli {
namespace {

struct Arguments {
  explicit Arguments(CLI::App& command) : filters(command) {}

  FlowFilters filters;
  std::string server;
  std::uint64_t last = 0;
  std::uint64_t first = 0;
  std::string since;
  std::string until;
  bool follow = false;
  bool all = false;
  FlowFormat output = FlowFormat::kCompact;
  OperatorAccess access;
};

constexpr std::uint64_t kLastByDefault = 20;

Result<::observer::GetFlowsRequest> make_request(const Arguments& arguments) {
  ::observer::GetFlowsRequest request;
  if (auto added = arguments.filters.add_to(request); !added) {
    return std::unexpected(added.error());
  }
  for (const auto& [text, to] :
       {std::pair{&arguments.since,
                  &::observer::GetFlowsRequest::mutable_since},
        std::pair{&arguments.until,
                  &::observer::GetFlowsRequest::mutable_until}}) {
    if (text->empty()) {
      continue;
    }
    auto time = flow::parse_time(*text);
    if (!time) {
      return std::unexpected(time.error());
    }
    *(request.*to)() = *time;
  }
  request.set_follow(arguments.follow);
  request.set_first(arguments.first > 0);
  request.set_number(arguments.first > 0 ? arguments.first : arguments.last);
  const bool unlimited = arguments.all || arguments.follow ||
                         !arguments.since.empty() || !arguments.until.empty();
  if (request.number() == 0 && !unlimited) {
    request.set_number(kLastByDefault);
  }
  return request;
}

int observe(const Arguments& arguments, bool by_operator) {
  const auto request = make_request(arguments);
  if (!request) {
    return node::complain(request.error().message);
  }
  if (by_operator) {
    return observe_operator(arguments.access, *request, arguments.output);
  }
  const auto stub = ::observer::Observer::NewStub(grpc::CreateChannel(
      arguments.server, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto reader = stub->GetFlows(&context, *request);
  ::observer::GetFlowsResponse response;
  FlowPrinter printer(arguments.output);
  while (reader->Read(&response)) {
    if (!printer.print(response)) {
      context.TryCancel();
    }
  }
  const auto status = reader->Finish();
  if (status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) {
    return node::kExitOk;
  }
  return node::complain(arguments.server + ": " + status.error_message());
}

}  // namespace

void add_observe(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "observe", "Show flows of the last minutes, and as they happen");
  command->footer(R"(
One line per new flow and per drop: time, node, source and destination, type,
verdict and, for TCP, flags. Without --last, --first, --since, --until, --all or
--follow, the last 20 flows that match. Options are named as those of the
command hubble, which works with the same server, too. With --operator, flows of
all nodes through the API server of a kubeconfig.)");
  const auto arguments = std::make_shared<Arguments>(*command);
  arguments->server = std::string("unix:") + node::kDefaultObserverSocket;
  command
      ->add_option("--server", arguments->server,
                   "Server of Hubble's API: unix:PATH or ADDRESS:PORT")
      ->envname("HUBBLE_SERVER")
      ->capture_default_str()
      ->type_name("SERVER");
  auto* last =
      command->add_option("--last", arguments->last, "The last N flows")
          ->type_name("N")
          ->check(CLI::Range(std::uint64_t{0}, UINT64_MAX).description(""));
  auto* first =
      command->add_option("--first", arguments->first, "The first N flows")
          ->type_name("N")
          ->check(CLI::Range(std::uint64_t{0}, UINT64_MAX).description(""))
          ->excludes(last);
  command->add_flag("--all", arguments->all, "All flows that are kept")
      ->excludes(last)
      ->excludes(first);
  command
      ->add_option("--since", arguments->since,
                   "Flows since then: 90s, 5m, 2h or a time of RFC 3339")
      ->type_name("TIME");
  command->add_option("--until", arguments->until, "Flows until then")
      ->type_name("TIME");
  command->add_flag("-f,--follow", arguments->follow, "Go on with new flows")
      ->excludes(first);
  static const std::map<std::string, FlowFormat> outputs{
      {"compact", FlowFormat::kCompact},
      {"dict", FlowFormat::kDict},
      {"json", FlowFormat::kJson},
      {"jsonpb", FlowFormat::kJson}};
  command->add_option("-o,--output", arguments->output, "Form of the output")
      ->transform(one_of(outputs))
      ->type_name("compact|dict|json|jsonpb");
  add_operator_options(*command, arguments->access);
  add_account_option(*command, arguments->access);
  command->callback([arguments, command, &exit_code] {
    exit_code = observe(*arguments, asks_operator(*command));
  });
}

}  // namespace sluice::cli
