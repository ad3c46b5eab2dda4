// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/datapath.h"
#include "agent/dns/lookups.h"
#include "agent/endpoints.h"
#include "agent/held_messages.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::agent {

struct LearningOptions {
  std::uint32_t ttl_min = 0;  // seconds that an address is learned for at least
  std::uint32_t grace = 30;   // seconds, added to each answer's TTL
  std::uint32_t addresses = 2048;   // that an endpoint can have learned at once
  std::vector<Resolver> resolvers;  // beside those of the state
  sluice_dns_reject dns_reject = SLUICE_REJECT_REFUSED;
};

// Keeps what the programs need to learn names: compares the names that pods ask
// for with the selectors in use, gives every endpoint whose policy has rules
// for names its map of learned addresses, and sends packets that were held on
// their way. Remembers what endpoints have resolved, for policies that come
// later.
//
// Names do not take part in the generations of a transaction, because their
// selectors have no effect without entries: new ones are there before a
// transaction takes effect (prepare()), old ones leave after it (settle()).
//
// All members are called from one thread. `datapath` must outlive it; it may be
// moved.
class Learning {
 public:
  // Takes over what is pinned. Until it is destroyed, names that are unknown
  // are held for it.
  static Result<std::unique_ptr<Learning>> open(
      const Datapath& datapath, const std::filesystem::path& pin_dir,
      const LearningOptions& options);
  Learning(const Learning&) = delete;
  Learning& operator=(const Learning&) = delete;
  Learning(Learning&&) = delete;
  Learning& operator=(Learning&&) = delete;
  ~Learning();

  // Readable when a packet is held.
  [[nodiscard]] int fd() const;
  // Handles packets that are held, and answers that pods have received. Never
  // waits. To be called on a timer too.
  void dispatch();

  using EndpointStates = std::map<std::string, Endpoints::EndpointState>;
  // The state that is wanted next.
  void replace(const State& wanted);
  void apply(const Transaction& transaction);
  // To be called before a transaction that puts it into force. Loads the
  // programs for names into the datapath if there are names or resolvers. If it
  // fails, addresses may stay unlearned, so that they are denied; the error
  // says why.
  Result<void> prepare(Datapath& datapath, const EndpointStates& endpoints);
  // To be called when it is in force.
  Result<void> settle(const EndpointStates& endpoints);

  // For people: what endpoints have resolved.
  [[nodiscard]] const Lookups& lookups() const;
  [[nodiscard]] const NameTable& table() const;
  // The selectors for which the programs take the address as learned now.
  [[nodiscard]] std::vector<std::uint32_t> selectors(
      std::uint32_t ifindex, const IpAddress& address) const;
  struct Counters {
    HeldMessages::Counters held;
    std::uint64_t assembled = 0;  // messages of several packets, or large ones
    std::uint64_t too_many = 0;   // names that more selectors match than fit
    std::uint64_t failed = 0;     // writes that the kernel refused
    // Addresses, each time that an endpoint has learned one.
    std::uint64_t learned = 0;
    // Addresses that endpoints have learned beyond their maximum: at least so
    // many have made room for others before they had expired.
    std::uint64_t without_room = 0;
    // What had to make room for newer ones: names of the map `names`, and names
    // with an address of lookups() that had not expired.
    std::uint64_t names_forgotten = 0;
    std::uint64_t lookups_forgotten = 0;
  };
  [[nodiscard]] Counters counters() const;
  // Seconds of CLOCK_MONOTONIC, the unit of all times here.
  [[nodiscard]] static std::uint32_t now();

 private:
  Learning();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
