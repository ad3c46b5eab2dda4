// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/scenario.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kRule = 200;
constexpr std::uint32_t kDenyRule = 201;

constexpr Entry kAllowIn80 = {.direction = SLUICE_INGRESS,
                              .protocol = kTcp,
                              .port = 80,
                              .port_bits = 16,
                              .rule = kRule};
constexpr Entry kAllowOut80 = {.direction = SLUICE_EGRESS,
                               .protocol = kTcp,
                               .port = 80,
                               .port_bits = 16,
                               .rule = kRule};
constexpr Entry kDenyOut80 = {.direction = SLUICE_EGRESS,
                              .protocol = kTcp,
                              .port = 80,
                              .port_bits = 16,
                              .verdict = SLUICE_VERDICT_DENY,
                              .rule = kDenyRule};
constexpr Entry kAllowOut53 = {.direction = SLUICE_EGRESS,
                               .protocol = kUdp,
                               .port = 53,
                               .port_bits = 16,
                               .rule = kRule};

// The four packets that the TCP scenarios are made of: client b to port 80 of
// the endpoint, and the endpoint as client of b's port 80.
struct Tcp {
  explicit Tcp(const Net& net)
      : in_syn(net.from(net.b, kTcp, tcp(1000, 80))),
        in_syn_ack_out(net.to(net.b, kTcp, tcp(80, 1000, kSyn | kAck))),
        in_ack(net.from(net.b, kTcp, tcp(1000, 80, kAck))),
        in_ack_out(net.to(net.b, kTcp, tcp(80, 1000, kAck))),
        out_syn(net.to(net.b, kTcp, tcp(1000, 80))),
        out_syn_ack_in(net.from(net.b, kTcp, tcp(80, 1000, kSyn | kAck))),
        out_ack(net.to(net.b, kTcp, tcp(1000, 80, kAck))),
        out_ack_in(net.from(net.b, kTcp, tcp(80, 1000, kAck))) {}
  Bytes in_syn, in_syn_ack_out, in_ack, in_ack_out;
  Bytes out_syn, out_syn_ack_in, out_ack, out_ack_in;
};

World with(World world, sluice_on_policy_change change) {
  world.on_policy_change = change;
  return world;
}

std::vector<Scenario> reply_scenarios(const Net& net) {
  const Tcp t(net);
  const Bytes query = net.to(net.b, kUdp, udp(999, 53));
  const Bytes answer = net.from(net.b, kUdp, udp(53, 999));
  return {
      Scenario("replies of an allowed flow pass an isolated egress")
          .world(net.isolated({kAllowIn80}))
          .in(t.in_syn, SLUICE_REASON_POLICY_ALLOW, kRule)
          .out(t.in_syn_ack_out, SLUICE_REASON_REPLY)
          .in(t.in_ack, SLUICE_REASON_ESTABLISHED)
          .out(t.in_ack_out, SLUICE_REASON_REPLY),
      Scenario("replies of an allowed query pass an isolated ingress")
          .world(net.isolated({kAllowOut53}))
          .out(query, SLUICE_REASON_POLICY_ALLOW, kRule)
          .in(answer, SLUICE_REASON_REPLY)
          .out(query, SLUICE_REASON_ESTABLISHED),
      Scenario("an answer that nobody asked for is dropped")
          .world(net.isolated({kAllowOut53}))
          .in(answer, SLUICE_REASON_DEFAULT_DENY),
      Scenario("an answer from another peer is no reply")
          .world(net.isolated({kAllowOut53}))
          .out(query, SLUICE_REASON_POLICY_ALLOW)
          .in(net.from(net.c, kUdp, udp(53, 999)), SLUICE_REASON_DEFAULT_DENY),
      Scenario("state is kept of flows that were allowed without policy")
          .world(net.open())
          .out(t.out_syn, SLUICE_REASON_DEFAULT_ALLOW,
               SLUICE_RULE_DEFAULT_ALLOW)
          .world(net.isolated({kAllowOut80}))
          .in(t.out_syn_ack_in, SLUICE_REASON_REPLY)
          .out(t.out_ack, SLUICE_REASON_ESTABLISHED),
      Scenario("other protocols have flows too")
          .world(net.isolated(
              {{.direction = SLUICE_EGRESS, .protocol = kGre, .rule = kRule}}))
          .out(net.to(net.b, kGre, Bytes(8)), SLUICE_REASON_POLICY_ALLOW, kRule)
          .in(net.from(net.b, kGre, Bytes(8)), SLUICE_REASON_REPLY),
      Scenario("sctp flows know their ports")
          .world(net.isolated({{.direction = SLUICE_EGRESS,
                                .protocol = kSctp,
                                .port = 80,
                                .port_bits = 16,
                                .rule = kRule}}))
          .out(net.to(net.b, kSctp, sctp(7, 80)), SLUICE_REASON_POLICY_ALLOW,
               kRule)
          .in(net.from(net.b, kSctp, sctp(80, 7)), SLUICE_REASON_REPLY)
          .in(net.from(net.b, kSctp, sctp(80, 8)), SLUICE_REASON_DEFAULT_DENY),
  };
}

