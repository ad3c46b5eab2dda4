// SPDX-License-Identifier: Apache-2.0
#include "operator/kept_version.h"

#include <nlohmann/json.hpp>

#include "lib/kube/api/json_fields.h"
#include "lib/kube/api/resource.h"
#include "lib/kube/decode.h"

namespace sluice::op {
namespace {

using nlohmann::json;

// nullptr if there is no such value, also if a parent has another type.
const json* find(const json& object, const json::json_pointer& place) {
  return object.contains(place) ? &object.at(place) : nullptr;
}

// Returns the object without its rules.
json skeleton(const PolicyObject& record) {
  json metadata{{"name", record.key.name}};
  if (!record.key.ns.empty()) {
    metadata["namespace"] = record.key.ns;
  }
  return {{"apiVersion",
           record.resource->api_version(record.resource->versions.front())},
          {"kind", record.key.kind},
          {"metadata", std::move(metadata)}};
}

// A limit that keeps the object which stores it small enough for the API
// server.
constexpr std::size_t kKeptMost = 256 << 10;

bool has_to_be_kept(const PolicyObject& object) {
  return !object.valid && !object.in_force_rules.empty() &&
         object.in_force_rules.size() <= kKeptMost;
}

}  // namespace

std::string rules_of(const json& object) {
  json rules = json::object();
  for (const char* name : {"spec", "specs"}) {
    if (object.contains(name)) {
      rules[name] = object.at(name);
    }
  }
  return rules.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string rules_of(const kube::CidrGroup& group) {
  json cidrs = json::array();
  for (const auto& cidr : group.cidrs) {
    cidrs.push_back(to_string(cidr));
  }
  const json rules{{"labels", group.labels},
                   {"spec", {{"externalCIDRs", std::move(cidrs)}}}};
  return rules.dump(-1, ' ', false, json::error_handler_t::replace);
}

json to_keep(const PolicyObject& object) {
  // The status of a group has no room for it.
  if (!has_to_be_kept(object) || is_group(object.key)) {
    return nullptr;
  }
  return {{"generation", object.in_force_generation},
          {"rules", object.in_force_rules}};
}

std::string to_keep_elsewhere(const PolicyObject& object) {
  if (!has_to_be_kept(object)) {
    return {};
  }
  const json kept{{"kind", object.key.kind},
                  {"namespace", object.key.ns},
                  {"name", object.key.name},
                  {"uid", object.uid},
                  {"generation", object.in_force_generation},
                  {"rules", object.in_force_rules}};
  return kept.dump(-1, ' ', false, json::error_handler_t::replace);
}

KeptInStatus kept_in_status(const json& object) {
  using namespace nlohmann::literals;
  const auto* generation =
      find(object, "/status/inForce/generation"_json_pointer);
  const auto* rules = find(object, "/status/inForce/rules"_json_pointer);
  if (generation == nullptr || !generation->is_number_integer() ||
      rules == nullptr || !rules->is_string()) {
    return {};
  }
  return {.generation = generation->get<std::int64_t>(),
          .rules = rules->get_ref<const std::string&>()};
}

std::optional<std::pair<ObjectKey, KeptVersion>> parse_kept(
    const std::string& text) {
  const auto object = json::parse(text, nullptr, false);
  if (!object.is_object() || !object.contains("generation") ||
      !object.at("generation").is_number_integer()) {
    return std::nullopt;
  }
  return std::pair(
      ObjectKey{.kind = kube::text_of(object, "kind"),
                .ns = kube::text_of(object, "namespace"),
                .name = kube::text_of(object, "name")},
      KeptVersion{.uid = kube::text_of(object, "uid"),
                  .generation = object.at("generation").get<std::int64_t>(),
                  .rules = kube::text_of(object, "rules")});
}

std::optional<json> earlier_version(const json& object, std::string_view text) {
  const auto rules = json::parse(text, nullptr, false);
  if (!rules.is_object()) {
    return std::nullopt;
  }
  json result = object;
  result.erase("status");
  for (const char* name : {"spec", "specs"}) {
    result.erase(name);
    if (rules.contains(name)) {
      result[name] = rules.at(name);
    }
  }
  return result;
}

std::optional<json> earlier_version(const PolicyObject& record,
                                    std::string_view text) {
  return earlier_version(skeleton(record), text);
}

std::optional<kube::CidrGroup> earlier_group(const PolicyObject& record,
                                             std::string_view text) {
  auto object = earlier_version(record, text);
  if (!object) {
    return std::nullopt;
  }
  const auto rules = json::parse(text, nullptr, false);
  (*object)["metadata"]["labels"] = rules.value("labels", json::object());
  auto group = kube::decode_cidr_group(*object);
  return group ? std::optional(std::move(*group)) : std::nullopt;
}

}  // namespace sluice::op
