// SPDX-License-Identifier: Apache-2.0
#include "operator/cluster_store.h"

#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/api/resource.h"
#include "lib/policy/parse.h"
#include "operator/announced_pods.h"
#include "operator/kept_version.h"

namespace sluice::op {
namespace {

using kube::Event;
using nlohmann::json;

constexpr std::string_view kOnUnknown = "sluice.io/on-unknown";
constexpr std::array<std::string_view, kPolicyKinds> kKinds{
    "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "NetworkPolicy",
    "ClusterNetworkPolicy"};

ObjectKey key_of(const Event& event) {
  return {.kind = event.resource->kind, .ns = event.ns, .name = event.name};
}

std::shared_ptr<const json> conditions_of(const json& object) {
  const auto status = object.find("status");
  if (status == object.end() || !status->is_object()) {
    return std::make_shared<const json>(json::array());
  }
  const auto conditions = status->find("conditions");
  return std::make_shared<const json>(
      conditions != status->end() && conditions->is_array() ? *conditions
                                                            : json::array());
}

}  // namespace

bool is_group(const ObjectKey& key) {
  return key.kind == kube::cidr_groups().kind;
}

std::uint64_t version_number(const std::string& version) {
  std::uint64_t number = 0;
  const auto* const end = version.data() + version.size();
  const auto [stop, error] = std::from_chars(version.data(), end, number);
  return error == std::errc{} && stop == end ? number : 0;
}

std::size_t policy_kind_index(const std::string& kind) {
  std::size_t index = 0;
  while (index < kKinds.size() && kKinds.at(index) != kind) {
    ++index;
  }
  return index;
}

struct ClusterStore::Impl {
  Impl(policy::Translator& translator_in, std::string ns_in,
       OnInvalid on_invalid_in)
      : translator(translator_in),
        ns(std::move(ns_in)),
        on_invalid(on_invalid_in),
        announced(translator) {}

  struct Awaited {
    std::string node;
    std::string ns;
  };

  policy::Translator& translator;
  std::string ns;
  OnInvalid on_invalid;
  AnnouncedPods announced;
  std::map<ObjectKey, PolicyObject> policies;
  std::map<ObjectKey, KeptVersion> kept_elsewhere;
  std::set<ObjectKey> changed;
  std::map<ObjectKey, std::string> undecodable;
  std::unordered_map<std::string, wire::OnUnknown> spaces;  // that say it
  PodIndex pods;
  std::unordered_map<std::string, Awaited> awaited;  // by "ns/pod"
  // Number of pods expected, by node and namespace.
  std::map<std::string, std::map<std::string, std::size_t>> awaiting;
  std::set<std::string> on_unknown_changes;
  std::unordered_map<std::string, std::string> agent_pods;  // pod -> node
  struct Node {
    bool known = false;  // there is an object
    bool agent = false;  // a connected agent has reported its addresses
    std::optional<std::vector<IpAddress>>
        addresses;  // as reported by the agent
    // A report from another replica that is newer than the agent's report here:
    // the agent may have moved there, and its disconnection here may be noticed
    // late.
    std::optional<std::vector<IpAddress>> elsewhere;
  };
  std::unordered_map<std::string, Node> nodes;
  std::set<std::string> address_changes;
  std::map<std::string, bool> node_changes;  // come or gone

