// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/name_selectors.h"

#include <algorithm>

#include "lib/policy/hash.h"

namespace sluice::policy {

std::uint32_t NameSelectors::acquire(const dns::NamePattern& pattern,
                                     Answers answers) {
  Key key{pattern.text(), answers};
  if (const auto known = ids_.find(key); known != ids_.end()) {
    ++records_.at(known->second).refs;
    return known->second;
  }
  constexpr std::uint32_t kMask = SLUICE_CIDR_NAME_RESOLVERS - 1;
  const std::uint32_t mark =
      SLUICE_CIDR_NAME |
      (answers == Answers::kOfResolvers ? SLUICE_CIDR_NAME_RESOLVERS : 0);
  const auto hash = StableHash().add(pattern.text()).value();
  auto id = (static_cast<std::uint32_t>(hash) & kMask) | mark;
  while (records_.contains(id)) {
    id = ((id + 1) & kMask) | mark;
  }
  ids_.emplace(key, id);
  records_.emplace(id, Record{.pattern = pattern, .key = key, .refs = 1});
  return id;
}

void NameSelectors::release(std::uint32_t id) {
  const auto record = records_.find(id);
  if (--record->second.refs == 0) {
    ids_.erase(record->second.key);
    records_.erase(record);
  }
}

bool NameSelectors::matches(std::uint32_t id,
                            std::span<const dns::Name> names) const {
  const auto& pattern = records_.at(id).pattern;
  return std::ranges::any_of(
      names, [&](const dns::Name& name) { return pattern.matches(name); });
}

const std::string& NameSelectors::text(std::uint32_t id) const {
  return records_.at(id).pattern.text();
}

}  // namespace sluice::policy
