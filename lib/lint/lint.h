// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/lint/input.h"

// Finds in manifests what is legal and almost surely wrong. Pure: no I/O, no
// clock.
namespace sluice::lint {

// What docs/lint.md lists.
enum class Code : std::uint8_t {
  kSelectsNoPod,
  kPeerSelectsNothing,
  kUnknownNamespace,
  kNoNamespace,
  kUnknownKind,
  kOtherEngine,
  kShadowed,
  kNoSuchPort,
  kNamesWithoutDns,
  kNamesNotLearned,
  kNoDns,
  kServiceAddress,
  kCidrInCluster,
  kField,
};
// "selects-no-pod", ...
std::string_view word_of(Code code);

struct Finding {
  Code code = Code::kField;
  std::string file;
  int line = 0;           // where the object begins
  std::string object;     // "Kind/namespace/name"
  std::string message;    // begins with the field's path where there is one
  bool of_policy = true;  // the object is a valid one
  auto operator<=>(const Finding&) const = default;
};
// "file:line".
std::string place_of(const Finding& finding);
// The message and the word for its code, in brackets.
std::string text_of(const Finding& finding);

// All findings, by file and line. An object is only missed where the input
// shows that it is not there: selectors are judged by the namespaces of which
// the input has pods or workloads, and namespaces if it has any Namespace. The
// keys of `inputs` are the files' names.
std::vector<Finding> lint(const std::map<std::string, Input>& inputs);

}  // namespace sluice::lint
