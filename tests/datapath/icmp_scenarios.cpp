// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/scenario.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kRule = 300;

// Entries of one ICMP type, any code.
Entry allow_type(const Net& net, sluice_direction direction,
                 std::uint8_t type) {
  return {.direction = direction,
          .protocol = net.icmp_protocol,
          .port = static_cast<std::uint16_t>(type << 8),
          .port_bits = 8,
          .rule = kRule};
}

constexpr Entry kAllowOut80 = {.direction = SLUICE_EGRESS,
                               .protocol = kTcp,
                               .port = 80,
                               .port_bits = 16,
                               .rule = kRule};
constexpr Entry kAllowIn53 = {.direction = SLUICE_INGRESS,
                              .protocol = kUdp,
                              .port = 53,
                              .port_bits = 16,
                              .rule = kRule};

std::vector<Scenario> echo_scenarios(const Net& net) {
  const auto ping_out = [&](std::uint16_t id) {
    return net.to(net.b, net.icmp_protocol, icmp(net.echo_request, 0, id));
  };
  const auto pong_in = [&](std::uint16_t id) {
    return net.from(net.b, net.icmp_protocol, icmp(net.echo_reply, 0, id));
  };
  const auto ping_in = [&](std::uint16_t id) {
    return net.from(net.b, net.icmp_protocol, icmp(net.echo_request, 0, id));
  };
  const auto pong_out = [&](std::uint16_t id) {
    return net.to(net.b, net.icmp_protocol, icmp(net.echo_reply, 0, id));
  };
  return {
      Scenario("an echo reply passes if its request did")
          .world(
              net.isolated({allow_type(net, SLUICE_EGRESS, net.echo_request)}))
          .in(pong_in(7), SLUICE_REASON_DEFAULT_DENY)
          .out(ping_out(7), SLUICE_REASON_POLICY_ALLOW, kRule)
          .in(pong_in(7), SLUICE_REASON_REPLY)
          .in(pong_in(8), SLUICE_REASON_DEFAULT_DENY)
          .out(ping_out(7), SLUICE_REASON_ESTABLISHED),
      Scenario("who asked is part of an echo flow")
          .world(
              net.isolated({allow_type(net, SLUICE_EGRESS, net.echo_request)}))
          .out(ping_out(7), SLUICE_REASON_POLICY_ALLOW)
          .in(ping_in(7), SLUICE_REASON_DEFAULT_DENY)
          .out(pong_out(7), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an endpoint answers the echo requests that reach it")
          .world(
              net.isolated({allow_type(net, SLUICE_INGRESS, net.echo_request)}))
          .in(ping_in(9), SLUICE_REASON_POLICY_ALLOW, kRule)
          .out(pong_out(9), SLUICE_REASON_REPLY)
          .world(net.isolated())
          .out(pong_out(9), SLUICE_REASON_REPLY_OF_DENIED)
          .in(ping_in(9), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an echo reply that an entry allows opens nothing")
          .world(net.isolated({allow_type(net, SLUICE_EGRESS, net.echo_reply)}))
          .out(pong_out(9), SLUICE_REASON_POLICY_ALLOW)
          .out(pong_out(9), SLUICE_REASON_POLICY_ALLOW)
          .in(ping_in(9), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an echo reply to the endpoint that nobody asked for opens "
               "nothing either")
          .world(
              net.isolated({allow_type(net, SLUICE_INGRESS, net.echo_reply)}))
          .in(pong_in(9), SLUICE_REASON_POLICY_ALLOW)
          .in(pong_in(9), SLUICE_REASON_POLICY_ALLOW)
          .out(ping_out(9), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an echo reply met before any policy opens nothing")
          .world(net.open())
          .out(pong_out(9), SLUICE_REASON_DEFAULT_ALLOW)
          .in(pong_in(8), SLUICE_REASON_DEFAULT_ALLOW)
          .world(
              net.isolated({allow_type(net, SLUICE_INGRESS, net.echo_request)}))
          .out(pong_out(9), SLUICE_REASON_DEFAULT_DENY)
          .in(pong_in(8), SLUICE_REASON_DEFAULT_DENY)
          .in(ping_in(9), SLUICE_REASON_POLICY_ALLOW)
          .out(pong_out(9), SLUICE_REASON_REPLY),
      Scenario("an entry of a type does not cover another type")
          .world(net.isolated({allow_type(net, SLUICE_INGRESS, 13)}))
          .in(net.from(net.b, net.icmp_protocol, icmp(13, 5)),
              SLUICE_REASON_POLICY_ALLOW)
          .in(ping_in(1), SLUICE_REASON_DEFAULT_DENY),
      Scenario(
          "an echo request of the other family is a protocol without ports")
          .world(net.isolated(
              {{.direction = SLUICE_INGRESS,
                .protocol = net.v6 ? kIcmp : kIcmp6,
                .port = static_cast<std::uint16_t>(net.v6 ? 0x0800 : 0x8000),
                .port_bits = 16}}))
          .in(net.from(net.b, net.v6 ? kIcmp : kIcmp6,
                       icmp(net.v6 ? 8 : 128, 0)),
              SLUICE_REASON_DEFAULT_DENY),
  };
}

std::vector<Scenario> related_scenarios(const Net& net) {
  const Bytes syn = net.to(net.b, kTcp, tcp(1000, 80));
  const Bytes query = net.from(net.b, kUdp, udp(999, 53));
  const Endpoints router = {.from = net.external, .to = net.own};
  const auto error_of = [&](const Bytes& quoted) {
    return icmp_error(router, net.unreachable, 4, quoted);
  };
  const std::size_t shortest = (net.v6 ? 40 : 20) + 8;
  // RFC 792 and RFC 4861: a redirect; RFC 6633: source quench. They quote a
  // packet as errors do.
  const std::uint8_t redirect = net.v6 ? 137 : 5;
  const std::uint8_t quench = net.v6 ? 127 : 4;
  return {
      Scenario("a redirect and a source quench are no errors of a flow")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .in(icmp_error(router, redirect, 1, syn), SLUICE_REASON_DEFAULT_DENY)
          .in(icmp_error(router, quench, 0, syn), SLUICE_REASON_DEFAULT_DENY)
          .in(error_of(syn), SLUICE_REASON_RELATED),
      Scenario("P28 an error about an allowed flow passes, whoever sends it")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .in(error_of(syn), SLUICE_REASON_RELATED)
          .in(icmp_error(router, net.unreachable, 4, syn, shortest),
              SLUICE_REASON_RELATED),
      Scenario("P29 an error about an unknown flow is dropped")
          .world(net.isolated({kAllowOut80}))
          .in(error_of(syn), SLUICE_REASON_ICMP_UNRELATED,
              SLUICE_RULE_DEFAULT_DENY_INGRESS),
      Scenario("an error about an unknown flow passes if an entry allows its "
               "type")
          .world(
              net.isolated({allow_type(net, SLUICE_INGRESS, net.unreachable)}))
          .in(error_of(syn), SLUICE_REASON_POLICY_ALLOW),
      Scenario("an error about a flow that is denied by now is dropped")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .world(net.isolated())
          .in(error_of(syn), SLUICE_REASON_ICMP_UNRELATED)
          .world(net.isolated({kAllowOut80}))
          .in(error_of(syn), SLUICE_REASON_RELATED),
      Scenario("an error makes no state")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .in(error_of(syn), SLUICE_REASON_RELATED)
          .in(net.from(net.external, kTcp, tcp(80, 1000, kAck)),
              SLUICE_REASON_DEFAULT_DENY),
      Scenario("an endpoint answers an allowed query with an error")
          .world(net.isolated({kAllowIn53}))
          .in(query, SLUICE_REASON_POLICY_ALLOW)
          .out(icmp_error({.from = net.own, .to = net.b}, net.unreachable, 3,
                          query),
               SLUICE_REASON_RELATED)
          .out(icmp_error({.from = net.own, .to = net.c}, net.unreachable, 3,
                          query),
               SLUICE_REASON_ICMP_UNRELATED),
      Scenario("an error that quotes somebody else's packet is unrelated")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .in(error_of(
                  ip_frame({.from = net.c, .to = net.b}, kTcp, tcp(1000, 80))),
              SLUICE_REASON_ICMP_UNRELATED),
      Scenario("an error that quotes a packet of the wrong direction is "
               "unrelated")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .in(error_of(net.from(net.b, kTcp, tcp(80, 1000))),
              SLUICE_REASON_ICMP_UNRELATED),
      Scenario("an error that quotes a later fragment is unrelated")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .in(error_of(net.to(net.b, kTcp, tcp(1000, 80),
                              {.fragment = Fragment{.offset = 64}})),
              SLUICE_REASON_ICMP_UNRELATED),
      Scenario("an error that quotes too little is unrelated")
          .world(net.isolated({kAllowOut80}))
          .out(syn, SLUICE_REASON_POLICY_ALLOW)
          .in(icmp_error(router, net.unreachable, 4, syn, shortest - 1),
              SLUICE_REASON_ICMP_UNRELATED)
          .in(icmp_error(router, net.unreachable, 4, syn, 0),
              SLUICE_REASON_ICMP_UNRELATED),
      Scenario("an error about an echo request of the endpoint passes")
          .world(
              net.isolated({allow_type(net, SLUICE_EGRESS, net.echo_request)}))
          .out(net.to(net.b, net.icmp_protocol, icmp(net.echo_request, 0, 5)),
               SLUICE_REASON_POLICY_ALLOW)
          .in(error_of(net.to(net.b, net.icmp_protocol,
                              icmp(net.echo_request, 0, 5))),
              SLUICE_REASON_RELATED)
          .in(error_of(
                  net.to(net.b, net.icmp_protocol, icmp(net.echo_reply, 0, 5))),
              SLUICE_REASON_ICMP_UNRELATED),
      Scenario("errors pass where nothing is isolated")
          .world(net.open())
          .in(error_of(syn), SLUICE_REASON_DEFAULT_ALLOW),
  };
}

}  // namespace

std::vector<Scenario> icmp_scenarios(const Net& net) {
  std::vector<Scenario> all;
  for (const auto topic : {echo_scenarios, related_scenarios}) {
    for (Scenario& scenario : topic(net)) {
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace sluice::testing
