// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/event_decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <simdjson.h>

#include "lib/kube/decode.h"
#include "lib/kube/field.h"
#include "lib/kube/manifest_builder.h"

// Two ways. The fast one reads simdjson's stream of tokens once and gives up
// (false) at anything that is not as it nearly always is: a wrong type, a
// duplicate key, a missing name. Then the slow one makes a JSON value and has
// decode.h judge it. So the fast way needs no error messages, and cannot differ
// in them.
namespace sluice::kube {
namespace {

namespace od = simdjson::ondemand;
using nlohmann::json;
using simdjson::SUCCESS;

constexpr std::string_view kOwnPrefix = "sluice.io/";
constexpr std::string_view kServiceLabel = "kubernetes.io/service-name";
static_assert(kDecodePadding >= simdjson::SIMDJSON_PADDING);
// Buffers of the parser grow with the text and are given back above this.
constexpr std::size_t kKeepParser = std::size_t{1} << 20;

// Calls visit(key, value) for every member, until it returns false. False also
// if this is no object.
template <typename Visit>
bool members(od::object object, const Visit& visit) {
  for (auto field : object) {
    std::string_view key;
    od::value value;
    if (field.unescaped_key().get(key) != SUCCESS ||
        field.value().get(value) != SUCCESS || !visit(key, value)) {
      return false;
    }
  }
  return true;
}

template <typename Visit>
bool members(od::value value, const Visit& visit) {
  od::object object;
  return value.get_object().get(object) == SUCCESS && members(object, visit);
}

// Notes that a key has been seen; false if it was before. Of two members with
// one name the last one counts, which is for the slow way.
bool first(unsigned& seen, unsigned bit) {
  return (std::exchange(seen, seen | bit) & bit) == 0;
}

bool is_null(od::value& value) {
  bool null = false;
  return value.is_null().get(null) == SUCCESS && null;
}

// null is as if the member were not there. Otherwise visit(value).
template <typename Visit>
bool unless_null(od::value& value, const Visit& visit) {
  return is_null(value) || visit(value);
}

template <typename Visit>
bool elements(od::value& value, const Visit& visit) {
  return unless_null(value, [&](od::value& list) {
    od::array array;
    if (list.get_array().get(array) != SUCCESS) {
      return false;
    }
    for (auto element : array) {
      od::value item;
      if (element.get(item) != SUCCESS || !visit(item)) {
        return false;
      }
    }
    return true;
  });
}

bool read(od::value& value, std::string& out) {
  std::string_view text;
  if (value.get_string().get(text) != SUCCESS) {
    return is_null(value);
  }
  if (!text.empty()) {
    out = text;
  }
  return true;
}

bool read(od::value& value, bool& out) {
  return unless_null(value, [&](od::value& there) {
    return there.get_bool().get(out) == SUCCESS;
  });
}

bool read(od::value& value, std::optional<bool>& out) {
  return unless_null(value, [&](od::value& there) {
    bool flag = false;
    const bool good = there.get_bool().get(flag) == SUCCESS;
    out = flag;
    return good;
  });
}

bool read_number(od::value& value, std::int64_t min, std::int64_t max,
                 std::int64_t& out) {
  return unless_null(value, [&](od::value& there) {
    return there.get_int64().get(out) == SUCCESS && out >= min && out <= max;
  });
}

bool read_labels(od::value& value, std::string_view prefix, Labels& out) {
  return unless_null(value, [&](od::value& there) {
    return members(there, [&](std::string_view key, od::value& member) {
      if (!key.starts_with(prefix)) {
        return true;
      }
      std::string_view text;
      return member.get_string().get(text) == SUCCESS &&
             out.emplace(std::string(key), std::string(text)).second;
    });
  });
}

bool read_address(std::string_view text, std::vector<IpAddress>& out) {
  const auto address = parse_ip(text);
  if (!address) {
    return false;
  }
  if (std::ranges::find(out, *address) == out.end()) {
    out.push_back(*address);
  }
  return true;
}

bool read_protocol(od::value& value, std::uint8_t& out) {
  return unless_null(value, [&](od::value& there) {
    std::string_view text;
    if (there.get_string().get(text) != SUCCESS) {
      return false;
    }
    out = text == "TCP"    ? IPPROTO_TCP
          : text == "UDP"  ? IPPROTO_UDP
          : text == "SCTP" ? IPPROTO_SCTP
                           : 0;
    return out != 0;
  });
}

// What every object has. Labels and annotations only where they are asked for.
struct Metadata {
  Event* event = nullptr;
  Labels* labels = nullptr;
  Labels* annotations = nullptr;
};

bool read_metadata(od::value& value, const Metadata& out) {
  unsigned seen = 0;
  Event& event = *out.event;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "name") {
          return first(seen, 1) && read(member, event.name);
        }
        if (key == "namespace") {
          return first(seen, 2) && read(member, event.ns);
        }
        if (key == "uid") {
          return first(seen, 4) && read(member, event.uid);
        }
        if (key == "resourceVersion") {
          return first(seen, 8) && read(member, event.resource_version);
        }
        if (key == "generation") {
          return first(seen, 16) &&
                 read_number(member, 0, INT64_MAX, event.generation);
        }
        if (key == "labels" && out.labels != nullptr) {
          return first(seen, 32) && read_labels(member, "", *out.labels);
        }
        if (key == "annotations" && out.annotations != nullptr) {
          return first(seen, 64) &&
                 read_labels(member, kOwnPrefix, *out.annotations);
        }
        return true;
      });
  return good && !event.name.empty();
}

