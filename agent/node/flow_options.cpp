// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_options.h"

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace sluice::node {
namespace {

void add_export_options(CLI::App& command, ExportOptions& options) {
  const char* group = "Export of flows";
  command
      .add_option("--export-file", options.path,
                  "Append flows to this file as lines of JSON, as `sluice "
                  "observe -o json` prints them; - is the standard output")
      ->type_name("PATH")
      ->group(group);
  command
      .add_option("--export-file-max-size-mb", options.size_max_mb,
                  "Size in megabytes at which a new file is begun")
      ->type_name("N")
      ->check(CLI::Range(1U, 1'000'000U).description(""))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--export-file-max-backups", options.backups,
                  "Older files that are kept: FILE.1 is the newest of them")
      ->type_name("N")
      ->check(CLI::Range(0U, 1'000U).description(""))
      ->capture_default_str()
      ->group(group);
  const auto list = [&](const char* name, std::vector<std::string>& value,
                        const char* type, const char* what) {
    return command.add_option(name, value, what)
        ->allow_extra_args(false)
        ->type_name(type)
        ->group(group);
  };
  list("--export-allowlist", options.allow, "JSON",
       "Export only flows that match a filter, such as "
       "{\"verdict\":[\"DROPPED\"]}: the fields of a FlowFilter of Hubble's "
       "API. May be repeated");
  list("--export-denylist", options.deny, "JSON",
       "Do not export flows that match a filter");
  list(
      "--export-fieldmask", options.fields, "FIELD,...",
      "Export only these fields of flows, such as time,source.pod_name,verdict")
      ->delimiter(',');
}

}  // namespace

void add_flow_options(CLI::App& command, FlowOptions& options) {
  command
      .add_option("--observer-socket", options.socket,
                  "Socket on which flows are served by Hubble's API; default: "
                  "beside --socket, sluice-hubble.sock for sluice.sock")
      ->type_name("PATH");
  command.add_option("--flows", options.kept, "Flows that are kept")
      ->type_name("N")
      ->check(CLI::Range(1U, 1U << 24U).description(""))
      ->capture_default_str();
  command
      .add_option("--flow-metrics-series", options.metrics_series,
                  "Time series of each metric that counts flows, by workload "
                  "and by rule; what goes beyond is counted together. 0: none")
      ->type_name("N")
      ->check(CLI::Range(0U, 65'536U).description(""))
      ->capture_default_str();
  command
      .add_option_function<int>(
          "--flow-counters",
          [&options](int seconds) {
            options.traffic_every = std::chrono::seconds(seconds);
          },
          "Also record how many packets and bytes flows have had that are "
          "still open, every so many seconds, and at their end; 0, the "
          "default: never")
      ->type_name("SECONDS")
      ->check(CLI::Range(0, 3'600).description(""));
  add_export_options(command, options.exported);
}

std::filesystem::path observer_socket_of(const std::filesystem::path& socket) {
  return socket.parent_path() / (socket.stem().string() + "-hubble.sock");
}

}  // namespace sluice::node
