// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <map>
#include <string>

#include <CLI/CLI.hpp>

namespace sluice::cli {

void add_output_option(CLI::App& command, Format& format) {
  static const std::map<std::string, Format> formats{{"table", Format::kTable},
                                                     {"json", Format::kJson}};
  command
      .add_option("-o,--output", format,
                  "Output for people (table, the default) or programs (json)")
      ->transform(CLI::CheckedTransformer(formats).description(""))
      ->type_name("table|json");
}

}  // namespace sluice::cli