// The members of an object's root: metadata, and what visit(key, value, seen)
// knows of the others. Bits from 2 on are visit's.
template <typename Visit>
bool read_root(od::object object, const Metadata& metadata,
               const Visit& visit) {
  unsigned seen = 0;
  const bool good =
      members(object, [&](std::string_view key, od::value& member) {
        if (key == "metadata") {
          return first(seen, 1) && read_metadata(member, metadata);
        }
        return visit(key, member, seen);
      });
  return good && (seen & 1U) != 0;
}

bool other_member(std::string_view /*key*/, od::value& /*value*/,
                  unsigned& /*seen*/) {
  return true;
}

void to_lower(std::string& text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
}

bool read_container_port(od::value& value, std::vector<ContainerPort>& out) {
  ContainerPort port{.name = {}, .port = 0, .protocol = IPPROTO_TCP};
  std::int64_t number = 0;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "name") {
          return first(seen, 1) && read(member, port.name);
        }
        if (key == "containerPort") {
          return first(seen, 2) && read_number(member, 1, 65535, number);
        }
        if (key == "protocol") {
          return first(seen, 4) && read_protocol(member, port.protocol);
        }
        return true;
      });
  if (!good || number == 0) {
    return false;
  }
  if (!port.name.empty()) {
    to_lower(port.name);
    port.port = static_cast<std::uint16_t>(number);
    out.push_back(std::move(port));
  }
  return true;
}

// Named ports of one container, if it runs as long as the pod does.
bool read_container(od::value& value, bool init,
                    std::vector<ContainerPort>& out) {
  std::vector<ContainerPort> ports;
  std::string restart;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "ports") {
          return first(seen, 1) && elements(member, [&](od::value& port) {
                   return read_container_port(port, ports);
                 });
        }
        if (init && key == "restartPolicy") {
          return first(seen, 2) && read(member, restart);
        }
        return true;
      });
  if (good && (!init || restart == "Always")) {
    std::ranges::move(ports, std::back_inserter(out));
  }
  return good;
}

bool read_pod_spec(od::value& value, Pod& pod) {
  std::vector<ContainerPort> of_containers;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "containers" || key == "initContainers") {
          const bool init = key == "initContainers";
          return first(seen, init ? 1 : 2) &&
                 elements(member, [&](od::value& container) {
                   return read_container(container, init,
                                         init ? pod.ports : of_containers);
                 });
        }
        if (key == "nodeName") {
          return first(seen, 4) && read(member, pod.node);
        }
        if (key == "serviceAccountName") {
          return first(seen, 8) && read(member, pod.service_account);
        }
        if (key == "hostNetwork") {
          return first(seen, 16) && read(member, pod.host_network);
        }
        return true;
      });
  std::ranges::move(of_containers, std::back_inserter(pod.ports));
  return good;
}

