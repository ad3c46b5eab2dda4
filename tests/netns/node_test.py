# SPDX-License-Identifier: Apache-2.0
"""A whole node: masqueraded node ports, forged sources, tunnels and what else gets round an address."""

import select
import socket
import struct
import time

from tests.netns import frames
from tests.netns.node_lab import on_both
from tests.netns.traffic import ALLOWED, DENIED

_UDP = 5353


class _Inbox:
    """What arrives at a UDP port of a member: texts, until one that must arrive."""

    def __init__(self, case, member):
        with member.ns.entered():
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.bind(("::", _UDP))
        case.addCleanup(self._socket.close)

    def until(self, last, seconds=5):
        """All that has come when `last` has, and what is a little late."""
        seen, deadline = set(), time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if not select.select([self._socket], [], [], max(left, 0))[0]:
                break
            seen.add(self._socket.recv(100).decode())
            if last in seen:
                deadline = min(deadline, time.monotonic() + 0.2)
        if last not in seen:
            raise AssertionError(f"{last} has not arrived, but {sorted(seen)}")
        return seen - {last}


def _send(member, address, text):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with member.ns.entered(), socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), (address, _UDP))


class _NodePort:
    """kube-proxy masquerades what comes through a node port: the pod's veth sees the node's address."""

    def setUp(self):
        super().setUp()
        self.srv, self.other = self.lab.pod("srv", 2), self.lab.pod("other", 3)
        self.lab.serve(self.srv, 8080)
        for protocol in ("tcp", "udp"):
            self.lab.node_port(31080, self.srv, 8080, protocol)

    def check_all(self, **verdicts):
        """verdicts: member=(directly, through the node port)"""
        members = {"node": self.lab.node, "out": self.lab.out, "other": self.other, "srv": self.srv}
        wanted = []
        for name, (direct, through) in verdicts.items():
            for what in ("ask-tcp", "ask-udp"):
                if direct:
                    wanted.append((members[name], self.srv, f"{what}/8080", direct))
                if through:
                    wanted.append((members[name], self.lab.node, f"{what}/31080", through))
        self.check(*wanted)

    def test_without_policy_everybody_gets_in(self):
        self.start()
        self.check_all(node=(ALLOWED, None), out=(ALLOWED, ALLOWED), other=(ALLOWED, ALLOWED),
                       srv=(None, ALLOWED))

    def test_it_lets_nobody_into_an_isolated_pod_but_the_node_and_itself(self):
        self.isolate(self.srv, "Ingress")
        self.start()
        self.check_all(node=(ALLOWED, ALLOWED), out=(DENIED, DENIED), other=(DENIED, DENIED),
                       srv=(None, ALLOWED))

    def test_policy_knows_who_calls(self):
        cidrs = [f"{self.lab.out.address(4)}/32", f"{self.lab.out.address(6)}/128"]
        self.isolate(self.srv, "Ingress", ingress=[{"from": [{"ipBlock": {"cidr": c}} for c in cidrs]}])
        self.start()
        self.check_all(node=(ALLOWED, ALLOWED), out=(ALLOWED, ALLOWED), other=(DENIED, DENIED))

    def test_policy_knows_which_pod_calls(self):
        self.isolate(self.srv, "Ingress",
                     ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "other"}}}]}])
        self.start()
        self.check_all(out=(DENIED, DENIED), other=(ALLOWED, ALLOWED))


