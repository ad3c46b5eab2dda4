// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

// Completion scripts for shells, from the command line that the program parses.
namespace sluice::cli {

// What may stand in one place.
struct Completion {
  std::vector<std::string> words;  // if it is one of these
  bool files = false;
  bool folders = false;
};

struct CompletionOption {
  std::vector<std::string> names;  // with their hyphens
  std::string what;                // one short line
  std::string type;                // of the value; empty if there is none
  Completion value;
};

struct CompletionCommand {
  std::string path;  // "sluice policy list"
  std::string what;
  std::vector<CompletionOption> options;
  Completion arguments;  // that are no options
  std::vector<CompletionCommand> commands;

  [[nodiscard]] std::string name() const;  // the last word of `path`
};

// Hidden options are left out. An option takes words if its type consists of
// them ("table|json"), files if the type is FILE or PATH, and folders if it is
// DIR. The argument DIR may also be a file.
CompletionCommand completion_of(const CLI::App& app);

// Scripts for `source`; that for zsh also works as a file of $fpath.
std::string bash_completion(const CompletionCommand& program);
std::string zsh_completion(const CompletionCommand& program);
std::string fish_completion(const CompletionCommand& program);

}  // namespace sluice::cli
