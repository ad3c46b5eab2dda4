// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/base/ip.h"
#include "lib/flow/record.h"

namespace sluice::node {

// Who has which address, as whoever knows it has said lately. Addresses that
// are not known are asked for, several at once. An answer is used for half a
// minute: the address may be another pod's after that. Bounded: some address
// makes room for a new one, and is asked for again when it is needed. One
// thread.
class Ends {
 public:
  using Clock = std::chrono::steady_clock;
  using End = std::shared_ptr<const flow::End>;
  // Asks for the addresses; whoever is asked calls learn() for each, now or
  // later. False if nobody can be asked now.
  using Ask = std::function<bool(const std::vector<IpAddress>& addresses)>;

  explicit Ends(Ask ask) : ask_(std::move(ask)) {}

  // null: not known yet, or not any more.
  End find(const IpAddress& address, Clock::time_point now);
  void learn(const IpAddress& address, flow::End end, Clock::time_point now);
  // The address may be somebody else's now.
  void forget(const IpAddress& address) { known_.erase(address); }
  // Asks for what find() has missed and nobody could be asked for yet.
  void turn();

 private:
  static constexpr std::chrono::seconds kFresh{10};  // not asked for
  static constexpr std::chrono::seconds kValid{30};
  static constexpr std::chrono::seconds kAskAgain{2};
  static constexpr std::size_t kMax = 65'536;
  static constexpr std::size_t kAskMax = 1'024;  // at once

  struct Known {
    End end;  // null: asked for
    Clock::time_point ask_after;
    Clock::time_point valid_until;
  };
  void make_room();

  Ask ask_;
  std::unordered_map<IpAddress, Known> known_;
  std::unordered_set<IpAddress> missed_;
};

}  // namespace sluice::node
