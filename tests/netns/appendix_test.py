# SPDX-License-Identifier: Apache-2.0
"""Rows of the semantics' table of verdicts, with real packets in both families.

The same rows run as lookups in tests/appendix. Subject is x/a; A = arrives,
D = does not. Node1 has x/a, x/b, y/a, y/b; node2 has the others; E is outside.
"""

import socket
import unittest

from tests.netns import suite, traffic
from tests.netns.sluice import cluster_policy, cnp, ccnp, network_policy, ports

_A = {"pod": "a"}
_EVERYONE = [{}]


def _cnp(**sections):
    return [cnp("x", "p", _A, **sections)]


def _np(**sections):
    return [network_policy("x", "n", {"matchLabels": _A}, **sections)]



def _y(action, name="r", **more):
    """One ClusterNetworkPolicy rule about namespace y."""
    return {"action": action, "name": name,
            "from": [{"namespaces": {"matchLabels": {"ns": "y"}}}], **more}


def _cluster(name, tier, priority, *rules):
    subject = {"pods": {"namespaceSelector": {"matchLabels": {"ns": "x"}},
                        "podSelector": {"matchLabels": _A}}}
    return cluster_policy(name, tier, priority, subject, ingress=list(rules))


def _from_y():
    return network_policy("x", "n", {"matchLabels": _A}, ingress=[
        {"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}])


_B = [{"matchLabels": {"pod": "b"}}]
_C = [{"matchLabels": {"pod": "c"}}]

# id: (objects, probes)
ROWS = {
    "P01": (_cnp(ingress=[{}]), "x/b D, y/b D, E D, node1 A, x/a A"),
    "P02": (_cnp(ingress=[{"fromEndpoints": []}]), "x/b D, y/b D, E D, node1 A, x/a A"),
    "P03": (_cnp(ingress=[{"fromEndpoints": [], "toPorts": ports("80/TCP")}]), "x/b D, node1 A"),
    "P04": (_cnp(ingress=[{"fromEndpoints": _EVERYONE}]), "x/b A, y/b D, E D, node2 D, node1 A"),
    "P05": ([ccnp("p", {"io.kubernetes.pod.namespace": "x", "pod": "a"},
                  ingress=[{"fromEndpoints": _EVERYONE}])], "x/b A, y/b A, E D"),
    "P06": (_cnp(ingress=[{"toPorts": ports("80/TCP")}]),
            "x/b A, E A, x/b > x/a tcp/81 D, x/b > x/a udp/80 D, x/b > x/a ping D"),
    "P07": (_cnp(ingress=[{"fromEndpoints": _EVERYONE}]),
            "x/b > x/a ping A, x/b > x/a ip/47 A, y/b > x/a ping D, y/b > x/a ip/47 D"),
    "P08": (_cnp(ingress=[{"toPorts": ports("53")}]),
            "x/b > x/a tcp/53 A, x/b > x/a udp/53 A, x/b > x/a ping D, x/b > x/a udp/54 D"),
    "P09": (_cnp(ingressDeny=[{"fromEndpoints": _B}]), "x/b D, x/c D"),
    "P10": (_cnp(ingressDeny=[{"fromEndpoints": _B}], enableDefaultDeny={"ingress": False}),
            "x/b D, x/c A, E A"),
    "P11": (_cnp(ingress=[{"fromEndpoints": _B, "toPorts": ports("80-81/TCP")}],
                 ingressDeny=[{"toPorts": ports("80/TCP")}]),
            "x/b > x/a tcp/80 D, x/b > x/a tcp/81 A"),
    "P12": (_cnp(ingress=[{"fromEndpoints": _B, "toPorts": ports("80/TCP")}],
                 ingressDeny=[{"fromEndpoints": _B}]), "x/b D"),
    "P13": (_cnp(ingress=[{"fromEntities": ["cluster"]}]), "x/b A, y/b A, node2 A, E D"),
    "P14": (_cnp(ingress=[{"fromEntities": ["world"]}]), "E A, x/b D, node2 D"),
    "P15": (_cnp(ingress=[{"fromEntities": ["host"]}]), "node1 A, node2 D"),
    "P16": (_cnp(ingress=[{"icmps": [{"fields": [{"type": 8}, {"family": "IPv6", "type": 128}]}]}]),
            "x/b > x/a ping A, x/b > x/a tcp/80 D, x/a > x/b ping A, x/a > E ping A"),
    "P17": (_cnp(ingress=[{"fromCIDR": ["10.0.0.0/16", "fd00::/16"]}]), "x/b D, E D"),
    "P20": (_cnp(egress=[{"toCIDR": ["203.0.113.7/32", "2001:db8:113::7/128"],
                          "toPorts": ports("80/TCP")}],
                 egressDeny=[{"toCIDR": ["203.0.113.0/24", "2001:db8:113::/48"]}]),
            "x/a > E tcp/80 D, x/a > x/b tcp/80 D"),
    "P21": ([cnp("x", "p1", _A, ingress=[{"fromEndpoints": _B, "toPorts": ports("80/TCP")}]),
             cnp("x", "p2", _A, ingress=[{"fromEndpoints": _C, "toPorts": ports("81/TCP")}])],
            "x/b > x/a tcp/80 A, x/b > x/a tcp/81 D, x/c > x/a tcp/81 A, x/c > x/a tcp/80 D"),
    "P22": ([cnp("x", "out", {"pod": "b"}, egress=[{}]),
             cnp("x", "in", _A, ingress=[{"fromEndpoints": _B}])], "x/b > x/a D, x/a > x/b A"),
    "P24": (_cnp(ingress=[{"fromEntities": ["world"], "toPorts": ports("80/TCP")}], egress=[{}]),
            "E > x/a tcp/80 A, E > x/a tcp/81 D, x/a > E tcp/80 D"),
    "N01": ([network_policy("x", "n", {}, policyTypes=["Ingress"])],
            "x/b D, x/c D, y/a D, z/b D, node1 A, x/a A"),
    "N02": (_np(ingress=[{}]), "x/b A, z/c A, E A, node2 A"),
    "N03": (_np(ingress=[{"from": [], "ports": [{"port": 80}]}]),
            "x/b A, E A, node2 A, x/b > x/a tcp/81 D"),
    "N04": (_np(ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}},
                                    "podSelector": {"matchLabels": {"pod": "b"}}}]}]),
            "y/b A, y/a D, x/b D"),
    "N04 two peers": (_np(ingress=[{"from": [
        {"namespaceSelector": {"matchLabels": {"ns": "y"}}},
        {"podSelector": {"matchLabels": {"pod": "b"}}}]}]), "y/b A, y/a A, x/b A, x/c D, z/b D"),
    "N05": (_np(ingress=[{"from": [{"podSelector": {}}]}]), "x/b A, x/c A, y/a D, E D"),
    "N06": (_np(ingress=[{"from": [{"namespaceSelector": {}}]}]), "x/b A, z/c A, E D, node2 D"),
    "N07": (_np(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.1.11/32"}},
                                   {"ipBlock": {"cidr": "fd00:0:0:1::11/128"}}]}]), "y/a A, y/b D"),
    "N08": ([network_policy("x", "n1", {"matchLabels": _A}, ingress=[{"from": [
                {"ipBlock": {"cidr": "10.0.1.0/28", "except": ["10.0.1.12/32"]}},
                {"ipBlock": {"cidr": "fd00:0:0:1::/64", "except": ["fd00:0:0:1::12/128"]}}]}]),
             network_policy("x", "n2", {"matchLabels": _A}, ingress=[{"from": [
                 {"ipBlock": {"cidr": "10.0.1.12/32"}},
                 {"ipBlock": {"cidr": "fd00:0:0:1::12/128"}}]}])], "y/a A, y/b A, x/b D"),
    "N08 one policy": (_np(ingress=[{"from": [
        {"ipBlock": {"cidr": "10.0.1.0/28", "except": ["10.0.1.12/32"]}},
        {"ipBlock": {"cidr": "fd00:0:0:1::/64", "except": ["fd00:0:0:1::12/128"]}}]}]),
        "y/a A, y/b D, x/b D"),
    "N10": (_np(ingress=[{"ports": [{"port": 80, "protocol": "UDP"}]}]),
            "x/b > x/a tcp/80 D, x/b > x/a udp/80 A"),
    "N11": (_np(ingress=[{"ports": [{"port": 80}]}]), "x/b > x/a tcp/80 A, x/b > x/a udp/80 D"),
    "K01": ([_cluster("c", "Admin", 10, _y("Deny")), _from_y()], "y/a D, y/b D"),
    "K02": ([_cluster("c1", "Admin", 5, _y("Pass")), _cluster("c2", "Admin", 10, _y("Deny")),
             _from_y()], "y/a A, z/a D"),
    "K03": ([_cluster("c1", "Admin", 5, _y("Pass")), _cluster("c2", "Baseline", 10, _y("Deny"))],
            "y/a D, z/a A"),
    "K04": ([_cluster("c", "Admin", 5, _y("Accept"))] + _np(policyTypes=["Ingress"]),
            "y/a A, y/b A, z/a D"),
    "K05": ([_cluster("c", "Baseline", 5, _y("Accept"))] + _np(policyTypes=["Ingress"]), "y/a D"),
    "K06": ([_cluster("c1", "Baseline", 5, _y("Pass")), _cluster("c2", "Baseline", 9, _y("Deny"))],
            "y/a A"),
    "K07": ([_cluster("c", "Admin", 5, _y("Accept", "one"), _y("Deny", "two"))], "y/a A"),
    "K07 swapped": ([_cluster("c", "Admin", 5, _y("Deny", "two"), _y("Accept", "one"))], "y/a D"),
    "K09": ([_cluster("c", "Admin", 5, _y("Accept"))] + _np(policyTypes=["Ingress"]),
            "y/a > x/a ping A, z/a > x/a ping D"),
    "K10": ([_cluster("c", "Admin", 5, _y("Accept"))]
            + _cnp(ingressDeny=[{"fromEntities": ["all"]}]), "y/a A, z/a D, x/b D"),
}


