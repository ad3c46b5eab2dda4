// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/agent.h"
#include "agent/node/names.h"
#include "agent/node/policy_info.h"
#include "agent/node/server.h"

namespace sluice::node {

// The objects that answers are made from.
struct RequestContext {
  const PolicyInfo* policies = nullptr;
  const agent::Agent* agent = nullptr;  // `explain` can do without
  const Names* names = nullptr;
  std::string node;
  std::string problem;  // why the policies are not in force
};

// Answers one request of the socket: {"command": "status"} and so on. Anything
// else is answered with {"error": ...}. No exceptions.
Server::Answer answer_request(const RequestContext& context,
                              const std::string& request);

}  // namespace sluice::node
