// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/kube/api/event.h"
#include "lib/wire/protocol.h"
#include "operator/cluster_store.h"

namespace sluice::op {

// Decides when the policies of a namespace are handed over to the store, so
// that a namespace whose changes are expensive to translate takes a small part
// of the operator's time. The changes of all others are handed over at once.
//
// A namespace that changed policies in an expensive turn is watched for half a
// minute: its changes are handed over alone, after those of all others, which
// shows what they cost. If that is much, the changes after them are held for a
// multiple of it. Pure: the caller's clock, one thread.
class Pacing {
 public:
  using Clock = std::chrono::steady_clock;
  // Changes that take less computing are not worth being held.
  static constexpr std::chrono::milliseconds kExpensive{8};
  // A watched namespace gets one part in this many of the time.
  static constexpr int kParts = 100;
  static constexpr std::chrono::milliseconds kHoldMax{10'000};
  // A namespace with this many events is not held any longer.
  static constexpr std::size_t kEventsMax = 256;

  // True if the event of a policy is held and take_due() will return it; false
  // if it is to be handed over now, with the others of this turn.
  bool hold(const kube::Event& event);
  // What it took to translate and apply what has been handed over since the
  // last call.
  void charge(std::chrono::nanoseconds spent, Clock::time_point now);

  // The events of one namespace whose time has come, in their order; empty if
  // there is none. The caller hands them over alone and calls charge_alone().
  std::vector<kube::Event> take_due(Clock::time_point now);
  void charge_alone(std::chrono::nanoseconds spent, Clock::time_point now);
  // All that is held of a namespace, whether its time has come or not. What it
  // takes is charged with everything else's.
  std::vector<kube::Event> take(const std::string& ns);

  // By namespace and kind of policy, the oldest resourceVersion that has been
  // held and not handed over, also if a newer version has replaced it. Sorted.
  [[nodiscard]] std::vector<wire::HeldVersion> held() const;

 private:
  struct Held {
    kube::Event event;
    std::size_t kind = 0;
    std::uint64_t first_version = 0;
  };
  struct Account {
    Clock::time_point due;  // not handed over before
    Clock::time_point
        expensive;  // when it was, or may have been, the last time
    std::vector<Held> held;
  };

  static std::vector<kube::Event> take(Account& account);

  std::map<std::string, Account> watched_;
  std::set<std::string> turn_;  // handed over since the last charge()
  std::string alone_;           // of the last take_due()
};

}  // namespace sluice::op