std::vector<Scenario> change_scenarios(const Net& net) {
  const Tcp t(net);
  return {
      Scenario("P23 a policy that denies an established flow stops it at its "
               "next packet")
          .world(net.open())
          .out(t.out_syn, SLUICE_REASON_DEFAULT_ALLOW)
          .in(t.out_syn_ack_in, SLUICE_REASON_REPLY)
          .world(net.isolated({kDenyOut80}))
          .out(t.out_ack, SLUICE_REASON_POLICY_DENY, kDenyRule)
          .in(t.out_ack_in, SLUICE_REASON_REPLY_OF_DENIED, kDenyRule)
          .world(net.isolated())
          .out(t.out_ack, SLUICE_REASON_DEFAULT_DENY,
               SLUICE_RULE_DEFAULT_DENY_EGRESS)
          .in(t.out_ack_in, SLUICE_REASON_REPLY_OF_DENIED),
      Scenario("P23 with continue an established flow goes on and no other")
          .world(net.open())
          .out(t.out_syn, SLUICE_REASON_DEFAULT_ALLOW)
          .world(with(net.isolated(), SLUICE_CHANGE_CONTINUE))
          .in(t.out_syn_ack_in, SLUICE_REASON_REPLY)
          .out(t.out_ack, SLUICE_REASON_ESTABLISHED)
          .out(net.to(net.b, kTcp, tcp(1001, 80)), SLUICE_REASON_DEFAULT_DENY)
          .world(with(net.isolated(), SLUICE_CHANGE_REEVALUATE))
          .out(t.out_ack, SLUICE_REASON_DEFAULT_DENY),
      Scenario("P24 replies are judged by the direction that opened the flow")
          .world(net.isolated({kAllowIn80}))
          .in(t.in_syn, SLUICE_REASON_POLICY_ALLOW)
          .out(t.in_syn_ack_out, SLUICE_REASON_REPLY)
          .world(net.isolated({kAllowIn80}))
          .out(t.in_ack_out, SLUICE_REASON_REPLY)
          .in(t.in_ack, SLUICE_REASON_ESTABLISHED),
      Scenario("a flow that was denied in between goes on when it is allowed "
               "again")
          .world(net.isolated({kAllowIn80}))
          .in(t.in_syn, SLUICE_REASON_POLICY_ALLOW)
          .world(net.isolated())
          .in(t.in_ack, SLUICE_REASON_DEFAULT_DENY)
          .out(t.in_ack_out, SLUICE_REASON_REPLY_OF_DENIED)
          .world(net.isolated({kAllowIn80}))
          .out(t.in_ack_out, SLUICE_REASON_REPLY)
          .in(t.in_ack, SLUICE_REASON_ESTABLISHED),
      Scenario("a reply brings a stale flow up to date by the opener's port")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .world(net.isolated({kAllowOut80, kAllowIn80}))
          .in(t.out_syn_ack_in, SLUICE_REASON_REPLY)
          .out(t.out_ack, SLUICE_REASON_ESTABLISHED),
  };
}