class Appendix(suite.Case):
    """One instance per row: each starts from nothing and leaves nothing."""

    def setUp(self):
        super().setUp()
        self.sluice.start()

    def test_p23_established_connection_ends_with_its_permission(self):
        server, client, peer = self.connect("x/a", "E")
        self.sluice.apply("policy", *_cnp(egress=[{}]))
        client.send(b"after the policy")
        self.assertFalse(_arrives(peer), "x/a's next packet still passes")
        for each in (server, client, peer):
            each.close()

    def test_p25_named_port_has_each_peers_own_number(self):
        self.lab.host("y/a").ports = {"http": (80, "TCP")}
        self.lab.host("y/b").ports = {"http": (8080, "TCP")}
        self.addCleanup(self.forget_ports)
        self.manifests.put("cluster", *self.lab.objects())
        to_y = [{"matchLabels": {"io.kubernetes.pod.namespace": "y"}}]
        self.sluice.apply("policy", *_cnp(egress=[{"toEndpoints": to_y, "toPorts": ports("http/TCP")}]))
        self.check("x/a > y/a tcp/80 A, x/a > y/a tcp/8080 D,"
                   "x/a > y/b tcp/8080 A, x/a > y/b tcp/80 D")

    def test_p26_named_port_of_another_protocol_matches_nothing(self):
        self.lab.host("x/a").ports = {"http": (80, "UDP")}
        self.addCleanup(self.forget_ports)
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.apply("policy", *_cnp(ingress=[{"toPorts": ports("http/TCP")}]))
        self.check("x/b > x/a tcp/80 D, x/b > x/a udp/80 D")

    def test_p30_datagrams_in_fragments(self):
        self.sluice.apply("policy", *_cnp(ingress=[{"toPorts": ports("80/UDP")}]))
        for family in (4, 6):
            for port, passes in ((80, True), (81, False)):
                with self.subTest(family=family, port=port):
                    self.assertEqual(self.large_datagram_arrives(family, port), passes)

    @unittest.skipUnless(traffic.has_sctp(), "this kernel has no SCTP")
    def test_n09_sctp(self):
        self.sluice.apply("policy", *_np(ingress=[{"ports": [{"port": 80, "protocol": "SCTP"}]}]))
        self.check("x/b > x/a tcp/80 D, x/b > x/a sctp/80 A, x/b > x/a sctp/81 D")

    def test_n12_namespace_label_changes(self):
        self.sluice.apply("policy", *_np(ingress=[
            {"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]))
        self.check("y/a A, z/a D")
        objects = self.lab.objects()
        for each in objects:
            if each["kind"] == "Namespace":
                each["metadata"]["labels"]["ns"] = {"y": "z", "z": "y"}.get(
                    each["metadata"]["name"], "x")
        self.sluice.apply("cluster", *objects)
        self.check("y/a D, z/a A")

    def test_address_that_is_not_the_pods_own_is_not_forwarded(self):
        stranger = "10.0.0.99"
        pod, outside = self.host("x/a"), self.host("E")
        pod.ns.ip(f"addr add {stranger}/32 dev eth0")
        self.addCleanup(pod.ns.ip, f"addr del {stranger}/32 dev eth0")
        with outside.ns.entered():
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((outside.ipv4, 99))
        for source, passes in ((stranger, False), (pod.ipv4, True)):
            with pod.ns.entered():
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind((source, 0))
            sender.sendto(b"from " + source.encode(), (outside.ipv4, 99))
            self.assertEqual(_arrives(receiver), passes, source)
            sender.close()
        receiver.close()

    # ---- helpers

    def forget_ports(self):
        for pod in self.lab.pods.values():
            pod.ports = {}

    def connect(self, source, destination):
        """An open TCP connection: (listener, client's socket, server's socket)."""
        target = self.host(destination)
        with target.ns.entered():
            server = socket.create_server((target.ipv4, 8080))
        with self.host(source).ns.entered():
            client = socket.create_connection((target.ipv4, 8080), timeout=5)
        peer = server.accept()[0]
        client.send(b"hello")
        self.assertTrue(_arrives(peer))
        return server, client, peer

    def large_datagram_arrives(self, family, port):
        source, target = self.host("E"), self.host("x/a")
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        with target.ns.entered():
            receiver = socket.socket(kind, socket.SOCK_DGRAM)
        with source.ns.entered():
            sender = socket.socket(kind, socket.SOCK_DGRAM)
        with receiver, sender:
            receiver.bind((target.address(family), port))
            sender.sendto(bytes(4000), (target.address(family), port))
            return _arrives(receiver)


def _arrives(sock, seconds=0.5):
    sock.settimeout(seconds)
    try:
        return bool(sock.recv(8192))
    except TimeoutError:
        return False


class CidrMatchAll(suite.Case):
    """Rows whose CIDRs are to match pods too."""

    options = ("--cidr-match", "all")

    def setUp(self):
        super().setUp()
        self.sluice.start()

    def test_p17(self):
        self.sluice.apply("policy", *_cnp(ingress=[{"fromCIDR": ["10.0.0.0/16", "fd00::/16"]}]))
        self.check("x/b A, z/c A, E D")

    def test_p18(self):
        self.sluice.apply("policy", cnp("x", "p1", _A, egress=[
            {"toCIDRSet": [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]},
                           {"cidr": "::/0", "except": ["fd00::/16"]}]}]),
            cnp("x", "p2", _A, egress=[{"toCIDR": ["10.0.1.0/24", "fd00:0:0:1::/64"]}]))
        self.check("x/a > y/a A, x/a > z/a D, x/a > E A")

    def test_p19(self):
        self.sluice.apply("policy", *_cnp(egress=[
            {"toCIDR": ["10.0.0.0/8", "fd00::/16"], "toPorts": ports("80/TCP")},
            {"toCIDR": ["10.0.1.0/24", "fd00:0:0:1::/64"], "toPorts": ports("443/TCP")}]))
        self.check("x/a > y/a tcp/80 A, x/a > y/a tcp/443 A, x/a > z/a tcp/443 D,"
                   "x/a > z/a tcp/80 A")


def _make_test(objects, probes):
    def test(self):
        self.sluice.apply("policy", *objects)
        self.check(probes)
    return test


for _id, (_objects, _probes) in ROWS.items():
    setattr(Appendix, "test_" + _id.lower().replace(" ", "_"), _make_test(_objects, _probes))
