// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/wire/protocol.h"
#include "sluice/state.h"

namespace sluice::wire {

// The operator's messages in a file, from which the agent's next process
// resumes while no operator is connected. Each update is written before it is
// put into force, so the file is never behind the kernel, and resuming from it
// never reverts what was in force.
//
// The file holds a snapshot and the transactions after it, as received. It is
// valid for one node until the machine reboots, because pods have other
// addresses then. If the process is killed during a write, the previous content
// remains. The file is not made safe against loss of power, which implies a
// reboot.
class Journal {
 public:
  struct Kept {
    State state;
    OnUnknown on_unknown = OnUnknown::kAgentDefault;
  };
  // Absent if there is nothing to resume from: no file, or one of another node,
  // from before a reboot, or of another major version. Fails for a damaged file
  // or one with invalid content.
  static Result<std::optional<Kept>> load(const std::filesystem::path& file,
                                          const std::string& node);

  // Opens nothing and does not touch the file.
  Journal(std::filesystem::path file, std::string node)
      : file_(std::move(file)), node_(std::move(node)) {}

  // Replaces the whole file. On failure the file is removed, because it must
  // not be behind the kernel.
  Result<void> begin(const State& state, OnUnknown on_unknown);
  // Appends. On failure the file is removed as well, and nothing is written
  // until the next begin().
  Result<void> add(const Transaction& transaction);
  Result<void> set_on_unknown(OnUnknown value);
  // True if the file exists and has grown so much since begin() that it should
  // be rewritten.
  [[nodiscard]] bool grown() const;
  // False after a failure.
  [[nodiscard]] bool complete() const { return out_.valid(); }

 private:
  Result<void> append(const std::string& records);
  void give_up();

  std::filesystem::path file_;
  std::string node_;
  Fd out_;
  std::size_t first_bytes_ = 0;  // of the file after begin()
  std::size_t bytes_ = 0;
};

}  // namespace sluice::wire
