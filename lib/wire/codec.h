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

// Converts state and transactions to messages, and back. For this module and
// its tests; no other module sees protobuf.
namespace sluice::wire {

// Appends the 4 or 16 bytes of an address.
void append_bytes(std::string& to, const IpAddress& ip);
// nullopt if these are not 4 or 16 bytes.
std::optional<IpAddress> ip_of(std::string_view bytes);

// Kubernetes' alphabet for names of nodes, so that they are safe to print.
bool is_node_name(const std::string& name);

// Splits a snapshot or a transaction into chunks, one at a time.
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
    kNames,
    kResolvers,
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

// The update that a sequence of chunks contains.
struct Update {
  bool snapshot = false;
  std::uint64_t origin = 0;
  std::uint64_t revision = 0;
  State state;              // of a snapshot
  Transaction transaction;  // of a transaction
};

// Joins chunks and checks everything in them. It cannot be used after an error.
class Decoder {
 public:
  // `bytes_max`: limit for the memory of one update.
  explicit Decoder(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // Returns the update if this was its last chunk.
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
// Refuses more than kNodeAddressesMax. Does not check whose addresses they can
// be.
Result<std::vector<IpAddress>> decode(const v1::NodeAddresses& message);
v1::Question encode(const Question& question);
// Refuses what is beyond the limits, and questions of a newer kind.
Result<Question> decode(const v1::Question& message);
v1::Answer encode(const Answer& answer);
Answer decode(const v1::Answer& message);
v1::FlowRequest encode(const FlowRequest& request);
// Refuses what is beyond the limits, and requests of a newer kind.
Result<FlowRequest> decode(v1::FlowRequest&& message);
v1::FlowControl encode(const FlowControl& control);
FlowControl decode(const v1::FlowControl& message);
v1::FlowBatch encode(FlowBatch&& batch);
// Does not check the items' messages.
Result<FlowBatch> decode(v1::FlowBatch&& message);
void encode(RelayMessage&& message, v1::RelayMessage& to);  // `to` is empty
// Refuses what is beyond the limits, and hellos; nullopt for messages of a
// newer kind.
Result<std::optional<RelayMessage>> decode(v1::RelayMessage&& message);
v1::ProtocolVersion encode(const Version& version);
Version decode(const v1::ProtocolVersion& version);
v1::Settings::OnUnknown encode(OnUnknown value);
// An unknown value, from a newer program, becomes the default.
OnUnknown decode(v1::Settings::OnUnknown value);
// Failures beyond a limit, and text beyond a length, are left out.
v1::Progress encode(const Ack& ack, std::uint64_t origin);
Result<Ack> decode(const v1::Progress& progress);
void encode(const NodeReport& report, v1::NodeReport& message);
Result<NodeReport> decode(const v1::NodeReport& message);

}  // namespace sluice::wire