  bool take_policy(const Event& event);
  bool take_group(const Event& event);
  bool take_other(const Event& event);
  bool remove_policy(const ObjectKey& key);
  bool put_in_force(PolicyObject& record, const policy::Policy& parsed,
                    const json& object, std::int64_t generation);
  bool restore(PolicyObject& record, const json& object);
  bool restore(PolicyObject& record, const std::optional<json>& earlier,
               std::int64_t generation);
  bool restore_elsewhere(PolicyObject& record);
  bool put_group_in_force(PolicyObject& record, const kube::CidrGroup& group,
                          std::int64_t generation);
  bool isolate(PolicyObject& record, const json& object, const Error& why);
  PolicyObject& renew(const Event& event, bool& is_new, bool& removed);
  void note(const kube::Namespace& space);
  void note(const kube::Pod& pod);
  void forget_pod(const std::string& pod_ns, const std::string& name);
  void await(const std::string& pod, const std::optional<Awaited>& now);
  void set_node(const kube::Node& node);
  void remove_node(const std::string& name);
  bool set_addresses(const std::string& name, Node& record,
                     const std::vector<IpAddress>& addresses);
};

// Updates the record of the object, except for what depends on its content.
// `is_new`: it is another object, or another generation, than before.
PolicyObject& ClusterStore::Impl::renew(const Event& event, bool& is_new,
                                        bool& removed) {
  const auto key = key_of(event);
  auto& record = policies[key];
  // Another object with the same name: the first one is gone, and so is its
  // version in force.
  if (!record.uid.empty() && record.uid != event.uid) {
    removed = remove_policy(key) || removed;
    policies[key] = {};
  }
  auto& now = policies[key];
  is_new = now.uid.empty() || now.generation != event.generation ||
           event.generation == 0;
  now.key = key;
  now.resource = event.resource;
  now.uid = event.uid;
  now.generation = event.generation;
  now.latest_version = event.resource_version;
  if (is_new) {
    now.resource_version = version_number(event.resource_version);
  }
  changed.insert(key);
  return now;
}

bool ClusterStore::Impl::remove_policy(const ObjectKey& key) {
  const auto found = policies.find(key);
  if (found == policies.end()) {
    return false;
  }
  const bool was_in_force =
      found->second.in_force || !found->second.isolation.empty();
  if (was_in_force) {
    remove(translator, key);
  }
  policies.erase(found);
  changed.insert(key);
  return was_in_force;
}

bool ClusterStore::Impl::take_policy(const Event& event) {
  if (event.type == Event::Type::kDeleted) {
    return remove_policy(key_of(event));
  }
  bool is_new = false;
  bool told = false;
  auto& record = renew(event, is_new, told);
  if (event.type == Event::Type::kInvalid) {
    record.valid = false;
    record.reason = event.error;
    return restore_elsewhere(record) || told;
  }
  const auto& object = *std::get<Event::Json>(event.object);
  record.conditions = conditions_of(object);
  record.kept_generation = kept_in_status(object).generation;
  if (!is_new) {
    // Only its status, labels or annotations have changed. The rules have not,
    // except for those that another replica has stored in the status.
    return restore(record, object) || told;
  }
  auto parsed = policy::parse_policy(object);
  if (auto fits = parsed ? translator.check_size(*parsed) : Result<void>{};
      !fits) {
    parsed = std::unexpected(fits.error());
  }
  record.valid = parsed.has_value();
  record.warnings.clear();
  if (!parsed) {
    record.reason = parsed.error().message;
    return restore(record, object) || isolate(record, object, parsed.error()) ||
           told;
  }
  record.reason.clear();
  record.warnings = parsed->warnings;
  return put_in_force(record, *parsed, object, event.generation);
}

bool ClusterStore::Impl::put_in_force(PolicyObject& record,
                                      const policy::Policy& parsed,
                                      const json& object,
                                      std::int64_t generation) {
  record.in_force = true;
  record.isolation.clear();
  record.in_force_generation = generation;
  record.in_force_rules = rules_of(object);
  translator.set(parsed);
  return true;
}

// For an object of which only an invalid version was seen: without the version
// stored in its status, the pods that it selects would be open after a restart.
bool ClusterStore::Impl::restore(PolicyObject& record, const json& object) {
  if (record.valid || record.in_force) {
    return false;
  }
  const auto kept = kept_in_status(object);
  return restore(record, earlier_version(object, kept.rules),
                 kept.generation) ||
         restore_elsewhere(record);
}

bool ClusterStore::Impl::restore(PolicyObject& record,
                                 const std::optional<json>& earlier,
                                 std::int64_t generation) {
  if (!earlier) {
    return false;
  }
  const auto parsed = policy::parse_policy(*earlier);
  return parsed && translator.check_size(*parsed) &&
         put_in_force(record, *parsed, *earlier, generation);
}

// Restores from the version that an object of Sluice's own stores.
bool ClusterStore::Impl::restore_elsewhere(PolicyObject& record) {
  const auto found = kept_elsewhere.find(record.key);
  if (record.valid || record.in_force || found == kept_elsewhere.end() ||
      found->second.uid != record.uid) {
    return false;
  }
  const auto& kept = found->second;
  if (!is_group(record.key)) {
    return restore(record, earlier_version(record, kept.rules),
                   kept.generation);
  }
  const auto group = earlier_group(record, kept.rules);
  return group && put_group_in_force(record, *group, kept.generation);
}

// For a policy that never had a valid version: it may isolate the pods that it
// selects.
bool ClusterStore::Impl::isolate(PolicyObject& record, const json& object,
                                 const Error& why) {
  if (record.in_force) {
    return false;
  }
  const bool before = !record.isolation.empty();
  record.isolation.clear();
  if (const auto isolation = isolation_of(object, on_invalid, why)) {
    record.isolation = say_isolation(*isolation);
    translator.set(*isolation);
    return true;
  }
  if (before) {
    remove(translator, record.key);
  }
  return before;
}

// A group's labels matter too, and they have no generation.
bool ClusterStore::Impl::take_group(const Event& event) {
  if (event.type == Event::Type::kDeleted) {
    return remove_policy(key_of(event));
  }
  bool is_new = false;
  bool told = false;
  auto& record = renew(event, is_new, told);
  record.valid = event.type == Event::Type::kSet;
  record.reason = event.error;
  if (!record.valid) {
    return restore_elsewhere(record) || told;
  }
  return put_group_in_force(record, std::get<kube::CidrGroup>(event.object),
                            event.generation);
}

bool ClusterStore::Impl::put_group_in_force(PolicyObject& record,
                                            const kube::CidrGroup& group,
                                            std::int64_t generation) {
  record.in_force = true;
  record.in_force_generation = generation;
  record.in_force_rules = rules_of(group);
  translator.set(group);
  return true;
}

void ClusterStore::Impl::await(const std::string& pod,
                               const std::optional<Awaited>& now) {
  if (const auto found = awaited.find(pod); found != awaited.end()) {
    const auto& [node, space] = found->second;
    if (now && now->node == node) {
      return;  // a pod's namespace never changes
    }
    auto& spaces_here = awaiting[node];
    if (--spaces_here[space] == 0) {
      spaces_here.erase(space);
    }
    if (spaces_here.empty()) {
      awaiting.erase(node);
    }
    on_unknown_changes.insert(node);
    awaited.erase(found);
  }
  if (now) {
    ++awaiting[now->node][now->ns];
    on_unknown_changes.insert(now->node);
    awaited.emplace(pod, *now);
  }
}

void ClusterStore::Impl::note(const kube::Pod& pod) {
  const bool awaits = !pod.node.empty() && pod.ips.empty() &&
                      !pod.host_network && !pod.finished;
  pods.add_pod(pod.ns, pod.name);
  await(pod.ns + "/" + pod.name,
        awaits ? std::optional(Awaited{.node = pod.node, .ns = pod.ns})
               : std::nullopt);
  if (pod.ns == ns) {
    agent_pods[pod.name] = pod.node;
  }
}

void ClusterStore::Impl::forget_pod(const std::string& pod_ns,
                                    const std::string& name) {
  pods.remove_pod(pod_ns, name);
  await(pod_ns + "/" + name, std::nullopt);
  if (pod_ns == ns) {
    agent_pods.erase(name);
  }
}

void ClusterStore::Impl::note(const kube::Namespace& space) {
  const auto found = space.annotations.find(kOnUnknown);
  const std::string_view word =
      found == space.annotations.end() ? std::string_view{} : found->second;
  const auto before = spaces.contains(space.name)
                          ? spaces[space.name]
                          : wire::OnUnknown::kAgentDefault;
  auto now = wire::OnUnknown::kAgentDefault;
  if (word == "deny") {
    now = wire::OnUnknown::kDeny;
  } else if (word == "allow") {
    now = wire::OnUnknown::kAllow;
  }
  if (now == wire::OnUnknown::kAgentDefault) {
    spaces.erase(space.name);
  } else {
    spaces[space.name] = now;
  }
  if (now == before) {
    return;
  }
  for (const auto& [node, here] : awaiting) {
    if (here.contains(space.name)) {
      on_unknown_changes.insert(node);
    }
  }
}

void ClusterStore::Impl::set_node(const kube::Node& node) {
  translator.set(node);
  auto& record = nodes[node.name];
  if (!std::exchange(record.known, true)) {
    node_changes[node.name] = true;
    translator.set_node_addresses(
        node.name, record.addresses.value_or(std::vector<IpAddress>{}));
  }
}

// The reports are kept, so that a connected agent need not repeat its report if
// the object returns.
void ClusterStore::Impl::remove_node(const std::string& name) {
  const auto it = nodes.find(name);
  if (it == nodes.end()) {
    return;
  }
  it->second.known = false;
  node_changes[name] = false;
  if (!it->second.agent) {
    nodes.erase(it);
    address_changes.insert(name);
  }
}

bool ClusterStore::Impl::set_addresses(
    const std::string& name, Node& record,
    const std::vector<IpAddress>& addresses) {
  if (record.addresses == addresses) {
    return false;
  }
  record.addresses = addresses;
  address_changes.insert(name);
  if (record.known) {
    translator.set_node_addresses(name, addresses);
  }
  return record.known;
}

bool ClusterStore::Impl::take_other(const Event& event) {
  const auto key = key_of(event);
  if (event.type == Event::Type::kInvalid) {
    undecodable[key] = event.error;
    return false;
  }
  undecodable.erase(key);
  if (event.type == Event::Type::kDeleted) {
    if (key.kind == "Pod") {
      forget_pod(key.ns, key.name);
      announced.forget(key.ns, key.name);
    } else if (key.kind == "Namespace") {
      pods.remove_namespace(key.name);
      note(kube::Namespace{.name = key.name, .labels = {}, .annotations = {}});
    } else if (key.kind == "Node") {
      remove_node(key.name);
    }
    remove(translator, key);
    return true;
  }
  if (const auto* pod = std::get_if<kube::Pod>(&event.object)) {
    note(*pod);
    translator.set(announced.seen(*pod, event.uid));
  } else if (const auto* space = std::get_if<kube::Namespace>(&event.object)) {
    pods.add_namespace(space->name);
    note(*space);
    translator.set(*space);
  } else if (const auto* node = std::get_if<kube::Node>(&event.object)) {
    set_node(*node);
  } else if (const auto* service = std::get_if<kube::Service>(&event.object)) {
    translator.set(*service);
  } else if (const auto* slice =
                 std::get_if<kube::EndpointSlice>(&event.object)) {
    translator.set(*slice);
  }
  return true;
}

ClusterStore::ClusterStore(policy::Translator& translator, std::string ns,
                           OnInvalid on_invalid)
    : impl_(std::make_unique<Impl>(translator, std::move(ns), on_invalid)) {}
ClusterStore::~ClusterStore() = default;

bool ClusterStore::take(const Event& event) {
  switch (event.resource->shape) {
    case kube::Shape::kJson:
      return impl_->take_policy(event);
    case kube::Shape::kCidrGroup:
      return impl_->take_group(event);
    default:
      return impl_->take_other(event);
  }
}

bool ClusterStore::take_kept(const std::string& text) {
  auto kept = parse_kept(text);
  if (!kept) {
    return false;
  }
  const auto& [key, version] = *kept;
  impl_->kept_elsewhere[key] = version;
  const auto found = impl_->policies.find(key);
  if (found == impl_->policies.end() ||
      !impl_->restore_elsewhere(found->second)) {
    return false;
  }
  impl_->changed.insert(key);
  return true;
}

const std::map<ObjectKey, PolicyObject>& ClusterStore::policies() const {
  return impl_->policies;
}

const PolicyObject* ClusterStore::policy(const ObjectKey& key) const {
  const auto found = impl_->policies.find(key);
  return found == impl_->policies.end() ? nullptr : &found->second;
}

std::vector<ObjectKey> ClusterStore::take_changed() {
  const auto changed = std::exchange(impl_->changed, {});
  return {changed.begin(), changed.end()};
}

const std::map<ObjectKey, std::string>& ClusterStore::undecodable() const {
  return impl_->undecodable;
}

wire::OnUnknown ClusterStore::on_unknown(const std::string& node) const {
  const auto here = impl_->awaiting.find(node);
  if (here == impl_->awaiting.end()) {
    return wire::OnUnknown::kAgentDefault;
  }
  bool all_allow = true;
  for (const auto& [space, count] : here->second) {
    const auto said = impl_->spaces.find(space);
    if (said == impl_->spaces.end()) {
      all_allow = false;
    } else if (said->second == wire::OnUnknown::kDeny) {
      return wire::OnUnknown::kDeny;
    }
  }
  return all_allow ? wire::OnUnknown::kAllow : wire::OnUnknown::kAgentDefault;
}

std::vector<std::string> ClusterStore::take_on_unknown_changes() {
  const auto changes = std::exchange(impl_->on_unknown_changes, {});
  return {changes.begin(), changes.end()};
}

bool ClusterStore::announce(const std::string& node, bool begins,
                            const std::vector<wire::PodAddress>& pods) {
  const auto changed = impl_->announced.announce(node, begins, pods);
  for (const auto& pod : changed) {
    impl_->translator.set(pod);
  }
  return !changed.empty();
}

bool ClusterStore::set_node_addresses(const std::string& node,
                                      const std::vector<IpAddress>& addresses) {
  auto& record = impl_->nodes[node];
  record.agent = true;
  record.elsewhere.reset();
  return impl_->set_addresses(node, record, addresses);
}

bool ClusterStore::set_node_addresses_elsewhere(
    const std::string& node, const std::vector<IpAddress>& addresses) {
  auto& record = impl_->nodes[node];
  record.elsewhere = addresses;
  return !record.agent && impl_->set_addresses(node, record, addresses);
}

std::optional<std::vector<IpAddress>> ClusterStore::node_addresses(
    const std::string& node, bool here) const {
  const auto it = impl_->nodes.find(node);
  return it == impl_->nodes.end() || (here && !it->second.agent)
             ? std::nullopt
             : it->second.addresses;
}

std::vector<std::string> ClusterStore::take_address_changes() {
  const auto changes = std::exchange(impl_->address_changes, {});
  return {changes.begin(), changes.end()};
}

std::map<std::string, bool> ClusterStore::take_node_changes() {
  return std::exchange(impl_->node_changes, {});
}

bool ClusterStore::agent_left(const std::string& node) {
  const auto it = impl_->nodes.find(node);
  if (it == impl_->nodes.end()) {
    return false;
  }
  auto& record = it->second;
  record.agent = false;
  if (!record.known) {
    impl_->nodes.erase(it);
    impl_->address_changes.insert(node);
    return false;
  }
  return record.elsewhere &&
         impl_->set_addresses(node, record, *record.elsewhere);
}

const PodIndex& ClusterStore::pods() const {
  return impl_->pods;
}

std::string ClusterStore::node_of(const std::string& pod) const {
  const auto found = impl_->agent_pods.find(pod);
  return found == impl_->agent_pods.end() ? std::string{} : found->second;
}

}  // namespace sluice::op
