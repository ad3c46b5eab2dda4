// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "agent/agent.h"
#include "agent/node/flow_options.h"
#include "agent/program/cni_installer.h"
#include "lib/base/result.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

struct DaemonOptions {
  wire::ClientOptions client;
  CniOptions cni;
  agent::AgentOptions agent;
  std::filesystem::path socket;  // of the `sluice` command
  node::FlowOptions flows;
  std::string health;         // address; empty: no HTTP
  bool deny_unknown = false;  // unless the operator says otherwise
};

// The agent of one node: enforces what an operator sends, and continues to
// enforce its last state while no operator is connected.
class Daemon {
 public:
  // Takes the locks and loads the datapath. Changes no verdicts, except those
  // of unknown pods with --on-unknown=deny.
  static Result<Daemon> start(DaemonOptions options);
  Daemon(Daemon&&) noexcept;
  Daemon& operator=(Daemon&&) noexcept;
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon();

  // Runs until SIGTERM or SIGINT; what is in force then stays in force. Fails
  // only if the loop itself cannot continue.
  Result<void> run();

 private:
  Daemon();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agentd
