// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "agent/apply.h"
#include "agent/maps.h"
#include "agent/mirror.h"
#include "sluice/state.h"

// What the tests of the applier share: contents of maps as values, what packets
// see of them, maps in memory, and random states.
namespace sluice::agent::test {

// The contents of all maps that the applier writes.
struct Contents {
  std::map<IpPrefix, std::array<std::uint32_t, 2>> peers;
  EntryMap policy;  // keys as the kernel has them
  std::map<std::uint32_t, std::uint32_t> overflow;
  std::map<std::uint32_t, sluice_endpoint> records;  // by index, not all zero
  std::uint32_t epoch = 0;
};
Contents read_contents(const Maps& maps);

IpPrefix prefix(const char* text);
// Of a set that says something of TCP and a port, given as the map has it.
sluice_policy_key key(std::uint32_t set, std::uint32_t cidr_id,
                      std::uint16_t port = 80);

using Bindings = std::map<std::string, std::uint32_t>;

// What packets see in one generation: for every interface, direction, peer,
// protocol and port of the small world below, which rule decides. Not the
// endpoints' own addresses, which are not kept by generation.
using View = std::vector<std::uint32_t>;
View view_of(const Contents& contents, unsigned slot);
// The same, worked out from the state itself.
View view_of(const State& state, const Bindings& bindings);

// Empty if the maps hold `state`, all of it and nothing else, with both
// generations alike; else the first difference.
std::string difference(const Contents& contents, const State& state,
                       const Bindings& bindings);

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

// A small world in which everything collides with everything.
class World {
 public:
  explicit World(std::uint32_t seed) : random_(seed) {}

  State state;
  Bindings bindings;
  bool nodes = true;  // some peers and entries are of a node

  // A change of the state that touches up to `size` things.
  Transaction transaction(int size);
  // A change of one binding: endpoint and interface (0 = none).
  std::pair<std::string, std::uint32_t> rebind();
  std::uint32_t below(std::uint32_t bound) {
    return std::uniform_int_distribution<std::uint32_t>(0, bound - 1)(random_);
  }

 private:
  IpPrefix prefix();
  sluice_policy_key key();
  EndpointEntry endpoint(const std::string& name);
  std::mt19937 random_;
};

// Bindings of the endpoints whose sets are left out or lack peers, or are not.
Bindings bindings_of(const World& world, const Applier& applier, bool lacking);
// Contents without the records of these endpoints.
Contents without(Contents contents, const Bindings& bindings);

}  // namespace sluice::agent::test
