// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "lib/base/result.h"

namespace sluice::cni {

using Clock = std::chrono::steady_clock;

// The result of a request to the agent.
struct AgentReply {
  enum class Kind : unsigned char {
    kAnswered,   // `text`: the first line of the answer
    kNotThere,   // no process serves the socket
    kNotInTime,  // or the connection broke
  };
  Kind kind = Kind::kNotThere;
  std::string text;
};

// Sends one line to the socket of the node's agent and waits for the answer's
// first line, until `deadline`. Tries once.
AgentReply ask_agent(const std::string& socket, const std::string& request,
                     Clock::time_point deadline);

}  // namespace sluice::cni
