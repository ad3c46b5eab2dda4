// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/scenario.h"

namespace sluice::testing {
namespace {

constexpr Entry kAllowIn80 = {
    .direction = SLUICE_INGRESS, .protocol = kTcp, .port = 80, .port_bits = 16};

Bytes changed(Bytes frame, std::size_t at, std::uint8_t value) {
  frame.at(at) = value;
  return frame;
}

std::vector<Scenario> ethernet_scenarios(const Net& net) {
  const Bytes syn = net.from(net.b, kTcp, tcp(1, 80));
  Bytes tagged = syn;
  const Bytes tag = {0x81, 0x00, 0x00, 0x05};
  tagged.insert(tagged.begin() + 12, tag.begin(), tag.end());
  return {
      Scenario("a vlan tag in the packet hides nothing")
          .world(net.isolated({kAllowIn80}))
          .in(tagged, SLUICE_REASON_ETHERTYPE)
          .out(tagged, SLUICE_REASON_ETHERTYPE),
      Scenario("an unknown ethertype is dropped")
          .world(net.isolated())
          .in(ethernet(0x88cc, Bytes(46)), SLUICE_REASON_ETHERTYPE)
          .out(ethernet(0x0600, Bytes(46)), SLUICE_REASON_ETHERTYPE),
      Scenario("an unknown ethertype passes where nothing is isolated")
          .world(net.open())
          .in(ethernet(0x88cc, Bytes(46)), SLUICE_REASON_UNPARSED_ALLOW),
      Scenario("a pod sends nothing but plain ip and arp, whatever the policy")
          .world(net.open())
          .out(ethernet(0x88cc, Bytes(46)), SLUICE_REASON_ETHERTYPE)
          .out(tagged, SLUICE_REASON_ETHERTYPE)
          .out(ethernet(net.v6 ? 0x86dd : 0x0800, Bytes(60)),
               SLUICE_REASON_BAD_HEADER),
      Scenario("an administrator may permit other protocols, where nothing is "
               "isolated")
          .world([&] {
            World world = net.open();
            world.permits = SLUICE_EP_ANY_ETHERTYPE;
            return world;
          }())
          .out(ethernet(0x88cc, Bytes(46)), SLUICE_REASON_UNPARSED_ALLOW)
          .world([&] {
            World world = net.isolated();
            world.permits = SLUICE_EP_ANY_ETHERTYPE;
            return world;
          }())
          .out(ethernet(0x88cc, Bytes(46)), SLUICE_REASON_ETHERTYPE),
      Scenario("bytes behind the ip packet do not count")
          .world(net.isolated({kAllowIn80}))
          .in(net.from(net.b, kTcp, tcp(1, 80), {.padding = 6}),
              SLUICE_REASON_POLICY_ALLOW),
      Scenario("isolation in one direction drops nothing in the other")
          .world([&] {
            World world = net.open();
            world.isolated = {true, false};
            return world;
          }())
          .in(ethernet(0x88cc, Bytes(46)), SLUICE_REASON_ETHERTYPE)
          .out(net.to(net.b, kTcp, tcp(1, 80)), SLUICE_REASON_DEFAULT_ALLOW),
  };
}

std::vector<Scenario> damage_scenarios(const Net& net) {
  const Bytes syn = net.from(net.b, kTcp, tcp(1, 80, kSyn, 0));
  const std::size_t header = kEthernetSize + (net.v6 ? 40 : 20);
  const std::size_t length_at = kEthernetSize + (net.v6 ? 5 : 3);
  const Bytes out4 =
      net.to(net.b, kTcp, {0x03, 0xe8, 0x00, 0x50});  // P33: four bytes
  Bytes cut = syn;
  cut.resize(header + 12);
  return {
      Scenario("P33 a tcp header of four bytes is truncated")
          .world(net.isolated({kAllowIn80}))
          .out(out4, SLUICE_REASON_TRUNCATED)
          .in(net.from(net.b, kTcp, {0x03, 0xe8, 0x00, 0x50}),
              SLUICE_REASON_TRUNCATED)
          .world(net.open())
          .out(out4, SLUICE_REASON_UNPARSED_ALLOW),
      Scenario("a packet shorter than it says is truncated")
          .world(net.isolated({kAllowIn80}))
          .in(cut, SLUICE_REASON_TRUNCATED),
      Scenario("a packet that says it ends within its tcp header is truncated, "
               "whatever follows")
          .world(net.isolated({kAllowIn80}))
          .in(changed(syn, length_at, net.v6 ? 19 : 39),
              SLUICE_REASON_TRUNCATED),
      Scenario("a tcp header that says it is shorter than it can be is "
               "malformed")
          .world(net.isolated({kAllowIn80}))
          .in(changed(syn, header + 12, 0x40), SLUICE_REASON_BAD_HEADER),
      Scenario("another ip version than the ethertype's is malformed")
          .world(net.isolated({kAllowIn80}))
          .in(changed(syn, kEthernetSize, net.v6 ? 0x45 : 0x65),
              SLUICE_REASON_BAD_HEADER),
      Scenario("what is not parsed may not have a foreign source either")
          .world(net.open())
          .out(changed(ip_frame({.from = net.c, .to = net.b}, kTcp, tcp(1, 80)),
                       header + 12, 0x40),
               SLUICE_REASON_SOURCE_ADDRESS),
  };
}

std::vector<Scenario> option_scenarios(const Net& net) {
  if (net.v6) {
    return {};
  }
  // Options whose bytes look like ports 1000 -> 80 where a parser that
  // believes in headers of twenty bytes would look.
  Bytes mimic(40, 1);
  const Bytes ports = {0x03, 0xe8, 0x00, 0x50};
  std::ranges::copy(ports, mimic.begin());
  const Bytes syn = net.from(net.b, kTcp, tcp(1, 80));
  return {
      Scenario("P31 options that look like an allowed port do not open it")
          .world(net.isolated({kAllowIn80}))
          .in(net.from(net.b, kTcp, tcp(1000, 81), {.options = mimic}),
              SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, kTcp, tcp(1000, 80), {.options = mimic}),
              SLUICE_REASON_POLICY_ALLOW),
      Scenario("an ipv4 header shorter than it can be is malformed")
          .world(net.isolated({kAllowIn80}))
          .in(changed(syn, kEthernetSize, 0x44), SLUICE_REASON_BAD_HEADER)
          .in(changed(syn, kEthernetSize, 0x40), SLUICE_REASON_BAD_HEADER),
      Scenario("an ipv4 header longer than the packet is malformed")
          .world(net.isolated({kAllowIn80}))
          .in(changed(net.from(net.b, kGre, Bytes(8)), kEthernetSize, 0x4f),
              SLUICE_REASON_BAD_HEADER),
  };
}

std::vector<Scenario> extension_scenarios(const Net& net) {
  if (!net.v6) {
    return {};
  }
  const auto behind = [&](std::vector<Extension> extensions,
                          std::uint16_t port) {
    return net.from(net.b, kTcp, tcp(1, port),
                    {.extensions = std::move(extensions)});
  };
  const Extension hop = {.type = kHopByHop};
  const Extension long_options = {.type = kDestinationOptions,
                                  .body = Bytes(2046)};
  const Extension ah = {.type = kAuthentication, .body = Bytes(22)};
  const Extension ended_routing = {.type = kRouting,
                                   .body = {4, 0, 0, 0, 0, 0}};
  const Extension routing = {.type = kRouting, .body = {4, 1, 0, 0, 0, 0}};
  return {
      Scenario("P32 destination options hide no port")
          .world(net.isolated({kAllowIn80}))
          .in(behind({{.type = kDestinationOptions}}, 80),
              SLUICE_REASON_POLICY_ALLOW)
          .in(behind({{.type = kDestinationOptions}}, 81),
              SLUICE_REASON_DEFAULT_DENY),
      Scenario("every kind of extension header is walked")
          .world(net.isolated({kAllowIn80}))
          .in(behind({hop, ended_routing, ah, long_options}, 80),
              SLUICE_REASON_POLICY_ALLOW)
          .in(behind({hop, ended_routing, ah, long_options}, 81),
              SLUICE_REASON_DEFAULT_DENY),
      Scenario("a routing header that has somewhere else to go is malformed")
          .world(net.isolated({kAllowIn80}))
          .in(behind({routing}, 80), SLUICE_REASON_BAD_HEADER),
      Scenario("nothing may follow but what policy knows")
          .world(net.isolated({kAllowIn80}))
          .in(net.from(net.b, 59, tcp(1, 80)), SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, 50, tcp(1, 80)), SLUICE_REASON_DEFAULT_DENY),
  };
}

}  // namespace

std::vector<Scenario> parse_scenarios(const Net& net) {
  std::vector<Scenario> all;
  for (const auto topic : {ethernet_scenarios, damage_scenarios,
                           option_scenarios, extension_scenarios}) {
    for (Scenario& scenario : topic(net)) {
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace sluice::testing
