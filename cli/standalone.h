// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "agent/agent.h"
#include "lib/base/result.h"
#include "lib/policy/translator.h"
#include "operator/object.h"

namespace sluice::cli {

struct RunOptions {
  std::filesystem::path dir;
  std::string node;  // empty: the Node object with an address of this host
  std::filesystem::path socket;
  agent::AgentOptions agent;
  policy::TranslatorOptions translator;
  op::OnInvalid on_invalid = op::OnInvalid::kOpen;
};

// Operator and agent in one process, for one node and one folder of manifests.
class Standalone {
 public:
  // Takes the locks, reads the folder and loads the datapath. It changes no
  // verdict; run() does.
  static Result<Standalone> start(RunOptions options);
  Standalone(Standalone&&) noexcept;
  Standalone& operator=(Standalone&&) noexcept;
  Standalone(const Standalone&) = delete;
  Standalone& operator=(const Standalone&) = delete;
  ~Standalone();

  // Enforces the folder's policies until SIGTERM or SIGINT; what is in force
  // then stays in force. Fails only if the loop itself cannot continue.
  Result<void> run();

 private:
  Standalone();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::cli
