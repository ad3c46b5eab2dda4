// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lib/base/result.h"
#include "lib/wire/protocol.h"
#include "sluice/state.h"
#include "wire.pb.h"

// State and transactions as messages, and back. Of this module and its tests:
// nobody else sees protobuf.
namespace sluice::wire {

// Cuts a snapshot or a transaction into chunks, one at a time.
class Encoder {
 public:
  Encoder(std::uint64_t origin, std::uint64_t revision,
          std::shared_ptr<const State> state)
      : origin_(origin), revision_(revision), state_(std::move(state)) {}
  Encoder(std::uint64_t origin, std::shared_ptr<const Transaction> transaction)
      : origin_(origin),
        revision_(transaction->revision),
        transaction_(std::move(transaction)) {}

  // Fills `chunk`, which is empty, up to about `bytes`. Not after done().
  void next(std::size_t bytes, v1::Chunk& chunk);
  [[nodiscard]] bool done() const { return section_ == kEnd; }
  [[nodiscard]] bool snapshot() const { return state_ != nullptr; }

 private:
  enum Section : std::uint8_t {
    kPeers,
    kEntries,
    kEndpoints,
    kRules,
    kSets,
    kEnd
  };
  class Builder;
  template <typename Source>
  void fill(const Source& source, Builder& builder);
  template <typename Range>
  bool walk(const Range& range, Section section, Builder& builder);

  std::uint64_t origin_;
  std::uint64_t revision_;
  std::shared_ptr<const State> state_;
  std::shared_ptr<const Transaction> transaction_;
  std::uint8_t section_ = kPeers;
  std::size_t index_ = 0;
  std::uint32_t chunks_ = 0;
};

// What a sequence of chunks has become.
struct Update {
  bool snapshot = false;
  std::uint64_t origin = 0;
  std::uint64_t revision = 0;
  State state;              // of a snapshot
  Transaction transaction;  // of a transaction
};

// Puts chunks together and checks everything in them. After an error it is of
// no use any more.
class Decoder {
 public:
  // `bytes_max`: memory that one update may take.
  explicit Decoder(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // The update if this was its last chunk.
  Result<std::optional<Update>> add(const v1::Chunk& chunk);

 private:
  Result<void> begin_or_continue(const v1::Chunk& chunk);
  Result<Update> finish();

  std::size_t bytes_max_;
  std::size_t bytes_ = 0;  // of what is here
  std::optional<Update> update_;
  std::uint32_t chunks_ = 0;
};

v1::NodeAddresses encode_addresses(const std::vector<IpAddress>& addresses);
// Refuses more than kNodeAddressesMax. Whose they can be is not looked at.
Result<std::vector<IpAddress>> decode(const v1::NodeAddresses& message);
v1::ProtocolVersion encode(const Version& version);
Version decode(const v1::ProtocolVersion& version);
v1::Settings::OnUnknown encode(OnUnknown value);
// Anything unknown, of a newer program, is the default.
OnUnknown decode(v1::Settings::OnUnknown value);
// Of these, failures beyond a number, and text beyond a length, are left out.
v1::Progress encode(const Ack& ack, std::uint64_t origin);
Result<Ack> decode(const v1::Progress& progress);
void encode(const NodeReport& report, v1::NodeReport& message);
Result<NodeReport> decode(const v1::NodeReport& message);

}  // namespace sluice::wire
