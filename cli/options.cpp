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

void add_socket_option(CLI::App& command, std::filesystem::path& socket) {
  socket = kDefaultSocket;
  command
      .add_option("--socket", socket,
                  std::string("Socket of the running instance; default ") +
                      kDefaultSocket)
      ->type_name("PATH");
}

void add_pin_dir_option(CLI::App& command, std::filesystem::path& pin_dir) {
  pin_dir = kDefaultPinDir;
  command
      .add_option("--pin-dir", pin_dir,
                  std::string("Folder of a BPF file system that holds maps and "
                              "programs; default ") +
                      kDefaultPinDir)
      ->type_name("DIR");
}

}  // namespace sluice::cli
