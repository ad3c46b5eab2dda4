// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "lib/policy/rule.h"
#include "sluice/state.h"

namespace sluice::policy {

// The reason for a verdict of an entry. Entries that deny by default at egress
// are there for rules for names.
constexpr sluice_reason reason_of_entry(const sluice_policy_value& value) {
  if (value.verdict == SLUICE_VERDICT_ALLOW) {
    return SLUICE_REASON_POLICY_ALLOW;
  }
  return value.rule == SLUICE_RULE_DEFAULT_DENY_EGRESS
             ? SLUICE_REASON_DEFAULT_DENY
             : SLUICE_REASON_POLICY_DENY;
}

// User-space model of the datapath's policy lookup in a State: gives the result
// of bpf/ for the first packet of a flow. For `sluice test`, `explain` and the
// tests that compare it with the kernel.
class Model {
 public:
  explicit Model(const State& state);
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  struct Verdict {
    bool allowed = false;
    sluice_reason reason = SLUICE_REASON_INTERNAL;
    std::uint32_t cidr_id = 0;  // of the peer
    std::uint32_t rule = 0;     // enum sluice_builtin_rule or a rule's id
    std::optional<PolicyEntry> entry;  // the entry that decided, if one did
  };

  // `port` is the destination port; ICMP: type << 8 | code. `names`: selectors
  // of names for which the endpoint has learned the peer's address.
  [[nodiscard]] Verdict lookup(const EndpointEntry& endpoint,
                               Direction direction, const IpAddress& peer,
                               std::uint8_t protocol, std::uint16_t port,
                               std::span<const std::uint32_t> names = {}) const;
  // The entry that lets a server be asked by DNS for a name, of which these are
  // the selectors; `server` is the entry that allows the server. nullptr: no
  // entry does. Asks of nothing where the server's list is that of all names,
  // or it has none.
  [[nodiscard]] const PolicyEntry* may_ask(
      const PolicyEntry& server, std::span<const std::uint32_t> names) const;
  [[nodiscard]] std::uint32_t peer_class(const IpAddress& peer) const;
  // nullptr if there is no such endpoint.
  [[nodiscard]] const EndpointEntry* endpoint(std::string_view name) const;
  [[nodiscard]] const RuleInfo* rule(std::uint32_t id) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::policy
