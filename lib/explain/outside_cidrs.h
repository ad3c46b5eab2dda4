// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lib/base/ip.h"
#include "lib/explain/reach_ends.h"
#include "lib/explain/reach_outside.h"

namespace sluice::explain {

// The ends outside of all pods that differ from the world: for each class, the
// prefixes that have it, with an address of each family. In order of their
// names. `class_of` gives the class of an address, `add` gives an end an
// address. `notes`: what is left out.
template <typename End, typename ClassOf, typename Add>
std::vector<End> outside_cidrs(const ReachRegions& regions,
                               const ClassOf& class_of, const Add& add,
                               std::vector<std::string>& notes) {
  using Class = std::invoke_result_t<ClassOf, const IpAddress&>;
  struct Group {
    End end;
    std::set<bool> families;  // IPv6: true
  };
  std::map<bool, Class> world;  // by family, too
  for (const char* all : {"0.0.0.0/0", "::/0"}) {
    if (const auto address = regions.address_in(*parse_prefix(all))) {
      world.emplace(address->v6, class_of(*address));
    }
  }
  std::map<Class, Group> by_class;
  std::vector<std::string> taken;
  for (const auto& prefix : regions.prefixes()) {
    if (prefix.length == 0) {
      continue;  // the world
    }
    const auto address = regions.address_in(prefix);
    if (!address) {
      taken.push_back(to_string(prefix));
      continue;
    }
    auto its_class = class_of(*address);
    const auto all = world.find(address->v6);
    if (all != world.end() && all->second == its_class) {
      continue;
    }
    auto& [end, families] = by_class[std::move(its_class)];
    end.end.prefixes.push_back(to_string(prefix));
    if (families.insert(address->v6).second) {
      add(end, *address);
    }
  }
  std::vector<End> result;
  for (auto& [its_class, group] : by_class) {
    auto& end = result.emplace_back(std::move(group.end));
    end.end.kind = "cidr";
    end.end.name = some_names(end.end.prefixes);
  }
  std::ranges::sort(result, {}, [](const End& end) { return end.end.name; });
  add_note(notes, taken,
           "left out (pods, nodes and longer prefixes have all its addresses)");
  return result;
}

}  // namespace sluice::explain
