// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/policy/translator.h"
#include "lib/preview/flows.h"

namespace sluice::cli {

// The flows of a file, or, for "-", of the standard input: a line each, as
// `sluice observe -o json` and `hubble observe -o json` print them. Replies are
// left out, because the flow that they answer is judged. Ends are pods that the
// world has, and otherwise addresses.
Result<std::vector<preview::Flows>> read_flows(
    const std::filesystem::path& path, const policy::Translator& world);
// The same for a text; `name`: of its file.
Result<std::vector<preview::Flows>> parse_flows(
    std::string_view text, const std::string& name,
    const policy::Translator& world);

}  // namespace sluice::cli
