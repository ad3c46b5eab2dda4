// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <utility>

#include "lib/wire/chunk_reader.h"
#include "lib/wire/codec.h"

// The half of the codec that joins the chunks of another machine.
namespace sluice::wire {
namespace {

constexpr std::size_t kChunkOverhead = 256;

bool removes_something(const Transaction& transaction) {
  const auto removed = [](const auto& change) { return !change.value; };
  return std::ranges::any_of(transaction.peers,
                             [](const auto& c) { return !c.cidr_id; }) ||
         std::ranges::any_of(transaction.entries, removed) ||
         std::ranges::any_of(transaction.endpoints, removed) ||
         std::ranges::any_of(transaction.rules, removed) ||
         std::ranges::any_of(transaction.sets, removed) ||
         std::ranges::any_of(transaction.names, removed) ||
         std::ranges::any_of(transaction.resolvers,
                             [](const auto& c) { return !c.present; });
}

}  // namespace

Result<void> Decoder::begin_or_continue(const v1::Chunk& chunk) {
  if (!update_) {
    if (chunk.kind() != v1::Chunk::KIND_SNAPSHOT &&
        chunk.kind() != v1::Chunk::KIND_TRANSACTION) {
      return fail("no such kind of chunk: " + std::to_string(chunk.kind()));
    }
    if (chunk.index() != 0) {
      return fail("the first chunk is missing");
    }
    if (chunk.origin() == 0) {
      return fail("no origin");
    }
    update_.emplace();
    update_->snapshot = chunk.kind() == v1::Chunk::KIND_SNAPSHOT;
    update_->origin = chunk.origin();
    update_->revision = chunk.revision();
    update_->transaction.revision = chunk.revision();
    chunks_ = 0;
    bytes_ = 0;
    return {};
  }
  if (chunk.index() != chunks_) {
    return fail("chunk " + std::to_string(chunk.index()) + " where " +
                std::to_string(chunks_) + " was to come");
  }
  if (chunk.origin() != update_->origin ||
      chunk.revision() != update_->revision ||
      (chunk.kind() == v1::Chunk::KIND_SNAPSHOT) != update_->snapshot) {
    return fail("a chunk of something else");
  }
  return {};
}

Result<Update> Decoder::finish() {
  Update update = std::move(*update_);
  update_.reset();
  if (!update.snapshot) {
    return update;
  }
  auto& parts = update.transaction;
  if (removes_something(parts)) {
    return fail("a snapshot that removes something");
  }
  auto& state = update.state;
  sluice::apply(state, parts);
  if (state.peers.size() != parts.peers.size() ||
      state.entries.size() != parts.entries.size() ||
      state.endpoints.size() != parts.endpoints.size() ||
      state.rules.size() != parts.rules.size() ||
      state.sets.size() != parts.sets.size() ||
      state.names.size() != parts.names.size() ||
      state.resolvers.size() != parts.resolvers.size()) {
    return fail("a snapshot that says something twice");
  }
  parts = {};
  return update;
}

Result<std::optional<Update>> Decoder::add(const v1::Chunk& chunk) {
  if (auto begun = begin_or_continue(chunk); !begun) {
    return std::unexpected(begun.error());
  }
  ++chunks_;
  bytes_ += kChunkOverhead;
  if (auto read = read_chunk(chunk, update_->transaction, bytes_, bytes_max_);
      !read) {
    return std::unexpected(read.error());
  }
  if (!chunk.last()) {
    return std::optional<Update>();
  }
  auto update = finish();
  if (!update) {
    return std::unexpected(update.error());
  }
  return std::optional(std::move(*update));
}

}  // namespace sluice::wire
