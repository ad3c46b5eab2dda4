// SPDX-License-Identifier: Apache-2.0
#include "operator/store.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/manifest.h"

namespace sluice::op {
namespace {

// The version of one object in one source.
struct Claim {
  std::string source;
  int line = 0;
  std::optional<Object> value;  // nullopt: not valid, see `reason`
  std::string reason;
  std::optional<policy::Policy> isolation;  // of a policy that is not valid
};

struct Entry {
  std::vector<Claim> claims;   // in the order in which sources came to have it
  std::string owner;           // source of the claim that counts
  std::optional<Object> good;  // the last valid version of that claim
  std::optional<policy::Policy> isolation;  // stands in where there is none
  std::optional<Object> told;  // the version that the translator has
};

struct Source {
  std::set<ObjectKey> keys;
  std::vector<Problem> problems;  // about objects that Sluice does not use
  std::string broken;             // why it cannot be read now, or empty
};

std::string place(const std::string& source, int line) {
  return line > 0 ? source + ":" + std::to_string(line) : source;
}

ObjectKey node_key(const std::string& name) {
  return {.kind = "Node", .ns = {}, .name = name};
}

// Takes "file:line: what" apart.
Problem problem_of(const std::string& source, const std::string& message,
                   Severity severity) {
  Problem problem{
      .severity = severity, .source = source, .object = {}, .message = message};
  if (message.starts_with(source + ":")) {
    const auto digits =
        message.find_first_not_of("0123456789", source.size() + 1);
    if (digits != std::string::npos && message.substr(digits, 2) == ": ") {
      problem.source = message.substr(0, digits);
      problem.message = message.substr(digits + 2);
    }
  }
  return problem;
}

bool is_policy_object(const Entry& entry, const ObjectKey& key) {
  if (entry.good) {
    return std::holds_alternative<policy::Policy>(*entry.good);
  }
  return key.kind.ends_with("NetworkPolicy");
}

}  // namespace

struct Store::Impl {
  Impl(policy::Translator& translator_in, OnInvalid on_invalid_in)
      : translator(&translator_in), on_invalid(on_invalid_in) {}

  policy::Translator* translator;
  OnInvalid on_invalid;
  std::map<ObjectKey, Entry> entries;
  std::map<std::string, Source> sources;
  std::set<ObjectKey> touched;
  std::optional<kube::Node> local_node;
  std::unordered_map<IpAddress, std::map<ObjectKey, std::string>> names;