std::vector<Scenario> syn_scenarios(const Net& net) {
  const Tcp t(net);
  const Bytes back_syn = net.from(net.b, kTcp, tcp(80, 1000));
  const Entry allow_in_1000 = {.direction = SLUICE_INGRESS,
                               .protocol = kTcp,
                               .port = 1000,
                               .port_bits = 16,
                               .rule = kDenyRule};
  const auto fin = [&](bool in) {
    return in ? net.from(net.b, kTcp, tcp(80, 1000, kFin | kAck))
              : net.to(net.b, kTcp, tcp(1000, 80, kFin | kAck));
  };
  return {
      Scenario("a SYN against the direction of a flow is a flow of its own")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .in(back_syn, SLUICE_REASON_DEFAULT_DENY,
              SLUICE_RULE_DEFAULT_DENY_INGRESS)
          .in(t.out_syn_ack_in, SLUICE_REASON_REPLY),
      Scenario("a SYN against the direction takes the flow over if it is "
               "allowed")
          .world(net.isolated({kAllowOut80, allow_in_1000}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW, kRule)
          .in(back_syn, SLUICE_REASON_POLICY_ALLOW, kDenyRule)
          .out(net.to(net.b, kTcp, tcp(1000, 80, kSyn | kAck)),
               SLUICE_REASON_REPLY)
          .world(net.isolated({kAllowOut80}))
          .in(t.out_ack_in, SLUICE_REASON_DEFAULT_DENY),
      Scenario("a repeated SYN belongs to its flow")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .out(t.out_syn, SLUICE_REASON_ESTABLISHED),
      Scenario("a SYN after both sides' FIN starts over")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .in(t.out_syn_ack_in, SLUICE_REASON_REPLY)
          .out(fin(false), SLUICE_REASON_ESTABLISHED)
          .out(t.out_syn, SLUICE_REASON_ESTABLISHED)
          .in(fin(true), SLUICE_REASON_REPLY)
          .out(t.out_ack, SLUICE_REASON_ESTABLISHED)
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW, kRule)
          .out(t.out_syn, SLUICE_REASON_ESTABLISHED),
      Scenario("a SYN after a RST starts over")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .in(net.from(net.b, kTcp, tcp(80, 1000, kRst | kAck)),
              SLUICE_REASON_REPLY)
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW, kRule),
      Scenario("a flow met in its middle is judged as its packet goes")
          .world(net.isolated({kAllowIn80}))
          .in(t.in_ack, SLUICE_REASON_POLICY_ALLOW, kRule)
          .out(t.in_ack_out, SLUICE_REASON_REPLY)
          .forget()
          .out(t.in_ack_out, SLUICE_REASON_DEFAULT_DENY),
  };
}

