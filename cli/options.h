// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/output.h"

namespace CLI {
class App;
}

namespace sluice::cli {

// The option of all commands that print a view.
void add_output_option(CLI::App& command, Format& format);

// The option of all commands that answer from a folder of manifests.
void add_partial_option(CLI::App& command, bool& allow_partial);

}  // namespace sluice::cli