class _Forged:
    """Whose address a packet carries is no proof of who sent it."""

    def test_from_outside_with_an_address_of_the_pod_or_of_the_node(self):
        srv = self.lab.pod("srv", 2)
        self.isolate(srv, "Ingress")
        self.start()
        inbox, up = _Inbox(self, srv), self.lab.node.mac("up0")
        forged = [srv.address(6), self.lab.node.address(6), "fd09::1",
                  srv.address(4), self.lab.node.address(4), "10.9.0.1"]
        self.lab.out.inject(frames.ethernet(up, frames.udp(
            s, srv.address(6 if ":" in s else 4), 9, _UDP, s.encode())) for s in forged)
        _send(self.lab.node, srv.address(6), "last")
        self.assertEqual(inbox.until("last"), set())

    def test_of_a_pod_with_a_friends_address(self):
        """The forger has no policy of its own; tags come off in the node's stack."""
        srv, friend, evil = (self.lab.pod(n, i) for i, n in enumerate(("srv", "friend", "evil"), 2))
        self.isolate(srv, "Ingress",
                     ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}])
        self.start()
        inbox, gate = _Inbox(self, srv), self.lab.gateway_mac(evil)
        kinds = {"plain": (), "priority": ((frames.VLAN, 0),), "service": ((frames.VLAN_AD, 0),),
                 "stacked": ((frames.VLAN, 0), (frames.VLAN, 0)), "vlan": ((frames.VLAN, 5),)}
        evil.inject(frames.ethernet(gate, frames.udp(
            friend.address(family), srv.address(family), 9, _UDP, f"{kind} {family}".encode()),
            tags=tags) for kind, tags in kinds.items() for family in (4, 6))
        _send(friend, srv.address(4), "last")
        self.assertEqual(inbox.until("last"), set())

    def tunnel(self):
        """A victim that takes a friend's packets alone, its inbox, somebody evil, and what that one wraps up for
        the node's tunnel device."""
        srv, friend, evil = (self.lab.pod(n, i) for i, n in enumerate(("srv", "friend", "evil"), 2))
        self.isolate(srv, "Ingress",
                     ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}])
        self.lab.node.ns.ip("link add flannel.1 type vxlan id 1 dstport 8472 local "
                            f"{self.lab.node.address(4)} nolearning dev up0",
                            "link set flannel.1 up", "addr add 10.9.255.0/32 dev flannel.1")
        inner = frames.ethernet(self.lab.node.mac("flannel.1"), frames.udp(
            friend.address(4), srv.address(4), 9, _UDP, b"wrapped"))
        return friend, evil, frames.vxlan(1, inner)

    def test_inside_a_tunnel_to_the_nodes_own_device(self):
        friend, evil, wrapped = self.tunnel()
        self.start()
        inbox = _Inbox(self, self.lab.pods["srv"])
        evil.inject([frames.ethernet(self.lab.gateway_mac(evil), frames.udp(
            evil.address(4), self.lab.node.address(4), 4444, 8472, wrapped))])
        _send(friend, self.lab.pods["srv"].address(4), "last")
        self.assertEqual(inbox.until("last"), set())

    def test_inside_a_tunnel_by_way_of_a_service(self):
        """The pod's packet goes to the Service's address, and the node's device is where kube-proxy sends it."""
        friend, evil, wrapped = self.tunnel()
        self.lab.rules("table ip tunnel {\nchain prerouting {\ntype nat hook prerouting priority -100\n"
                       f"ip daddr 10.96.0.11 udp dport 9999 dnat to {self.lab.node.address(4)}:8472\n}}\n}}\n")
        meta = {"namespace": "a", "name": "tunnel"}
        self.manifests.put("tunnel", {
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"clusterIP": "10.96.0.11", "clusterIPs": ["10.96.0.11"],
                     "ports": [{"name": "p", "port": 9999, "protocol": "UDP", "targetPort": 8472}]}}, {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "tunnel"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": [self.lab.node.address(4)], "conditions": {"ready": True}}],
            "ports": [{"name": "p", "port": 8472, "protocol": "UDP"}]})
        self.start()
        inbox = _Inbox(self, self.lab.pods["srv"])
        evil.inject([frames.ethernet(self.lab.gateway_mac(evil), frames.udp(
            evil.address(4), "10.96.0.11", 4444, 9999, wrapped))])
        _send(friend, self.lab.pods["srv"].address(4), "last")
        self.assertEqual(inbox.until("last"), set())


