// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/agent.h"
#include "cli/cluster.h"
#include "cli/names.h"
#include "cli/server.h"

namespace sluice::cli {

// Where an agent's policies come from.
struct OperatorSource {
  std::string address;
  bool connected = false;
  std::string problem;  // why it is not connected
};

// What requests are answered from.
struct RequestContext {
  const Cluster* cluster = nullptr;  // empty where an operator has the objects
  const OperatorSource* source = nullptr;  // null: `dir` has them
  const agent::Agent* agent = nullptr;
  Names* names = nullptr;
  std::string node;
  std::string dir;
  std::string problem;  // what keeps the folder's policies from being in force
};

// Answers one request of the socket: {"command": "status"} and so on. Anything
// that is no such request is answered with {"error": ...}. No exceptions.
Server::Answer answer_request(const RequestContext& context,
                              const std::string& request);

}  // namespace sluice::cli