bool read_pod_ip(od::value& value, std::vector<IpAddress>& out) {
  std::string_view ip;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        return key != "ip" ||
               (first(seen, 1) && member.get_string().get(ip) == SUCCESS);
      });
  return good && read_address(ip, out);
}

bool read_pod_status(od::value& value, Pod& pod) {
  std::string phase;
  std::string first_ip;
  std::vector<IpAddress> ips;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "phase") {
          return first(seen, 1) && read(member, phase);
        }
        if (key == "podIP") {
          return first(seen, 2) && read(member, first_ip);
        }
        if (key == "podIPs") {
          return first(seen, 4) && elements(member, [&](od::value& element) {
                   return read_pod_ip(element, ips);
                 });
        }
        return true;
      });
  pod.finished = phase == "Succeeded" || phase == "Failed";
  if (!good || (!first_ip.empty() && !read_address(first_ip, pod.ips))) {
    return false;
  }
  for (const IpAddress& ip : ips) {
    if (std::ranges::find(pod.ips, ip) == pod.ips.end()) {
      pod.ips.push_back(ip);
    }
  }
  const auto v6 = std::ranges::count(pod.ips, true, &IpAddress::v6);
  return v6 <= 1 && static_cast<std::ptrdiff_t>(pod.ips.size()) - v6 <= 1;
}

bool decode(od::object object, Event& event, Pod& pod) {
  pod.service_account = "default";
  const bool good = read_root(
      object,
      {.event = &event, .labels = &pod.labels, .annotations = &pod.annotations},
      [&](std::string_view key, od::value& member, unsigned& seen) {
        if (key == "spec") {
          return first(seen, 2) && unless_null(member, [&](od::value& spec) {
                   return read_pod_spec(spec, pod);
                 });
        }
        if (key == "status") {
          return first(seen, 4) && unless_null(member, [&](od::value& status) {
                   return read_pod_status(status, pod);
                 });
        }
        return true;
      });
  pod.ns = event.ns.empty() ? "default" : event.ns;
  pod.name = event.name;
  return good;
}

bool decode(od::object object, Event& event, Namespace& ns) {
  const bool good = read_root(
      object,
      {.event = &event, .labels = &ns.labels, .annotations = &ns.annotations},
      other_member);
  ns.name = event.name;
  return good;
}

bool read_node_address(od::value& value, std::vector<IpAddress>& out) {
  std::string type;
  std::string address;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "type") {
          return first(seen, 1) && read(member, type);
        }
        if (key == "address") {
          return first(seen, 2) && read(member, address);
        }
        return true;
      });
  // One that ought to have an address and has none is for the slow way.
  return good && ((type != "InternalIP" && type != "ExternalIP") ||
                  read_address(address, out));
}

bool decode(od::object object, Event& event, Node& node) {
  // Decoded and dropped, so that both ways look at the same.
  Labels annotations;
  const bool good = read_root(
      object,
      {.event = &event, .labels = &node.labels, .annotations = &annotations},
      [&](std::string_view key, od::value& member, unsigned& seen) {
        if (key != "status") {
          return true;
        }
        return first(seen, 2) && unless_null(member, [&](od::value& status) {
                 unsigned in_status = 0;
                 return members(
                     status, [&](std::string_view name, od::value& value) {
                       return name != "addresses" ||
                              (first(in_status, 1) &&
                               elements(value, [&](od::value& element) {
                                 return read_node_address(element, node.ips);
                               }));
                     });
               });
      });
  node.name = event.name;
  return good;
}

bool read_slice_port(od::value& value, std::vector<SlicePort>& out) {
  SlicePort port{.name = {}, .protocol = IPPROTO_TCP, .port = 0};
  std::int64_t number = 0;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "name") {
          return first(seen, 1) && read(member, port.name);
        }
        if (key == "port") {
          return first(seen, 2) && read_number(member, 0, 65535, number);
        }
        if (key == "protocol") {
          return first(seen, 4) && read_protocol(member, port.protocol);
        }
        return true;
      });
  port.port = static_cast<std::uint16_t>(number);
  out.push_back(std::move(port));
  return good;
}

