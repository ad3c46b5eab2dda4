// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/translator.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "lib/policy/policy_sets_impl.h"
#include "lib/policy/service_variants.h"
#include "lib/policy/translator_impl.h"

namespace sluice::policy {
namespace {

// The annotation names permissions, separated by commas. Words that it should
// not have permit nothing.
std::uint32_t permits_of(const kube::Namespace& object) {
  const auto annotation = object.annotations.find("sluice.io/permit");
  if (annotation == object.annotations.end()) {
    return 0;
  }
  constexpr std::array<std::pair<std::string_view, std::uint32_t>, 3> kWords{
      {{"ethertypes", SLUICE_EP_ANY_ETHERTYPE},
       {"tunnels", SLUICE_EP_TUNNELS},
       {"neighbours", SLUICE_EP_ANY_NEIGHBOUR}}};
  std::uint32_t permits = 0;
  std::string_view rest = annotation->second;
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    std::string_view word = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    word.remove_prefix(std::min(word.find_first_not_of(' '), word.size()));
    word = word.substr(0, word.find_last_not_of(' ') + 1);
    for (const auto& [name, bit] : kWords) {
      permits |= word == name ? bit : 0;
    }
  }
  return permits;
}

}  // namespace

std::string to_string(const PolicyKey& key) {
  return key.kind + "/" + (key.ns.empty() ? "" : key.ns + "/") + key.name;
}

void Translator::Impl::set_permits(const std::string& name,
                                   std::uint32_t permits) {
  auto& record = pods.space(name);
  if (std::exchange(record.permits, permits) == permits) {
    return;
  }
  tunnels.permit(name, (permits & SLUICE_EP_TUNNELS) != 0);
  for (auto* pod : record.pods) {
    views.note_endpoint(pod->pod.node, pod->name());
  }
}

void Translator::Impl::set_namespace_labels(const std::string& name,
                                            kube::Labels labels) {
  if (!pods.set_labels(name, std::move(labels))) {
    return;
  }
  for (auto* pod : pods.space(name).pods) {
    selectors.update_pod(*pod);
  }
}

void Translator::Impl::set_pod(const kube::Pod& object) {
  auto* known = pods.find(object.ns + "/" + object.name);
  if (known != nullptr && known->pod == object) {
    return;
  }
  auto& record = known == nullptr ? pods.add(object.ns, object.name) : *known;
  const auto own_ips = [&] {
    return record.managed() ? record.pod.ips : std::vector<IpAddress>{};
  };
  const auto old_ips = own_ips();
  const kube::Pod old = std::exchange(record.pod, object);
  services.pod_changed(known == nullptr ? nullptr : &old, &record.pod);
  selectors.update_pod(record);
  const auto new_ips = own_ips();
  move_addresses(record, old_ips, new_ips);
  pods.move_to_node(record, old.node);
  if (old.node != object.node) {
    views.note_endpoint(old.node, record.name());
  }
  views.note_endpoint(object.node, record.name());
  note_rivals(record, old_ips);
  note_rivals(record, new_ips);
  dirty_pods.insert(&record);
}

// Tells the classes of a pod's addresses.
void Translator::Impl::move_addresses(PodRecord& record,
                                      const std::vector<IpAddress>& before,
                                      const std::vector<IpAddress>& now) {
  if (before != now) {
    record.sequence = ++sequence;
    record.seen_getting = begun ? sequence : 0;
  }
  for (const auto& address : before) {
    if (std::ranges::find(now, address) == now.end()) {
      classes.remove_pod(address, &record);
    }
  }
  for (const auto& address : now) {
    classes.add_pod(address, &record);
  }
}

void Translator::Impl::remove_pod(const std::string& ns,
                                  const std::string& name) {
  auto* record = pods.find(ns + "/" + name);
  if (record == nullptr) {
    return;
  }
  services.pod_changed(&record->pod, nullptr);
  for (const auto& address : record->pod.ips) {
    if (record->managed()) {
      classes.remove_pod(address, record);
    }
  }
  selectors.forget_pod(*record);
  sets.unassign(*record);
  dirty_pods.erase(record);
  views.note_endpoint(record->pod.node, record->name());
  note_rivals(*record, record->pod.ips);
  pods.erase(*record);
}

void Translator::Impl::forget_api_slice(const std::string& ns,
                                        const std::string& name) {
  if (ns == "default" && api_slices.erase(name) != 0) {
    update_api_addresses();
  }
}

void Translator::Impl::update_api_addresses() {
  std::set<IpAddress> addresses;
  for (const auto& [key, slice] : api_slices) {
    addresses.insert(slice.begin(), slice.end());
  }
  classes.set_api_addresses(addresses);
}

// The others that claim one of the addresses.
void Translator::Impl::note_rivals(const PodRecord& record,
                                   const std::vector<IpAddress>& addresses) {
  for (const auto& address : addresses) {
    for (const auto* other : classes.pods_at(address)) {
      if (other != &record) {
        views.note_endpoint(other->pod.node, other->name());
      }
    }
  }
}

void Translator::Impl::guard_tunnels() {
  tunnels.look_at(services);
  if (!tunnels.take_changed()) {
    return;
  }
  if (const auto policy = tunnels.policy()) {
    sets.set_policy(*policy);
  } else {
    sets.remove_policy(TunnelGuard::key());
  }
}

