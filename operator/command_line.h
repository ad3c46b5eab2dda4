// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/policy/translator.h"
#include "operator/object.h"

namespace CLI {
class App;
}

// Command-line options of every program that translates policies.
namespace sluice::op {

// --cidr-match, --on-invalid, --max-set-entries and --max-namespace-entries.
// What they refer to outlives the parsing.
void add_policy_options(CLI::App& command, policy::TranslatorOptions& options,
                        OnInvalid& on_invalid);

}  // namespace sluice::op
