// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "agent/apply.h"
#include "sluice/state.h"
#include "tests/unit/agent/fake_maps.h"

// What the tests of the applier share: what packets see of the contents of
// maps, and random states.
namespace sluice::agent::test {

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
