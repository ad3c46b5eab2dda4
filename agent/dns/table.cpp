// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/table.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "agent/dns/message.h"
#include "lib/dns/pattern.h"

namespace sluice::agent {

Result<dns::Name> name_of(const sluice_name& value) {
  const std::string_view all(reinterpret_cast<const char*>(value.wire),
                             sizeof(value.wire));
  std::size_t at = 0;
  while (at < all.size() && all[at] != '\0') {
    at += 1U + static_cast<unsigned char>(all[at]);
  }
  if (at >= all.size()) {
    return fail("the name does not end");
  }
  return dns::Name::from_wire(all.substr(0, at + 1));
}

NameTable::Change NameTable::apply(
    const std::vector<Transaction::NameChange>& changes) {
  Change result;
  // All patterns that come or go, under numbers of their own.
  dns::Matcher touched;
  dns::PatternId next = 0;
  for (const auto& change : changes) {
    const auto old = patterns_.find(change.id);
    if (old != patterns_.end()) {
      if (change.value && old->second == change.value->pattern) {
        continue;
      }
      if (auto pattern = dns::NamePattern::match_pattern(old->second)) {
        touched.add(next++, *pattern);
      }
      matcher_.remove(change.id);
      patterns_.erase(old);
    }
    if (!change.value) {
      continue;
    }
    const std::string& text = change.value->pattern;
    auto pattern = dns::NamePattern::match_pattern(text);
    if (!pattern) {
      result.problems.push_back("selector " + std::to_string(change.id) + ": " +
                                text + " " + pattern.error().message);
      continue;
    }
    touched.add(next++, *pattern);
    matcher_.add(change.id, *pattern);
    patterns_.emplace(change.id, text);
  }
  if (touched.size() == 0) {
    return result;
  }
  std::vector<dns::PatternId> found;
  for (const dns::Name& name : order_) {
    touched.match(name, found);
    if (!found.empty()) {
      result.entries.push_back(entry(name));
    }
  }
  return result;
}

NameTable::Met NameTable::meet(const dns::Name& name) {
  Met result{.entry = entry(name)};
  if (const auto found = met_.find(name); found != met_.end()) {
    order_.splice(order_.begin(), order_, found->second);
    result.known = true;
    return result;
  }
  if (met_.size() >= capacity_) {
    result.forgotten = hash_name(secret_, order_.back());
    met_.erase(order_.back());
    order_.pop_back();
  }
  order_.push_front(name);
  met_.emplace(name, order_.begin());
  return result;
}

NameTable::Entry NameTable::entry(const dns::Name& name) const {
  Entry result{.key = hash_name(secret_, name)};
  const auto ids = matcher_.match(name);
  const std::size_t count =
      std::min<std::size_t>(ids.size(), SLUICE_NAME_SELECTORS);
  std::copy_n(ids.begin(), count, result.value.selector);
  std::ranges::copy(name.wire(), reinterpret_cast<char*>(result.value.wire));
  result.left_out = ids.size() - count;
  return result;
}

const std::string* NameTable::pattern(std::uint32_t id) const {
  const auto found = patterns_.find(id);
  return found == patterns_.end() ? nullptr : &found->second;
}

}  // namespace sluice::agent
