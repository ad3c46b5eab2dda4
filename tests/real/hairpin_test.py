# SPDX-License-Identifier: Apache-2.0
"""A pod that nobody may reach reaches itself, through whatever leads to it on its own node."""

from tests.netns.traffic import ALLOWED, DENIED
from tests.real import network, suite

_PROTOCOLS = ("tcp", "udp")
_HOST_PORT = 9079


class Hairpin(suite.Case):
    namespace = "hairpin"

    @classmethod
    def make(cls):
        ports = [{"containerPort": suite.PORT, "hostPort": _HOST_PORT, "protocol": p.upper()} for p in _PROTOCOLS]
        cls.apply(suite.daemon_set("stranger"))
        for node in cls.lab.nodes.values():
            name = f"own-{node.name}"
            cls.apply(suite.deployment(name, suite.container(ports=ports), nodeName=node.name))
            for proto in _PROTOCOLS:
                cls.apply(suite.service(f"{name}-{proto}", name, protocols=[proto], type="LoadBalancer"))
                ingress = [{"ip": a} for a in network.balanced_addresses(node.number)]
                cls.api.patch("Service", cls.namespace, f"{name}-{proto}",
                              {"status": {"loadBalancer": {"ingress": ingress}}}, subresource="status")
        cls.wait_ready("DaemonSet/stranger", *(f"Deployment/own-{n}" for n in cls.lab.nodes))

    def backend(self, node):
        return self.lab.peer(self.lab.pods(self.namespace, app=f"own-{node.name}")[0])

    def ways(self, node, family, proto):
        """{way: (address, port)}"""
        thing = self.api.get("Service", self.namespace, f"own-{node.name}-{proto}")
        cluster = next(a for a in thing["spec"]["clusterIPs"] if (":" in a) == (family == 6))
        return {"address": (self.backend(node).address(family), suite.PORT),
                "cluster address": (cluster, suite.PORT),
                "node port": (node.address(family), thing["spec"]["ports"][0]["nodePort"]),
                "host port": (node.address(family), _HOST_PORT),
                "load balancer": (network.balanced_addresses(node.number)[family == 6], suite.PORT)}

    def expect(self, only=None):
        expected = {}
        strangers = {p["spec"]["nodeName"]: self.lab.peer(p)
                     for p in self.lab.pods(self.namespace, app="stranger")}
        for node in self.lab.nodes.values():
            own = self.backend(node)
            for family in (4, 6):
                for proto in _PROTOCOLS:
                    for way, (address, port) in self.ways(node, family, proto).items():
                        if only and way not in only:
                            continue
                        there = network.Peer(f"{own.name} by {way}", own.ns, None, None)
                        expected[suite.probe(own, there, port, family, address, proto)] = ALLOWED
                        stranger = strangers[node.name]
                        expected[suite.probe(stranger, there, port, family, address, proto)] = DENIED
        self.lab.wait_for_table(expected)

    def test_isolated_at_ingress(self):
        self.policy("deny", {"podSelector": {}, "policyTypes": ["Ingress"]})
        self.expect()

    def test_isolated_both_ways(self):
        """What is beyond its own Service's address is somebody else's, so egress policy may forbid it."""
        self.policy("deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
        self.expect({"address", "cluster address"})
