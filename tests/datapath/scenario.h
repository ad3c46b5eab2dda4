// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/datapath/net.h"

namespace sluice::testing {

// A packet and what must become of it.
struct Step {
  std::optional<World> world;      // put in force before
  std::uint32_t idle_seconds = 0;  // age of all flows before
  bool forget = false;             // flows and fragments are gone before
  bool evict = false;              // conntrack has lost all flows before
  sluice_direction direction = SLUICE_INGRESS;
  std::uint32_t ingress_ifindex = kUplink;  // of a packet to the endpoint
  Bytes frame;
  sluice_reason reason = SLUICE_REASON_INTERNAL;
  std::optional<std::uint32_t> rule;  // an event is to come and to name it
};

// Packets in a row, with a sentence that says what they show.
class Scenario {
 public:
  explicit Scenario(std::string sentence) : sentence_(std::move(sentence)) {}

  // What happens before the next packet.
  Scenario&& world(World world) && {
    next_.world = std::move(world);
    return std::move(*this);
  }
  Scenario&& idle(std::uint32_t seconds) && {
    next_.idle_seconds = seconds;
    return std::move(*this);
  }
  Scenario&& forget() && {
    next_.forget = true;
    return std::move(*this);
  }
  Scenario&& evict() && {
    next_.evict = true;
    return std::move(*this);
  }
  // A packet to the endpoint, and one from it.
  Scenario&& in(Bytes frame, sluice_reason reason,
                std::optional<std::uint32_t> rule = {}) && {
    add(SLUICE_INGRESS, std::move(frame), reason, rule);
    return std::move(*this);
  }
  // The same, but the packet comes from another interface, or the node's stack.
  Scenario&& by(std::uint32_t ingress_ifindex) && {
    next_.ingress_ifindex = ingress_ifindex;
    return std::move(*this);
  }
  Scenario&& out(Bytes frame, sluice_reason reason,
                 std::optional<std::uint32_t> rule = {}) && {
    add(SLUICE_EGRESS, std::move(frame), reason, rule);
    return std::move(*this);
  }

  // The last `count` packets again, so many times.
  Scenario&& repeat(std::size_t count, int times) && {
    const std::vector<Step> last(
        steps_.end() - static_cast<std::ptrdiff_t>(count), steps_.end());
    for (int i = 0; i < times; ++i) {
      steps_.insert(steps_.end(), last.begin(), last.end());
    }
    return std::move(*this);
  }

  [[nodiscard]] const std::string& sentence() const { return sentence_; }
  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }

 private:
  void add(sluice_direction direction, Bytes frame, sluice_reason reason,
           std::optional<std::uint32_t> rule) {
    next_.direction = direction;
    next_.frame = std::move(frame);
    next_.reason = reason;
    next_.rule = rule;
    steps_.push_back(std::exchange(next_, {}));
  }

  std::string sentence_;
  Step next_;
  std::vector<Step> steps_;
};

// The scenarios of each topic, for one family.
std::vector<Scenario> policy_scenarios(const Net& net);
std::vector<Scenario> flow_scenarios(const Net& net);
std::vector<Scenario> icmp_scenarios(const Net& net);
std::vector<Scenario> fragment_scenarios(const Net& net);
std::vector<Scenario> parse_scenarios(const Net& net);
std::vector<Scenario> link_scenarios(const Net& net);
std::vector<Scenario> tcp_scenarios(const Net& net);

}  // namespace sluice::testing
