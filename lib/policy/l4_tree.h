// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "lib/policy/rule.h"
#include "sluice/abi.h"

// Turns the rules that apply to one peer class into longest-prefix-match
// entries with the same verdicts: finds the winning rule for every protocol and
// port, and the fewest prefixes that express it.
namespace sluice::policy {

// A rule as the evaluation uses it: its place in the order and its L4 part,
// with named ports resolved.
struct Candidate {
  Tier tier = Tier::kNormal;
  Action action = Action::kAllow;
  std::uint32_t order = 0;  // within the tier: priority, then place
  std::uint32_t rule = 0;   // the rule's id
  std::uint16_t jump = SLUICE_JUMP_NONE;
  bool any_l4 = false;
  std::vector<PortRange> ranges;
  // Not 0: an allow rule whose peers are names. It decides only for addresses
  // that the endpoint has learned for one of them, which is not known here. The
  // bit of its level: rules between which nothing can decide share one.
  std::uint8_t name_level = 0;
  // Of an allow rule: for which names its peers may be asked by DNS. The bit of
  // its list, SLUICE_DNS_ANY, or 0: it does not say that they are DNS servers.
  std::uint8_t dns = 0;
};

// The lists of names that the rules of a set can have: what an entry's flags
// name is a union of them, by their bits.
inline constexpr int kDnsListsMax = 7;
// The list without names.
inline constexpr std::uint8_t kDnsNone = SLUICE_DNS_ANY - 1;

// For which names a server may be asked that stands for two others, of which
// these are the lists: those that both allow, as far as lists can say it.
std::uint8_t asked_of_both(std::uint8_t a, std::uint8_t b);

// Sorts ranges and merges those that overlap or touch.
void merge_ranges(std::vector<PortRange>& ranges);

// The order of evaluation: by tier; in the normal tier deny before allow; then
// by `order`.
bool asked_before(const Candidate& a, const Candidate& b);

// Levels that an entry's flags have room for.
inline constexpr int kNameLevelsMax = 8;

// Sets the levels of the candidates whose name_level is not 0, in the order of
// evaluation: rules of one tier share a level if no rule between them denies or
// passes. Returns false, with all levels that do not fit left 0, if there are
// more than kNameLevelsMax.
bool set_name_levels(std::span<Candidate* const> candidates);

// The result of the rules for one packet. kDefault: no rule decides; the
// endpoint's default applies.
struct Decided {
  enum class Kind : std::uint8_t { kDefault, kAllow, kDeny };
  Kind kind = Kind::kDefault;
  std::uint16_t jump = SLUICE_JUMP_NONE;
  std::uint32_t rule = 0;
  Tier tier = Tier::kNormal;  // of the rule
  // The levels of rules for names that would have decided before, if the
  // address is one of their names'. 0 if it is allowed, except by
  // Decision::of_name().
  std::uint8_t name_levels = 0;
  // The names for which the peer may be asked by DNS, as in Candidate; several
  // bits: the union. 0 if it is not allowed.
  std::uint8_t dns = 0;
  // Only ClusterNetworkPolicies have another tier.
  [[nodiscard]] bool denied_by_cluster_policy() const {
    return kind == Kind::kDeny && tier != Tier::kNormal;
  }
  bool operator==(const Decided&) const = default;
};

// The verdict of a list of candidates over all protocols and ports.
class Decision {
 public:
  struct Segment {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    Decided decided;
  };
  using Segments = std::vector<Segment>;  // cover 0..65535 without gaps

  // `isolated`: the endpoint's default is deny, and the normal tier is final.
  Decision(std::span<const Candidate* const> candidates, bool isolated);
  // The result of rules for one name, all with a name_level: allowed by the
  // first one with the levels of all, or kDefault.
  static Decision of_name(std::span<const Candidate* const> candidates);

  // The result for every protocol that no candidate names.
  [[nodiscard]] const Decided& any_protocol() const { return any_; }
  // The results for the protocols that candidates name.
  [[nodiscard]] const std::map<std::uint8_t, Segments>& protocols() const {
    return protocols_;
  }
  [[nodiscard]] Segments segments(std::uint8_t protocol) const;
  // Replaces the candidates' result for one port.
  void override_port(std::uint8_t protocol, std::uint16_t port,
                     const Decided& decided);

 private:
  Decision() = default;
  template <typename Decide>
  void fill(std::span<const Candidate* const> candidates,
            const Decide& decide_now);

  Decided any_;
  std::map<std::uint8_t, Segments> protocols_;
};

// Returns the candidates' result for one port.
Decided decide_at(std::span<const Candidate> candidates, bool isolated,
                  std::uint8_t protocol, std::uint16_t port);

struct L4Entry {
  std::uint8_t protocol = 0;
  std::uint8_t prefixlen = 0;  // as in sluice_policy_key
  std::uint16_t port = 0;      // host order
  sluice_policy_value value{};
  bool operator==(const L4Entry& other) const;
};

// Returns entries with the results of `above`, if they are looked up first and
// packets without an entry fall through to `below` (class 0) and then to the
// default. In order of protocol and port, one for each place. `fallback` is
// written where `above` has the default but an entry is needed.
std::vector<L4Entry> compile_l4(const Decision& above, const Decision& below,
                                const Decided& fallback);

// Returns the fewest port prefixes that cover first..last.
struct PortPrefix {
  std::uint16_t port = 0;
  int length = 0;
  bool operator==(const PortPrefix&) const = default;
};
std::vector<PortPrefix> port_prefixes(std::uint16_t first, std::uint16_t last);

}  // namespace sluice::policy