  bool add(const std::string& source, const kube::ManifestObject& object,
           Source& record);
  void keep_orphans(const std::string& source, const std::set<ObjectKey>& old,
                    std::map<ObjectKey, std::vector<Claim>>& old_claims);
  std::map<ObjectKey, std::vector<Claim>> take_claims(
      const std::string& source);
  bool resolve(const ObjectKey& key);
  [[nodiscard]] bool is_local_node(const ObjectKey& key) const {
    return local_node && key.kind == "Node" && key.name == local_node->name;
  }
  [[nodiscard]] std::optional<Object> effective(const ObjectKey& key,
                                                const Entry& entry) const;
  bool tell(const ObjectKey& key, Entry& entry);
  void name(const ObjectKey& key, const Object& object, bool add);
  static ObjectStatus status(const ObjectKey& key, const Entry& entry,
                             const Claim& claim);
};

// Takes the claims of a source out of the entries, which stay until resolved.
std::map<ObjectKey, std::vector<Claim>> Store::Impl::take_claims(
    const std::string& source) {
  std::map<ObjectKey, std::vector<Claim>> taken;
  for (const auto& key : sources[source].keys) {
    touched.insert(key);
    auto& claims = entries[key].claims;
    for (auto& claim : claims) {
      if (claim.source == source) {
        taken[key].push_back(claim);
      }
    }
    std::erase_if(claims,
                  [&](const Claim& claim) { return claim.source == source; });
  }
  sources[source].keys.clear();
  return taken;
}

// False if the object cannot be identified.
bool Store::Impl::add(const std::string& source,
                      const kube::ManifestObject& object, Source& record) {
  const bool has_head = !object.kind.empty() && !object.api_version.empty();
  const auto interest = interest_in(object.api_version, object.kind);
  if (has_head && interest == Interest::kIgnore) {
    return true;
  }
  auto key = identify(*object.object);
  if (!key && (!has_head || interest != Interest::kUnknown)) {
    record.problems.push_back(
        {.severity = Severity::kError,
         .source = place(source, object.line),
         .object = to_string(ObjectKey{
             .kind = object.kind, .ns = object.ns, .name = object.name}),
         .message = key.error().message});
    return false;
  }
  if (interest == Interest::kUnknown) {
    record.problems.push_back({.severity = Severity::kNote,
                               .source = place(source, object.line),
                               .object = key ? to_string(*key) : object.kind,
                               .message = "ignored: kind " + object.kind +
                                          " of " + object.api_version +
                                          " is not known"});
    return true;
  }
  Claim claim{.source = source,
              .line = object.line,
              .value = {},
              .reason = {},
              .isolation = {}};
  auto value = decode(*key, *object.object);
  if (value && std::holds_alternative<policy::Policy>(*value)) {
    if (auto fits = translator->check_size(std::get<policy::Policy>(*value));
        !fits) {
      value = std::unexpected(fits.error());
    }
  }
  if (value) {
    claim.value = std::move(*value);
  } else {
    claim.isolation = isolation_of(*object.object, on_invalid, value.error());
    claim.reason = std::move(value.error().message);
  }
  record.keys.insert(*key);
  touched.insert(*key);
  entries[*key].claims.push_back(std::move(claim));
  return true;
}

// An object that cannot be identified may be any of the missing ones, so these
// are kept as they were.
void Store::Impl::keep_orphans(
    const std::string& source, const std::set<ObjectKey>& old,
    std::map<ObjectKey, std::vector<Claim>>& old_claims) {
  auto& record = sources[source];
  for (const auto& key : old) {
    if (record.keys.contains(key)) {
      continue;
    }
    auto& claims = old_claims[key];
    for (auto& claim : claims) {
      claim.value.reset();
      claim.reason =
          "not found in " + source + ", parts of which cannot be read";
      entries[key].claims.push_back(std::move(claim));
    }
    record.keys.insert(key);
  }
}

std::optional<Object> Store::Impl::effective(const ObjectKey& key,
                                             const Entry& entry) const {
  if (!entry.good && entry.isolation) {
    return Object{*entry.isolation};
  }
  if (!entry.good) {
    return is_local_node(key) ? std::optional<Object>(*local_node)
                              : std::nullopt;
  }
  auto object = entry.good;
  if (auto* pod = std::get_if<kube::Pod>(&*object)) {
    if (pod->node.empty() && local_node) {
      pod->node = local_node->name;
    }
  } else if (auto* node = std::get_if<kube::Node>(&*object)) {
    if (is_local_node(key)) {
      for (const auto& ip : local_node->ips) {
        if (std::ranges::find(node->ips, ip) == node->ips.end()) {
          node->ips.push_back(ip);
        }
      }
    }
  }
  return object;
}

void Store::Impl::name(const ObjectKey& key, const Object& object, bool add) {
  const std::vector<IpAddress>* ips = nullptr;
  std::string text;
  if (const auto* pod = std::get_if<kube::Pod>(&object)) {
    if (pod->host_network || pod->finished) {
      return;
    }
    ips = &pod->ips;
    text = pod->ns + "/" + pod->name;
  } else if (const auto* node = std::get_if<kube::Node>(&object)) {
    ips = &node->ips;
    text = "node/" + node->name;
  } else {
    return;
  }
  for (const auto& ip : *ips) {
    if (add) {
      names[ip][key] = text;
    } else if (const auto found = names.find(ip); found != names.end()) {
      found->second.erase(key);
      if (found->second.empty()) {
        names.erase(found);
      }
    }
  }
}

bool Store::Impl::tell(const ObjectKey& key, Entry& entry) {
  auto wanted = effective(key, entry);
  if (wanted == entry.told) {
    return false;
  }
  if (entry.told) {
    name(key, *entry.told, false);
  }
  if (wanted) {
    name(key, *wanted, true);
    set(*translator, *wanted);
  } else {
    remove(*translator, key);
  }
  entry.told = std::move(wanted);
  return true;
}

bool Store::Impl::resolve(const ObjectKey& key) {
  const auto found = entries.find(key);
  if (found == entries.end()) {
    return false;
  }
  auto& entry = found->second;
  if (entry.claims.empty()) {
    entry.good.reset();
    entry.isolation.reset();
    const bool changed = tell(key, entry);
    if (!entry.told) {
      entries.erase(found);
    }
    return changed;
  }
  auto claim = std::ranges::find(entry.claims, entry.owner, &Claim::source);
  if (claim == entry.claims.end()) {
    claim = entry.claims.begin();
    entry.owner = claim->source;
  }
  if (claim->value) {
    entry.good = claim->value;
  }
  entry.isolation = entry.good ? std::nullopt : claim->isolation;
  return tell(key, entry);
}

ObjectStatus Store::Impl::status(const ObjectKey& key, const Entry& entry,
                                 const Claim& claim) {
  ObjectStatus status{.key = key,
                      .policy = is_policy_object(entry, key),
                      .source = place(claim.source, claim.line),
                      .valid = claim.value.has_value(),
                      .in_force = entry.good.has_value(),
                      .reason = claim.reason,
                      .warnings = {}};
  const auto owner =
      std::ranges::find(entry.claims, entry.owner, &Claim::source);
  if (owner != entry.claims.end() && &claim != &*owner) {
    status.valid = false;
    status.in_force = false;
    status.reason = "also in " + place(owner->source, owner->line) +
                    ", whose version counts";
    return status;
  }
  if (entry.isolation) {
    status.reason += "; " + say_isolation(*entry.isolation);
  }
  if (entry.good) {
    if (const auto* policy = std::get_if<policy::Policy>(&*entry.good)) {
      status.warnings = policy->warnings;
    }
  }
  return status;
}

Store::Store(policy::Translator& translator, OnInvalid on_invalid)
    : impl_(std::make_unique<Impl>(translator, on_invalid)) {}
Store::~Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;

void Store::set_source(const std::string& source,
                       const kube::Manifest& manifest) {
  auto& record = impl_->sources[source];
  const auto old_keys = record.keys;
  auto old_claims = impl_->take_claims(source);
  record.problems.clear();
  record.broken.clear();
  // A document without a head may be an object that is being edited.
  bool all_identified = manifest.errors.empty() && !manifest.has_others;
  for (const auto& error : manifest.errors) {
    record.problems.push_back(
        problem_of(source, error.message, Severity::kError));
  }
  for (const auto& note : manifest.notes) {
    record.problems.push_back(
        problem_of(source, note.message, Severity::kNote));
  }
  for (const auto& object : manifest.objects) {
    all_identified = impl_->add(source, object, record) && all_identified;
  }
  if (!all_identified) {
    impl_->keep_orphans(source, old_keys, old_claims);
  }
}

void Store::fail_source(const std::string& source, const std::string& reason) {
  impl_->sources[source].broken = reason;
}

void Store::remove_source(const std::string& source) {
  if (impl_->sources.contains(source)) {
    impl_->take_claims(source);
    impl_->sources.erase(source);
  }
}

void Store::set_local_node(const kube::Node& node) {
  if (impl_->local_node == node) {
    return;
  }
  if (impl_->local_node) {
    impl_->touched.insert(node_key(impl_->local_node->name));
  }
  impl_->local_node = node;
  impl_->entries[node_key(node.name)];  // there, whether or not a source has it
  impl_->touched.insert(node_key(node.name));
  for (const auto& [key, entry] : impl_->entries) {
    if (key.kind == "Pod") {
      impl_->touched.insert(key);
    }
  }
}

bool Store::commit() {
  bool changed = false;
  for (const auto& key : impl_->touched) {
    changed = impl_->resolve(key) || changed;
  }
  impl_->touched.clear();
  return changed;
}

std::vector<ObjectStatus> Store::objects() const {
  std::vector<ObjectStatus> result;
  for (const auto& [key, entry] : impl_->entries) {
    for (const auto& claim : entry.claims) {
      auto status = Impl::status(key, entry, claim);
      const auto& broken = impl_->sources.at(claim.source).broken;
      if (status.valid && !broken.empty()) {
        status.valid = false;
        status.reason = broken;
      }
      result.push_back(std::move(status));
    }
  }
  return result;
}

std::vector<Problem> Store::problems() const {
  std::vector<Problem> result;
  for (const auto& [name, source] : impl_->sources) {
    if (!source.broken.empty()) {
      result.push_back({.severity = Severity::kError,
                        .source = name,
                        .object = {},
                        .message = source.broken});
    }
    result.insert(result.end(), source.problems.begin(), source.problems.end());
  }
  for (const auto& [key, entry] : impl_->entries) {
    for (const auto& claim : entry.claims) {
      auto status = Impl::status(key, entry, claim);
      if (!status.valid) {
        result.push_back({.severity = Severity::kError,
                          .source = std::move(status.source),
                          .object = to_string(key),
                          .message = std::move(status.reason),
                          .policy = status.policy});
      }
    }
  }
  std::ranges::stable_sort(result, {}, &Problem::source);
  return result;
}

std::size_t Store::source_count() const {
  return impl_->sources.size();
}

std::vector<kube::Node> Store::nodes() const {
  std::vector<kube::Node> result;
  for (const auto& [key, entry] : impl_->entries) {
    for (const auto& claim : entry.claims) {
      if (claim.value && std::holds_alternative<kube::Node>(*claim.value)) {
        result.push_back(std::get<kube::Node>(*claim.value));
        break;
      }
    }
  }
  return result;
}

const kube::Pod* Store::pod(const std::string& ns,
                            const std::string& name) const {
  const auto found =
      impl_->entries.find({.kind = "Pod", .ns = ns, .name = name});
  if (found == impl_->entries.end() || !found->second.told) {
    return nullptr;
  }
  return std::get_if<kube::Pod>(&*found->second.told);
}

std::string Store::name_of(const IpAddress& address) const {
  const auto found = impl_->names.find(address);
  return found == impl_->names.end() ? std::string{}
                                     : found->second.begin()->second;
}

}  // namespace sluice::op
