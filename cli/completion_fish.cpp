// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "cli/completion.h"

namespace sluice::cli {
namespace {

// In single quotes.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') {
      result += '\\';
    }
    result += c;
  }
  return result + "'";
}

struct Lists {
  std::string commands;  // patterns of `case`
  std::string values;
  std::string lines;
};

std::string values_of(const Completion& completion) {
  std::string words;
  for (const auto& word : completion.words) {
    words += (words.empty() ? "" : " ") + word;
  }
  if (!words.empty()) {
    return " -x -a '" + words + "'";
  }
  if (completion.files) {
    return " -r -F";
  }
  return completion.folders ? " -x -a '(__fish_complete_directories)'" : " -x";
}

void add_option(const std::string& start, const std::string& path,
                const CompletionOption& option, Lists& lists) {
  auto line = start;
  for (const auto& name : option.names) {
    const bool is_long = name.starts_with("--");
    line += (is_long ? " -l " : " -s ") + name.substr(is_long ? 2 : 1);
    if (!option.type.empty()) {
      lists.values += " " + quoted(std::string(path).append(" ").append(name));
    }
  }
  if (!option.type.empty()) {
    line += values_of(option.value);
  }
  lists.lines += line + " -d " + quoted(option.what) + "\n";
}

void add_command(const std::string& program, const CompletionCommand& command,
                 Lists& lists) {
  const auto start =
      "complete -c " + program + " -n " + quoted("__sluice_at " + command.path);
  for (const auto& option : command.options) {
    add_option(start, command.path, option, lists);
  }
  for (const auto& word : command.arguments.words) {
    lists.lines.append(start).append(" -a ").append(word).append("\n");
  }
  if (command.arguments.files) {
    lists.lines += start + " -F\n";
  } else if (command.arguments.folders) {
    lists.lines += start + " -a '(__fish_complete_directories)'\n";
  }
  for (const auto& inner : command.commands) {
    lists.commands += " " + quoted(inner.path);
    lists.lines +=
        start + " -a " + inner.name() + " -d " + quoted(inner.what) + "\n";
    add_command(program, inner, lists);
  }
}

}  // namespace

std::string fish_completion(const CompletionCommand& program) {
  Lists lists;
  add_command(program.path, program, lists);
  return "# fish completion for " + program.path + R"(

# Whether the words before the cursor lead to this command.
function __sluice_at
    set -l path )" +
         program.path + R"(
    set -l value 0
    for word in (commandline -opc)[2..-1]
        if test $value = 1
            set value 0
            continue
        end
        switch "$path $word"
            case)" +
         lists.commands + R"(
                set path "$path $word"
            case)" +
         lists.values + R"(
                set value 1
        end
    end
    test "$path" = "$argv"
end

complete -c )" +
         program.path + " -f\n" + lists.lines;
}

}  // namespace sluice::cli
