// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/instance/views.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::instance {

// What the ids in the kernel stand for, for people. Kept in a file too, so that
// what a stopped instance left in force can still be read.
class Names {
 public:
  Names() = default;
  explicit Names(const State& state);
  // Follows changes of rules, sets and endpoints; those of peers are left to
  // set_peers().
  void apply(const Transaction& transaction);
  void set_peers(const std::vector<PeerEntry>& peers);

  [[nodiscard]] const RuleInfo* rule(std::uint32_t id) const;
  [[nodiscard]] const PolicySetInfo* set(std::uint32_t id) const;
  [[nodiscard]] std::vector<std::string> endpoints_of(std::uint32_t set) const;
  // Addresses of a peer class: "10.0.0.1, 10.0.0.2 and 7 more".
  [[nodiscard]] std::string peers(std::uint32_t cidr_id) const;

  // Whole or not at all. Without peers, which the kernel's maps hold.
  [[nodiscard]] Result<void> save(const std::filesystem::path& file) const;
  static Result<Names> load(const std::filesystem::path& file);

  // Entries as the kernel or the translator has them; `generation_bit`: the
  // policy ids are the kernel's.
  [[nodiscard]] EntryView entry_view(const PolicyEntry& entry,
                                     bool generation_bit) const;
  // The rule's policy and path; those of built-in rules are a few words.
  void describe(std::uint32_t id, std::string& policy, std::string& path) const;

 private:
  struct Peers {
    std::string text;
    std::size_t shown = 0;
    std::size_t count = 0;
  };
  void add_peer(std::uint32_t cidr_id, const IpPrefix& prefix);

  std::unordered_map<std::uint32_t, RuleInfo> rules_;
  std::unordered_map<std::uint32_t, PolicySetInfo> sets_;
  std::map<std::string, std::uint32_t> endpoints_;  // name to set
  std::unordered_map<std::uint32_t, Peers> peers_;
};

}  // namespace sluice::instance
