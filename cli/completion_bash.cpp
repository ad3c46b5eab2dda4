// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "cli/completion.h"

namespace sluice::cli {
namespace {

// Walks over the words before the cursor to the command that they name; a
// readline word break makes three words of "--output=json".
constexpr const char* kWalk = R"(  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ -n $option ]]; then
      [[ $word == = ]] || option=
    elif __sluice_is_command "$path $word"; then
      path+=" $word"
    elif __sluice_takes_value "$path $word"; then
      option=$word
    fi
  done
  [[ $cur != = ]] || cur=
)";

constexpr const char* kReply = R"(  if [[ -z $option && $cur == -* ]]; then
    words=$options kind=
  fi
  [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  if [[ -n $kind ]]; then
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen "$kind" -- "$cur")
    compopt -o filenames 2>/dev/null
  fi
)";

struct Lists {
  std::string commands;  // patterns of `case`
  std::string values;
  std::string cases;
};

void add_pattern(std::string& patterns, const std::string& text) {
  patterns += (patterns.empty() ? "" : " | ") + ("'" + text + "'");
}

std::string joined(const std::vector<std::string>& words) {
  std::string result;
  for (const auto& word : words) {
    result += (result.empty() ? "" : " ") + word;
  }
  return result;
}

std::string assignments(const Completion& completion) {
  std::string result;
  if (!completion.words.empty()) {
    result += " words='" + joined(completion.words) + "'";
  }
  if (completion.files) {
    result += " kind=-f";
  } else if (completion.folders) {
    result += " kind=-d";
  }
  return result;
}

void add_option(const std::string& path, const CompletionOption& option,
                Lists& lists) {
  if (option.type.empty()) {
    return;
  }
  std::string patterns;
  for (const auto& name : option.names) {
    add_pattern(patterns, std::string(path).append(" ").append(name));
  }
  lists.values += (lists.values.empty() ? "" : " | ") + patterns;
  if (const auto set = assignments(option.value); !set.empty()) {
    lists.cases += "    " + patterns + ")" + set + " ;;\n";
  }
}

void add_command(const CompletionCommand& command, Lists& lists) {
  std::vector<std::string> options;
  for (const auto& option : command.options) {
    options.insert(options.end(), option.names.begin(), option.names.end());
    add_option(command.path, option, lists);
  }
  auto arguments = command.arguments;
  for (const auto& inner : command.commands) {
    arguments.words.push_back(inner.name());
    add_pattern(lists.commands, inner.path);
    add_command(inner, lists);
  }
  lists.cases += "    '" + command.path + "') options='" + joined(options) +
                 "'" + assignments(arguments) + " ;;\n";
}

std::string predicate(const std::string& name, const std::string& patterns) {
  return name + "() {\n  case $1 in\n    " + patterns +
         ") return 0 ;;\n  esac\n  return 1\n}\n\n";
}

}  // namespace

std::string bash_completion(const CompletionCommand& program) {
  Lists lists;
  add_command(program, lists);
  return "# bash completion for " + program.path + "\n\n" +
         predicate("__sluice_is_command", lists.commands) +
         predicate("__sluice_takes_value", lists.values) +
         "_sluice() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} path=" +
         program.path +
         "\n  local option= options= words= kind= word i\n"
         "  COMPREPLY=()\n" +
         kWalk + "  case $path${option:+ $option} in\n" + lists.cases +
         "  esac\n" + kReply + "}\n\ncomplete -F _sluice " + program.path +
         "\n";
}

}  // namespace sluice::cli
