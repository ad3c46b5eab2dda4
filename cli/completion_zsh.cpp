// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>

#include "cli/completion.h"

namespace sluice::cli {
namespace {

// Loaded from $fpath, the file is the function's body; otherwise it is sourced.
constexpr const char* kEnd = R"(
if [[ $funcstack[1] == _sluice ]]; then
  _sluice "$@"
else
  compdef _sluice sluice
fi
)";

// For a specification of _arguments or _describe, within single quotes.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\'') {
      result += R"('\'')";
      continue;
    }
    if (std::string_view("[]:\\").find(c) != std::string_view::npos) {
      result += '\\';
    }
    result += c;
  }
  return result;
}

std::string action(const Completion& completion) {
  std::string words;
  for (const auto& word : completion.words) {
    words += (words.empty() ? "" : " ") + word;
  }
  if (!words.empty()) {
    return "(" + words + ")";
  }
  if (completion.files) {
    return "_files";
  }
  return completion.folders ? "_files -/" : " ";
}

// Repeating an option does no harm, and means something for many.
std::string specification(const CompletionOption& option,
                          const std::string& name) {
  const bool is_long = name.starts_with("--");
  auto text = "'*" + name;
  if (!option.type.empty() && is_long) {
    text += '=';
  }
  text += "[" + escaped(option.what) + "]";
  if (!option.type.empty()) {
    text += ":" + escaped(option.type) + ":" + action(option.value);
  }
  return text + "'";
}

std::string function_name(const CompletionCommand& command) {
  auto name = "_" + command.path;
  std::ranges::replace(name, ' ', '_');
  std::ranges::replace(name, '-', '_');
  return name;
}

bool is_empty(const Completion& completion) {
  return completion.words.empty() && !completion.files && !completion.folders;
}

std::string body_of_group(const CompletionCommand& command) {
  std::string choices;
  std::string cases;
  for (const auto& inner : command.commands) {
    choices += "    '" + inner.name() + ":" + escaped(inner.what) + "'\n";
    cases += "        " + inner.name() + ") " + function_name(inner) + " ;;\n";
  }
  return "    '1: :->command' '*:: :->rest'\n"
         "  case $state in\n    command)\n"
         "      commands=(\n" +
         choices +
         "      )\n"
         "      _describe command commands\n      ;;\n"
         "    rest)\n      case $words[1] in\n" +
         cases + "      esac\n      ;;\n  esac\n";
}

void add_function(const CompletionCommand& command, std::string& text) {
  text += "\n" + function_name(command) + "() {\n";
  text += command.commands.empty()
              ? "  _arguments -s -S \\\n"
              : "  local curcontext=$curcontext state line\n"
                "  local -a commands\n"
                "  _arguments -C \\\n";
  for (const auto& option : command.options) {
    for (const auto& name : option.names) {
      text += "    " + specification(option, name) + " \\\n";
    }
  }
  if (!command.commands.empty()) {
    text += body_of_group(command);
  } else if (is_empty(command.arguments)) {
    text += "    && return\n";
  } else {
    text += "    '*:argument:" + action(command.arguments) + "'\n";
  }
  text += "}\n";
  for (const auto& inner : command.commands) {
    add_function(inner, text);
  }
}

}  // namespace

std::string zsh_completion(const CompletionCommand& program) {
  std::string text = "#compdef " + program.path + "\n";
  add_function(program, text);
  return text + kEnd;
}

}  // namespace sluice::cli
