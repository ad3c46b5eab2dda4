// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tests/datapath/scenario.h"

// ARP, neighbour discovery and multicast listener discovery: what every link
// needs, in the form in which a pod may send it.
namespace sluice::testing {
namespace {

constexpr std::uint8_t kRouterSolicitation = 133;
constexpr std::uint8_t kRouterAdvertisement = 134;
constexpr std::uint8_t kSolicitation = 135;
constexpr std::uint8_t kAdvertisement = 136;
constexpr std::uint8_t kRedirect = 137;
constexpr std::uint8_t kQuery = 130;
constexpr std::uint8_t kReport = 131;
constexpr std::uint8_t kDone = 132;
constexpr std::uint8_t kReport2 = 143;
constexpr std::uint16_t kArp = 0x0806;

const IpOptions kNear = {.hop_limit = 255};
const IpOptions kFar = {.hop_limit = 254};
const IpOptions kRouterAlert = {.extensions = {{.body = {5, 2, 0, 0, 1, 0}}},
                                .hop_limit = 1};
// Source link address, RFC 4861, 4.6.1.
const Bytes kLinkOption = {1, 1, 2, 0, 0, 0, 0, 2};

IpAddress ip(const char* text) {
  return parse_ip(text).value();
}

// The fixed part that all have, a target or group, and options.
Bytes message(std::uint8_t type, const IpAddress& target,
              const Bytes& options = {}) {
  constexpr std::size_t kHeader = 8;
  Bytes bytes(kHeader + target.bytes.size() + options.size());
  bytes[0] = type;
  const auto rest = std::ranges::copy(target.bytes, bytes.begin() + kHeader);
  std::ranges::copy(options, rest.out);
  return bytes;
}

Bytes icmp6(const IpAddress& from, const IpAddress& to, const Bytes& body,
            const IpOptions& options = kNear) {
  return ip_frame({.from = from, .to = to}, kIcmp6, body, options);
}

Bytes arp(const Bytes& sender, const Bytes& sender_link, std::size_t more = 0) {
  constexpr std::size_t kSize = 28;
  const Bytes form = {0, 1, 8, 0, 6, 4, 0, 1};
  Bytes bytes(kSize + more);
  auto at = std::ranges::copy(form, bytes.begin()).out;
  at = std::ranges::copy(sender_link, at).out;
  std::ranges::copy(sender, at);
  return ethernet(kArp, bytes);
}

std::vector<Scenario> arp_scenarios(const Net& net) {
  const Bytes own(net.own.bytes.begin(), net.own.bytes.begin() + 4);
  const Bytes other(net.b.bytes.begin(), net.b.bytes.begin() + 4);
  const Bytes link = {2, 0, 0, 0, 0, 2};  // of the frame
  World vrrp = net.open();
  vrrp.permits = SLUICE_EP_ANY_NEIGHBOUR;
  return {
      Scenario("arp passes whatever the policy")
          .world(net.isolated())
          .in(arp(other, link), SLUICE_REASON_ARP)
          .out(arp(own, link), SLUICE_REASON_ARP)
          .out(arp(own, link, 18), SLUICE_REASON_ARP)
          .out(arp({0, 0, 0, 0}, link), SLUICE_REASON_ARP),
      Scenario(
          "a pod's arp carries nothing else and lies about nothing, though "
          "nothing is isolated")
          .world(net.open())
          .out(arp(own, link, 19), SLUICE_REASON_BAD_HEADER)
          .out(ethernet(kArp, Bytes(28)), SLUICE_REASON_BAD_HEADER)
          .out(ethernet(kArp, Bytes(8)), SLUICE_REASON_BAD_HEADER)
          .out(arp(other, link), SLUICE_REASON_SOURCE_ADDRESS)
          .out(arp(own, {2, 0, 0, 0, 0, 3}), SLUICE_REASON_SOURCE_ADDRESS),
      Scenario("an administrator may permit arp for other addresses")
          .world(vrrp)
          .out(arp(other, link), SLUICE_REASON_ARP),
      Scenario("addresses are not a pod's to ask for: dhcp")
          .world(net.open())
          .out(ip_frame({.from = ip("0.0.0.0"), .to = ip("255.255.255.255")},
                        kUdp, udp(68, 67)),
               SLUICE_REASON_SOURCE_ADDRESS)
          .out(net.to(net.b, kUdp, udp(68, 67)), SLUICE_REASON_DEFAULT_ALLOW)};
}

std::vector<Scenario> solicitation_scenarios(const Net& net) {
  const IpAddress link_local = ip("fe80::1");
  const IpAddress unspecified = ip("::");
  const IpAddress group_of_b = ip("ff02::1:ff00:12");  // fd00::12
  const Bytes ask = message(kSolicitation, net.b, kLinkOption);
  Bytes long_option = kLinkOption;
  long_option[1] = 2;
  long_option.resize(16);
  Bytes mtu = kLinkOption;
  mtu[0] = 5;
  const auto denied = [&](const IpAddress& from, const IpAddress& to,
                          const Bytes& body, const IpOptions& options = kNear) {
    return Scenario("not a pod's solicitation")
        .world(net.isolated())
        .out(icmp6(from, to, body, options), SLUICE_REASON_DEFAULT_DENY);
  };
  std::vector<Scenario> all = {
      Scenario("a pod asks for its neighbours' link addresses")
          .world(net.isolated())
          .out(icmp6(net.own, group_of_b, ask),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(link_local, group_of_b, ask),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(net.own, net.b, ask), SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(net.own, net.node, message(kSolicitation, net.node)),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .in(icmp6(net.b, ip("ff02::1:ff00:11"),
                    message(kSolicitation, net.own, kLinkOption)),
              SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .in(icmp6(net.b, net.own, message(kSolicitation, net.own), kFar),
              SLUICE_REASON_DEFAULT_DENY),
      Scenario("duplicate address detection has no source address yet")
          .world(net.isolated())
          .out(icmp6(unspecified, ip("ff02::1:ff00:11"),
                     message(kSolicitation, net.own)),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(unspecified, ip("ff02::1:ff00:11"),
                     icmp(net.echo_request, 0)),
               SLUICE_REASON_SOURCE_ADDRESS),
      Scenario("a pod asks for routers")
          .world(net.isolated())
          .out(icmp6(net.own, ip("ff02::2"),
                     {kRouterSolicitation, 0, 0, 0, 0, 0, 0, 0}),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(net.own, net.external,
                     {kRouterSolicitation, 0, 0, 0, 0, 0, 0, 0}),
               SLUICE_REASON_DEFAULT_DENY),
      Scenario("a pod speaks to its neighbours for itself alone")
          .world(net.open())
          .out(icmp6(net.c, group_of_b, ask), SLUICE_REASON_SOURCE_ADDRESS)
          .out(icmp6(net.c, net.b, message(kAdvertisement, net.c)),
               SLUICE_REASON_SOURCE_ADDRESS)};
  // What a router would forward, data, other forms.
  all.push_back(
      denied(net.own, net.external, message(kSolicitation, net.external)));
  all.push_back(denied(net.own, net.b, message(kSolicitation, net.c)));
  all.push_back(denied(net.own, ip("ff02::1:ff00:13"), ask));
  all.push_back(denied(net.own, ip("ff05::1:ff00:12"), ask));
  all.push_back(denied(net.own, group_of_b, ask, kFar));
  all.push_back(
      denied(net.own, group_of_b, ask, {.extensions = {{}}, .hop_limit = 255}));
  all.push_back(
      denied(net.own, group_of_b, ask, {.hop_limit = 255, .padding = 1}));
  all.push_back(denied(net.own, group_of_b, icmp(kSolicitation, 0, 0, 900)));
  all.push_back(
      denied(net.own, group_of_b, message(kSolicitation, net.b, long_option)));
  all.push_back(
      denied(net.own, group_of_b, message(kSolicitation, net.b, mtu)));
  all.push_back(
      denied(net.own, group_of_b, message(kSolicitation, net.b, Bytes(4, 1))));
  return all;
}

std::vector<Scenario> advertisement_scenarios(const Net& net) {
  const IpAddress all_nodes = ip("ff02::1");
  const IpAddress bridge = ip("fe80::b");
  World vrrp = net.open();
  vrrp.permits = SLUICE_EP_ANY_NEIGHBOUR;
  World bridged = net.open();
  bridged.peers.push_back(
      {.prefix = make_prefix(bridge, 128), .cidr_id = SLUICE_CIDR_LOCAL_NODE});
  // Target link address, RFC 4861, 4.6.1: the frame's, and another one.
  const Bytes own_link = {2, 1, 2, 0, 0, 0, 0, 2};
  const Bytes other_link = {2, 1, 2, 0, 0, 0, 0, 3};
  std::vector<Scenario> all = {
      Scenario("a pod answers for its own addresses")
          .world(net.isolated())
          .out(icmp6(net.own, net.b, message(kAdvertisement, net.own)),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(net.own, all_nodes, message(kAdvertisement, net.own)),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(ip("fe80::1"), net.node,
                     message(kAdvertisement, ip("fe80::1"))),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(net.own, net.b, message(kAdvertisement, net.c)),
               SLUICE_REASON_DEFAULT_DENY)
          .out(icmp6(net.own, net.external, message(kAdvertisement, net.own)),
               SLUICE_REASON_DEFAULT_DENY)
          .out(icmp6(net.own, ip("ff05::2"), message(kAdvertisement, net.own)),
               SLUICE_REASON_DEFAULT_DENY),
      Scenario("a pod's link address is the frame's")
          .world(net.isolated())
          .out(icmp6(net.own, all_nodes,
                     message(kAdvertisement, net.own, own_link)),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(net.own, all_nodes,
                     message(kAdvertisement, net.own, other_link)),
               SLUICE_REASON_DEFAULT_DENY)
          .out(icmp6(net.own, ip("ff02::1:ff00:12"),
                     message(kSolicitation, net.b, other_link)),
               SLUICE_REASON_DEFAULT_DENY),
      Scenario("a pod does not take the node's link-local address")
          .world(bridged)
          .out(icmp6(ip("fe80::1"), all_nodes,
                     message(kAdvertisement, ip("fe80::1"), own_link)),
               SLUICE_REASON_NEIGHBOUR_DISCOVERY)
          .out(icmp6(ip("fe80::1"), all_nodes,
                     message(kAdvertisement, bridge, own_link)),
               SLUICE_REASON_SOURCE_ADDRESS)
          .out(icmp6(bridge, all_nodes,
                     message(kAdvertisement, bridge, own_link)),
               SLUICE_REASON_SOURCE_ADDRESS)
          .out(icmp6(bridge, ip("ff02::1:ff00:12"),
                     message(kSolicitation, net.b, kLinkOption)),
               SLUICE_REASON_SOURCE_ADDRESS),
      Scenario("an administrator may permit answers for other addresses")
          .world(vrrp)
          .out(
              icmp6(net.own, net.b, message(kAdvertisement, net.c, other_link)),
              SLUICE_REASON_NEIGHBOUR_DISCOVERY)};
  for (const std::uint8_t type : {kRouterAdvertisement, kRedirect}) {
    all.push_back(
        Scenario("a pod is nobody's router, whatever allows it")
            .world(net.open())
            .out(net.to(net.b, kIcmp6, icmp(type, 0), kNear),
                 SLUICE_REASON_ROUTER_MESSAGE)
            .out(net.to(net.b, kIcmp6, icmp(type, 0), kFar),
                 SLUICE_REASON_ROUTER_MESSAGE)
            .out(net.to(net.b, kIcmp6, icmp(type, 0),
                        {.extensions = {{}}, .hop_limit = 255}),
                 SLUICE_REASON_ROUTER_MESSAGE)
            .out(net.to(net.b, kIcmp6, icmp(type, 0),
                        {.hop_limit = 255, .fragment = Fragment{.more = true}}),
                 SLUICE_REASON_ROUTER_MESSAGE)
            .in(icmp6(ip("fe80::1"), all_nodes, icmp(type, 0)),
                SLUICE_REASON_NEIGHBOUR_DISCOVERY)
            .world(net.isolated({{.direction = SLUICE_EGRESS}}))
            .out(net.to(net.b, kIcmp6, icmp(type, 0), kNear),
                 SLUICE_REASON_ROUTER_MESSAGE));
  }
  return all;
}

std::vector<Scenario> listener_scenarios(const Net& net) {
  const IpAddress group = ip("ff02::1:ff00:11");
  Bytes report2 = {kReport2, 0, 0, 0, 0, 0, 0, 1};
  report2.resize(8 + 20);
  Bytes with_data = report2;
  with_data.push_back(0);
  Bytes many = report2;
  many.resize(8 + (17 * 20));
  std::vector<Scenario> all;
  for (const IpAddress& from : {ip("fe80::1"), ip("::")}) {
    const auto send = [&](const IpAddress& to, const Bytes& body,
                          const IpOptions& options = kRouterAlert) {
      return icmp6(from, to, body, options);
    };
    all.push_back(Scenario("a pod reports the groups that it listens to, as " +
                           to_string(from))
                      .world(net.isolated())
                      .out(send(ip("ff02::16"), report2),
                           SLUICE_REASON_MULTICAST_LISTENER)
                      .out(send(group, message(kReport, group)),
                           SLUICE_REASON_MULTICAST_LISTENER)
                      .out(send(ip("ff02::2"), message(kDone, group)),
                           SLUICE_REASON_MULTICAST_LISTENER)
                      .in(send(group, message(kReport, group)),
                          SLUICE_REASON_MULTICAST_LISTENER)
                      .in(send(ip("ff02::1"), message(kQuery, group)),
                          SLUICE_REASON_MULTICAST_LISTENER)
                      .out(send(ip("ff02::1"), message(kQuery, group)),
                           SLUICE_REASON_ROUTER_MESSAGE)
                      .in(send(group, message(kReport, group), kFar),
                          SLUICE_REASON_DEFAULT_DENY));
    all.push_back(
        Scenario("no data in a pod's listener messages, as " + to_string(from))
            .world(net.isolated())
            .out(send(ip("ff02::16"), with_data), SLUICE_REASON_SOURCE_ADDRESS)
            .out(send(ip("ff02::16"), many), SLUICE_REASON_SOURCE_ADDRESS)
            .out(send(net.b, report2), SLUICE_REASON_SOURCE_ADDRESS)
            .out(send(ip("ff02::17"), report2), SLUICE_REASON_SOURCE_ADDRESS)
            .out(send(ip("ff02::16"), report2, {.hop_limit = 1}),
                 SLUICE_REASON_SOURCE_ADDRESS)
            .out(send(ip("ff02::16"), report2,
                      {.extensions = {{.body = {1, 4, 9, 9, 9, 9}}},
                       .hop_limit = 1}),
                 SLUICE_REASON_SOURCE_ADDRESS)
            .out(send(ip("ff02::1:ff00:99"), message(kReport, group)),
                 SLUICE_REASON_SOURCE_ADDRESS)
            .out(send(ip("ff02::3"), message(kDone, group)),
                 SLUICE_REASON_SOURCE_ADDRESS));
  }
  all.push_back(
      Scenario("addresses are not a pod's to ask for: dhcpv6")
          .world(net.open())
          .out(ip_frame({.from = ip("fe80::1"), .to = ip("ff02::1:2")}, kUdp,
                        udp(546, 547)),
               SLUICE_REASON_SOURCE_ADDRESS)
          .out(net.to(net.b, kUdp, udp(546, 547)),
               SLUICE_REASON_DEFAULT_ALLOW));
  return all;
}

}  // namespace

std::vector<Scenario> link_scenarios(const Net& net) {
  if (!net.v6) {
    return arp_scenarios(net);
  }
  std::vector<Scenario> all;
  for (const auto topic :
       {solicitation_scenarios, advertisement_scenarios, listener_scenarios}) {
    for (Scenario& scenario : topic(net)) {
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace sluice::testing
