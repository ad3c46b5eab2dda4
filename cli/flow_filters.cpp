// SPDX-License-Identifier: Apache-2.0
#include "cli/flow_filters.h"

#include <string>
#include <utility>

#include <CLI/CLI.hpp>

#include "lib/flow/filter_options.h"
#include "observer.pb.h"

namespace sluice::cli {

struct FlowFilters::Impl {
  flow::FilterOptions filters;
  bool negated = false;  // the next option is about the black list

  void add(const std::string& name, const std::string& value) {
    if (auto added = filters.add(name, value, std::exchange(negated, false));
        !added) {
      throw CLI::ValidationError("--" + name, added.error().message);
    }
  }
  void family(CLI::App& command, const char* names, const char* version,
              const char* what) {
    command
        .add_flag_callback(
            names, [this, version] { add("ip-version", version); }, what)
        ->trigger_on_parse()
        ->group("Filters");
  }
};

FlowFilters::FlowFilters(CLI::App& command) : impl_(std::make_unique<Impl>()) {
  auto& impl = *impl_;
  for (const auto& option : flow::filter_options()) {
    const std::string letter =
        option.letter == 0 ? "" : std::string("-") + option.letter + ",";
    command
        .add_option_function<std::string>(
            letter + "--" + option.name,
            [&impl, name = option.name](const std::string& value) {
              impl.add(name, value);
            },
            option.what)
        ->type_name(option.type)
        ->trigger_on_parse()
        ->group("Filters");
  }
  impl.family(command, "-4,--ipv4", "v4", "IPv4 flows");
  impl.family(command, "-6,--ipv6", "v6", "IPv6 flows");
  command
      .add_flag_callback(
          "--not",
          [&impl] {
            if (impl.negated) {
              throw CLI::ValidationError("--not", "stands before a filter");
            }
            impl.negated = true;
          },
          "Leaves out what the next filter chooses")
      ->trigger_on_parse()
      ->group("Filters");
}

FlowFilters::~FlowFilters() = default;

Result<void> FlowFilters::add_to(::observer::GetFlowsRequest& request) const {
  if (impl_->negated) {
    return fail("--not stands before a filter");
  }
  return impl_->filters.add_to(request);
}

}  // namespace sluice::cli
