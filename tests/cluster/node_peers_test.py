# SPDX-License-Identifier: Apache-2.0
"""ClusterNetworkPolicies whose egress rules name nodes by their labels: what a pod then gets through to nodes,
its own and others, by TCP, UDP and SCTP, at all their addresses."""

from tests.cluster import suite
from tests.netns.sluice import cluster_policy, network_policy, wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe

_GROUP = "policy.networking.k8s.io"
_SUBJECT = "x/a"
# The rules below open one port each, for programs that the nodes do not run: what is refused has arrived.
_TCP, _UDP, _SCTP, _OTHER = 36363, 34346, 9003, 36364
_OPEN = (f"tcp/{_TCP}", f"udp/{_UDP}", f"sctp-init/{_SCTP}")
_CLOSED = (f"tcp/{_OTHER}", f"udp/{_OTHER}", f"sctp-init/{_OTHER}", "ping")
_PORTS = [{"tcp": {"destinationPort": {"number": _TCP}}}, {"udp": {"destinationPort": {"number": _UDP}}},
          {"sctp": {"destinationPort": {"number": _SCTP}}}]
_OVERLAY = {4: "10.244.78.0", 6: "fd78::2"}


def _definition():
    """As far as it matters."""
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"clusternetworkpolicies.{_GROUP}",
                         "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
            "spec": {"group": _GROUP, "scope": "Cluster",
                     "names": {"kind": "ClusterNetworkPolicy", "plural": "clusternetworkpolicies"},
                     "versions": [{"name": "v1alpha2", "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}]}}


def _rule(action, labels, protocols=None):
    rule = {"action": action, "to": [{"nodes": {"matchLabels": labels}}]}
    return {**rule, "protocols": protocols} if protocols else rule


class NodePeers(suite.ClusterCase):
    def setUp(self):
        super().setUp()
        self.api.ensure(_definition())
        wait_for(lambda: self.api.find("ClusterNetworkPolicy") is not None, "the kind is served", 30)
        self.addCleanup(self.cluster.clear_policies)
        self.nodes = [self.host(f"node{n}") for n in (1, 2, 3)]
        self.own = self.host(_SUBJECT).node
        self.assertIn(self.own, self.nodes)
        self.others = [n for n in self.nodes if n is not self.own]
        for node in self.nodes:
            self.label_node(node, "worker")
            self.addCleanup(self.label_node, node, None)

    def label_node(self, node, role):
        self.api.patch("Node", None, node.name, {"metadata": {"labels": {"role": role}}})

    def put(self, name, priority, *rules, tier="Admin"):
        subject = {"pods": {"namespaceSelector": {"matchLabels": {"ns": "x"}},
                            "podSelector": {"matchLabels": {"pod": "a"}}}}
        self.api.create(cluster_policy(name, tier, priority, subject, egress=list(rules)))
        self.addCleanup(self.api.delete, "ClusterNetworkPolicy", None, name)

    def check(self, *expected):
        """Each: (nodes, what, verdict), or with the addresses by family under which the nodes are asked."""
        table = {}
        for nodes, kinds, verdict, *addresses in expected:
            for node in nodes:
                for family in (4, 6):
                    address = addresses[0][family] if addresses else None
                    for what in kinds:
                        table[Probe(self.host(_SUBJECT), node, what, family, address)] = verdict
        self.cluster.wait_for_table(table)

    def test_accepted_at_ports_and_denied_elsewhere(self):
        self.put("nodes", 10, _rule("Accept", {"role": "worker"}, _PORTS), _rule("Deny", {"role": "worker"}))
        self.check((self.nodes, _OPEN, ALLOWED), (self.nodes, _CLOSED, DENIED))
        # Pods of the same nodes are no nodes.
        self.expect("x/a > y/b A", "x/a > z/c A", "x/a > x/b A")

    def test_denied_at_ports_and_open_elsewhere(self):
        self.put("nodes", 10, _rule("Deny", {"role": "worker"}, _PORTS))
        self.check((self.nodes, _OPEN, DENIED), (self.nodes, _CLOSED, ALLOWED))

    def test_whom_labels_select_and_whom_no_longer(self):
        chosen, other = self.others
        self.label_node(chosen, "chosen")
        self.put("nodes", 10, _rule("Deny", {"role": "chosen"}))
        self.check(([chosen], _OPEN, DENIED), ([self.own, other], _OPEN, ALLOWED))
        self.label_node(chosen, "worker")
        self.label_node(self.own, "chosen")
        self.check(([self.own], _OPEN, DENIED), ([chosen, other], _OPEN, ALLOWED))

    def test_a_node_is_all_its_addresses(self):
        chosen, other = self.others
        for address in _OVERLAY.values():
            bits = 128 if ":" in address else 32
            chosen.add_address(address)
            self.addCleanup(chosen.ns.ip, f"addr del {address}/{bits} dev eth0")
        self.label_node(chosen, "chosen")
        self.put("nodes", 10, _rule("Accept", {"role": "chosen"}, _PORTS), _rule("Deny", {}))
        self.check(([chosen], _OPEN, ALLOWED, _OVERLAY), ([chosen], _CLOSED, DENIED, _OVERLAY),
                   ([chosen], _OPEN, ALLOWED), ([self.own, other], _OPEN, DENIED))

    def test_the_policy_with_the_lower_priority_number_decides(self):
        self.put("accept", 20, _rule("Accept", {"role": "worker"}, _PORTS))
        self.put("deny", 30, _rule("Deny", {}))
        self.check((self.nodes, _OPEN, ALLOWED), (self.nodes, _CLOSED, DENIED))
        self.put("before", 10, _rule("Deny", {"role": "worker"}, _PORTS[:1]))
        self.check((self.nodes, _OPEN[:1] + _CLOSED, DENIED), (self.nodes, _OPEN[1:], ALLOWED))

    def test_passed_on_to_network_policies_and_the_baseline(self):
        self.put("baseline", 0, _rule("Deny", {}), tier="Baseline")
        self.check((self.nodes, _OPEN + _CLOSED, DENIED))
        self.put("pass", 10, _rule("Pass", {"role": "worker"}, _PORTS), _rule("Deny", {}))
        cidrs = [f"{self.others[0].ipv4}/32", f"{self.others[0].ipv6}/128"]
        self.api.create(network_policy("x", "one", {"matchLabels": {"pod": "a"}}, policyTypes=["Egress"],
                                       egress=[{"to": [{"ipBlock": {"cidr": c}} for c in cidrs]}]))
        self.check((self.others[:1], _OPEN, ALLOWED), (self.others[1:], _OPEN, DENIED),
                   (self.nodes, _CLOSED, DENIED))
