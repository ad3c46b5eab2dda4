// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/kube/api/event.h"

// The JSON of lists and watches to events: the one place that knows simdjson.
// decode.h is authoritative; this decoder gives the same result an order of
// magnitude faster, and passes any unusual object to decode.h. managedFields
// are skipped.
//
// One difference: unused parts of an object are checked for balanced brackets,
// quotes and UTF-8, but not for all of JSON's syntax. An API server does not
// send such text.
//
// No exceptions, whatever the input. One thread at a time.
namespace sluice::kube {

// Bytes that must be readable after a text to be decoded; their content does
// not matter.
inline constexpr std::size_t kDecodePadding = 64;

struct WatchLine {
  enum class Type : std::uint8_t {
    kEvent,     // ADDED, MODIFIED, DELETED: `event`
    kBookmark,  // `event.resource_version`
    kError,     // `status` and the next ones, of the Status object
  };
  Type type = Type::kEvent;
  Event event;
  int status = 0;
  std::string reason;
  std::vector<std::string> causes;
  std::string message;
};

class EventDecoder {
 public:
  // `resource` must outlive the decoder and its events. `version` is the listed
  // version ("v1"), because the items of a list do not name it.
  EventDecoder(const Resource& resource, std::string_view version);
  EventDecoder(EventDecoder&&) noexcept;
  EventDecoder& operator=(EventDecoder&&) noexcept;
  EventDecoder(const EventDecoder&) = delete;
  EventDecoder& operator=(const EventDecoder&) = delete;
  ~EventDecoder();

  // Decodes one line of a watch, without its end. Fails if it is not a watch
  // event, or if even the name of its object is unreadable.
  Result<WatchLine> watch_line(std::string_view padded);
  // Decodes one element of a list's items to a kSet or kInvalid event. Fails as
  // above.
  Result<Event> list_item(std::string_view padded);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::kube
