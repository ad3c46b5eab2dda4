// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/scenario.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kRuleA = 100;
constexpr std::uint32_t kRuleB = 101;

Entry allow_in(std::uint32_t cidr_id, std::uint8_t protocol, std::uint16_t port,
               std::uint32_t rule = kRuleA) {
  return {.direction = SLUICE_INGRESS,
          .cidr_id = cidr_id,
          .protocol = protocol,
          .port = port,
          .port_bits = 16,
          .rule = rule};
}

std::vector<Scenario> lookup_scenarios(const Net& net) {
  const Bytes b80 = net.from(net.b, kTcp, tcp(1000, 80));
  const Entry any80 = allow_in(SLUICE_CIDR_ANY, kTcp, 80);
  Entry deny_b80 = allow_in(kClassB, kTcp, 80, kRuleB);
  deny_b80.verdict = SLUICE_VERDICT_DENY;
  const Entry range = {
      .protocol = kTcp, .port = 80, .port_bits = 12, .rule = kRuleA};
  const Entry all_of_b = {.cidr_id = kClassB, .rule = kRuleB};
  const Entry all_tcp = {.protocol = kTcp, .rule = kRuleA};
  Entry none = any80;
  none.verdict = SLUICE_VERDICT_NONE;
  return {
      Scenario("an endpoint that is not isolated lets everything through")
          .world(net.open())
          .in(b80, SLUICE_REASON_DEFAULT_ALLOW, SLUICE_RULE_DEFAULT_ALLOW)
          .out(net.to(net.c, kUdp, udp(5, 53)), SLUICE_REASON_DEFAULT_ALLOW,
               SLUICE_RULE_DEFAULT_ALLOW),
      Scenario("an isolated endpoint without entries drops everything")
          .world(net.isolated())
          .in(b80, SLUICE_REASON_DEFAULT_DENY, SLUICE_RULE_DEFAULT_DENY_INGRESS)
          .out(net.to(net.b, kTcp, tcp(5, 80)), SLUICE_REASON_DEFAULT_DENY,
               SLUICE_RULE_DEFAULT_DENY_EGRESS),
      Scenario("an entry for any peer allows its port and no other")
          .world(net.isolated({any80}))
          .in(b80, SLUICE_REASON_POLICY_ALLOW, kRuleA)
          .in(net.from(net.stranger, kTcp, tcp(1, 80)),
              SLUICE_REASON_POLICY_ALLOW, kRuleA)
          .in(net.from(net.b, kTcp, tcp(1000, 81)), SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, kUdp, udp(1000, 80)), SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, kSctp, sctp(1000, 80)),
              SLUICE_REASON_DEFAULT_DENY),
      Scenario("an entry of the peer's class comes before one for any peer")
          .world(net.isolated({any80, deny_b80}))
          .in(b80, SLUICE_REASON_POLICY_DENY, kRuleB)
          .in(net.from(net.c, kTcp, tcp(1000, 80)), SLUICE_REASON_POLICY_ALLOW,
              kRuleA),
      Scenario("a deny entry works where nothing is isolated")
          .world([&] {
            World world = net.open();
            world.entries = {deny_b80};
            return world;
          }())
          .in(b80, SLUICE_REASON_POLICY_DENY, kRuleB)
          .in(net.from(net.b, kTcp, tcp(1000, 81)),
              SLUICE_REASON_DEFAULT_ALLOW),
      Scenario("a port prefix covers its range")
          .world(net.isolated({range}))
          .in(net.from(net.b, kTcp, tcp(1, 79)), SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.b, kTcp, tcp(1, 80)), SLUICE_REASON_POLICY_ALLOW)
          .in(net.from(net.b, kTcp, tcp(1, 95)), SLUICE_REASON_POLICY_ALLOW)
          .in(net.from(net.b, kTcp, tcp(1, 96)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an entry for every protocol covers those without ports")
          .world(net.isolated({all_of_b}))
          .in(net.from(net.b, kGre, Bytes(8)), SLUICE_REASON_POLICY_ALLOW,
              kRuleB)
          .in(net.from(net.b, kSctp, sctp(1, 2)), SLUICE_REASON_POLICY_ALLOW,
              kRuleB)
          .in(net.from(net.b, net.icmp_protocol, icmp(net.echo_request, 0, 1)),
              SLUICE_REASON_POLICY_ALLOW, kRuleB)
          .in(net.from(net.c, kGre, Bytes(8)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an entry for a port never covers a protocol without ports")
          .world(net.isolated({allow_in(SLUICE_CIDR_ANY, kGre, 0)}))
          .in(net.from(net.b, kGre, Bytes(8)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an entry for a whole protocol covers it and no other")
          .world(net.isolated({all_tcp}))
          .in(net.from(net.b, kTcp, tcp(1, 65535)), SLUICE_REASON_POLICY_ALLOW)
          .in(net.from(net.b, kUdp, udp(1, 80)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an entry without a verdict denies")
          .world(net.isolated({none}))
          .in(b80, SLUICE_REASON_POLICY_DENY, kRuleA),
      Scenario("the class of a prefix counts where no exact address is known")
          .world(net.isolated({allow_in(kClassExternal, kTcp, 80)}))
          .in(net.from(net.external, kTcp, tcp(1, 80)),
              SLUICE_REASON_POLICY_ALLOW, kRuleA)
          .in(net.from(net.stranger, kTcp, tcp(1, 80)),
              SLUICE_REASON_DEFAULT_DENY),
  };
}

std::vector<Scenario> exemption_scenarios(const Net& net) {
  Entry deny_node = allow_in(kClassNode, kTcp, 80, kRuleB);
  deny_node.verdict = SLUICE_VERDICT_DENY;
  World unmanaged = net.isolated();
  unmanaged.managed = false;
  return {
      Scenario("the own node reaches an isolated endpoint")
          .world(net.isolated())
          .in(net.from(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_LOCAL_NODE,
              SLUICE_RULE_LOCAL_NODE),
      Scenario("an entry that denies the own node wins")
          .world(net.isolated({deny_node}))
          .in(net.from(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_POLICY_DENY,
              kRuleB)
          .in(net.from(net.node, kTcp, tcp(1, 81)), SLUICE_REASON_LOCAL_NODE),
      Scenario("at egress the own node is a peer like any other")
          .world(net.isolated())
          .out(net.to(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("an endpoint reaches itself")
          .world(net.isolated())
          .out(net.to(net.own, kTcp, tcp(1, 80)), SLUICE_REASON_SELF)
          .in(net.from(net.own, kTcp, tcp(1, 80)), SLUICE_REASON_SELF),
      Scenario("a source address that is not the endpoint's is dropped though "
               "nothing is isolated")
          .world(net.open())
          .out(ip_frame({.from = net.b, .to = net.c}, kTcp, tcp(1, 80)),
               SLUICE_REASON_SOURCE_ADDRESS)
          .in(net.from(net.c, kTcp, tcp(80, 1, kSyn | kAck)),
              SLUICE_REASON_DEFAULT_ALLOW),
      Scenario("an unspecified source address is dropped")
          .world(net.open())
          .out(ip_frame({.from = {.v6 = net.v6}, .to = net.c}, kUdp,
                        udp(68, 67)),
               SLUICE_REASON_SOURCE_ADDRESS),
      Scenario("what is no endpoint's passes")
          .world(unmanaged)
          .in(net.from(net.b, kTcp, tcp(1, 80)), SLUICE_REASON_NOT_AN_ENDPOINT)
          .out(net.to(net.b, kTcp, tcp(1, 80)), SLUICE_REASON_NOT_AN_ENDPOINT),
      Scenario("a packet to a group is judged by policy every time")
          .world(net.isolated({allow_in(kClassB, kUdp, 5353)}))
          .in(ip_frame({.from = net.b, .to = net.multicast}, kUdp,
                       udp(5353, 5353)),
              SLUICE_REASON_POLICY_ALLOW)
          .in(ip_frame({.from = net.b, .to = net.multicast}, kUdp,
                       udp(5353, 5353)),
              SLUICE_REASON_POLICY_ALLOW)
          .in(ip_frame({.from = net.c, .to = net.multicast}, kUdp,
                       udp(5353, 5353)),
              SLUICE_REASON_DEFAULT_DENY)
          .out(net.to(net.b, kUdp, udp(5353, 5353)),
               SLUICE_REASON_DEFAULT_DENY),
  };
}

}  // namespace

std::vector<Scenario> policy_scenarios(const Net& net) {
  std::vector<Scenario> all = lookup_scenarios(net);
  for (Scenario& scenario : exemption_scenarios(net)) {
    all.push_back(std::move(scenario));
  }
  return all;
}

}  // namespace sluice::testing