// A SYN-ACK answers a SYN. Where no SYN was seen the flow is older than the
// endpoint's state, and which side opened it is not known from this packet.
std::vector<Scenario> unasked_scenarios(const Net& net) {
  const Tcp t(net);
  const auto allow_1000 = [](sluice_direction direction) {
    return Entry{.direction = direction,
                 .protocol = kTcp,
                 .port = 1000,
                 .port_bits = 16,
                 .rule = kRule};
  };
  return {
      Scenario("a SYN-ACK to the endpoint that an entry allows opens no flow")
          .world(net.isolated({allow_1000(SLUICE_INGRESS)}))
          .in(t.out_syn_ack_in, SLUICE_REASON_POLICY_ALLOW)
          .in(t.out_syn_ack_in, SLUICE_REASON_POLICY_ALLOW)
          .out(t.out_ack, SLUICE_REASON_DEFAULT_DENY,
               SLUICE_RULE_DEFAULT_DENY_EGRESS),
      Scenario("a SYN-ACK of the endpoint that an entry allows opens no flow")
          .world(net.isolated({allow_1000(SLUICE_EGRESS)}))
          .out(t.in_syn_ack_out, SLUICE_REASON_POLICY_ALLOW)
          .out(t.in_syn_ack_out, SLUICE_REASON_POLICY_ALLOW)
          .in(t.in_ack, SLUICE_REASON_DEFAULT_DENY,
              SLUICE_RULE_DEFAULT_DENY_INGRESS),
      Scenario("a SYN-ACK met first does not turn its flow around")
          .world(net.open())
          .in(t.out_syn_ack_in, SLUICE_REASON_DEFAULT_ALLOW)
          .world(net.isolated({kAllowOut80}))
          .in(t.out_syn_ack_in, SLUICE_REASON_DEFAULT_DENY)
          .out(t.out_ack, SLUICE_REASON_POLICY_ALLOW, kRule)
          .in(t.out_ack_in, SLUICE_REASON_REPLY),
      Scenario("a SYN-ACK that an entry denies names its rule")
          .world(net.isolated({kAllowIn80, kDenyOut80}))
          .out(net.to(net.b, kTcp, tcp(1000, 80, kSyn | kAck)),
               SLUICE_REASON_POLICY_DENY, kDenyRule),
  };
}

std::vector<Scenario> idle_scenarios(const Net& net) {
  const Tcp t(net);
  const Bytes query = net.to(net.b, kUdp, udp(999, 53));
  const Bytes answer = net.from(net.b, kUdp, udp(53, 999));
  const Bytes rst = net.from(net.b, kTcp, tcp(80, 1000, kRst | kAck));
  return {
      Scenario("an unanswered query is forgotten after a minute")
          .world(net.isolated({kAllowOut53}))
          .out(query, SLUICE_REASON_POLICY_ALLOW)
          .idle(55)
          .out(query, SLUICE_REASON_ESTABLISHED)
          .idle(65)
          .in(answer, SLUICE_REASON_DEFAULT_DENY),
      Scenario("an answered query is forgotten after three minutes")
          .world(net.isolated({kAllowOut53}))
          .out(query, SLUICE_REASON_POLICY_ALLOW)
          .in(answer, SLUICE_REASON_REPLY)
          .idle(175)
          .in(answer, SLUICE_REASON_REPLY)
          .idle(185)
          .in(answer, SLUICE_REASON_DEFAULT_DENY),
      Scenario("an idle tcp connection lives for two hours")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .in(t.out_syn_ack_in, SLUICE_REASON_REPLY)
          .idle(7400)
          .in(t.out_ack_in, SLUICE_REASON_REPLY)
          .idle(7500)
          .in(t.out_ack_in, SLUICE_REASON_DEFAULT_DENY),
      Scenario("a tcp connection that is not answered is forgotten sooner")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .idle(250)
          .in(t.out_syn_ack_in, SLUICE_REASON_DEFAULT_DENY),
      Scenario("a reset tcp connection is forgotten after ten seconds")
          .world(net.isolated({kAllowOut80}))
          .out(t.out_syn, SLUICE_REASON_POLICY_ALLOW)
          .in(rst, SLUICE_REASON_REPLY)
          .idle(9)
          .in(rst, SLUICE_REASON_REPLY)
          .idle(12)
          .in(rst, SLUICE_REASON_DEFAULT_DENY),
      Scenario("a forgotten flow may begin again")
          .world(net.isolated({kAllowOut53}))
          .out(query, SLUICE_REASON_POLICY_ALLOW)
          .idle(100)
          .out(query, SLUICE_REASON_POLICY_ALLOW, kRule)
          .in(answer, SLUICE_REASON_REPLY),
  };
}

