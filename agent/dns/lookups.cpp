// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/lookups.h"

#include <algorithm>
#include <array>
#include <limits>
#include <ranges>

namespace sluice::agent {
namespace {

constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0,    0,
                                               0, 0, 0, 0, 0xff, 0xff};

std::uint32_t add_saturated(std::uint32_t a, std::uint32_t b) {
  return b > std::numeric_limits<std::uint32_t>::max() - a
             ? std::numeric_limits<std::uint32_t>::max()
             : a + b;
}

// Adds a selector, or makes its expiry later. What has no room replaces
// nothing.
void add_selector(sluice_learned& value, std::uint32_t selector,
                  std::uint32_t expires) {
  for (sluice_learned_slot& slot : value.slot) {
    if (slot.selector == selector) {
      slot.expires = std::max(slot.expires, expires);
      return;
    }
    if (slot.selector == 0) {
      slot = {.selector = selector, .expires = expires};
      return;
    }
  }
}

std::vector<Lookups::Learned> as_elements(
    const std::map<IpAddress, sluice_learned>& values) {
  std::vector<Lookups::Learned> result;
  result.reserve(values.size());
  for (const auto& [address, value] : values) {
    result.push_back({.key = learned_key(address), .value = value});
  }
  return result;
}

}  // namespace

sluice_learned_key learned_key(const IpAddress& address) {
  sluice_learned_key key{};
  if (address.v6) {
    std::ranges::copy(address.bytes, key.address);
  } else {
    std::ranges::copy(kMapped, key.address);
    std::copy_n(address.bytes.begin(), 4, key.address + kMapped.size());
  }
  return key;
}

IpAddress address_of(const sluice_learned_key& key) {
  IpAddress result;
  result.v6 = !std::ranges::equal(kMapped,
                                  std::span(key.address).first(kMapped.size()));
  if (result.v6) {
    std::ranges::copy(key.address, result.bytes.begin());
  } else {
    std::copy_n(key.address + kMapped.size(), 4, result.bytes.begin());
  }
  return result;
}

std::uint32_t Lookups::expiry_of(const AnswerAddress& address,
                                 std::uint32_t now) const {
  const std::uint32_t ttl = std::min<std::uint32_t>(
      std::max(address.ttl, limits_.ttl_min), SLUICE_NAME_TTL_MAX);
  return add_saturated(now, add_saturated(ttl, limits_.grace));
}

void Lookups::add(std::uint32_t ifindex, const Answer& answer, Source source,
                  std::uint32_t now) {
  if (answer.addresses.empty()) {
    return;
  }
  Endpoint& endpoint = endpoints_[ifindex];
  for (const AnswerAddress& address : answer.addresses) {
    const std::uint32_t expires = expiry_of(address, now);
    const std::size_t names = std::min(address.names, answer.names.size());
    for (std::size_t i = 0; i < names; ++i) {
      Element& element =
          element_of(endpoint, {answer.names[i], address.address}, now);
      element.heard = now;
      element.expires = std::max(element.expires, expires);
      if (source == Source::kResolver) {
        element.resolver_expires = std::max(element.resolver_expires, expires);
      }
    }
  }
}

Lookups::Element& Lookups::element_of(Endpoint& endpoint, Key key,
                                      std::uint32_t now) {
  if (const auto found = endpoint.elements.find(key);
      found != endpoint.elements.end()) {
    endpoint.order.splice(endpoint.order.end(), endpoint.order,
                          found->second.place);
    auto& names = endpoint.names.at(key.second);
    names.splice(names.end(), names, found->second.name_place);
    return found->second;
  }
  if (!endpoint.elements.empty() &&
      endpoint.elements.size() >= limits_.per_endpoint) {
    drop_oldest(endpoint, now);
  }
  if (size_ >= limits_.total) {
    drop_oldest(largest(), now);
  }
  endpoint.order.push_back(key);
  ++size_;
  const auto [added, unused] = endpoint.elements.emplace(
      std::move(key), Element{.place = std::prev(endpoint.order.end())});
  auto& names = endpoint.names[added->first.second];
  added->second.name_place = names.insert(names.end(), &added->first);
  return added->second;
}

void Lookups::drop_oldest(Endpoint& endpoint, std::uint32_t now) {
  const auto found = endpoint.elements.find(endpoint.order.front());
  if (found->second.expires >= now) {
    ++pushed_out_;
  }
  const auto names = endpoint.names.find(found->first.second);
  names->second.erase(found->second.name_place);
  if (names->second.empty()) {
    endpoint.names.erase(names);
  }
  endpoint.elements.erase(found);
  endpoint.order.pop_front();
  --size_;
}

Lookups::Endpoint& Lookups::largest() {
  return std::ranges::max_element(
             endpoints_, {},
             [](const auto& pair) { return pair.second.elements.size(); })
      ->second;
}

