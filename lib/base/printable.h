// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// The text with everything that could steer a terminal or fake a line
// (controls, bidirectional overrides, bytes that are not UTF-8) written as
// \xNN.
std::string printable(std::string_view text);

}  // namespace sluice
