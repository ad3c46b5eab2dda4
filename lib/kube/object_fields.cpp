// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/object_fields.h"

#include <algorithm>

#include <netinet/in.h>

#include "lib/kube/decode.h"

namespace sluice::kube {
namespace {

using nlohmann::json;

constexpr std::string_view kOwnPrefix = "sluice.io/";

// The owner that is the controller. It only serves to name the object, which is
// therefore good whatever is in the list.
Owner controller_of(const json& metadata) {
  const auto list = metadata.find("ownerReferences");
  if (list == metadata.end() || !list->is_array()) {
    return {};
  }
  for (const auto& owner : *list) {
    const auto text = [&](const char* name) {
      const auto member = owner.find(name);
      return member != owner.end() && member->is_string()
                 ? member->get<std::string>()
                 : std::string();
    };
    if (owner.is_object() && owner.value("controller", json()) == true) {
      return {.kind = text("kind"), .name = text("name")};
    }
  }
  return {};
}

}  // namespace

Labels string_map(const Field& parent, std::string_view name,
                  std::string_view prefix, Problems& problems) {
  Labels result;
  const auto field = parent.get(name);
  if (!field || !is_object(*field, problems)) {
    return result;
  }
  for (const auto& [key, value] : field->value().items()) {
    if (!key.starts_with(prefix)) {
      continue;
    }
    const Field member = field->member(key, value);
    if (const auto* text = as_string(member, problems)) {
      result.emplace(key, *text);
    }
  }
  return result;
}

std::string string_or(const Field& parent, std::string_view name,
                      std::string_view otherwise, Problems& problems) {
  if (const auto field = parent.get(name)) {
    const auto* text = as_string(*field, problems);
    if (text != nullptr && !text->empty()) {
      return *text;
    }
  }
  return std::string(otherwise);
}

Metadata read_metadata(const Field& root, Problems& problems) {
  Metadata result;
  if (!is_object(root, problems)) {
    return result;
  }
  const auto field = root.get("metadata");
  if (!field) {
    problems.add("metadata.name: must be set");
    return result;
  }
  if (!is_object(*field, problems)) {
    return result;
  }
  result.name = string_or(*field, "name", "", problems);
  if (result.name.empty() && problems.empty()) {
    problems.add("metadata.name: must be set");
  }
  result.ns = string_or(*field, "namespace", "default", problems);
  result.labels = string_map(*field, "labels", "", problems);
  result.annotations = string_map(*field, "annotations", kOwnPrefix, problems);
  result.created =
      digits_of_time(string_or(*field, "creationTimestamp", "", problems));
  result.controller = controller_of(field->value());
  return result;
}

std::optional<IpAddress> read_address(const Field& field, Problems& problems) {
  const auto* text = as_string(field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  const auto address = parse_ip(*text);
  if (!address) {
    problems.add(field, "not an IP address: " + in_quotes(*text));
  }
  return address;
}

void add_unique(std::vector<IpAddress>& list, const IpAddress& address) {
  if (std::ranges::find(list, address) == list.end()) {
    list.push_back(address);
  }
}

std::optional<Field> object_member(const Field& parent, std::string_view name,
                                   Problems& problems) {
  auto field = parent.get(name);
  if (field && !is_object(*field, problems)) {
    return std::nullopt;
  }
  return field;
}

std::optional<std::uint8_t> read_protocol(const Field& port,
                                          Problems& problems) {
  const auto field = port.get("protocol");
  if (!field) {
    return IPPROTO_TCP;
  }
  const auto* text = as_string(*field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  if (*text == "TCP") {
    return IPPROTO_TCP;
  }
  if (*text == "UDP") {
    return IPPROTO_UDP;
  }
  if (*text == "SCTP") {
    return IPPROTO_SCTP;
  }
  problems.add(*field, "must be TCP, UDP or SCTP, is " + in_quotes(*text));
  return std::nullopt;
}

std::string to_lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

}  // namespace sluice::kube
