// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/event_decoder.h"

#include <utility>

#include <nlohmann/json.hpp>
#include <simdjson.h>

#include "lib/kube/api/fast_decode.h"
#include "lib/kube/api/json_fields.h"
#include "lib/kube/api/json_maker.h"
#include "lib/kube/api/json_reader.h"
#include "lib/kube/api/status_causes.h"
#include "lib/kube/decode.h"
#include "lib/kube/field.h"
#include "lib/kube/manifest_builder.h"

// There are two decoders. The fast one reads simdjson's stream of tokens once
// and gives up (false) at anything unusual: a wrong type, a duplicate key, a
// missing name. The slow one then makes a JSON value and decodes it with
// decode.h. The fast decoder therefore needs no error messages and cannot
// differ in them.
namespace sluice::kube {
namespace {

namespace od = simdjson::ondemand;
using nlohmann::json;
using simdjson::SUCCESS;

static_assert(kDecodePadding >= simdjson::SIMDJSON_PADDING);
// The parser's buffers grow with the text; larger ones than this are freed.
constexpr std::size_t kKeepParser = std::size_t{1} << 20;

void identify(const json& object, Event& event) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) {
    return;
  }
  event.name = text_of(*metadata, "name");
  event.ns = text_of(*metadata, "namespace");
  event.uid = text_of(*metadata, "uid");
  event.resource_version = text_of(*metadata, "resourceVersion");
  const auto generation = metadata->find("generation");
  if (generation != metadata->end() && generation->is_number_integer()) {
    event.generation = generation->get<std::int64_t>();
  }
}

template <typename T>
void take(Result<T> decoded, Event& event) {
  if (decoded) {
    event.object = std::move(*decoded);
    return;
  }
  event.type = Event::Type::kInvalid;
  event.object = std::monostate{};
  event.error = std::move(decoded.error().message);
}

// Decodes the object with decode.h.
void decode_slow(json object, std::string_view api_version, Event& event) {
  switch (event.resource->shape) {
    case Shape::kNamespace:
      take(decode_namespace(object), event);
      return;
    case Shape::kPod:
      take(decode_pod(object), event);
      return;
    case Shape::kNode:
      take(decode_node(object), event);
      return;
    case Shape::kService:
      take(decode_service(object), event);
      return;
    case Shape::kEndpointSlice:
      take(decode_endpoint_slice(object), event);
      return;
    case Shape::kCidrGroup:
      take(decode_cidr_group(object), event);
      return;
    case Shape::kJson:
      object.emplace("apiVersion", api_version);
      object.emplace("kind", event.resource->kind);
      event.object = std::make_shared<const json>(std::move(object));
      return;
  }
}

constexpr std::string_view kAdded = "ADDED";
constexpr std::string_view kModified = "MODIFIED";
constexpr std::string_view kDeleted = "DELETED";
constexpr std::string_view kBookmark = "BOOKMARK";
constexpr std::string_view kError = "ERROR";

bool is_change(std::string_view type) {
  return type == kAdded || type == kModified || type == kDeleted;
}

std::string not_json(const fast::JsonMaker& maker) {
  return maker.too_deep() ? "nested deeper than " +
                                std::to_string(manifest::kMaxDepth) + " levels"
                          : "not JSON";
}

}  // namespace

class EventDecoder::Impl {
 public:
  Impl(const Resource& resource, std::string_view version)
      : resource_(&resource), api_version_(resource.api_version(version)) {}

  Result<WatchLine> watch_line(std::string_view text) {
    WatchLine line;
    Result<void> done;
    if (!line_fast(text, line)) {
      line = WatchLine{};
      done = line_slow(text, line);
    }
    if (done && line.type == WatchLine::Type::kEvent) {
      done = settle(line.event);
    }
    release(text.size());
    return done ? Result<WatchLine>(std::move(line))
                : std::unexpected(done.error());
  }

  Result<Event> list_item(std::string_view text) {
    Event event;
    Result<void> done;
    if (!item_fast(text, event)) {
      event = Event{};
      done = item_slow(text, event);
    }
    if (done) {
      done = settle(event);
    }
    release(text.size());
    return done ? Result<Event>(std::move(event))
                : std::unexpected(done.error());
  }

 private:
  // Opens the text as an object, to be read once.
  bool open(std::string_view text, od::document& document, od::object& root) {
    const simdjson::padded_string_view padded(text.data(), text.size(),
                                              text.size() + kDecodePadding);
    return parser_.iterate(padded).get(document) == SUCCESS &&
           document.get_object().get(root) == SUCCESS;
  }

  static bool at_end(od::document& document) {
    return document.current_location().error() == simdjson::OUT_OF_BOUNDS;
  }

  void release(std::size_t size) {
    if (size > kKeepParser) {
      parser_ = od::parser();
    }
  }

  bool item_fast(std::string_view text, Event& event) {
    event.resource = resource_;
    od::document document;
    od::object root;
    return open(text, document, root) && fast::decode(root, event) &&
           at_end(document);
  }

