// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.h"

#include <algorithm>
#include <cctype>

#include <CLI/CLI.hpp>

namespace sluice::cli {
namespace {

// The words of "table|json"; none of "FILE", "NAMESPACE/POD|ADDRESS" or "N".
std::vector<std::string> fixed_words(const std::string& type) {
  const auto words = CLI::detail::split(type, '|');
  const auto is_word = [](const std::string& text) {
    return !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
      return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '-';
    });
  };
  return words.size() > 1 && std::ranges::all_of(words, is_word)
             ? words
             : std::vector<std::string>{};
}

Completion completion_of_type(const std::string& type) {
  return {.words = fixed_words(type),
          .files = type == "FILE" || type == "PATH",
          .folders = type == "DIR"};
}

// The beginning of a description that makes sense alone.
std::string first_part(const std::string& text) {
  std::size_t end = text.size();
  for (const auto* stop : {". ", "; ", ": ", " ("}) {
    end = std::min(end, text.find(stop));
  }
  return text.substr(0, end);
}

CompletionOption completion_of_option(const CLI::Option& option) {
  CompletionOption result{.names = {},
                          .what = first_part(option.get_description()),
                          .type = {},
                          .value = {}};
  for (const auto& name : option.get_snames()) {
    result.names.push_back("-" + name);
  }
  for (const auto& name : option.get_lnames()) {
    result.names.push_back("--" + name);
  }
  if (option.get_items_expected_max() > 0) {
    result.type = option.get_type_name();
    result.value = completion_of_type(result.type);
  }
  return result;
}

// Of arguments that are no options, by their name or by their type.
void add_argument(Completion& all, const CLI::Option& option) {
  auto one = completion_of_type(option.get_type_name());
  const auto& name = option.get_name();
  one.files = one.files || name == "FILE" || name == "DIR";
  all.words.insert(all.words.end(), one.words.begin(), one.words.end());
  all.files = all.files || one.files;
  all.folders = all.folders || one.folders;
}

CompletionCommand completion_of_command(const CLI::App& app,
                                        const std::string& path) {
  CompletionCommand result{.path = path,
                           .what = first_part(app.get_description()),
                           .options = {},
                           .arguments = {},
                           .commands = {}};
  for (const auto* option : app.get_options()) {
    if (option->get_group().empty()) {
      continue;
    }
    if (option->get_positional()) {
      add_argument(result.arguments, *option);
    } else {
      result.options.push_back(completion_of_option(*option));
    }
  }
  for (const auto* command : app.get_subcommands({})) {
    result.commands.push_back(
        completion_of_command(*command, path + " " + command->get_name()));
  }
  return result;
}

}  // namespace

std::string CompletionCommand::name() const {
  return path.substr(path.rfind(' ') + 1);
}

CompletionCommand completion_of(const CLI::App& app) {
  return completion_of_command(app, app.get_name());
}

}  // namespace sluice::cli
