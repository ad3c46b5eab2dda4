// SPDX-License-Identifier: Apache-2.0
#include "agent/program/journal_keeper.h"

#include <utility>

#include <spdlog/spdlog.h>

namespace sluice::agentd {
namespace {

constexpr std::chrono::seconds kRetry{30};

}  // namespace

std::optional<wire::Journal::Kept> JournalKeeper::load() {
  auto kept = wire::Journal::load(file_, node_);
  if (!kept) {
    spdlog::warn("the journal cannot be read: {}", kept.error().message);
    return std::nullopt;
  }
  if (*kept) {
    on_unknown_ = (*kept)->on_unknown;
  }
  return std::move(*kept);
}

void JournalKeeper::note(const Result<void>& written) {
  if (!written) {
    ++failures_;
    retry_at_ = Clock::now() + kRetry;
    spdlog::warn(
        "the journal cannot be written, so the next start cannot resume from "
        "it: {}",
        written.error().message);
  }
}

void JournalKeeper::rewrite(const State& state) {
  note(journal_.begin(state, on_unknown_));
}

void JournalKeeper::add(const Transaction& transaction) {
  note(journal_.add(transaction));
}

void JournalKeeper::set_on_unknown(wire::OnUnknown value) {
  if (std::exchange(on_unknown_, value) != value) {
    note(journal_.set_on_unknown(value));
  }
}

bool JournalKeeper::wants_rewrite(bool has_state) const {
  return journal_.grown() ||
         (has_state && !journal_.complete() && Clock::now() >= retry_at_);
}

}  // namespace sluice::agentd