class _NeighbourDiscovery:
    def test_carries_nothing_through_the_router(self):
        jail = self.lab.pod("jail", 2)
        self.isolate(jail, "Ingress", "Egress")
        self.start()
        with self.lab.out.ns.entered():
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(frames.IPV6))
        self.addCleanup(tap.close)
        tap.bind(("eth0", 0))
        gate, out = self.lab.gateway_mac(jail), self.lab.out.address(6)
        body = bytes(20) + b"smuggled" + b"x" * 900
        jail.inject(frames.ethernet(gate, frames.icmp6(jail.address(6), out, kind, body))
                    for kind in (133, 134, 135, 136, 137))
        _send(self.lab.node, out, "last")
        seen = b""
        while b"last" not in seen:
            self.assertTrue(select.select([tap], [], [], 5)[0], "what the node sends arrives")
            seen += tap.recv(2048)
        self.assertNotIn(b"smuggled", seen)


class _Advertisement:
    """A pod is no router, however it wraps up that it is one."""

    def test_router_advertisement_of_a_pod_arrives_nowhere(self):
        evil, other = self.lab.pod("evil", 2), self.lab.pod("other", 3)
        for each in (True, False):
            with self.subTest(enforced=not each):
                taps = {m.name: self.tap(m) for m in (other, self.lab.node)}
                self.advertise(evil)
                for member in (other, self.lab.node):
                    self.ask(evil, member.address(6))
                seen = {name: self.kinds(tap) for name, tap in taps.items()}
                if each:
                    # So that the frames are known to be good ones. Only a bridge takes them to others.
                    self.assertIn(134, seen["node"])
                    self.assertEqual(134 in seen["a/other"], self.bridged)
                    self.start()
                else:
                    self.assertEqual([n for n, kinds in seen.items() if 134 in kinds], [])

    def tap(self, member):
        with member.ns.entered():
            made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self.addCleanup(made.close)
        return made

    @staticmethod
    def advertise(pod):
        body = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
        pod.inject(frames.ethernet("33:33:00:00:00:01", frames.icmp6(source, "ff02::1", 134, body), tags=tags)
                   for source in ("fe80::2", pod.address(6))
                   for tags in ((), ((frames.VLAN, 0),), ((frames.VLAN_AD, 0),),
                                ((frames.VLAN, 0), (frames.VLAN, 0))))

    def ask(self, pod, address):
        self.tap(pod).sendto(struct.pack("!BBHHH", 128, 0, 0, 1, 1), (address, 0))

    @staticmethod
    def kinds(tap):
        """Types of the messages that come up to the echo request that is the last, and a little later."""
        kinds, seconds = set(), 5
        while select.select([tap], [], [], seconds)[0]:
            kinds.add(tap.recv(2048)[0])
            seconds = 0.2 if 128 in kinds else 5
        if 128 not in kinds:
            raise AssertionError("the echo request has not arrived")
        return kinds


class _Reset:
    """A reset that both ends ignore ends nothing."""

    # Longer than conntrack keeps what it takes for closed.
    _IDLE_SECONDS = 12

    def test_out_of_the_window_the_connection_lives_on(self):
        srv = self.lab.pod("srv", 2)
        self.isolate(srv, "Egress")
        self.start()
        gate, idle = self.lab.node.mac("up0"), []
        for family in (4, 6):
            client, served = self.connect(self.lab.out, srv, family)
            ports = client.getsockname()[1], served.getsockname()[1]
            self.lab.out.inject([frames.ethernet(gate, frames.tcp(
                self.lab.out.address(family), srv.address(family), *ports, 4, sequence=12345))])
            idle.append((client, served))
        self.assertEqual(select.select([c for c, _ in idle], [], [], self._IDLE_SECONDS)[0], [])
        for client, served in idle:
            served.send(b"push")
            self.assertTrue(select.select([client], [], [], 3)[0], "the push arrives")
            self.assertEqual(client.recv(10), b"push")

    def connect(self, source, destination, family):
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        with destination.ns.entered():
            listener = socket.create_server(("", 0), family=kind)
        with source.ns.entered():
            client = socket.socket(kind)
        client.settimeout(5)
        client.connect((destination.address(family), listener.getsockname()[1]))
        listener.settimeout(5)
        served = listener.accept()[0]
        for each in (listener, client, served):
            self.addCleanup(each.close)
        client.send(b"hi")
        self.assertEqual(served.recv(10), b"hi")
        return client, served


for _cases in (_NodePort, _Forged, _NeighbourDiscovery, _Advertisement, _Reset):
    globals().update(on_both(_cases))
del _cases
