// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/backlog.h"

#include <algorithm>
#include <utility>

#include "lib/base/sequence.h"

namespace sluice::wire {
namespace {

// How much a merged transaction may grow before repetitions are removed.
constexpr std::size_t kSlack = 4096;

}  // namespace

void append(Transaction& to, const Transaction& later) {
  const auto add = [](auto& all, const auto& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  to.revision = later.revision;
  add(to.peers, later.peers);
  add(to.entries, later.entries);
  add(to.endpoints, later.endpoints);
  add(to.rules, later.rules);
  add(to.sets, later.sets);
  add(to.names, later.names);
  add(to.resolvers, later.resolvers);
}

void tidy(Transaction& transaction) {
  keep_last(transaction.peers, &Transaction::PeerChange::prefix);
  keep_last(transaction.entries, &Transaction::EntryChange::key,
            PolicyKeyLess{});
  keep_last(transaction.endpoints, &Transaction::EndpointChange::name);
  keep_last(transaction.rules, &Transaction::RuleChange::id);
  keep_last(transaction.sets, &Transaction::SetChange::id);
  keep_last(transaction.names, &Transaction::NameChange::id);
  keep_last(transaction.resolvers, &Transaction::ResolverChange::resolver);
}

std::size_t size_of(const Transaction& transaction) {
  return transaction.peers.size() + transaction.entries.size() +
         transaction.endpoints.size() + transaction.rules.size() +
         transaction.sets.size() + transaction.names.size() +
         transaction.resolvers.size();
}

void Backlog::drop_all() {
  origin_ = 0;
  acknowledged_ = 0;
  has_base_ = false;
  sent_.clear();
  snapshot_.reset();
  pending_.reset();
  merged_.reset();
}

void Backlog::replace(std::uint64_t origin, std::uint64_t revision,
                      std::shared_ptr<const State> state) {
  drop_all();
  origin_ = origin;
  snapshot_revision_ = revision;
  snapshot_ = std::move(state);
}

void Backlog::merge(const Transaction& transaction) {
  if (!merged_) {
    // Other owners may hold the transaction, so only a copy may be changed.
    merged_ = std::make_shared<Transaction>(*pending_);
    pending_ = merged_;
    tidy_size_ = size_of(*merged_);
  }
  append(*merged_, transaction);
  if (size_of(*merged_) > 2 * tidy_size_ + kSlack) {
    tidy(*merged_);
    tidy_size_ = size_of(*merged_);
  }
}

Backlog::Added Backlog::add(std::shared_ptr<const Transaction> transaction) {
  if (origin_ == 0) {
    return Added::kTooMuch;
  }
  if (!pending_) {
    pending_ = std::move(transaction);
    return Added::kAlone;
  }
  merge(*transaction);
  if (size_of(*pending_) > changes_max_) {
    tidy(*merged_);
    tidy_size_ = size_of(*merged_);
    if (tidy_size_ > changes_max_) {
      drop_all();
      return Added::kTooMuch;
    }
  }
  return Added::kMerged;
}

std::optional<Encoder> Backlog::next() {
  if (snapshot_) {
    sent_.push_back({.revision = snapshot_revision_, .transaction = nullptr});
    return Encoder(origin_, snapshot_revision_,
                   std::exchange(snapshot_, nullptr));
  }
  if (!pending_ || sent_.size() >= unacknowledged_max_) {
    return std::nullopt;
  }
  if (merged_) {
    tidy(*merged_);
    merged_.reset();
  }
  sent_.push_back({.revision = pending_->revision, .transaction = pending_});
  return Encoder(origin_, std::exchange(pending_, nullptr));
}

bool Backlog::acknowledge(std::uint64_t origin, std::uint64_t revision) {
  if (origin != origin_ || origin == 0) {
    return true;  // about an earlier view
  }
  if (has_base_ && revision <= acknowledged_) {
    return true;  // already acknowledged, now or when it reconnected
  }
  const auto found = std::ranges::find(sent_, revision, &Sent::revision);
  if (found == sent_.end()) {
    return false;
  }
  acknowledged_ = revision;
  has_base_ = true;
  sent_.erase(sent_.begin(), found + 1);
  return true;
}

bool Backlog::resume(std::uint64_t origin, std::uint64_t revision) {
  const bool older = has_base_ && revision < acknowledged_;
  if (origin == 0 || origin != origin_ || snapshot_ || older ||
      !acknowledge(origin, revision)) {
    drop_all();
    return false;
  }
  if (sent_.empty()) {
    return true;
  }
  auto again = std::make_shared<Transaction>();
  for (const auto& sent : sent_) {
    append(*again, *sent.transaction);
  }
  sent_.clear();
  if (pending_) {
    append(*again, *pending_);
  }
  tidy(*again);
  tidy_size_ = size_of(*again);
  merged_ = again;
  pending_ = std::move(again);
  return true;
}

}  // namespace sluice::wire
