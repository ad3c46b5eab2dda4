// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/policy/translator.h"
#include "operator/object.h"

namespace CLI {
class App;
}

// The command lines of programs that translate policies.
namespace sluice::op {

// As app.parse(argc, argv), except that "--option=" gives the option an empty
// value, which overrides what stands before. CLI11 would take the next argument
// as the value, or fail if there is none.
void parse(CLI::App& app, int argc, const char* const* argv);

// --cidr-match, --on-invalid, --max-set-entries and --max-namespace-entries.
// What they refer to outlives the parsing.
void add_policy_options(CLI::App& command, policy::TranslatorOptions& options,
                        OnInvalid& on_invalid);

}  // namespace sluice::op
