# SPDX-License-Identifier: Apache-2.0
"""What changes in the cluster changes what packets may do."""

import json

from tests.cluster import lab, suite
from tests.cluster.api import ApiError
from tests.netns import lab as netlab
from tests.netns.sluice import ccnp, cnp, network_policy, ports, wait_for
from tests.netns.traffic import Stream

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

    def test_an_address_is_given_on_while_the_old_pod_is_still_there(self):
        """Its sandbox is gone, its object not yet, and goes on changing: as a subject and as a
        peer the address is the new pod's, from the moment in which that one has it."""
        old = self.pod("x/old", "node1", 58, labels={"role": "client"})
        self.api.create(cnp("x", "clients", {"pod": "a"}, ingress=[_CLIENTS]))
        self.api.create(cnp("x", "new", {"role": "new"}, ingress=[{"fromEndpoints": [
            {"matchLabels": {"pod": "b"}}]}]))
        self.expect("x/old > x/a A", "x/c > x/old A")
        old.unplug()
        self.pod("x/new", "node1", 58, labels={"role": "new"})
        self.expect("x/new > x/a D", "x/b > x/new A", "x/c > x/new D")
        self.cluster.set_status(old, {"phase": "Running", "message": "is about to be deleted"})
        self.label("x/old", more="labels")
        self.expect("x/new > x/a D", "x/b > x/new A", "x/c > x/new D")
        stream = Stream(self.host("x/c"), self.host("x/new"), [(self.host("x/new").ipv4, 80)], 1000)
        try:
            stream.wait_sent(100)
            self.cluster.set_status(old, {"phase": "Failed"})
            stream.wait_sent(200)
            self.cluster.forget_pod("x/old")
            self.expect("x/new > x/a D", "x/b > x/new A", "x/c > x/new D")
        finally:
            sent, arrived = stream.stop()
        self.assertGreater(sent, 200)
        self.assertEqual(list(arrived), [], "it was open for a moment")

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

    def test_a_kind_is_taken_away_and_comes_back(self):
        """With all its objects; the other kinds go on meanwhile."""
        outside = self.cluster.outside()
        group = {"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup", "metadata": {"name": "partners"},
                 "spec": {"externalCIDRs": [outside.ipv4 + "/32", outside.ipv6 + "/128"]}}
        self.api.create(group)
        self.api.create(cnp("x", "p", {"pod": "a"}, egress=[
            {"toCIDRSet": [{"cidrGroupRef": "partners"}]}]))
        self.expect("x/a > E A", "x/a > x/b D")
        definition = "ciliumcidrgroups.cilium.io"
        self.addCleanup(self.plane.deploy)
        self.api.delete("CustomResourceDefinition", None, definition)
        wait_for(lambda: not self.api.find("CustomResourceDefinition", None, definition), "it is gone")
        self.expect("x/a > E D", "x/a > x/b D")
        self.api.create(cnp("x", "after", {"pod": "b"}, ingress=[{}]))
        self.expect("x/c > x/b D")
        self.plane.deploy()
        self.api.create(group)
        self.addCleanup(self.api.delete, "CiliumCIDRGroup", None, "partners")
        self.expect("x/a > E A", "x/a > x/b D", "x/c > x/b D")

    def test_a_node_is_added(self):
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=[{"fromEntities": ["remote-node"]}]))
        self.expect("node2 > x/a A", "x/b > x/a D")
        self.node("node4")
        self.expect("node4 > x/a A")
        self.pod("x/new", "node4", 54, labels={"pod": "new"})
        self.expect("x/new > x/a D", "x/b > x/new A")
        self.api.create(cnp("x", "new", {"pod": "new"}, ingress=[{"fromEndpoints": [
            {"matchLabels": {"pod": "b"}}]}]))
        self.expect("x/b > x/new A", "x/c > x/new D", "node4 > x/new A", "node2 > x/new D")

    def node(self, name):
        """One more, with its agent, for this test."""
        node = self.cluster.add_node(name)
        self.addCleanup(self.cluster.remove_node, name)
        self.cluster.balance()
        self.cluster.start_agent(name)
        return node

    def test_a_node_is_removed(self):
        """Its address is no node's any more. Its agent goes on: it may come back."""
        node = self.node("node5")
        self.pod("x/there", "node5", 59, labels={"pod": "there"})
        self.api.create(cnp("x", "a", {"pod": "a"}, ingress=[{"fromEntities": ["remote-node"]}]))
        self.api.create(cnp("x", "there", {"pod": "there"}, ingress=[{"fromEndpoints": [
            {"matchLabels": {"pod": "b"}}]}]))
        table = ["node2 > x/a A", "x/b > x/there A", "x/c > x/there D"]
        self.expect("node5 > x/a A", "node5 > x/there A", *table)
        addresses = {node.ipv4 + "/32", node.ipv6 + "/128"}
        self.assertLessEqual(addresses, self.peers("node1"))
        self.api.delete("Node", None, "node5")
        self.expect("node5 > x/a D", *table)
        for name in ("node1", "node2", "node3"):
            self.assertFalse(addresses & self.peers(name), name)
        self.assertTrue(self.cluster.agents["node5"].running())
        self.api.create(cnp("x", "after", {"pod": "there"}, ingress=[{"fromEndpoints": [
            {"matchLabels": {"pod": "c"}}]}]))
        self.expect("x/c > x/there A", "y/a > x/there D")
        self.cluster.put_node(node)
        self.expect("node5 > x/a A", "node5 > x/there A")

    def peers(self, node):
        listed = netlab.run(lab.program("sluice"), "peer", "list", "--pin-dir", f"/run/bpf/{node}/sluice",
                            "-o", "json")
        return {peer["prefix"] for peer in json.loads(listed)["peers"]}

    def test_a_nodes_address_changes(self):
        node = self.node("node6")
        self.pod("x/there", "node6", 59, labels={"pod": "there"})
        for name in ("a", "there"):
            self.api.create(cnp("x", name, {"pod": name}, ingress=[{"fromEntities": ["remote-node"]}]))
        # Where a Service's packets come from, and the node's own to its pods.
        self.expect("node6 > x/a A", "node6 > x/there A", "node1 > x/there A", "x/b > x/there D")
        old = node.ipv4, node.ipv6
        node.readdress("10.0.255.106", "fd00:0:0:ff::106")
        # Its agent tells the others, whatever the object says; its own pods it reaches from every address. First
        # it has to notice that its connection from the old address is dead.
        self.expect("node6 > x/a A", "node6 > x/there A", seconds=60)
        self.cluster.put_node(node)
        self.expect("node6 > x/a A", "node6 > x/there A", "node1 > x/there A", "x/b > x/there D")
        # The old one may be somebody else's.
        stranger = self.cluster.net.external("S", *old)
        self.addCleanup(stranger.unplug)
        self.expect("S > x/a D", "S > x/there D")

    def test_a_namespace_is_deleted_with_its_policies(self):
        self.plane.ensure_namespace("gone", {"ns": "gone"})
        self.addCleanup(self.end_namespace, "gone")
        self.pod("gone/pod", "node2", 60, labels={"role": "client"})
        self.api.create(cnp("gone", "own", {"role": "client"}, ingress=[{}]))
        self.api.create(network_policy("gone", "own", {}, policyTypes=["Egress"], egress=[
            {"to": [{"namespaceSelector": {"matchLabels": {"ns": "x"}}}]}]))
        self.api.create(cnp("x", "a", {"pod": "a"}, ingress=[{"fromEndpoints": [
            {"matchLabels": {"io.cilium.k8s.namespace.labels.ns": "gone"}}]}]))
        self.expect("gone/pod > x/a A", "gone/pod > y/a D", "x/b > gone/pod D", "x/b > x/a D")
        self.end_namespace("gone")
        # The next one with this address has nothing to do with it.
        self.pod("y/next", "node2", 60, labels={"role": "client"})
        self.expect("y/next > x/a D", "y/next > y/a A", "x/b > y/next A")
        # Nor has the next namespace of this name, but for its name and labels.
        self.plane.ensure_namespace("gone", {"ns": "gone"})
        self.pod("gone/pod", "node3", 61, labels={"role": "client"})
        self.expect("gone/pod > x/a A", "gone/pod > y/a A", "x/b > gone/pod A")

    def end_namespace(self, name):
        """As the namespace controller does it: what is inside goes, then the namespace."""
        try:
            self.api.delete("Namespace", None, name)
        except ApiError as error:
            self.assertEqual(error.status, 404)
            return
        for kind in ("CiliumNetworkPolicy", "NetworkPolicy"):
            for thing in self.api.get(kind, name)["items"]:
                self.api.delete(kind, name, thing["metadata"]["name"])
        for pod in [p for p in self.cluster.pods() if p.startswith(name + "/")]:
            self.cluster.delete_pod(pod)
        self.api.request("PUT", f"/api/v1/namespaces/{name}/finalize",
                         {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
                          "spec": {"finalizers": []}})
        wait_for(lambda: not self.api.find("Namespace", None, name), "it is gone")
