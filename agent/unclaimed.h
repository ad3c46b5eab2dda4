// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/apply.h"
#include "agent/attach.h"
#include "agent/endpoints.h"
#include "agent/interfaces.h"
#include "sluice/state.h"

namespace sluice::agent {

// Pods' interfaces that no endpoint has claimed yet. Where these are to be
// denied, each gets the programs and a record of its own that has no policy set
// and is isolated both ways, until an endpoint takes the interface over: in one
// transaction, so that at no moment neither holds.
//
// Its members give changes for the applier's next transaction; settle() comes
// after it.
class Unclaimed {
 public:
  // `held` outlives it: the interfaces that have such a record.
  Unclaimed(const Interfaces& interfaces, const Endpoints& endpoints,
            Attacher& attacher, Applier& applier,
            std::unordered_set<std::uint32_t>& held)
      : interfaces_(interfaces),
        endpoints_(endpoints),
        attacher_(attacher),
        applier_(applier),
        held_(held) {}

  void deny(bool value) { deny_ = value; }
  [[nodiscard]] bool denies() const { return deny_; }
  // This interface, whatever deny() says and whatever its name is, until it is
  // gone or open()ed.
  void close(std::uint32_t ifindex) { closed_.insert(ifindex); }
  void open(std::uint32_t ifindex) { closed_.erase(ifindex); }
  [[nodiscard]] bool active() const { return deny_ || !closed_.empty(); }
  // Whether it has such a record.
  [[nodiscard]] bool holds(std::uint32_t ifindex) const {
    return held_.contains(ifindex);
  }

  using Changes = std::vector<Transaction::EndpointChange>;
  // `spare_recorded`: interfaces that have a record in the kernel are
  // somebody's, although no endpoint is known yet.
  Changes update(const Interfaces::Changes& changes, bool spare_recorded);
  // Of the record, to the applier.
  static std::string name_for(std::uint32_t ifindex);
  // All that there are, for a transaction that replaces everything.
  [[nodiscard]] std::vector<EndpointEntry> entries() const;
  // Takes the programs off interfaces that are nobody's any more.
  void settle();

 private:
  [[nodiscard]] std::unordered_set<std::uint32_t> wanted(
      bool spare_recorded) const;
  void take(std::uint32_t ifindex, Changes& to);
  void leave(std::uint32_t ifindex, Changes& to);
  static EndpointEntry entry_for(std::uint32_t ifindex);

  const Interfaces& interfaces_;
  const Endpoints& endpoints_;
  Attacher& attacher_;
  Applier& applier_;
  std::unordered_set<std::uint32_t>& held_;
  std::unordered_set<std::uint32_t> released_;
  std::unordered_set<std::uint32_t> closed_;
  bool deny_ = false;
};

// Hands everything on, but leaves interfaces in `held` alone: they are not
// anybody's to take the programs off.
std::unique_ptr<Attacher> sparing_attacher(
    Attacher& attacher, const std::unordered_set<std::uint32_t>& held);

}  // namespace sluice::agent
