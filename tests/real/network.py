# SPDX-License-Identifier: Apache-2.0
"""The lab's wires: a switch with the nodes and the API server on it, an overlay between the nodes, and
a host outside whose packets come in by the router that the sandbox's own namespace is.

  172.30.0.1, fd00:172:30::1               API server and router
  172.30.0.(10+n), fd00:172:30::(10+n)     node n
  10.244.n.0/24, fd00:10:244:n::/64        pods of node n; VXLAN between the nodes, as flannel makes it
  203.0.113.7, 2001:db8:113::7             the outsider
  198.51.100.n, 2001:db8:51::n             addresses that a load balancer sends to node n
"""

import os

from tests.netns import lab as netlab

PODS = ("10.244.0.0/16", "fd00:10:244::/48")
ROUTER = ("172.30.0.1", "fd00:172:30::1")
_OUTSIDE_GATEWAY = ("203.0.113.1", "2001:db8:113::1")
_OUTSIDER = ("203.0.113.7", "2001:db8:113::7")


def node_addresses(number):
    return f"172.30.0.{10 + number}", f"fd00:172:30::{10 + number}"


def pod_ranges(number):
    return f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"


def balanced_addresses(number):
    """Addresses of a cloud's load balancer that hands what comes on to a node."""
    return f"198.51.100.{number}", f"2001:db8:51::{number}"


def _overlay_addresses(number):
    return f"10.244.{number}.0", f"fd00:10:244:{number}::"


def _overlay_mac(number):
    return f"02:00:0a:f4:{number:02x}:00"


def _sysctl(netns, **values):
    """In a namespace, or in the sandbox's own where that is None."""
    if netns:
        netns.sysctl(**values)
        return
    for key, value in values.items():
        with open("/proc/sys/net/" + key.replace("__", "/"), "w", encoding="ascii") as file:
            file.write(str(value))


_ROUTES = {"ipv4__ip_forward": 1, "ipv6__conf__all__forwarding": 1, "ipv6__conf__default__accept_dad": 0}


class Peer:
    """Whoever sends or answers: a network namespace and an address of each family."""

    def __init__(self, name, ns, ipv4, ipv6):
        self.name, self.ns, self.ipv4, self.ipv6 = name, ns, ipv4, ipv6

    def address(self, family):
        return self.ipv4 if family == 4 else self.ipv6


class OpenNetns(netlab.Netns):
    """A network namespace that somebody else made, by the process that is in it."""

    def __init__(self, name, pid):  # pylint: disable=W0231
        self.name = name
        self.fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def close(self):
        os.close(self.fd)


class Fabric:
    """All of it. One per sandbox; goes with it."""

    def __init__(self, count):
        self.count = count
        _sysctl(None, **_ROUTES)
        self._own("link set lo up", "link add fabric type bridge",
                  f"addr add {ROUTER[0]}/24 dev fabric", f"addr add {ROUTER[1]}/64 dev fabric nodad",
                  "link set fabric up")
        self.outsider = self._make_outsider()

    @staticmethod
    def _own(*commands):
        netlab.run("ip", "-batch", "-", stdin="\n".join(commands) + "\n")

    def _make_outsider(self):
        netns = netlab.Netns("outsider")
        _sysctl(netns, ipv6__conf__default__accept_dad=0)
        self._own("link add outside type veth peer name eth0 netns outsider",
                  f"addr add {_OUTSIDE_GATEWAY[0]}/24 dev outside",
                  f"addr add {_OUTSIDE_GATEWAY[1]}/64 dev outside nodad", "link set outside up")
        netns.ip(f"addr add {_OUTSIDER[0]}/24 dev eth0", f"addr add {_OUTSIDER[1]}/64 dev eth0 nodad",
                 "link set eth0 up", f"route add default via {_OUTSIDE_GATEWAY[0]}",
                 f"route add default via {_OUTSIDE_GATEWAY[1]}")
        return Peer("outsider", netns, *_OUTSIDER)

    def plug(self, name, number):
        """Makes a node's network: its namespace, its place on the switch, its end of the overlay."""
        netns = netlab.Netns(name)
        _sysctl(netns, **_ROUTES)
        port = f"port{number}"
        self._own(f"link add {port} type veth peer name eth0 netns {name}",
                  f"link set {port} master fabric up")
        four, six = node_addresses(number)
        netns.ip(f"addr add {four}/24 dev eth0", f"addr add {six}/64 dev eth0 nodad", "link set eth0 up",
                 f"route add default via {ROUTER[0]}", f"route add default via {ROUTER[1]}")
        self._make_overlay(netns, number)
        self._masquerade(netns)
        for family, pods in enumerate(pod_ranges(number)):
            self._own(f"route replace {pods} via {node_addresses(number)[family]}",
                      f"route replace {balanced_addresses(number)[family]} via {node_addresses(number)[family]}")
        return netns

    def _make_overlay(self, netns, number):
        commands = [f"link add flannel.1 address {_overlay_mac(number)} type vxlan id 1 dev eth0"
                    f" local {node_addresses(number)[0]} dstport 8472 nolearning",
                    f"addr add {_overlay_addresses(number)[0]}/32 dev flannel.1",
                    f"addr add {_overlay_addresses(number)[1]}/128 dev flannel.1 nodad",
                    "link set flannel.1 up"]
        for other in range(1, self.count + 1):
            if other == number:
                continue
            mac = _overlay_mac(other)
            for pods, via in zip(pod_ranges(other), _overlay_addresses(other)):
                commands += [f"neigh replace {via} lladdr {mac} dev flannel.1 nud permanent",
                             f"route add {pods} via {via} dev flannel.1 onlink"]
        netns.ip(*commands)
        for other in range(1, self.count + 1):
            if other != number:
                netlab.run("bridge", "-n", netns.name, "fdb", "append", _overlay_mac(other), "dev", "flannel.1",
                           "dst", node_addresses(other)[0])

    @staticmethod
    def _masquerade(netns):
        """What leaves the pods' network gets the node's address, as flannel does it."""
        lines = []
        for table, pods, group in (("ip", PODS[0], "224.0.0.0/4"), ("ip6", PODS[1], "ff00::/8")):
            lines += [f"table {table} overlay {{", "chain postrouting {",
                      "type nat hook postrouting priority srcnat + 1",
                      f"{table} saddr {pods} {table} daddr {pods} return",
                      f"{table} saddr {pods} {table} daddr != {group} masquerade", "}", "}"]
        netlab.run("nsenter", f"--net=/run/netns/{netns.name}", "nft", "-f", "-",
                   stdin="\n".join(lines) + "\n")
