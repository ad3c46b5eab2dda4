// SPDX-License-Identifier: Apache-2.0
#pragma once

// For the files that define command-line options. Source files only.

#include <map>
#include <string>

#include <CLI/CLI.hpp>

namespace sluice {

// For transform(): an option whose value, a number or an enumerator, is one of
// these words. The message about another one lists them.
template <typename Value>
CLI::Validator one_of(const std::map<std::string, Value>& words) {
  return CLI::Validator(
      [words](std::string& text) -> std::string {
        const auto found = words.find(text);
        if (found == words.end()) {
          std::string known;
          for (const auto& [word, value] : words) {
            known += (known.empty() ? "" : ", ") + word;
          }
          return "\"" + text + "\" is not one of " + known;
        }
        text = std::to_string(static_cast<long long>(found->second));
        return {};
      },
      "");
}

}  // namespace sluice
