// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <map>
#include <string>

#include <CLI/CLI.hpp>

#include "lib/base/option_words.h"

namespace sluice::cli {

void add_output_option(CLI::App& command, Format& format) {
  static const std::map<std::string, Format> formats{{"table", Format::kTable},
                                                     {"json", Format::kJson}};
  command
      .add_option("-o,--output", format,
                  "Output for people (table, the default) or programs (json)")
      ->transform(one_of(formats))
      ->type_name("table|json");
}

void add_partial_option(CLI::App& command, bool& allow_partial) {
  command.add_flag("--allow-partial", allow_partial,
                   "With DIR: files that cannot be read and invalid policies "
                   "are reported, but do not make the exit status 2");
}

}  // namespace sluice::cli
