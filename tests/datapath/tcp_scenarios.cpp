// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/scenario.h"

// What ends a TCP flow, and flows that are older than enforcement.
namespace sluice::testing {
namespace {

constexpr std::uint32_t kFirst = 1'000'000'000;  // the opener's
constexpr std::uint32_t kOther = 3'000'000'000;
// Longer than a closed flow is kept, shorter than any other.
constexpr std::uint32_t kIdle = 30;

constexpr Entry kAllowOut80 = {
    .direction = SLUICE_EGRESS, .protocol = kTcp, .port = 80, .port_bits = 16};

struct Segment {
  std::uint8_t flags = kAck;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
};

void put32(Bytes& bytes, std::size_t at, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) {
    bytes.at(at + i) = static_cast<std::uint8_t>(value >> (24 - (8 * i)));
  }
}

// Of the connection from the endpoint to port 80 of `b`.
Bytes segment(const Net& net, sluice_direction direction, const Segment& s) {
  const bool out = direction == SLUICE_EGRESS;
  Bytes bytes = out ? tcp(1000, 80, s.flags, 0) : tcp(80, 1000, s.flags, 0);
  put32(bytes, 4, s.sequence);
  put32(bytes, 8, s.acknowledgement);
  return out ? net.to(net.b, kTcp, bytes) : net.from(net.b, kTcp, bytes);
}

Scenario opened(const Net& net, std::string sentence) {
  return Scenario(std::move(sentence))
      .world(net.isolated({kAllowOut80}))
      .out(segment(net, SLUICE_EGRESS, {.flags = kSyn, .sequence = kFirst}),
           SLUICE_REASON_POLICY_ALLOW)
      .in(segment(net, SLUICE_INGRESS,
                  {.flags = kSyn | kAck, .sequence = kOther}),
          SLUICE_REASON_REPLY)
      .out(segment(net, SLUICE_EGRESS, {.sequence = kFirst + 1}),
           SLUICE_REASON_ESTABLISHED);
}

std::vector<Scenario> ending_scenarios(const Net& net) {
  const auto in = [&](const Segment& s) {
    return segment(net, SLUICE_INGRESS, s);
  };
  const auto out = [&](const Segment& s) {
    return segment(net, SLUICE_EGRESS, s);
  };
  const Bytes push = in({.sequence = kOther + 1});
  return {
      opened(net, "a reset with the expected sequence number ends the flow")
          .in(in({.flags = kRst, .sequence = kOther + 1}), SLUICE_REASON_REPLY)
          .idle(kIdle)
          .in(push, SLUICE_REASON_DEFAULT_DENY),
      opened(net, "a reset that both stacks ignore ends nothing")
          .in(in({.flags = kRst, .sequence = kOther + 0x40000000}),
              SLUICE_REASON_REPLY)
          .out(out({.flags = kRst, .sequence = kFirst - 0x40000000}),
               SLUICE_REASON_ESTABLISHED)
          .idle(kIdle)
          .in(push, SLUICE_REASON_REPLY),
      opened(net, "a segment far off does not move what is expected")
          .in(in({.sequence = kOther + 0x40000000}), SLUICE_REASON_REPLY)
          .in(in({.flags = kRst, .sequence = kOther + 0x40000000}),
              SLUICE_REASON_REPLY)
          .idle(kIdle)
          .in(push, SLUICE_REASON_REPLY),
      opened(net, "both sides' fins end the flow")
          .in(in({.flags = kFin | kAck, .sequence = kOther + 1}),
              SLUICE_REASON_REPLY)
          .idle(kIdle)
          .out(out({.flags = kFin | kAck, .sequence = kFirst + 1}),
               SLUICE_REASON_ESTABLISHED)
          .idle(kIdle)
          .in(push, SLUICE_REASON_DEFAULT_DENY),
      opened(net, "a forged fin ends nothing")
          .in(in({.flags = kFin | kAck, .sequence = kOther + 0x40000000}),
              SLUICE_REASON_REPLY)
          .out(out({.flags = kFin | kAck, .sequence = kFirst + 1}),
               SLUICE_REASON_ESTABLISHED)
          .idle(kIdle)
          .in(push, SLUICE_REASON_REPLY),
      opened(net, "a reset after much that the flow cache has let pass counts")
          .in(in({.sequence = kOther + 1}), SLUICE_REASON_REPLY)
          .repeat(1, 2000)
          .in(in({.flags = kRst, .sequence = kOther + 1}), SLUICE_REASON_REPLY)
          .idle(kIdle)
          .in(push, SLUICE_REASON_DEFAULT_DENY),
      Scenario("a connection that is refused has ended")
          .world(net.isolated({kAllowOut80}))
          .out(out({.flags = kSyn, .sequence = kFirst}),
               SLUICE_REASON_POLICY_ALLOW)
          .in(in({.flags = kRst | kAck, .acknowledgement = kFirst + 1}),
              SLUICE_REASON_REPLY)
          .idle(kIdle)
          .in(push, SLUICE_REASON_DEFAULT_DENY),
      Scenario("a refusal of another syn ends nothing")
          .world(net.isolated({kAllowOut80}))
          .out(out({.flags = kSyn, .sequence = kFirst}),
               SLUICE_REASON_POLICY_ALLOW)
          .in(in({.flags = kRst | kAck, .acknowledgement = kFirst + 5000}),
              SLUICE_REASON_REPLY)
          .idle(kIdle)
          .in(push, SLUICE_REASON_REPLY),
  };
}

std::vector<Scenario> adoption_scenarios(const Net& net) {
  World adopting = net.isolated({kAllowOut80});
  adopting.adopt_seconds = 60;
  World late = adopting;
  late.adopt_seconds = 0;
  const Bytes push = net.from(net.b, kTcp, tcp(80, 1000, kAck));
  return {
      Scenario("for a time a segment may be the reply of an older flow")
          .world(adopting)
          .in(push, SLUICE_REASON_ADOPTED)
          .in(push, SLUICE_REASON_REPLY)
          .out(net.to(net.b, kTcp, tcp(1000, 80, kAck)),
               SLUICE_REASON_ESTABLISHED)
          .in(net.from(net.b, kTcp, tcp(81, 1000, kAck)),
              SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, kTcp, tcp(80, 1001, kSyn)),
              SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, kTcp, tcp(80, 1001, kSyn | kAck)),
              SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, kUdp, udp(80, 1000)), SLUICE_REASON_DEFAULT_DENY)
          .world(net.isolated())
          .in(push, SLUICE_REASON_REPLY_OF_DENIED),
      Scenario("afterwards it may not")
          .world(late)
          .in(push, SLUICE_REASON_DEFAULT_DENY),
  };
}

}  // namespace

std::vector<Scenario> tcp_scenarios(const Net& net) {
  std::vector<Scenario> all;
  for (const auto topic : {ending_scenarios, adoption_scenarios}) {
    for (Scenario& scenario : topic(net)) {
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace sluice::testing
