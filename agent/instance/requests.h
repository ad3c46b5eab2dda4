// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/agent.h"
#include "agent/instance/names.h"
#include "agent/instance/policy_source.h"
#include "agent/instance/server.h"

namespace sluice::instance {

// What requests are answered from.
struct RequestContext {
  const PolicySource* source = nullptr;
  const agent::Agent* agent = nullptr;
  const Names* names = nullptr;
  std::string node;
  std::string problem;  // what keeps the policies from being in force
};

// Answers one request of the socket: {"command": "status"} and so on. Anything
// that is no such request is answered with {"error": ...}. No exceptions.
Server::Answer answer_request(const RequestContext& context,
                              const std::string& request);

}  // namespace sluice::instance