// Several packets have to pass before the flow cache knows a flow.
std::vector<Scenario> cache_scenarios(const Net& net) {
  const Tcp t(net);
  const Bytes query = net.to(net.b, kUdp, udp(999, 53));
  const Bytes answer = net.from(net.b, kUdp, udp(53, 999));
  const auto served = [&](const char* sentence) {
    return Scenario(sentence)
        .world(net.isolated({kAllowIn80}))
        .in(t.in_syn, SLUICE_REASON_POLICY_ALLOW)
        .out(t.in_syn_ack_out, SLUICE_REASON_REPLY)
        .in(t.in_ack, SLUICE_REASON_ESTABLISHED)
        .out(t.in_ack_out, SLUICE_REASON_REPLY)
        .repeat(2, 5);
  };
  const auto asked = [&](const char* sentence) {
    return Scenario(sentence)
        .world(net.isolated({kAllowOut53}))
        .out(query, SLUICE_REASON_POLICY_ALLOW)
        .out(query, SLUICE_REASON_ESTABLISHED)
        .repeat(1, 5);
  };
  return {
      served("a cached flow is not that of another port, peer or protocol")
          .in(net.from(net.b, kTcp, tcp(1000, 81, kAck)),
              SLUICE_REASON_DEFAULT_DENY)
          .out(net.to(net.c, kTcp, tcp(80, 1000, kAck)),
               SLUICE_REASON_DEFAULT_DENY)
          .out(net.to(net.b, kUdp, udp(80, 1000)), SLUICE_REASON_DEFAULT_DENY)
          .out(net.to(net.b, kTcp, tcp(1000, 80, kAck)),
               SLUICE_REASON_DEFAULT_DENY),
      served("a policy change reaches a cached flow at its next packet")
          .world(net.isolated())
          .in(t.in_ack, SLUICE_REASON_DEFAULT_DENY)
          .out(t.in_ack_out, SLUICE_REASON_REPLY_OF_DENIED)
          .world(net.isolated({kAllowIn80}))
          .out(t.in_ack_out, SLUICE_REASON_REPLY)
          .in(t.in_ack, SLUICE_REASON_ESTABLISHED)
          .world(net.isolated())
          .out(t.in_ack_out, SLUICE_REASON_REPLY_OF_DENIED)
          .in(t.in_ack, SLUICE_REASON_DEFAULT_DENY),
      served("a cached flow outlives its place in a full conntrack")
          .evict()
          .out(t.in_ack_out, SLUICE_REASON_REPLY)
          .evict()
          .idle(1)
          .out(t.in_ack_out, SLUICE_REASON_REPLY)
          .in(t.in_ack, SLUICE_REASON_ESTABLISHED)
          .evict()
          .idle(3)
          .out(t.in_ack_out, SLUICE_REASON_DEFAULT_DENY),
      served("the end of a cached flow is seen, and its next beginning")
          .in(net.from(net.b, kTcp, tcp(1000, 80, kRst)),
              SLUICE_REASON_ESTABLISHED)
          .in(t.in_syn, SLUICE_REASON_POLICY_ALLOW, kRule)
          .out(t.in_syn_ack_out, SLUICE_REASON_REPLY),
      served("a cached flow that idles long enough is gone")
          .idle(7500)
          .out(t.in_ack_out, SLUICE_REASON_DEFAULT_DENY),
      asked("a cached flow that is answered lives as long as any answered one")
          .in(answer, SLUICE_REASON_REPLY)
          .in(answer, SLUICE_REASON_REPLY)
          .idle(175)
          .in(answer, SLUICE_REASON_REPLY),
      asked("a cached flow that is not answered is forgotten after a minute")
          .idle(65)
          .in(answer, SLUICE_REASON_DEFAULT_DENY),
  };
}

}  // namespace

std::vector<Scenario> flow_scenarios(const Net& net) {
  std::vector<Scenario> all;
  for (const auto topic :
       {reply_scenarios, change_scenarios, syn_scenarios, unasked_scenarios,
        idle_scenarios, cache_scenarios}) {
    for (Scenario& scenario : topic(net)) {
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace sluice::testing
