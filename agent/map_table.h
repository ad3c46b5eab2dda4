// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <linux/bpf.h>

#include "sluice/maps.h"

namespace sluice::agent {

enum class Map : std::uint8_t {
#define SLUICE_X(id, ...) k##id,
  SLUICE_MAPS(SLUICE_X, SLUICE_X, SLUICE_X, SLUICE_X)
#undef SLUICE_X
};

// See sluice/maps.h.
enum class MapUse : std::uint8_t {
  kMapped,
  kApplied,
  kFlows,
  kNames,
  kCounters,
  kPrivate,
};

struct MapDescription {
  std::string_view name;  // in the kernel and in bpffs
  bpf_map_type type = BPF_MAP_TYPE_UNSPEC;
  MapUse use = MapUse::kPrivate;
  std::size_t key_size = 0;  // bytes; 0 for private maps, like value_size
  std::size_t value_size = 0;
  // The value has a spin lock: with BPF_F_LOCK, an update is made in place.
  bool locked = false;
};

// By Map.
inline constexpr auto kMapTable = std::to_array<MapDescription>({
#define SLUICE_USE_MAPPED(key, value) \
  MapUse::kMapped, sizeof(key), sizeof(value), false
#define SLUICE_USE_APPLIED(key, value)          \
  MapUse::kApplied, sizeof(key), sizeof(value), \
      std::is_same_v<value, struct sluice_peer>
#define SLUICE_USE_FLOWS(key, value) \
  MapUse::kFlows, sizeof(key), sizeof(value), false
#define SLUICE_USE_NAMES(key, value) \
  MapUse::kNames, sizeof(key), sizeof(value), false
#define SLUICE_USE_COUNTERS(key, value) \
  MapUse::kCounters, sizeof(key), sizeof(value), false
#define SLUICE_USE_PRIVATE(key, value) MapUse::kPrivate, 0, 0, false
#define SLUICE_X(id, name, type, flags, size, key, value, use) \
  {#name, BPF_MAP_TYPE_##type, SLUICE_USE_##use(key, value)},
#define SLUICE_RING(id, name, size) \
  {#name, BPF_MAP_TYPE_RINGBUF, MapUse::kPrivate, 0, 0, false},
#define SLUICE_PERF(id, name) \
  {#name, BPF_MAP_TYPE_PERF_EVENT_ARRAY, MapUse::kPrivate, 0, 0, false},
#define SLUICE_OUTER(id, name, size, key, ...) \
  {#name,                                      \
   BPF_MAP_TYPE_HASH_OF_MAPS,                  \
   MapUse::kPrivate,                           \
   sizeof(key),                                \
   sizeof(__u32),                              \
   false},
    SLUICE_MAPS(SLUICE_X, SLUICE_RING, SLUICE_PERF, SLUICE_OUTER)
#undef SLUICE_OUTER
#undef SLUICE_PERF
#undef SLUICE_RING
#undef SLUICE_X
#undef SLUICE_USE_PRIVATE
#undef SLUICE_USE_COUNTERS
#undef SLUICE_USE_NAMES
#undef SLUICE_USE_FLOWS
#undef SLUICE_USE_APPLIED
#undef SLUICE_USE_MAPPED
});
inline constexpr std::size_t kMapCount = kMapTable.size();

constexpr std::size_t index_of(Map map) {
  return static_cast<std::size_t>(map);
}
constexpr const MapDescription& describe(Map map) {
  return kMapTable[index_of(map)];
}
constexpr std::string_view map_name(Map map) {
  return describe(map).name;
}

constexpr auto all_maps() {
  std::array<Map, kMapCount> maps{};
  for (std::size_t i = 0; i < kMapCount; ++i) {
    maps[i] = static_cast<Map>(i);
  }
  return maps;
}

constexpr bool is_applied(Map map) {
  return describe(map).use == MapUse::kApplied;
}

// The maps with elements that the applier writes, in the order in which it
// writes new ones.
inline constexpr auto kAppliedMaps = [] {
  constexpr auto kMaps = all_maps();
  constexpr auto kCount = std::ranges::count_if(kMaps, is_applied);
  std::array<Map, kCount> applied{};
  std::ranges::copy_if(kMaps, applied.begin(), is_applied);
  return applied;
}();

}  // namespace sluice::agent
