// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "agent/agent.h"
#include "lib/base/result.h"
#include "lib/policy/translator.h"

namespace sluice::cli {

struct RunOptions {
  std::filesystem::path dir;
  std::string node;  // empty: the Node object with an address of this host
  std::filesystem::path socket;
  agent::AgentOptions agent;
  policy::TranslatorOptions translator;
};

// Where the names of what is in force are kept, beside the socket.
std::filesystem::path names_file(const std::filesystem::path& socket);
// Where an agent keeps what its operator said last.
std::filesystem::path journal_file(const std::filesystem::path& socket);

// Operator and agent in one process, for one node and one folder of manifests.
class Instance {
 public:
  // Takes the locks, reads all of the folder, loads the datapath. Changes no
  // verdict; that is for run().
  static Result<Instance> start(RunOptions options);
  Instance(Instance&&) noexcept;
  Instance& operator=(Instance&&) noexcept;
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  ~Instance();

  // Enforces the folder's policies until SIGTERM or SIGINT; what is in force
  // then stays. An error only if the loop itself cannot go on.
  Result<void> run();

 private:
  Instance();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::cli
