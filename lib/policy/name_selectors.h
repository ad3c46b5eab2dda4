// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>

#include "lib/dns/pattern.h"
#include "sluice/abi.h"

namespace sluice::policy {

constexpr bool is_name_selector(std::uint32_t cidr_id) {
  return (cidr_id & SLUICE_CIDR_NAME) != 0;
}

// The patterns of names that rules use, each with an id that stands in entries
// where others have a peer class. Ids are hashes of the patterns.
class NameSelectors {
 public:
  // Returns the pattern's id and counts the use.
  std::uint32_t acquire(const dns::NamePattern& pattern);
  void release(std::uint32_t id);
  // The text of a pattern in use.
  [[nodiscard]] const std::string& text(std::uint32_t id) const;
  // True if a pattern in use matches one of the names.
  [[nodiscard]] bool matches(std::uint32_t id,
                             std::span<const dns::Name> names) const;

 private:
  struct Record {
    dns::NamePattern pattern;
    std::uint32_t refs = 0;
  };
  std::unordered_map<std::uint32_t, Record> records_;
  std::map<std::string, std::uint32_t> ids_;  // by text
};

}  // namespace sluice::policy