std::uint32_t Lookups::expiry_for(std::uint32_t selector,
                                  const Element& element) {
  return (selector & SLUICE_CIDR_NAME_RESOLVERS) != 0 ? element.resolver_expires
                                                      : element.expires;
}

void Lookups::forget(std::uint32_t ifindex) {
  const auto found = endpoints_.find(ifindex);
  if (found != endpoints_.end()) {
    size_ -= found->second.elements.size();
    endpoints_.erase(found);
  }
}

std::vector<Lookups::Learned> Lookups::learned(
    std::uint32_t ifindex, const NameTable& table, std::uint32_t now,
    std::span<const std::uint32_t> fresh, std::uint32_t revived_until) const {
  const auto found = endpoints_.find(ifindex);
  if (found == endpoints_.end()) {
    return {};
  }
  std::map<IpAddress, sluice_learned> values;
  std::vector<std::uint32_t> selectors;
  const dns::Name* matched = nullptr;
  for (const auto& [key, element] : found->second.elements) {
    const auto& [name, address] = key;
    if (matched == nullptr || *matched != name) {
      selectors = table.match(name);
      matched = &name;
    }
    for (const std::uint32_t selector : selectors) {
      std::uint32_t expires = expiry_for(selector, element);
      if (expires != 0 && expires < now &&
          std::ranges::binary_search(fresh, selector)) {
        expires = revived_until;
      }
      if (expires >= now && expires != 0) {
        add_selector(values[address], selector, expires);
      }
    }
  }
  return as_elements(values);
}

std::vector<Lookups::Learned> Lookups::learned(const Answer& answer,
                                               Source source,
                                               const NameTable& table,
                                               std::uint32_t now) const {
  // Of the first name, the first two and so on.
  std::vector<std::vector<std::uint32_t>> selectors;
  for (const auto& name : answer.names) {
    auto all =
        selectors.empty() ? std::vector<std::uint32_t>() : selectors.back();
    for (const std::uint32_t selector : table.match(name)) {
      if (source == Source::kResolver ||
          (selector & SLUICE_CIDR_NAME_RESOLVERS) == 0) {
        all.push_back(selector);
      }
    }
    selectors.push_back(std::move(all));
  }
  std::map<IpAddress, sluice_learned> values;
  for (const AnswerAddress& address : answer.addresses) {
    const std::size_t names = std::min(address.names, selectors.size());
    for (std::size_t i = 0; names != 0 && i < selectors[names - 1].size();
         ++i) {
      add_selector(values[address.address], selectors[names - 1][i],
                   expiry_of(address, now));
    }
  }
  return as_elements(values);
}

std::size_t Lookups::beyond(std::uint32_t ifindex, std::size_t maximum,
                            const NameTable& table, std::uint32_t now) const {
  const auto found = endpoints_.find(ifindex);
  if (found == endpoints_.end() || found->second.elements.size() <= maximum) {
    return 0;
  }
  const std::size_t addresses = learned(ifindex, table, now).size();
  return addresses > maximum ? addresses - maximum : 0;
}

std::vector<Lookups::Row> Lookups::rows(std::uint32_t ifindex,
                                        const NameTable& table) const {
  std::vector<Row> result;
  const auto found = endpoints_.find(ifindex);
  if (found == endpoints_.end()) {
    return result;
  }
  result.reserve(found->second.elements.size());
  std::vector<std::uint32_t> matching;
  for (const auto& [key, element] : found->second.elements) {
    // The elements of a name are next to each other.
    if (result.empty() || result.back().name != key.first) {
      matching = table.match(key.first);
    }
    auto selectors = matching;
    std::erase_if(selectors, [&](std::uint32_t selector) {
      return expiry_for(selector, element) == 0;
    });
    result.push_back({.ifindex = ifindex,
                      .name = key.first,
                      .address = key.second,
                      .heard = element.heard,
                      .expires = element.expires,
                      .selectors = std::move(selectors)});
  }
  return result;
}

std::vector<dns::Name> Lookups::names_of(std::uint32_t ifindex,
                                         const IpAddress& address,
                                         std::size_t max) const {
  std::vector<dns::Name> result;
  const auto endpoint = endpoints_.find(ifindex);
  if (endpoint == endpoints_.end()) {
    return result;
  }
  const auto names = endpoint->second.names.find(address);
  if (names == endpoint->second.names.end()) {
    return result;
  }
  for (const Key* key : names->second | std::views::reverse |
                            std::views::take(static_cast<long>(max))) {
    result.push_back(key->first);
  }
  return result;
}

std::vector<std::uint32_t> Lookups::endpoints() const {
  std::vector<std::uint32_t> result;
  result.reserve(endpoints_.size());
  for (const auto& [ifindex, endpoint] : endpoints_) {
    if (!endpoint.elements.empty()) {
      result.push_back(ifindex);
    }
  }
  return result;
}

}  // namespace sluice::agent
