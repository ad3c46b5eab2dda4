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

// What an operator has said, in a file, for the agent's next process to go on
// from while there is no operator. Written before it is put into force: so the
// file is never behind the kernel, and going on from it never takes back what
// was in force.
//
// The file is a snapshot and the transactions after it, as they came over the
// wire. It is for one node until the machine starts anew, for then pods have
// other addresses; a process that is killed while it writes leaves what was
// there before the write. Not fit for a machine that loses power, which is a
// start of the machine.
class Journal {
 public:
  struct Kept {
    State state;
    OnUnknown on_unknown = OnUnknown::kAgentDefault;
  };
  // Absent: there is nothing to go on from (no file; it is another node's, or
  // of an earlier start of the machine, or of another major version). An error
  // for a file that is damaged or says what no operator may say.
  static Result<std::optional<Kept>> load(const std::filesystem::path& file,
                                          const std::string& node);

  // Opens nothing and leaves the file alone.
  Journal(std::filesystem::path file, std::string node)
      : file_(std::move(file)), node_(std::move(node)) {}

  // Replaces the file as a whole. On failure there is none any more: one that
  // is behind the kernel must not be there.
  Result<void> begin(const State& state, OnUnknown on_unknown);
  // Appends. The same on failure, and from then on nothing is written until the
  // next begin().
  Result<void> add(const Transaction& transaction);
  Result<void> set_on_unknown(OnUnknown value);
  // The file is there, and has grown so much since begin() that it is worth
  // beginning anew.
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
