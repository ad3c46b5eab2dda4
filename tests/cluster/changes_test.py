# SPDX-License-Identifier: Apache-2.0
"""What changes in the cluster changes what packets may do."""

from tests.cluster import suite
from tests.netns.sluice import ccnp, cnp, ports

_CLIENTS = {"fromEndpoints": [{"matchLabels": {"role": "client"}}]}


class Changes(suite.ClusterCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)

    def test_an_address_goes_to_another_pod(self):
        self.pod("x/client", "node2", 50, labels={"role": "client"})
        self.api.create(cnp("x", "clients", {"pod": "a"}, ingress=[_CLIENTS]))
        self.expect("x/client > x/a A", "x/b > x/a D")
        self.cluster.delete_pod("x/client")
        self.pod("x/other", "node3", 50, labels={"role": "other"})
        self.expect("x/other > x/a D")
        self.label("x/other", role="client")
        self.expect("x/other > x/a A")

    def test_a_subjects_address_goes_to_another_pod(self):
        self.pod("x/server", "node1", 51, labels={"role": "server"})
        self.api.create(cnp("x", "servers", {"role": "server"}, ingress=[{}]))
        self.expect("x/b > x/server D")
        self.cluster.delete_pod("x/server")
        self.pod("x/free", "node1", 51, labels={"role": "free"})
        self.expect("x/b > x/free A")

    def test_a_finished_pod_has_no_address(self):
        done = self.pod("x/job", "node2", 52, labels={"role": "client"})
        self.api.create(cnp("x", "clients", {"pod": "a"}, ingress=[_CLIENTS]))
        self.expect("x/job > x/a A")
        # Its object stays, as a Job's does, with the address that it had.
        self.cluster.set_status(done, {"phase": "Succeeded"})
        self.expect("x/job > x/a D")
        done.unplug()
        self.pod("x/next", "node2", 52, labels={"role": "other"})
        self.expect("x/next > x/a D")
        self.label("x/next", role="client")
        self.expect("x/next > x/a A")
        self.cluster.forget_pod("x/job")

    def test_a_pod_gets_its_address_late(self):
        self.api.create(cnp("x", "clients", {"pod": "a"}, ingress=[_CLIENTS]))
        late = self.pod("x/late", "node3", 53, labels={"role": "client"}, address=False)
        self.expect("x/late > x/a D")
        self.cluster.set_status(late, late.object()["status"])
        self.expect("x/late > x/a A")

    def test_a_namespace_says_what_its_unknown_pods_may_do(self):
        """From when the node awaits the pod until the pod has its address."""
        self.api.patch("Namespace", None, "x", {"metadata": {"annotations": {
            "sluice.io/on-unknown": "deny"}}})
        self.addCleanup(self.api.patch, "Namespace", None, "x", {"metadata": {"annotations": {
            "sluice.io/on-unknown": None}}})
        strict = self.pod("x/strict", "node2", 56, address=False)
        self.expect("x/b > x/strict D", "x/strict > x/b D", "x/b > x/c A")
        self.pod("y/lax", "node3", 57, address=False)
        self.expect("x/b > y/lax A")
        self.cluster.set_status(strict, strict.object()["status"])
        self.expect("x/b > x/strict A", "x/strict > x/b A")

    def test_a_policy_comes_changes_and_goes(self):
        self.expect("x/b > x/a A", "y/a > x/a A")
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{}]}]))
        self.expect("x/b > x/a A", "y/a > x/a D")
        self.api.patch("CiliumNetworkPolicy", "x", "p", {"spec": {"ingress": [
            {"fromEndpoints": [{}], "toPorts": ports("53/UDP")}]}})
        self.expect("x/b > x/a D", "x/b > x/a udp/53 A", "y/a > x/a udp/53 D")
        self.api.delete("CiliumNetworkPolicy", "x", "p")
        self.expect("x/b > x/a A", "y/a > x/a A")

    def test_a_cluster_wide_policy(self):
        self.api.create(ccnp("p", {"pod": "a"}, ingressDeny=[{"fromEndpoints": [
            {"matchLabels": {"pod": "b"}}]}], enableDefaultDeny={"ingress": False}))
        self.expect("x/b > x/a D", "z/b > y/a D", "x/c > x/a A")
        self.api.delete("CiliumClusterwideNetworkPolicy", None, "p")
        self.expect("x/b > x/a A", "z/b > y/a A")

    def test_what_cannot_be_enforced_changes_nothing(self):
        """A version with a field that is not supported gets past the schema; the last good
        one stays, whichever way the new one would have gone."""
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{}]}]))
        self.expect("x/b > x/a A", "y/a > x/a D")
        for bad in ([{"toPorts": [{"ports": [{"port": "80"}], "rules": {"http": [{"path": "/"}]}}]}],
                    [{"fromNodes": [{}]}]):
            self.api.patch("CiliumNetworkPolicy", "x", "p", {"spec": {"ingress": bad}})
            # Another policy's effect tells that the bad one was seen before.
            self.api.create(cnp("x", "after", {"pod": "b"}, ingress=[{}]))
            self.expect("x/c > x/b D", "x/b > x/a A", "y/a > x/a D")
            self.api.delete("CiliumNetworkPolicy", "x", "after")
            self.expect("x/c > x/b A", "x/b > x/a A", "y/a > x/a D")

    def test_a_cidr_group_changes(self):
        outside = self.cluster.outside()
        group = {"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup", "metadata": {"name": "partners"},
                 "spec": {"externalCIDRs": []}}
        self.api.create(group)
        self.addCleanup(self.api.delete, "CiliumCIDRGroup", None, "partners")
        self.api.create(cnp("x", "p", {"pod": "a"}, egress=[
            {"toCIDRSet": [{"cidrGroupRef": "partners"}]}]))
        self.expect("x/a > E D", "x/b > E A")
        for cidrs, verdict in (([outside.ipv4 + "/32", outside.ipv6 + "/128"], "A"),
                               (["198.51.100.0/24"], "D"), (["203.0.113.0/24", "2001:db8::/32"], "A")):
            self.api.patch("CiliumCIDRGroup", None, "partners", {"spec": {"externalCIDRs": cidrs}})
            self.expect(f"x/a > E {verdict}")
        self.api.delete("CiliumCIDRGroup", None, "partners")
        self.expect("x/a > E D")

    def test_a_node_is_added(self):
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=[{"fromEntities": ["remote-node"]}]))
        self.expect("node2 > x/a A", "x/b > x/a D")
        self.cluster.add_node("node4")
        self.cluster.balance()
        self.cluster.start_agent("node4")
        self.expect("node4 > x/a A")
        self.pod("x/new", "node4", 54, labels={"pod": "new"})
        self.expect("x/new > x/a D", "x/b > x/new A")
        self.api.create(cnp("x", "new", {"pod": "new"}, ingress=[{"fromEndpoints": [
            {"matchLabels": {"pod": "b"}}]}]))
        self.expect("x/b > x/new A", "x/c > x/new D", "node4 > x/new A", "node2 > x/new D")
