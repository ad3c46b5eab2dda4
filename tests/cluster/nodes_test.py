# SPDX-License-Identifier: Apache-2.0
"""Nodes are all their addresses: those that nobody but their agents knows of, too, whichever
operator an agent is connected to."""

import json

from tests.cluster import lab, suite
from tests.netns import lab as netlab
from tests.netns.sluice import cnp, wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe

_OVERLAY = ("10.244.77.0", "fd77::2")  # as of a tunnel device
_POD_OF_NODE1 = "x/a"


class Nodes(suite.ClusterCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)
        self.node = self.host("node2")
        for address in _OVERLAY:
            self.node.add_address(address)
            self.addCleanup(self.drop, self.node, address)

    @staticmethod
    def drop(node, address):
        bits = 128 if ":" in address else 32
        node.ns.ip(f"addr del {address}/{bits} dev eth0")

    @staticmethod
    def marks(node, address):
        """What a node's kernel knows of an address: 3: its own, 1: another node's, 0: no node's,
        None: nothing."""
        text = netlab.run(lab.program("sluice"), "peer", "list", "--pin-dir", f"/run/bpf/{node}/sluice",
                          "-o", "json")
        prefix = f"{address}/{128 if ':' in address else 32}"
        return {p["prefix"]: p["cidr_id"] >> 30 for p in json.loads(text)["peers"]}.get(prefix)

    def wait_marks(self, expected, address):
        """`expected`: by node."""
        def found():
            try:
                return {node: self.marks(node, address) for node in expected}
            except RuntimeError as error:  # an agent that has only just been started
                return error
        wait_for(lambda: found() == expected, f"{address} is {found()}, not {expected}", 30)

    def wait_verdict(self, verdict):
        """Of what x/a sends to the other node's overlay addresses."""
        source = self.host(_POD_OF_NODE1)
        self.assertNotEqual(source.node, self.node)
        self.cluster.wait_for_table({Probe(source, self.node, "tcp/80", family, address): verdict
                                     for family, address in zip((4, 6), _OVERLAY)})

    def allow(self, entity):
        self.cluster.clear_policies()
        self.api.create(cnp("x", "p", {"pod": "a"}, egress=[{"toEntities": [entity]}]))

    def test_every_operator_knows_what_any_agent_has_found(self):
        for count in (1, 2):
            self.cluster.balance(self.cluster.operators[:count])
            for address in _OVERLAY:
                self.wait_marks({"node1": 1, "node2": 3, "node3": 1}, address)

    def test_other_nodes_address_is_remote_node(self):
        self.allow("remote-node")
        self.wait_verdict(ALLOWED)
        self.allow("world")
        self.wait_verdict(DENIED)

    def test_node_that_is_the_api_server_is_it_by_all_its_addresses(self):
        self.allow("kube-apiserver")
        self.wait_verdict(DENIED)
        self.api.create({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice",
                         "metadata": {"namespace": "default", "name": "kubernetes-too",
                                      "labels": {"kubernetes.io/service-name": "kubernetes"}},
                         "addressType": "IPv4", "endpoints": [{"addresses": [self.node.ipv4]}],
                         "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]})
        self.addCleanup(self.api.delete, "EndpointSlice", "default", "kubernetes-too")
        self.wait_verdict(ALLOWED)

    def test_address_of_a_pod_is_not_its_nodes_whatever_an_agent_says(self):
        pod = self.host(_POD_OF_NODE1)
        for address in (pod.ipv4, "10.244.77.9"):
            self.node.ns.ip(f"addr add {address}/32 dev lo")
            self.addCleanup(self.node.ns.ip, f"addr del {address}/32 dev lo")
        self.wait_marks({"node1": 1, "node2": 3}, "10.244.77.9")
        self.assertIn(self.marks("node1", pod.ipv4), (None, 0))
        self.assertEqual(self.marks("node2", pod.ipv4), 0, "the node itself is told so")

    def test_address_that_goes_stops_counting(self):
        self.node.ns.ip("addr add 10.244.77.8/32 dev eth0")
        self.wait_marks({"node1": 1, "node2": 3}, "10.244.77.8")
        self.node.ns.ip("addr del 10.244.77.8/32 dev eth0")
        self.wait_marks({"node1": None, "node2": None}, "10.244.77.8")