bool read_conditions(od::value& value, SliceEndpoint& endpoint) {
  std::optional<bool> ready;
  std::optional<bool> serving;
  std::optional<bool> terminating;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "ready") {
          return first(seen, 1) && read(member, ready);
        }
        if (key == "serving") {
          return first(seen, 2) && read(member, serving);
        }
        if (key == "terminating") {
          return first(seen, 4) && read(member, terminating);
        }
        return true;
      });
  endpoint.ready = ready.value_or(true);
  endpoint.serving = serving.value_or(endpoint.ready);
  endpoint.terminating = terminating.value_or(false);
  return good;
}

bool read_slice_address(od::value& value, SliceEndpoint& endpoint) {
  std::string_view text;
  return value.get_string().get(text) == SUCCESS && text != "None" &&
         read_address(text, endpoint.addresses);
}

bool read_slice_endpoint(od::value& value, std::vector<SliceEndpoint>& out) {
  SliceEndpoint endpoint;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "addresses") {
          return first(seen, 1) && elements(member, [&](od::value& address) {
                   return read_slice_address(address, endpoint);
                 });
        }
        if (key == "conditions") {
          return first(seen, 2) && unless_null(member, [&](od::value& there) {
                   return read_conditions(there, endpoint);
                 });
        }
        return true;
      });
  out.push_back(std::move(endpoint));
  return good;
}

bool decode(od::object object, Event& event, EndpointSlice& slice) {
  Labels labels;
  Labels annotations;
  std::string address_type;
  const bool good = read_root(
      object, {.event = &event, .labels = &labels, .annotations = &annotations},
      [&](std::string_view key, od::value& member, unsigned& seen) {
        if (key == "addressType") {
          return first(seen, 2) && read(member, address_type);
        }
        if (key == "ports") {
          return first(seen, 4) && elements(member, [&](od::value& port) {
                   return read_slice_port(port, slice.ports);
                 });
        }
        if (key == "endpoints") {
          return first(seen, 8) && elements(member, [&](od::value& endpoint) {
                   return read_slice_endpoint(endpoint, slice.endpoints);
                 });
        }
        return true;
      });
  slice.ns = event.ns.empty() ? "default" : event.ns;
  slice.name = event.name;
  if (const auto service = labels.find(kServiceLabel);
      service != labels.end()) {
    slice.service = service->second;
  }
  return good && address_type != "FQDN";
}

template <typename T>
bool decode_into(od::object object, Event& event) {
  return decode(object, event, event.object.emplace<T>());
}

// False also for the shapes that have no fast way: what is seldom, or needed as
// a whole.
bool decode_fast(od::object object, Event& event) {
  switch (event.resource->shape) {
    case Shape::kNamespace:
      return decode_into<Namespace>(object, event);
    case Shape::kPod:
      return decode_into<Pod>(object, event);
    case Shape::kNode:
      return decode_into<Node>(object, event);
    case Shape::kEndpointSlice:
      return decode_into<EndpointSlice>(object, event);
    case Shape::kService:
    case Shape::kCidrGroup:
    case Shape::kJson:
      return false;
  }
  return false;
}

bool read_identity(od::object object, Event& event) {
  return read_root(object, {.event = &event}, other_member);
}

// Makes the JSON value of an object. Its metadata.managedFields never become
// any.
class JsonMaker {
 public:
  bool make(od::value value, json& out) {
    switch (od::json_type type{};
            value.type().get(type) == SUCCESS ? type : od::json_type::null) {
      case od::json_type::object:
        return make_object(value, out);
      case od::json_type::array:
        return make_array(value, out);
      default:
        return make_scalar(value, out);
    }
  }
  bool make_object(od::object object, json& out) {
    if (!enter()) {
      return false;
    }
    out = json::object();
    auto& made = out.get_ref<json::object_t&>();
    const bool good =
        members(object, [&](std::string_view key, od::value& member) {
          const bool metadata = depth_ == 1 && key == "metadata";
          if (in_metadata_ && depth_ == 2 && key == "managedFields") {
            return true;
          }
          if (metadata) {
            in_metadata_ = true;
          }
          json value;
          const bool made_value = make(member, value);
          if (metadata) {
            in_metadata_ = false;
          }
          made.insert_or_assign(std::string(key), std::move(value));
          return made_value;
        });
    --depth_;
    return good;
  }
  [[nodiscard]] bool too_deep() const { return too_deep_; }

