# SPDX-License-Identifier: Apache-2.0
"""The table of docs/services.md, cell by cell: every way to a pod, from every kind of client, under five
policies, by TCP and UDP, IPv4 and IPv6, to pods of the bridge and of the ptp plugin."""

import itertools
import json
import os

from tests.netns import lab as netlab
from tests.real import network, suite

_DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "services.md")
_PROTOCOLS = ("tcp", "udp")
_CLIENTS = ("pod, same node", "pod, other node", "pod's node", "other node", "outside")
# What a policy lets in, of what a cell may say: {policy: clients and nodes}.
_LETS_IN = {
    "none": {*_CLIENTS, "remote-node"},
    "nobody": set(),
    "pods": {"pod, same node", "pod, other node"},
    "outsider": {"outside"},
    "nodes": {"remote-node"},
}
_RULES = {
    "nobody": ("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Ingress"]}),
    "pods": ("NetworkPolicy", {"podSelector": {}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]}),
    "outsider": ("NetworkPolicy", {"podSelector": {}, "ingress": [
        {"from": [{"ipBlock": {"cidr": "203.0.113.7/32"}}, {"ipBlock": {"cidr": "2001:db8:113::7/128"}}]}]}),
    "nodes": ("CiliumNetworkPolicy", {"endpointSelector": {}, "ingress": [{"fromEntities": ["remote-node"]}]}),
}


def table():
    """{way: {client: cell}} as the document's first table has it."""
    with open(_DOCUMENT, encoding="utf-8") as file:
        lines = itertools.dropwhile(lambda line: not line.startswith("|"), file)
        rows = [[c.strip() for c in line.strip().strip("|").split("|")]
                for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    assert tuple(rows[0][1:]) == _CLIENTS, rows[0]
    return {row[0]: dict(zip(_CLIENTS, row[1:])) for row in rows[2:]}


class Backend:
    """A server on a node, everything that leads to it, and the clients as its table's columns."""

    def __init__(self, case, name, node, other):
        self.case, self.name, self.node, self.other = case, name, node, other
        self.port = suite.PORT + node.number
        self.host_port = 9080 + node.number

    def make(self):
        """Of each protocol a Service of its own: an old API server takes no load balancer of both."""
        ports = [{"containerPort": self.port, "hostPort": self.host_port, "protocol": p} for p in ("TCP", "UDP")]
        self.case.apply(suite.pod(self.name, suite.container(self.port, ports=ports), nodeName=self.node.name))
        for proto in _PROTOCOLS:
            self.case.apply(
                suite.service(f"{self.name}-{proto}", self.name, [self.port], [proto], type="LoadBalancer"),
                suite.service(f"{self.name}-{proto}-local", self.name, [self.port], [proto], type="NodePort",
                              externalTrafficPolicy="Local"))
            ingress = [{"ip": a} for n in (1, 2) for a in network.balanced_addresses(n)]
            self.case.api.patch("Service", self.case.namespace, f"{self.name}-{proto}",
                                {"status": {"loadBalancer": {"ingress": ingress}}}, subresource="status")
            for address in self.service(proto)["spec"]["clusterIPs"]:
                # A client outside that has a route to the Service's address, by the pod's node.
                netlab.run("ip", "route", "replace", address, "via", self.node.address(6 if ":" in address else 4))

    def service(self, proto, suffix=""):
        return self.case.api.get("Service", self.case.namespace, f"{self.name}-{proto}{suffix}")

    def node_port(self, proto, suffix=""):
        return self.service(proto, suffix)["spec"]["ports"][0]["nodePort"]

    def clients(self):
        pods = {p["spec"]["nodeName"]: self.case.lab.peer(p)
                for p in self.case.lab.pods(self.case.namespace, app="client")}
        return dict(zip(_CLIENTS, (pods[self.node.name], pods[self.other.name], self.node, self.other,
                                   self.case.lab.outsider)))

    def ways(self, family, proto):
        """{way: (address, port)}"""
        cluster = {6 if ":" in a else 4: a for a in self.service(proto)["spec"]["clusterIPs"]}[family]
        balanced = {n.number: network.balanced_addresses(n.number)[family == 6] for n in (self.node, self.other)}
        pod = self.case.lab.pod(self.case.namespace, self.name)
        node_port, local = self.node_port(proto), self.node_port(proto, "-local")
        return {
            "pod's address": (pod.address(family), self.port),
            "cluster address": (cluster, self.port),
            "node port of the pod's node": (self.node.address(family), node_port),
            "node port of another node": (self.other.address(family), node_port),
            "local node port of the pod's node": (self.node.address(family), local),
            "local node port of another node": (self.other.address(family), local),
            "host port": (self.node.address(family), self.host_port),
            "load balancer to the pod's node": (balanced[self.node.number], self.port),
            "load balancer to another node": (balanced[self.other.number], self.port),
        }


class Services(suite.Case):
    namespace = "services"

    @classmethod
    def make(cls):
        one, two = cls.lab.nodes.values()
        cls.backends = [Backend(cls, "bridged", one, two), Backend(cls, "routed", two, one)]
        cls.apply(suite.daemon_set("client"))
        for backend in cls.backends:
            backend.make()
        cls.wait_ready("DaemonSet/client")
        cls.lab.wait_pods(cls.namespace)

    def expect(self, policy, changed=None):
        """The whole table under a policy. `changed`: {(way, client): cell}."""
        cells = table()
        for (way, client), cell in (changed or {}).items():
            cells[way][client] = cell
        expected = {}
        for backend in self.backends:
            clients, named = backend.clients(), {way: _Named(f"{backend.name} by {way}") for way in cells}
            for family, proto in itertools.product((4, 6), _PROTOCOLS):
                ways = backend.ways(family, proto)
                self.assertEqual(set(ways), set(cells), "the ways of docs/services.md")
                for way, row in cells.items():
                    address, port = ways[way]
                    for client, cell in row.items():
                        probe = suite.probe(clients[client], named[way], port, family, address, proto)
                        expected[probe] = suite.verdict(self.lets_in(policy, cell, client))
        self.lab.wait_for_table(expected, 60)

    @staticmethod
    def lets_in(policy, cell, client):
        if cell == "nobody":
            return False
        if cell == "own node":
            return True
        return {"client": client, "other node": "remote-node"}[cell] in _LETS_IN[policy]

    def enforce(self, policy):
        kind, spec = _RULES[policy]
        self.policy(policy, json.loads(json.dumps(spec)), kind)

    def test_without_a_policy_every_way_is_open(self):
        self.expect("none")

    def test_a_policy_that_lets_nobody_in(self):
        self.enforce("nobody")
        self.expect("nobody")

    def test_a_policy_for_pods(self):
        self.enforce("pods")
        self.expect("pods")

    def test_a_policy_for_a_client_outside(self):
        self.enforce("outsider")
        self.expect("outsider")

    def test_a_policy_for_other_nodes(self):
        self.enforce("nodes")
        self.expect("nodes")

    def test_kube_proxy_masquerades_everything(self):
        """With masqueradeAll, what goes to a cluster address from a pod of another node is that node's."""
        self.configure_proxies(masquerade_all=True)
        self.addCleanup(self.configure_proxies)
        self.enforce("pods")
        self.expect("pods", {("cluster address", "pod, other node"): "other node"})

    def configure_proxies(self, **options):
        for node in self.lab.nodes.values():
            node.write("/etc/kubernetes/kube-proxy.yaml", node.kube_proxy(**options))
            node.stop_service("kube-proxy")
            node.start_service("kube-proxy")


class _Named:
    """What a probe is called."""

    def __init__(self, name):
        self.name = name
