// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>

#include <CLI/CLI.hpp>

#include "agent/node/command_line.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "lib/base/option_words.h"

namespace sluice::cli {
namespace {

enum class Shell : std::uint8_t { kBash, kZsh, kFish };

constexpr const char* kFooter = R"(
Packages install the scripts. Without one:

  source <(sluice completion bash)        # in ~/.bashrc
  source <(sluice completion zsh)         # in ~/.zshrc, after compinit
  sluice completion fish | source         # in ~/.config/fish/config.fish)";

std::string script(const CompletionCommand& program, Shell shell) {
  switch (shell) {
    case Shell::kBash:
      return bash_completion(program);
    case Shell::kZsh:
      return zsh_completion(program);
    case Shell::kFish:
      break;
  }
  return fish_completion(program);
}

}  // namespace

void add_completion(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "completion", "Print a script that completes commands in a shell");
  command->footer(kFooter);
  static const std::map<std::string, Shell> shells{
      {"bash", Shell::kBash}, {"zsh", Shell::kZsh}, {"fish", Shell::kFish}};
  const auto shell = std::make_shared<Shell>();
  command->add_option("SHELL", *shell, "The shell")
      ->transform(one_of(shells))
      ->type_name("bash|zsh|fish")
      ->required();
  command->callback([&app, shell, &exit_code] {
    std::cout << script(completion_of(app), *shell) << std::flush;
    exit_code = std::cout ? node::kExitOk
                          : node::complain("the script cannot be written");
  });
}

}  // namespace sluice::cli
