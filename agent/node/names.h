// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/node/views.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::node {

// The names behind the ids in the kernel, for people. They are also stored in a
// file, so that the state left by a stopped program can still be read.
class Names {
 public:
  Names() = default;
  explicit Names(const State& state);
  // Applies changes of rules, sets, endpoints and patterns of names;
  // set_peers() handles peers.
  void apply(const Transaction& transaction);
  void set_peers(const std::vector<PeerEntry>& peers);

  [[nodiscard]] const RuleInfo* rule(std::uint32_t id) const;
  [[nodiscard]] const PolicySetInfo* set(std::uint32_t id) const;
  [[nodiscard]] std::vector<std::string> endpoints_of(std::uint32_t set) const;
  // Addresses of a peer class: "10.0.0.1, 10.0.0.2 and 7 more". Of a selector
  // of names, its pattern.
  [[nodiscard]] std::string peers(std::uint32_t cidr_id) const;

  // Saves everything or nothing, without peers, which the kernel's maps hold.
  [[nodiscard]] Result<void> save(const std::filesystem::path& file) const;
  static Result<Names> load(const std::filesystem::path& file);

  // Describes an entry of the kernel or the translator. `generation_bit`: the
  // policy id is the kernel's, with the generation bit.
  [[nodiscard]] EntryView entry_view(const PolicyEntry& entry,
                                     bool generation_bit) const;
  // Sets the rule's policy and path; for built-in rules, these are a few words.
  void describe(std::uint32_t id, std::string& policy, std::string& path) const;
  // The rule's policy and path in one text; "rule 7" if nothing knows it, and
  // empty if there is none.
  [[nodiscard]] std::string text_of(std::uint32_t id) const;

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
  std::unordered_map<std::uint32_t, std::string> patterns_;  // by selector
};

}  // namespace sluice::node
