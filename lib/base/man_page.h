// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sluice {

struct Manual {
  std::string version;
  int section = 1;
  std::vector<std::string> related;  // "sluice-agent(8)"
};

// Adds the hidden option --man-pages DIR, with which the program does nothing
// but write its manual pages into DIR: one for itself and one for each command,
// with what --help says. `app` outlives the parsing.
void add_man_pages_option(CLI::App& app, const Manual& manual);

}  // namespace sluice