// Brings everything derived up to date. Order: subjects and selectors are
// known, so sets can be assigned; then classes; then entries, which need both.
void Translator::Impl::flush() {
  begun = true;
  if (!std::exchange(dirty, false)) {
    return;
  }
  services.update();
  guard_tunnels();
  sets.apply_removals();
  if (services.peers_changed()) {
    sets.refresh_services();
  }
  for (const auto* more :
       {&selectors.changes().subjects, &sets.changes().pods}) {
    dirty_pods.insert(more->begin(), more->end());
  }
  for (auto* record : std::exchange(dirty_pods, {})) {
    const auto before = record->policy_set;
    sets.assign(*record);
    if (before != record->policy_set) {
      views.note_endpoint(record->pod.node, record->name());
    }
  }
  classes.update();
  update_variants(services, classes);
  sets.update();
  for (const auto* record : sets.changes().moved) {
    views.note_endpoint(record->pod.node, record->name());
  }
  views.distribute();
  services.clear_changes();
  sets.clear_changes();
  classes.clear_changes();
  selectors.clear_changes();
}

Translator::Translator(TranslatorOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
Translator::~Translator() = default;
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;

void Translator::set(const kube::Namespace& object) {
  impl_->dirty = true;
  impl_->set_namespace_labels(object.name, object.labels);
  impl_->set_permits(object.name, permits_of(object));
}

void Translator::set(const kube::Pod& object) {
  impl_->dirty = true;
  impl_->set_pod(object);
}

void Translator::set(const kube::Node& object) {
  impl_->dirty = true;
  impl_->classes.set_node(object);
}

void Translator::set(const kube::Service& object) {
  impl_->dirty = true;
  impl_->services.set(object);
}

void Translator::set(const kube::EndpointSlice& object) {
  impl_->dirty = true;
  impl_->services.set(object);
  if (object.ns != "default" || object.service != "kubernetes") {
    impl_->forget_api_slice(object.ns, object.name);
    return;
  }
  impl_->api_slices[object.name] = object.ready_addresses();
  impl_->update_api_addresses();
}

void Translator::set(const kube::CidrGroup& object) {
  impl_->dirty = true;
  impl_->classes.set_group(object);
}

void Translator::set(const Policy& policy) {
  impl_->dirty = true;
  impl_->sets.set_policy(policy);
}

void Translator::remove_namespace(const std::string& name) {
  impl_->dirty = true;
  impl_->set_namespace_labels(name, {});
  impl_->set_permits(name, 0);
  impl_->pods.forget_space(name);
}

void Translator::remove_pod(const std::string& ns, const std::string& name) {
  impl_->dirty = true;
  impl_->remove_pod(ns, name);
}

void Translator::remove_node(const std::string& name) {
  impl_->dirty = true;
  impl_->classes.remove_node(name);
}

void Translator::set_node_addresses(const std::string& node,
                                    const std::vector<IpAddress>& addresses) {
  impl_->dirty = true;
  impl_->classes.set_reported(node, {addresses.begin(), addresses.end()});
}

void Translator::remove_service(const std::string& ns,
                                const std::string& name) {
  impl_->dirty = true;
  impl_->services.remove(ns, name);
}

void Translator::remove_endpoint_slice(const std::string& ns,
                                       const std::string& name) {
  impl_->dirty = true;
  impl_->services.remove_slice(ns, name);
  impl_->forget_api_slice(ns, name);
}

void Translator::remove_cidr_group(const std::string& name) {
  impl_->dirty = true;
  impl_->classes.remove_group(name);
}

void Translator::remove_policy(const PolicyKey& key) {
  impl_->dirty = true;
  impl_->sets.remove_policy(key);
}

void Translator::set_reserved(const IpAddress& address,
                              std::optional<Entity> entity) {
  impl_->dirty = true;
  impl_->classes.set_reserved(address, entity);
}

bool Translator::is_taken(const IpAddress& address,
                          const std::string& node) const {
  const auto& pods = impl_->classes.pods_at(address);
  const bool by_pod = std::ranges::any_of(
      pods, [&](const PodRecord* other) { return other->pod.node != node; });
  return by_pod || impl_->classes.is_in_object_of_node(address);
}

std::string Translator::shortfall(const PolicyKey& key) const {
  impl_->flush();
  return impl_->sets.shortfall(key);
}

void Translator::visit_subjects(
    const PolicyKey& key,
    const std::function<void(const kube::Pod&)>& visit) const {
  impl_->flush();
  impl_->sets.visit_subjects(key, visit);
}

void Translator::watch_node(const std::string& node) {
  impl_->views.watch(node);
}

void Translator::forget_node(const std::string& node) {
  impl_->views.forget(node);
}

Transaction Translator::take(const std::string& node) {
  impl_->flush();
  return impl_->views.take(node);
}

std::vector<std::string> Translator::changed_nodes() {
  impl_->flush();
  return impl_->views.changed();
}

State Translator::snapshot(const std::string& node) const {
  impl_->flush();
  return impl_->views.snapshot(node);
}

}  // namespace sluice::policy
