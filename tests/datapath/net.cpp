// SPDX-License-Identifier: Apache-2.0
#include "tests/datapath/net.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace sluice::testing {
namespace {

IpAddress ip(const char* text) {
  return parse_ip(text).value();
}

Peer host(const IpAddress& address, std::uint32_t cidr_id) {
  return {.prefix = make_prefix(address, address.bits()), .cidr_id = cidr_id};
}

}  // namespace

World Net::open() const {
  World world;
  world.peers = peers;
  return world;
}

World Net::isolated(std::vector<Entry> entries) const {
  World world;
  world.isolated = {true, true};
  world.entries = std::move(entries);
  world.peers = peers;
  return world;
}

Net make_net(bool v6) {
  Net net;
  net.v6 = v6;
  if (v6) {
    net.own = ip("fd00::11");
    net.b = ip("fd00::12");
    net.c = ip("fd00::13");
    net.node = ip("fd00:ffff::1");
    net.external = ip("2001:db8::7");
    net.stranger = ip("2001:db9::9");
    net.multicast = ip("ff05::1:3");
    net.icmp_protocol = kIcmp6;
    net.echo_request = 128;
    net.echo_reply = 129;
    net.unreachable = 1;
  } else {
    net.own = ip("10.0.0.11");
    net.b = ip("10.0.0.12");
    net.c = ip("10.0.0.13");
    net.node = ip("10.0.255.1");
    net.external = ip("203.0.113.7");
    net.stranger = ip("198.51.100.9");
    net.multicast = ip("239.1.2.3");
  }
  net.peers = {host(net.b, kClassB),
               host(net.c, kClassC),
               host(net.node, kClassNode),
               {.prefix = make_prefix(net.external, v6 ? 64 : 24),
                .cidr_id = kClassExternal}};
  return net;
}

Runner& shared_runner() {
  static Runner runner = [] {
    auto created =
        Runner::create(make_net(false).own, make_net(true).own, small_maps());
    if (!created) {
      std::fprintf(stderr, "%s\n", created.error().message.c_str());
      std::exit(1);  // NOLINT(concurrency-mt-unsafe)
    }
    return std::move(*created);
  }();
  return runner;
}

}  // namespace sluice::testing
