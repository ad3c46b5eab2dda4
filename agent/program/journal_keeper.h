// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lib/base/result.h"
#include "lib/wire/journal.h"

namespace sluice::agentd {

// The journal of an agent. Failures to write it are logged and counted, and do
// not keep the agent from enforcing; it is rewritten later. One thread.
class JournalKeeper {
 public:
  JournalKeeper(const std::filesystem::path& file, const std::string& node)
      : file_(file), node_(node), journal_(file, node) {}

  // What the previous process has received, if there is something to resume
  // from. To be called before anything is written.
  std::optional<wire::Journal::Kept> load();

  void rewrite(const State& state);
  void add(const Transaction& transaction);
  // Has no effect if it is the value that was received last.
  void set_on_unknown(wire::OnUnknown value);
  [[nodiscard]] wire::OnUnknown on_unknown() const { return on_unknown_; }
  // True if rewrite() should be called: the journal has become long, or it is
  // not complete and the next attempt is due. `has_state`: this process has
  // received a state, without which a new journal cannot begin.
  [[nodiscard]] bool wants_rewrite(bool has_state) const;
  [[nodiscard]] std::uint64_t failures() const { return failures_; }

 private:
  using Clock = std::chrono::steady_clock;
  void note(const Result<void>& written);

  std::filesystem::path file_;
  std::string node_;
  wire::Journal journal_;
  wire::OnUnknown on_unknown_ = wire::OnUnknown::kAgentDefault;
  Clock::time_point retry_at_;
  std::uint64_t failures_ = 0;
};

}  // namespace sluice::agentd