  Result<void> item_slow(std::string_view text, Event& event) {
    event.resource = resource_;
    od::document document;
    od::object root;
    fast::JsonMaker maker;
    json object;
    if (open(text, document, root) && maker.make_object(root, object) &&
        at_end(document)) {
      identify(object, event);
      decode_slow(std::move(object), api_version_, event);
      return {};
    }
    event.error = not_json(maker);
    event.type = Event::Type::kInvalid;
    return open(text, document, root) && fast::read_identity(root, event) &&
                   at_end(document)
               ? Result<void>()
               : fail(event.error);
  }

  bool line_fast(std::string_view text, WatchLine& line) {
    line.event.resource = resource_;
    od::document document;
    od::object root;
    if (!open(text, document, root)) {
      return false;
    }
    std::string type;
    unsigned seen = 0;
    const bool good =
        fast::members(root, [&](std::string_view key, od::value& member) {
          if (key == "type") {
            return fast::first(seen, 1) && fast::read(member, type);
          }
          if (key == "object") {
            od::object object;
            return fast::first(seen, 2) && is_change(type) &&
                   member.get_object().get(object) == SUCCESS &&
                   change_fast(type, object, line.event);
          }
          return true;
        });
    return good && seen == 3 && at_end(document);
  }

  static bool change_fast(std::string_view type, od::object object,
                          Event& event) {
    if (type == kDeleted) {
      event.type = Event::Type::kDeleted;
      return fast::read_identity(object, event);
    }
    return fast::decode(object, event);
  }

  Result<void> line_slow(std::string_view text, WatchLine& line) {
    line.event.resource = resource_;
    od::document document;
    od::object root;
    fast::JsonMaker maker;
    std::string type;
    json object;
    const bool good =
        open(text, document, root) &&
        fast::members(root,
                      [&](std::string_view key, od::value& member) {
                        if (key == "type") {
                          type.clear();
                          return fast::read(member, type);
                        }
                        return key != "object" || maker.make(member, object);
                      }) &&
        at_end(document);
    if (!good) {
      return line_salvaged(text, not_json(maker), line);
    }
    if (!object.is_object()) {
      return fail("a watch event without an object");
    }
    return line_known(type, std::move(object), line);
  }

  Result<void> line_known(std::string_view type, json object, WatchLine& line) {
    identify(object, line.event);
    if (type == kDeleted) {
      line.event.type = Event::Type::kDeleted;
    } else if (is_change(type)) {
      decode_slow(std::move(object), api_version_, line.event);
    } else if (type == kBookmark) {
      line.type = WatchLine::Type::kBookmark;
    } else if (type == kError) {
      line.type = WatchLine::Type::kError;
      const auto code = object.find("code");
      if (code != object.end() && code->is_number_integer()) {
        line.status = code->get<int>();
      }
      line.reason = text_of(object, "reason");
      line.causes = causes_of(object);
      line.message = text_of(object, "message");
    } else {
      return fail("a watch event of unknown type " + in_quotes(type));
    }
    return {};
  }

  // An object that cannot be decoded may still have a readable name.
  Result<void> line_salvaged(std::string_view text, std::string error,
                             WatchLine& line) {
    od::document document;
    od::object root;
    std::string type;
    const bool good =
        open(text, document, root) &&
        fast::members(root, [&](std::string_view key, od::value& member) {
          if (key == "type") {
            return fast::read(member, type);
          }
          od::object object;
          return key != "object" ||
                 (member.get_object().get(object) == SUCCESS &&
                  fast::read_identity(object, line.event));
        });
    if (!good || !is_change(type) || !at_end(document)) {
      return fail(std::move(error));
    }
    line.event.type =
        type == kDeleted ? Event::Type::kDeleted : Event::Type::kInvalid;
    if (type != kDeleted) {
      line.event.error = std::move(error);
    }
    return {};
  }

  static Result<void> settle(Event& event) {
    if (event.name.empty()) {
      return fail(event.error.empty() ? "metadata.name: must be set"
                                      : event.error);
    }
    if (!event.resource->namespaced) {
      event.ns.clear();
    } else if (event.ns.empty()) {
      event.ns = "default";
    }
    return {};
  }

  const Resource* resource_;
  std::string api_version_;
  od::parser parser_;
};

EventDecoder::EventDecoder(const Resource& resource, std::string_view version)
    : impl_(std::make_unique<Impl>(resource, version)) {}
EventDecoder::EventDecoder(EventDecoder&&) noexcept = default;
EventDecoder& EventDecoder::operator=(EventDecoder&&) noexcept = default;
EventDecoder::~EventDecoder() = default;

Result<WatchLine> EventDecoder::watch_line(std::string_view padded) {
  return impl_->watch_line(padded);
}

Result<Event> EventDecoder::list_item(std::string_view padded) {
  return impl_->list_item(padded);
}

}  // namespace sluice::kube