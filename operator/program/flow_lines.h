// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/flow/flow_pull.h"

namespace sluice::operatord {

// The flows of a call as lines of JSON; see QueryServer. To be called until it
// gives nullopt; an empty text means that there are none now. Gives an empty
// line if nothing else has been given for `keep_alive`, so that a client that
// has gone is noticed.
std::function<std::optional<std::string>()> flow_lines(
    std::shared_ptr<flow::FlowPull> flows,
    std::chrono::milliseconds keep_alive = std::chrono::seconds(10));

}  // namespace sluice::operatord
