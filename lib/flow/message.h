// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/flow/record.h"

namespace flow {
class Flow;
}  // namespace flow

namespace sluice::flow {

// A record as the API's message. `node`: the name of the node that saw it. Of
// names, labels and policies there are as many as fit: whoever resolves names
// or writes policies must not make a message larger than a batch may be.
::flow::Flow to_message(const Record& record, const std::string& node);

// An end as bytes: a message flow.Flow with its destination alone, of at most
// kEndBytesMax bytes, with as many labels as fit; and back. nullopt if the
// bytes are none.
inline constexpr std::size_t kEndBytesMax = 4'096;
std::string to_bytes(const End& end);
std::optional<End> end_from_bytes(const std::string& bytes);

// Words of the API for a record, which filters need as well.

// enum DropReason of flow.proto, for a reason that denies.
int drop_reason(std::uint8_t reason);

struct EventType {
  int type = 0;
  int sub_type = 0;
};
// The kinds of events that Cilium would have reported; the first one is in the
// message. A packet that policy drops is a drop and a policy verdict.
std::array<std::optional<EventType>, 2> event_types(const Record& record);

// A UUID (RFC 9562, version 8) by which no other flow of any node goes.
std::string uuid_of(const Record& record);
// What a UUID says of its record; nullopt if no record has this one.
struct FlowId {
  std::uint64_t store = 0;   // the bits of Record::store that are in a UUID
  std::uint64_t number = 0;  // those of Record::number
  auto operator<=>(const FlowId&) const = default;
};
FlowId id_of(const Record& record);
std::optional<FlowId> parse_uuid(std::string_view uuid);

}  // namespace sluice::flow
