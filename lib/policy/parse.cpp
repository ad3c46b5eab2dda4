// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/parse.h"

#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/policy/parse_context.h"
#include "lib/policy/parse_labels.h"

namespace sluice::policy {
namespace {

using nlohmann::json;

struct Language {
  std::string_view api_version;
  std::string_view kind;
  bool namespaced;
  Field::Null null;  // how its API server takes null
  void (*parse)(const Field& root, ParseContext& context);
  void (*isolate)(const Field& root, ParseContext& context);
};

constexpr std::array kLanguages{
    Language{"cilium.io/v2", "CiliumNetworkPolicy", true, Field::Null::kValue,
             parse_cilium, isolate_cilium},
    Language{"cilium.io/v2", "CiliumClusterwideNetworkPolicy", false,
             Field::Null::kValue, parse_cilium, isolate_cilium},
    Language{"networking.k8s.io/v1", "NetworkPolicy", true,
             Field::Null::kAbsent, parse_network_policy,
             isolate_network_policy},
    Language{"policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", false,
             Field::Null::kValue, parse_cluster_network_policy,
             isolate_cluster_network_policy},
};

const Language* find_language(std::string_view api_version,
                              std::string_view kind) {
  for (const Language& language : kLanguages) {
    if (language.api_version == api_version && language.kind == kind) {
      return &language;
    }
  }
  return nullptr;
}

std::string read_name(const Field& metadata, std::string_view name,
                      bool (*valid)(std::string_view), Problems& problems) {
  const auto field = metadata.get(name);
  if (!field) {
    return {};
  }
  const auto* text = kube::as_string(*field, problems);
  if (text == nullptr) {
    return {};
  }
  if (!text->empty() && !valid(*text)) {
    problems.add(*field, "not a name: " + in_quotes(*text));
    return {};
  }
  return *text;
}

void read_metadata(const Field& root, const Language& language,
                   ParseContext& context) {
  context.policy.key.kind = language.kind;
  Problems& problems = context.problems;
  const auto metadata = root.get("metadata");
  if (metadata && !kube::is_object(*metadata, problems)) {
    return;
  }
  const std::size_t before = problems.count();
  auto& key = context.policy.key;
  if (metadata) {
    key.name = read_name(*metadata, "name", is_dns_subdomain, problems);
    key.ns = read_name(*metadata, "namespace", is_dns_label, problems);
  }
  if (key.name.empty() && problems.count() == before) {
    problems.add("metadata.name: must be set");
  }
  if (!language.namespaced && !key.ns.empty()) {
    context.policy.warnings.emplace_back(
        "metadata.namespace: ignored, the kind is cluster-wide");
    key.ns.clear();
  } else if (language.namespaced && key.ns.empty()) {
    key.ns = "default";
  }
}

std::string text_at(const json& object, const char* name) {
  const auto found = object.find(name);
  const auto* text =
      found == object.end() ? nullptr : found->get_ptr<const std::string*>();
  return text == nullptr ? std::string() : *text;
}

}  // namespace

void ParseContext::warn(const Field& field, std::string_view what) {
  policy.warnings.push_back(field.path() + ": " + std::string(what));
}

void refuse(const Field& field, std::initializer_list<std::string_view> names,
            Problems& problems) {
  for (const std::string_view name : names) {
    if (const auto member = field.get(name)) {
      problems.add(*member, "not supported");
    }
  }
}

std::optional<Field> require(const Field& parent, std::string_view name,
                             Problems& problems) {
  auto field = parent.get(name);
  if (!field) {
    const std::string path = parent.path();
    problems.add((path.empty() ? "" : path + ".") + std::string(name) +
                 ": must be set");
  }
  return field;
}

std::optional<kube::Cidr> parse_cidr_at(const Field& field,
                                        Problems& problems) {
  const auto* text = kube::as_string(field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  auto cidr = kube::parse_cidr(*text);
  if (!cidr) {
    problems.add(field, cidr.error().message);
    return std::nullopt;
  }
  return *cidr;
}

std::size_t list_size(const Field& parent, std::string_view name,
                      Problems& problems) {
  const auto list = parent.get(name);
  return list && kube::is_list(*list, problems) ? list->value().size() : 0;
}

bool is_policy(std::string_view api_version, std::string_view kind) {
  return find_language(api_version, kind) != nullptr;
}

Result<Policy> parse_policy(const json& object) {
  if (!object.is_object()) {
    return fail("a policy must be an object, is " +
                std::string(kube::type_name(object)));
  }
  const std::string api_version = text_at(object, "apiVersion");
  const std::string kind = text_at(object, "kind");
  const Language* language = find_language(api_version, kind);
  if (language == nullptr) {
    return fail("kind: no policy: " + in_quotes(kind) + " of " +
                in_quotes(api_version));
  }
  ParseContext context;
  // The API server validates metadata, whatever the kind.
  read_metadata(Field(object, Field::Null::kAbsent), *language, context);
  language->parse(Field(object, language->null), context);
  if (!context.problems.empty()) {
    return std::unexpected(context.problems.error());
  }
  return std::move(context.policy);
}

std::optional<Policy> parse_isolation(const json& object) {
  const Language* language = object.is_object()
                                 ? find_language(text_at(object, "apiVersion"),
                                                 text_at(object, "kind"))
                                 : nullptr;
  if (language == nullptr) {
    return std::nullopt;
  }
  ParseContext context;
  read_metadata(Field(object, Field::Null::kAbsent), *language, context);
  language->isolate(Field(object, language->null), context);
  if (!context.problems.empty() || context.policy.specs.empty()) {
    return std::nullopt;
  }
  return std::move(context.policy);
}

std::string isolated_directions(const Policy& policy) {
  bool ingress = false;
  bool egress = false;
  for (const Spec& spec : policy.specs) {
    ingress = ingress || spec.default_deny[0];
    egress = egress || spec.default_deny[1];
  }
  if (ingress && egress) {
    return "ingress and egress";
  }
  return ingress ? "ingress" : "egress";
}

}  // namespace sluice::policy
