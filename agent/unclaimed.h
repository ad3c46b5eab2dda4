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

// Pods' interfaces that no endpoint has claimed yet. If these are denied, each
// gets the programs and a record without a policy set that is isolated in both
// directions, until an endpoint takes the interface over. This happens in one
// transaction, so that one of the two applies at every moment.
//
// Its members return changes for the applier's next transaction; call settle()
// after the transaction.
class Unclaimed {
 public:
  // `isolated`, the interfaces with such a record, must outlive it.
  Unclaimed(const Interfaces& interfaces, const Endpoints& endpoints,
            Attacher& attacher, Applier& applier,
            std::unordered_set<std::uint32_t>& isolated)
      : interfaces_(interfaces),
        endpoints_(endpoints),
        attacher_(attacher),
        applier_(applier),
        isolated_(isolated) {}

  void deny(bool value) { deny_ = value; }
  [[nodiscard]] bool denies() const { return deny_; }
  // Cuts this interface off, whatever deny() says and whatever its name is,
  // until it is gone or open() is called.
  void close(std::uint32_t ifindex) { closed_.insert(ifindex); }
  void open(std::uint32_t ifindex) { closed_.erase(ifindex); }
  [[nodiscard]] bool active() const { return deny_ || !closed_.empty(); }
  // True if the interface has such a record.
  [[nodiscard]] bool isolates(std::uint32_t ifindex) const {
    return isolated_.contains(ifindex);
  }

  using Changes = std::vector<Transaction::EndpointChange>;
  // `skip_recorded`: interfaces with a record in the kernel count as claimed,
  // although no endpoint is known yet.
  Changes update(const Interfaces::Changes& changes, bool skip_recorded);
  // Returns the name of the interface's record in the applier.
  static std::string name_for(std::uint32_t ifindex);
  // Returns all such records, for a transaction that replaces everything.
  [[nodiscard]] std::vector<EndpointEntry> entries() const;
  // Detaches the programs from interfaces that are no longer denied or claimed.
  void settle();

 private:
  [[nodiscard]] std::unordered_set<std::uint32_t> wanted(
      bool skip_recorded) const;
  void isolate(std::uint32_t ifindex, Changes& to);
  void release(std::uint32_t ifindex, Changes& to);
  static EndpointEntry entry_for(std::uint32_t ifindex);

  const Interfaces& interfaces_;
  const Endpoints& endpoints_;
  Attacher& attacher_;
  Applier& applier_;
  std::unordered_set<std::uint32_t>& isolated_;
  std::unordered_set<std::uint32_t> released_;
  std::unordered_set<std::uint32_t> closed_;
  bool deny_ = false;
};

// Forwards all calls except detach() for interfaces in `isolated`, which must
// keep their programs.
std::unique_ptr<Attacher> filter_keeping_attacher(
    Attacher& attacher, const std::unordered_set<std::uint32_t>& isolated);

}  // namespace sluice::agent
