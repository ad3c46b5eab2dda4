// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/tally.h"

namespace sluice::preview {
namespace {

// Calls `visit` with the place of every bit.
template <typename Visit>
void for_each_bit(const PortBits& bits, const Visit& visit) {
  constexpr std::size_t kWordBits = 64;
  for (std::size_t word = 0; word < bits.size(); ++word) {
    for (auto rest = bits[word]; rest != 0; rest &= rest - 1) {
      visit((word * kWordBits) +
            static_cast<std::size_t>(std::countr_zero(rest)));
    }
  }
}

}  // namespace

void Tally::add(const BothWorlds::End& from, const BothWorlds::End& to,
                std::uint64_t pairs) {
  const auto difference = worlds_->compare(from, to);
  stays_.add(
      {.allowed = difference.stays_allowed, .denied = difference.stays_denied},
      pairs);
  add_changes(difference.denied, false, from, to, pairs);
  add_changes(difference.allowed, true, from, to, pairs);
}

void Tally::add_changes(const PortBits& bits, bool allowed,
                        const BothWorlds::End& from, const BothWorlds::End& to,
                        std::uint64_t pairs) {
  for_each_bit(bits, [&](std::size_t port) {
    const auto decided = worlds_->decide(from, to, port, allowed);
    const auto [found, added] = groups_.try_emplace({allowed, decided});
    auto& group = found->second;
    if (added) {
      group.pairs.resize(changed_.size());
    }
    if (added || port < group.first_port) {
      group.first_port = port;
      group.from = from;
      group.to = to;
    }
    group.pairs[port] += pairs;
    changed_[port] += pairs;
  });
}

void Tally::finish(std::size_t from, std::size_t to, View& view) const {
  for (const auto& [key, group] : groups_) {
    const auto& [allowed, decided] = key;
    Change change{.from = from,
                  .to = to,
                  .allowed = allowed,
                  .ports = {.from = from,
                            .to = to,
                            .allowed = {},
                            .denied = {},
                            .some = {}},
                  .before = decided.before,
                  .after = decided.after,
                  .from_member = BothWorlds::name_of(group.from),
                  .to_member = BothWorlds::name_of(group.to)};
    for (std::size_t port = 0; port < group.pairs.size(); ++port) {
      const auto pairs = group.pairs[port];
      const auto all = changed_[port] + stays_.pairs(port);
      if (pairs != 0 && pairs == all) {
        change.ports.allowed.push_back(port);
      } else if (pairs != 0) {
        change.ports.some.push_back(
            {.port = port, .allowed = pairs, .pairs = all});
      }
    }
    view.changes.push_back(std::move(change));
  }
  view.stays.push_back(stays_.cell(from, to));
}

}  // namespace sluice::preview
