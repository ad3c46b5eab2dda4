// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tests/datapath/scenario.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kRule = 400;

constexpr Entry kAllowIn53 = {.direction = SLUICE_INGRESS,
                              .protocol = kUdp,
                              .port = 53,
                              .port_bits = 16,
                              .rule = kRule};
constexpr Entry kAllowAllOfB = {.cidr_id = kClassB, .rule = kRule};
constexpr Entry kAllowUdpOfB = {
    .cidr_id = kClassB, .protocol = kUdp, .rule = kRule};

// Part of the datagram `transport` from b.
Bytes part(const Net& net, std::uint8_t protocol, const Bytes& transport,
           std::uint16_t offset, std::size_t size, std::uint16_t id = 1) {
  const bool more = offset + size < transport.size();
  const Bytes piece(
      transport.begin() + offset,
      more ? transport.begin() + offset + static_cast<std::ptrdiff_t>(size)
           : transport.end());
  return net.from(
      net.b, protocol, piece,
      {.fragment = Fragment{.id = id, .offset = offset, .more = more}});
}

std::vector<Scenario> order_scenarios(const Net& net) {
  const Bytes good = udp(1000, 53, 64);
  const Bytes bad = udp(1000, 54, 64);
  return {
      Scenario("P30 fragments of an allowed datagram pass")
          .world(net.isolated({kAllowIn53}))
          .in(part(net, kUdp, good, 0, 24), SLUICE_REASON_POLICY_ALLOW, kRule)
          .in(part(net, kUdp, good, 24, 24), SLUICE_REASON_ESTABLISHED)
          .in(part(net, kUdp, good, 48, 24), SLUICE_REASON_ESTABLISHED),
      Scenario("P30 fragments of a denied datagram are dropped")
          .world(net.isolated({kAllowIn53}))
          .in(part(net, kUdp, bad, 0, 24), SLUICE_REASON_DEFAULT_DENY)
          .in(part(net, kUdp, bad, 24, 24), SLUICE_REASON_FRAGMENT_UNKNOWN)
          .in(part(net, kUdp, bad, 48, 24), SLUICE_REASON_FRAGMENT_UNKNOWN),
      Scenario("P30 a later fragment passes only behind the first one")
          .world(net.isolated({kAllowIn53}))
          .in(part(net, kUdp, good, 24, 24), SLUICE_REASON_FRAGMENT_UNKNOWN)
          .in(part(net, kUdp, good, 0, 24), SLUICE_REASON_POLICY_ALLOW)
          .in(part(net, kUdp, good, 48, 24), SLUICE_REASON_ESTABLISHED)
          .in(part(net, kUdp, good, 24, 24), SLUICE_REASON_ESTABLISHED),
      Scenario("a fragment of another datagram has no first one")
          .world(net.isolated({kAllowIn53}))
          .in(part(net, kUdp, good, 0, 24), SLUICE_REASON_POLICY_ALLOW)
          .in(part(net, kUdp, good, 24, 24, 2), SLUICE_REASON_FRAGMENT_UNKNOWN),
      Scenario("a second first fragment is judged by its own ports")
          .world(net.isolated({kAllowIn53}))
          .in(part(net, kUdp, good, 0, 24), SLUICE_REASON_POLICY_ALLOW)
          .in(part(net, kUdp, bad, 0, 24), SLUICE_REASON_DEFAULT_DENY)
          .in(part(net, kUdp, good, 24, 24), SLUICE_REASON_ESTABLISHED),
      Scenario("fragments of a flow that is denied by now are dropped")
          .world(net.isolated({kAllowIn53}))
          .in(part(net, kUdp, good, 0, 24), SLUICE_REASON_POLICY_ALLOW)
          .world(net.isolated())
          .in(part(net, kUdp, good, 24, 24), SLUICE_REASON_DEFAULT_DENY),
      Scenario("fragments pass where nothing is isolated, in any order")
          .world(net.open())
          .in(part(net, kUdp, good, 24, 24), SLUICE_REASON_DEFAULT_ALLOW)
          .in(part(net, kUdp, good, 0, 24), SLUICE_REASON_DEFAULT_ALLOW)
          .in(part(net, kUdp, good, 48, 24), SLUICE_REASON_ESTABLISHED),
      Scenario("the first fragment of an echo request is enough for the rest")
          .world(net.isolated(
              {{.direction = SLUICE_INGRESS,
                .protocol = net.icmp_protocol,
                .port = static_cast<std::uint16_t>(net.echo_request << 8),
                .port_bits = 8}}))
          .in(part(net, net.icmp_protocol, icmp(net.echo_request, 0, 3, 64), 0,
                   16),
              SLUICE_REASON_POLICY_ALLOW)
          .in(part(net, net.icmp_protocol, icmp(net.echo_request, 0, 3, 64), 16,
                   64),
              SLUICE_REASON_ESTABLISHED),
  };
}

