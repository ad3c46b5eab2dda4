// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/lint/input.h"
#include "lib/lint/lint.h"
#include "lib/policy/translator.h"
#include "lib/preview/view.h"

namespace sluice::preview {

// What a change does that is probably not meant.
struct Warning {
  std::string source;  // "file:line" of the policy; empty: of the whole change
  std::string object;  // "Kind/namespace/name"; likewise
  std::string message;
  bool operator==(const Warning&) const = default;
};

struct ChangedWorld {
  const policy::Translator* translator = nullptr;
  const std::map<std::string, lint::Input>* inputs_before = nullptr;
  const std::map<std::string, lint::Input>* inputs = nullptr;
  const std::vector<lint::Finding>* findings = nullptr;
};

// About the policies that the change sets: those that select nothing, rules
// that change nothing because others come first, and whatever else `sluice
// lint` finds in them. About the whole change: workloads that it opens to the
// world, and pods that can no longer ask a DNS server.
std::vector<Warning> warnings_of(const ChangedWorld& world, const View& view,
                                 const std::set<policy::PolicyKey>& changed);

}  // namespace sluice::preview
