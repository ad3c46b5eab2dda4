// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "agent/agent.h"
#include "agent/program/cni_installer.h"
#include "lib/base/result.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

struct DaemonOptions {
  wire::ClientOptions client;
  CniOptions cni;
  agent::AgentOptions agent;
  std::filesystem::path socket;  // of the `sluice` command
  std::string health;            // address; empty: no HTTP
  bool deny_unknown = false;     // unless the operator says otherwise
};

// The agent of one node: does what an operator says, and goes on doing what it
// said last while there is none.
class Daemon {
 public:
  // Takes the locks, loads the datapath. Changes no verdict but, where that is
  // asked for, of pods that nobody knows.
  static Result<Daemon> start(DaemonOptions options);
  Daemon(Daemon&&) noexcept;
  Daemon& operator=(Daemon&&) noexcept;
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon();

  // Until SIGTERM or SIGINT; what is in force then stays. An error only if the
  // loop itself cannot go on.
  Result<void> run();

 private:
  Daemon();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agentd
