// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/kube/api/event.h"

// The JSON of lists and watches to events: the one place that knows simdjson.
// What decode.h makes of an object is the truth; this makes the same of it,
// an order of magnitude faster. An object that looks in any way unusual is
// handed to decode.h. managedFields are passed over unseen.
//
// One difference: the parts of an object that nobody reads are checked for
// balanced brackets, quotes and UTF-8, but not for all of JSON's syntax. Such
// text does not come from an API server.
//
// No exceptions, whatever the input. One thread at a time.
namespace sluice::kube {

// Bytes that must be readable behind a text to be decoded; what they hold does
// not matter.
inline constexpr std::size_t kDecodePadding = 64;

struct WatchLine {
  enum class Type : std::uint8_t {
    kEvent,     // ADDED, MODIFIED, DELETED: `event`
    kBookmark,  // `event.resource_version`
    kError,     // `status`, `reason`, `message` of the Status object
  };
  Type type = Type::kEvent;
  Event event;
  int status = 0;
  std::string reason;
  std::string message;
};

class EventDecoder {
 public:
  // `resource` outlives the decoder and its events. `version` is what is being
  // listed ("v1"): the items of a list do not say it themselves.
  EventDecoder(const Resource& resource, std::string_view version);
  EventDecoder(EventDecoder&&) noexcept;
  EventDecoder& operator=(EventDecoder&&) noexcept;
  EventDecoder(const EventDecoder&) = delete;
  EventDecoder& operator=(const EventDecoder&) = delete;
  ~EventDecoder();

  // One line of a watch, without its end. An error: it is no watch event at
  // all, or its object does not even tell its name.
  Result<WatchLine> watch_line(std::string_view padded);
  // One element of a list's items: a kSet or kInvalid event. An error as above.
  Result<Event> list_item(std::string_view padded);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::kube
