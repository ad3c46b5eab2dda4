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

// RFC 8767, 4: nobody should trust an answer for longer than seven days.
constexpr std::uint32_t kTtlMax = 604800;

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

void Lookups::add(std::uint32_t ifindex, const Answer& answer,
                  std::uint32_t now) {
  if (answer.addresses.empty()) {
    return;
  }
  Endpoint& endpoint = endpoints_[ifindex];
  for (const AnswerAddress& address : answer.addresses) {
    const std::uint32_t ttl =
        std::min(std::max(address.ttl, limits_.ttl_min), kTtlMax);
    const std::uint32_t expires =
        add_saturated(now, add_saturated(ttl, limits_.grace));
    const std::size_t names = std::min(address.names, answer.names.size());
    for (std::size_t i = 0; i < names; ++i) {
      add_one(endpoint, {answer.names[i], address.address}, expires, now);
    }
  }
}

void Lookups::add_one(Endpoint& endpoint, Key key, std::uint32_t expires,
                      std::uint32_t now) {
  if (const auto found = endpoint.elements.find(key);
      found != endpoint.elements.end()) {
    Element& element = found->second;
    element.heard = now;
    element.expires = std::max(element.expires, expires);
    endpoint.order.splice(endpoint.order.end(), endpoint.order, element.place);
    return;
  }
  if (!endpoint.elements.empty() &&
      endpoint.elements.size() >= limits_.per_endpoint) {
    drop_oldest(endpoint, now);
  }
  endpoint.order.push_back(key);
  endpoint.elements.emplace(std::move(key),
                            Element{.heard = now,
                                    .expires = expires,
                                    .place = std::prev(endpoint.order.end())});
  ++size_;
  if (size_ > limits_.total) {
    drop_oldest(largest(), now);
  }
}

void Lookups::drop_oldest(Endpoint& endpoint, std::uint32_t now) {
  const auto found = endpoint.elements.find(endpoint.order.front());
  if (found->second.expires >= now) {
    ++pushed_out_;
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
      std::uint32_t expires = element.expires;
      if (expires < now && std::ranges::binary_search(fresh, selector)) {
        expires = revived_until;
      }
      if (expires >= now) {
        add_selector(values[address], selector, expires);
      }
    }
  }
  std::vector<Learned> result;
  result.reserve(values.size());
  for (const auto& [address, value] : values) {
    result.push_back({.key = learned_key(address), .value = value});
  }
  return result;
}

std::vector<Lookups::Row> Lookups::rows(std::uint32_t ifindex,
                                        const NameTable& table) const {
  std::vector<Row> result;
  const auto found = endpoints_.find(ifindex);
  if (found == endpoints_.end()) {
    return result;
  }
  result.reserve(found->second.elements.size());
  for (const auto& [key, element] : found->second.elements) {
    // The elements of a name are next to each other.
    const bool same = !result.empty() && result.back().name == key.first;
    result.push_back(
        {.ifindex = ifindex,
         .name = key.first,
         .address = key.second,
         .heard = element.heard,
         .expires = element.expires,
         .selectors = same ? result.back().selectors : table.match(key.first)});
  }
  return result;
}

std::vector<dns::Name> Lookups::names_of(std::uint32_t ifindex,
                                         const IpAddress& address) const {
  std::vector<dns::Name> result;
  const auto found = endpoints_.find(ifindex);
  if (found == endpoints_.end()) {
    return result;
  }
  for (const Key& key : found->second.order | std::views::reverse) {
    if (key.second == address) {
      result.push_back(key.first);
    }
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
