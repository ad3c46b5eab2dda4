// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "agent/maps.h"
#include "agent/mirror.h"
#include "sluice/state.h"

// What the applier writes: contents of maps as values, and maps in memory.
namespace sluice::agent::test {

// The contents of all maps that the applier writes.
struct Contents {
  std::map<IpPrefix, std::array<std::uint32_t, 2>> peers;
  EntryMap policy;  // keys as the kernel has them
  std::map<std::uint32_t, std::uint32_t> overflow;
  std::map<std::uint32_t, sluice_endpoint> records;  // by index, not all zero
  std::uint32_t epoch = 0;
};
// What these maps hold. Fails the test if they cannot be read.
Contents read_contents(const Maps& maps);
// Byte by byte.
bool same_record(const sluice_endpoint& a, const sluice_endpoint& b);

// Maps in memory, which check that the applier keeps the kernel's rules.
class FakeMaps final : public Maps {
 public:
  struct Options {
    std::map<Map, std::uint32_t> capacities;  // default: 1000
  };
  explicit FakeMaps(Contents& contents, Options options = {})
      : contents_(contents), options_(std::move(options)) {}

  // Called after every single write and before grace_period() returns.
  std::function<void()> after_write;
  std::function<void()> after_grace;
  // The write (from 0) that fails with `error`; writes are counted on.
  std::optional<std::size_t> fail_at;
  int error = ENOMEM;
  std::size_t writes = 0;  // of elements
  std::size_t steps = 0;   // of the epoch
  std::size_t graces = 0;
  bool reused_early = false;  // an element was reused within a grace period

  Progress update(Map map, const Batch& elements) override;
  Progress erase(Map map, const Batch& keys) override;
  [[nodiscard]] Result<void> read(Map map, const Visitor& visit) const override;
  [[nodiscard]] std::uint32_t capacity(Map map) const override;
  [[nodiscard]] sluice_endpoint endpoint(std::uint32_t index) const override;
  void store_policy(std::uint32_t index, unsigned slot,
                    sluice_endpoint_policy policy) override;
  void store_facts(std::uint32_t index, const EndpointFacts& facts) override;
  [[nodiscard]] std::uint32_t epoch() const override { return contents_.epoch; }
  void store_epoch(std::uint32_t epoch) override;
  Result<void> grace_period() override;

 private:
  int update_one(Map map, const std::byte* key, const std::byte* value);
  [[nodiscard]] std::size_t size(Map map) const;
  [[nodiscard]] bool contains(Map map, const std::byte* key) const;
  void written() const;
  void forget_empty(std::uint32_t index);

  Contents& contents_;
  Options options_;
  std::map<Map, bool> erased_;  // since the last grace period
};

}  // namespace sluice::agent::test
