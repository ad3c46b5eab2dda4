// SPDX-License-Identifier: Apache-2.0
#include "agent/learned_maps.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <bpf/bpf.h>

#include <unistd.h>

#include "agent/maps.h"
#include "agent/pins.h"
#include "sluice/abi.h"

namespace sluice::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPinPrefix = "learned-";

// Adds what `from` has to `to`, as the programs do it (put_slot()).
void merge(sluice_learned& to, const sluice_learned& from, std::uint32_t now) {
  const auto left = [now](const sluice_learned_slot& slot) {
    const auto rest = static_cast<std::int32_t>(slot.expires - now);
    return slot.selector == 0 || rest < 0 ? -1 : rest;
  };
  for (const auto& slot : from.slot) {
    if (slot.selector == 0) {
      continue;
    }
    auto* place = std::ranges::find(to.slot, slot.selector,
                                    &sluice_learned_slot::selector);
    if (place == std::end(to.slot)) {
      place = std::ranges::min_element(to.slot, {}, left);
    } else if (left(*place) >= left(slot)) {
      continue;
    }
    *place = slot;
  }
}

// The interface in the name of a pin; 0 if it is another's name.
std::uint32_t ifindex_of(std::string_view name) {
  std::uint32_t ifindex = 0;
  if (!name.starts_with(kPinPrefix)) {
    return 0;
  }
  name.remove_prefix(kPinPrefix.size());
  const auto [end, error] =
      std::from_chars(name.data(), name.data() + name.size(), ifindex);
  return error == std::errc{} && end == name.data() + name.size() ? ifindex : 0;
}

// Adds elements to a map that programs may be writing, too.
Result<void> add(int map, std::span<const Lookups::Learned> elements,
                 std::uint32_t now) {
  for (const auto& element : elements) {
    sluice_learned value{};
    if (bpf_map_lookup_elem(map, &element.key, &value) != 0) {
      value = {};
    }
    merge(value, element.value, now);
    if (bpf_map_update_elem(map, &element.key, &value, BPF_ANY) != 0) {
      return fail_errno("writing a map of learned addresses");
    }
  }
  return {};
}

}  // namespace

fs::path LearnedMaps::pin_of(std::uint32_t ifindex) const {
  return folder_ / (std::string(kPinPrefix) + std::to_string(ifindex));
}

Result<void> LearnedMaps::open() {
  if (folder_.empty()) {
    return {};
  }
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder_, error)) {
    const std::uint32_t ifindex = ifindex_of(file.path().filename().string());
    if (ifindex == 0) {
      continue;
    }
    auto map = open_pin(file.path());
    if (!map) {
      return std::unexpected(map.error());
    }
    // The process that pinned it may have ended before the next step.
    const int fd = map->get();
    if (bpf_map_update_elem(outer_fd_, &ifindex, &fd, BPF_NOEXIST) != 0 &&
        errno != EEXIST) {
      return fail_errno("map learned");
    }
    maps_[ifindex] = std::move(*map);
  }
  if (error) {
    return fail_errno("reading " + folder_.string(), error.value());
  }
  return {};
}

Result<void> LearnedMaps::give(std::uint32_t ifindex,
                               std::span<const Lookups::Learned> elements,
                               std::uint32_t now) {
  if (const auto found = maps_.find(ifindex); found != maps_.end()) {
    return add(found->second.get(), elements, now);
  }
  Fd map(bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "sluice_learned",
                        sizeof(sluice_learned_key), sizeof(sluice_learned),
                        capacity_, nullptr));
  if (!map.valid()) {
    return fail_errno("making a map of learned addresses");
  }
  if (auto added = add(map.get(), elements, now); !added) {
    return added;
  }
  NewPins pins;
  if (!folder_.empty()) {
    std::error_code ignored;
    fs::remove(pin_of(ifindex), ignored);
    if (auto pinned = pins.pin(map.get(), pin_of(ifindex)); !pinned) {
      return pinned;
    }
  }
  const int fd = map.get();
  if (bpf_map_update_elem(outer_fd_, &ifindex, &fd, BPF_ANY) != 0) {
    return fail_errno("map learned");
  }
  pins.keep();
  maps_[ifindex] = std::move(map);
  return {};
}

Result<void> LearnedMaps::take(std::uint32_t ifindex) {
  if (bpf_map_delete_elem(outer_fd_, &ifindex) != 0 && errno != ENOENT) {
    return fail_errno("map learned");
  }
  maps_.erase(ifindex);
  std::error_code error;
  if (!folder_.empty() && !fs::remove(pin_of(ifindex), error) && error) {
    return fail_errno("removing " + pin_of(ifindex).string(), error.value());
  }
  return {};
}

std::vector<std::uint32_t> LearnedMaps::all() const {
  std::vector<std::uint32_t> all;
  all.reserve(maps_.size());
  for (const auto& [ifindex, map] : maps_) {
    all.push_back(ifindex);
  }
  return all;
}

std::vector<std::uint32_t> LearnedMaps::selectors(std::uint32_t ifindex,
                                                  const IpAddress& address,
                                                  std::uint32_t now) const {
  std::vector<std::uint32_t> result;
  const auto found = maps_.find(ifindex);
  const auto key = learned_key(address);
  sluice_learned value{};
  if (found == maps_.end() ||
      bpf_map_lookup_elem(found->second.get(), &key, &value) != 0) {
    return result;
  }
  for (const auto& slot : value.slot) {
    if (slot.selector != 0 &&
        static_cast<std::int32_t>(slot.expires - now) >= 0) {
      result.push_back(slot.selector);
    }
  }
  return result;
}

std::size_t LearnedMaps::size(std::uint32_t ifindex) const {
  const auto found = maps_.find(ifindex);
  std::size_t count = 0;
  if (found != maps_.end()) {
    const auto read = read_map(
        found->second.get(), sizeof(sluice_learned_key), sizeof(sluice_learned),
        capacity_, [&](const std::byte*, const std::byte*) { ++count; });
    if (!read) {
      return 0;
    }
  }
  return count;
}

}  // namespace sluice::agent
