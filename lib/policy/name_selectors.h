// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

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
  // Which DNS answers about a name count.
  enum class Answers : std::uint8_t {
    kAll,          // of every server that the endpoint's policy lets it ask
    kOfResolvers,  // of the cluster's resolvers
  };
  // Returns the pattern's id for these answers and counts the use.
  std::uint32_t acquire(const dns::NamePattern& pattern, Answers answers);
  void release(std::uint32_t id);
  // The text of a pattern in use.
  [[nodiscard]] const std::string& text(std::uint32_t id) const;
  // True if a pattern in use matches one of the names.
  [[nodiscard]] bool matches(std::uint32_t id,
                             std::span<const dns::Name> names) const;

 private:
  using Key = std::pair<std::string, Answers>;  // of the pattern's text
  struct Record {
    dns::NamePattern pattern;
    Key key;
    std::uint32_t refs = 0;
  };
  std::unordered_map<std::uint32_t, Record> records_;
  std::map<Key, std::uint32_t> ids_;
};

}  // namespace sluice::policy
