// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/explain/reach_judge.h"
#include "lib/preview/reasons.h"
#include "lib/preview/view.h"

namespace sluice::preview {

using explain::PortBits;
using explain::ReachJudge;

// Two of a kind: of the world before the change, and of the one after it.
template <typename T>
struct Both {
  T before{};
  T after{};
};

// A pod that is in both worlds.
struct Member {
  Both<const ReachJudge::PodView*> view;
  // True if its policies say the same of every class in both worlds, and it has
  // the same class.
  bool same = false;
  [[nodiscard]] bool is_plain() const {
    return view.before->plain && view.after->plain;
  }
  [[nodiscard]] std::string name() const {
    return view.before->pod->ns + "/" + view.before->pod->name;
  }
};

// An address outside of all pods in both worlds.
using Address = Both<ReachJudge::Peer>;

// The verdicts of one pair in both worlds. A port that a world has no verdict
// for is in none.
struct Difference {
  PortBits stays_allowed;
  PortBits stays_denied;
  PortBits allowed;  // by the change
  PortBits denied;
};
bool is_any(const PortBits& bits);

// Judges pairs in both worlds.
class BothWorlds {
 public:
  // The ports must be set in both judges, and be the same.
  BothWorlds(const policy::Translator& before, const policy::Translator& after,
             ReachJudge& judge_before, ReachJudge& judge_after);

  // A pod, or an address outside.
  struct End {
    const Member* pod = nullptr;
    const Address* address = nullptr;
  };
  // False if the change makes no difference between the two for certain. They
  // are not the same pod.
  [[nodiscard]] bool may_differ(const End& from, const End& to);
  [[nodiscard]] Difference compare(const End& from, const End& to);
  // By which rules a pair changes at a port.
  struct Decisions {
    std::size_t before = 0;  // places in decisions()
    std::size_t after = 0;
    auto operator<=>(const Decisions&) const = default;
  };
  [[nodiscard]] Decisions decide(const End& from, const End& to,
                                 std::size_t port, bool allowed);
  // All that there have been.
  [[nodiscard]] std::vector<Decision> decisions() const {
    return reasons_.decisions();
  }
  [[nodiscard]] static std::string name_of(const End& end);
  // True if node ports or host ports have been left out of what was compared.
  [[nodiscard]] bool has_left_out() const { return has_left_out_; }

 private:
  // What both ends of a pair allow in one family; nullptr: everything, because
  // it is no pod.
  struct Sides {
    const PortBits* egress = nullptr;
    const PortBits* ingress = nullptr;
  };
  [[nodiscard]] ReachJudge& judge_of(bool after) const {
    return after ? *judges_.after : *judges_.before;
  }
  [[nodiscard]] std::optional<Sides> sides_of(bool after, const End& from,
                                              const End& to, bool v6);
  [[nodiscard]] bool allow_same(const Sides& before, const Sides& after) const;
  [[nodiscard]] const PortBits& leading_on(const IpAddress& address);
  [[nodiscard]] ReachJudge::Verdicts judge(bool after, const End& from,
                                           const End& to);
  [[nodiscard]] std::optional<Decisions> decide_side(
      policy::Direction direction, const End& own, const End& other, bool v6,
      std::size_t port, bool denied_after);
  [[nodiscard]] std::optional<Decisions> decide_plain(const End& from,
                                                      const End& to,
                                                      std::size_t port,
                                                      bool allowed);

  Both<const policy::Translator*> translators_;
  Both<ReachJudge*> judges_;
  Reasons reasons_;
  std::map<IpAddress, PortBits> leading_on_;
  bool has_left_out_ = false;
};

}  // namespace sluice::preview