std::vector<Scenario> lone_scenarios(const Net& net) {
  const Bytes datagram = udp(1000, 53, 64);
  const sluice_reason without_protocol =
      net.v6 ? SLUICE_REASON_FRAGMENT_UNKNOWN : SLUICE_REASON_POLICY_ALLOW;
  return {
      Scenario("a later fragment alone passes if every packet of its peer does")
          .world(net.isolated({kAllowAllOfB}))
          .in(part(net, kUdp, datagram, 24, 24), SLUICE_REASON_POLICY_ALLOW)
          .in(part(net, kUdp, datagram, 48, 24), SLUICE_REASON_POLICY_ALLOW),
      Scenario("an entry for a protocol covers a lone fragment of ipv4 only, "
               "where every fragment names it")
          .world(net.isolated({kAllowUdpOfB}))
          .in(part(net, kUdp, datagram, 24, 24), without_protocol),
      Scenario("a lone fragment opens no flow")
          .world(net.isolated({kAllowAllOfB}))
          .in(part(net, kUdp, datagram, 24, 24), SLUICE_REASON_POLICY_ALLOW)
          .out(net.to(net.b, kUdp, udp(53, 1000)), SLUICE_REASON_DEFAULT_DENY),
  };
}

std::vector<Scenario> tiny_scenarios(const Net& net) {
  const Bytes segment = tcp(1000, 80);
  const Entry allow80 = {.direction = SLUICE_INGRESS,
                         .protocol = kTcp,
                         .port = 80,
                         .port_bits = 16};
  const sluice_reason overlap =
      net.v6 ? SLUICE_REASON_FRAGMENT_UNKNOWN : SLUICE_REASON_FRAGMENT_TINY;
  return {
      Scenario("a first fragment that ends within its tcp header is dropped")
          .world(net.isolated({allow80}))
          .in(part(net, kTcp, segment, 0, 8), SLUICE_REASON_FRAGMENT_TINY)
          .in(part(net, kTcp, segment, 0, 16), SLUICE_REASON_FRAGMENT_TINY),
      Scenario("a first fragment that ends within its header passes where "
               "nothing is isolated")
          .world(net.open())
          .in(part(net, kTcp, segment, 0, 8), SLUICE_REASON_UNPARSED_ALLOW),
      Scenario("a fragment that would overwrite the tcp flags is dropped")
          .world(net.isolated({allow80}))
          .in(part(net, kTcp, segment, 8, 24), overlap),
  };
}

std::vector<Scenario> extension_scenarios(const Net& net) {
  if (!net.v6) {
    return {};
  }
  const Bytes datagram = udp(1000, 53, 64);
  const Bytes first(datagram.begin(), datagram.begin() + 24);
  const Bytes later(datagram.begin() + 24, datagram.end());
  // Destination options behind the fragment header: both fragments name them
  // as what follows.
  const Bytes options = {kUdp, 0, 1, 4, 0, 0, 0, 0};
  Bytes first_with_options(options.size() + first.size());
  std::ranges::copy(options, first_with_options.begin());
  std::ranges::copy(first, first_with_options.begin() + 8);
  const Fragment at_start = {.more = true};
  return {
      Scenario("the ports of a datagram stand behind further headers")
          .world(net.isolated({kAllowIn53}))
          .in(net.from(net.b, kDestinationOptions, first_with_options,
                       {.fragment = at_start}),
              SLUICE_REASON_POLICY_ALLOW)
          .in(net.from(net.b, kDestinationOptions, later,
                       {.fragment = Fragment{.offset = 32}}),
              SLUICE_REASON_ESTABLISHED)
          .in(net.from(net.b, kUdp, later,
                       {.fragment = Fragment{.offset = 32}}),
              SLUICE_REASON_FRAGMENT_UNKNOWN),
      Scenario("a first fragment that ends within its headers is dropped")
          .world(net.isolated({kAllowIn53}))
          .in(net.from(net.b, kDestinationOptions, options,
                       {.fragment = at_start}),
              SLUICE_REASON_FRAGMENT_TINY),
      Scenario("an atomic fragment is a whole packet")
          .world(net.isolated({kAllowIn53}))
          .in(net.from(net.b, kUdp, datagram, {.fragment = Fragment{}}),
              SLUICE_REASON_POLICY_ALLOW),
      Scenario("two fragment headers are malformed")
          .world(net.isolated({kAllowIn53}))
          .in(net.from(net.b, kUdp, datagram,
                       {.extensions = {{.type = kFragmentHeader,
                                        .body = {0, 1, 0, 0, 0, 1}}},
                        .fragment = at_start}),
              SLUICE_REASON_BAD_HEADER),
  };
}

}  // namespace

std::vector<Scenario> fragment_scenarios(const Net& net) {
  std::vector<Scenario> all;
  for (const auto topic :
       {order_scenarios, lone_scenarios, tiny_scenarios, extension_scenarios}) {
    for (Scenario& scenario : topic(net)) {
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace sluice::testing