 private:
  bool enter() {
    too_deep_ = too_deep_ || depth_ == manifest::kMaxDepth;
    ++depth_;
    return !too_deep_;
  }

  bool make_object(od::value value, json& out) {
    od::object object;
    return value.get_object().get(object) == SUCCESS &&
           make_object(object, out);
  }

  bool make_array(od::value value, json& out) {
    od::array array;
    if (!enter() || value.get_array().get(array) != SUCCESS) {
      return false;
    }
    out = json::array();
    for (auto element : array) {
      od::value item;
      if (element.get(item) != SUCCESS || !make(item, out.emplace_back())) {
        return false;
      }
    }
    --depth_;
    return true;
  }

  static bool make_scalar(od::value value, json& out) {
    std::string_view text;
    if (value.get_string().get(text) == SUCCESS) {
      out = text;
      return true;
    }
    bool flag = false;
    if (value.get_bool().get(flag) == SUCCESS) {
      out = flag;
      return true;
    }
    if (is_null(value)) {
      out = nullptr;
      return true;
    }
    // Numbers as the other decoder's library takes them.
    text = value.raw_json_token();
    if (text.empty() ||
        (text.front() != '-' && (text.front() < '0' || text.front() > '9'))) {
      return false;
    }
    out = json::parse(text, nullptr, false);
    od::number number;
    return out.is_number() &&
           (value.get_number().get(number) == SUCCESS || out.is_number_float());
  }

  std::size_t depth_ = 0;
  bool in_metadata_ = false;
  bool too_deep_ = false;
};

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string();
}

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

// What decode.h says of it.
void decode_slow(json object, std::string_view api_version, Event& event) {
  switch (event.resource->shape) {
    case Shape::kNamespace:
      return take(decode_namespace(object), event);
    case Shape::kPod:
      return take(decode_pod(object), event);
    case Shape::kNode:
      return take(decode_node(object), event);
    case Shape::kService:
      return take(decode_service(object), event);
    case Shape::kEndpointSlice:
      return take(decode_endpoint_slice(object), event);
    case Shape::kCidrGroup:
      return take(decode_cidr_group(object), event);
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

std::string not_json(const JsonMaker& maker) {
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
  // The object that the text is, to be read once.
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
    return open(text, document, root) && decode_fast(root, event) &&
           at_end(document);
  }

  Result<void> item_slow(std::string_view text, Event& event) {
    event.resource = resource_;
    od::document document;
    od::object root;
    JsonMaker maker;
    json object;
    if (open(text, document, root) && maker.make_object(root, object) &&
        at_end(document)) {
      identify(object, event);
      decode_slow(std::move(object), api_version_, event);
      return {};
    }
    event.error = not_json(maker);
    event.type = Event::Type::kInvalid;
    return open(text, document, root) && read_identity(root, event) &&
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
        members(root, [&](std::string_view key, od::value& member) {
          if (key == "type") {
            return first(seen, 1) && read(member, type);
          }
          if (key == "object") {
            od::object object;
            return first(seen, 2) && is_change(type) &&
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
      return read_identity(object, event);
    }
    return decode_fast(object, event);
  }

  Result<void> line_slow(std::string_view text, WatchLine& line) {
    line.event.resource = resource_;
    od::document document;
    od::object root;
    JsonMaker maker;
    std::string type;
    json object;
    const bool good =
        open(text, document, root) &&
        members(root,
                [&](std::string_view key, od::value& member) {
                  if (key == "type") {
                    type.clear();
                    return read(member, type);
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
      line.message = text_of(object, "message");
    } else {
      return fail("a watch event of unknown type " + in_quotes(type));
    }
    return {};
  }

  // What cannot be read as a whole may still tell which object it is.
  Result<void> line_salvaged(std::string_view text, std::string error,
                             WatchLine& line) {
    od::document document;
    od::object root;
    std::string type;
    const bool good =
        open(text, document, root) &&
        members(root, [&](std::string_view key, od::value& member) {
          if (key == "type") {
            return read(member, type);
          }
          od::object object;
          return key != "object" ||
                 (member.get_object().get(object) == SUCCESS &&
                  read_identity(object, line.event));
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
