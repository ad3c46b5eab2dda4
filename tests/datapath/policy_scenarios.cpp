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

Entry deny_in(std::uint32_t cidr_id, std::uint8_t protocol, std::uint16_t port,
              std::uint32_t rule = kRuleA) {
  Entry entry = allow_in(cidr_id, protocol, port, rule);
  entry.verdict = SLUICE_VERDICT_DENY;
  return entry;
}

std::vector<Scenario> exemption_scenarios(const Net& net) {
  const Entry deny_node = deny_in(kClassNode, kTcp, 80, kRuleB);
  return {
      Scenario("the own node reaches an isolated endpoint")
          .world(net.isolated())
          .by(kNodeStack)
          .in(net.from(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_LOCAL_NODE,
              SLUICE_RULE_LOCAL_NODE)
          .out(net.to(net.node, kTcp, tcp(80, 1, kSyn | kAck)),
               SLUICE_REASON_REPLY),
      Scenario("the node's stack reaches an endpoint whatever source address "
               "it takes")
          .world(net.isolated())
          .by(kNodeStack)
          .in(net.from(net.stranger, kTcp, tcp(1, 80)),
              SLUICE_REASON_LOCAL_NODE),
      Scenario("what the node only forwards from an address of its own is not "
               "its own")
          .world(net.isolated())
          .in(net.from(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.node, net.icmp_protocol,
                       icmp(net.echo_request, 0, 1)),
              SLUICE_REASON_DEFAULT_DENY),
      Scenario("somebody behind an address of the node is any peer, and what "
               "denies the node denies him")
          .world(net.isolated({allow_in(SLUICE_CIDR_ANY, kTcp, 80),
                               allow_in(kClassNode, kTcp, 81),
                               allow_in(SLUICE_CIDR_ANY, kTcp, 82),
                               deny_in(kClassNode, kTcp, 82)}))
          .in(net.from(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_POLICY_ALLOW,
              kRuleA)
          .in(net.from(net.node, kTcp, tcp(1, 81)), SLUICE_REASON_DEFAULT_DENY)
          .in(net.from(net.node, kTcp, tcp(1, 82)), SLUICE_REASON_POLICY_DENY)
          .by(kNodeStack)
          .in(net.from(net.node, kTcp, tcp(2, 81)), SLUICE_REASON_POLICY_ALLOW),
      Scenario("whose flow it is outlives a change of policy")
          .world(net.open())
          .by(kNodeStack)
          .in(net.from(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_DEFAULT_ALLOW)
          .in(net.from(net.node, kTcp, tcp(2, 80)), SLUICE_REASON_DEFAULT_ALLOW)
          .world(net.isolated())
          .out(net.to(net.node, kTcp, tcp(80, 1, kAck)), SLUICE_REASON_REPLY)
          .out(net.to(net.node, kTcp, tcp(80, 2, kAck)),
               SLUICE_REASON_REPLY_OF_DENIED)
          .in(net.from(net.node, kTcp, tcp(2, 80, kAck)),
              SLUICE_REASON_DEFAULT_DENY),
      Scenario("an entry that denies the own node wins")
          .world(net.isolated({deny_node}))
          .by(kNodeStack)
          .in(net.from(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_POLICY_DENY,
              kRuleB)
          .by(kNodeStack)
          .in(net.from(net.node, kTcp, tcp(1, 81)), SLUICE_REASON_LOCAL_NODE),
      Scenario("at egress the own node is a peer like any other")
          .world(net.isolated())
          .out(net.to(net.node, kTcp, tcp(1, 80)), SLUICE_REASON_DEFAULT_DENY),
  };
}

std::vector<Scenario> address_scenarios(const Net& net) {
  World unmanaged = net.isolated();
  unmanaged.managed = false;
  return {
      Scenario("an endpoint reaches itself")
          .world(net.isolated())
          .by(kOwnInterface)
          .in(net.from(net.own, kTcp, tcp(1, 80)), SLUICE_REASON_SELF),
      Scenario("the endpoint's address from elsewhere is forged")
          .world(net.isolated())
          .in(net.from(net.own, kTcp, tcp(1, 80)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("what an endpoint sends to itself on the wire is for somebody "
               "else")
          .world(net.isolated())
          .out(net.to(net.own, kTcp, tcp(1, 80)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("tunnels to nodes are closed to pods")
          .world(net.open())
          .out(net.to(net.node, kUdp, udp(1, 8472)), SLUICE_REASON_TUNNEL)
          .out(net.to(net.node, kUdp, udp(1, 4789)), SLUICE_REASON_TUNNEL)
          .out(net.to(net.node, kUdp, udp(1, 6081)), SLUICE_REASON_TUNNEL)
          .out(net.to(net.node, kGre, Bytes(8)), SLUICE_REASON_TUNNEL)
          .out(net.to(net.node, 4, Bytes(20)), SLUICE_REASON_TUNNEL)
          .out(net.to(net.node, 41, Bytes(40)), SLUICE_REASON_TUNNEL)
          .out(net.to(net.node, kUdp, udp(1, 8473)),
               SLUICE_REASON_DEFAULT_ALLOW)
          .out(net.to(net.b, kUdp, udp(1, 8472)), SLUICE_REASON_DEFAULT_ALLOW),
      Scenario("an entry does not open tunnels")
          .world(net.isolated({{.direction = SLUICE_EGRESS}}))
          .out(net.to(net.node, kUdp, udp(1, 8472)), SLUICE_REASON_TUNNEL),
      Scenario("an administrator may open tunnels")
          .world([&] {
            World world = net.open();
            world.permits = SLUICE_EP_TUNNELS;
            return world;
          }())
          .out(net.to(net.node, kUdp, udp(1, 8472)),
               SLUICE_REASON_DEFAULT_ALLOW),
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
  for (auto part : {exemption_scenarios, address_scenarios}) {
    for (Scenario& scenario : part(net)) {
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace sluice::testing
