# SPDX-License-Identifier: Apache-2.0
"""A node is drained, loses power, or loses kubelet or containerd for a while: what policy says holds
afterwards and, where the node goes on running, meanwhile."""

from tests.netns import traffic
from tests.real import suite

_STREAM_RATE = 200


class Disruption(suite.Case):
    namespace = "disruption"

    @classmethod
    def make(cls):
        spread = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": {
                "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "server"}}}}]}}
        # "fixed": a server that every node has.
        cls.apply(suite.daemon_set("friend"), suite.daemon_set("stranger"), suite.daemon_set("fixed"),
                  suite.deployment("server", suite.container(), replicas=2, affinity=spread),
                  suite.service("server", "server"),
                  {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "friends"},
                   "spec": {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn",
                                                                  "values": ["friend", "stranger"]}]},
                            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}]}})

    def setUp(self):
        self.settle()

    def settle(self):
        self.wait_ready("DaemonSet/friend", "DaemonSet/stranger", "DaemonSet/fixed", "Deployment/server",
                        seconds=180)
        self.expect()

    def expect(self):
        """Friends reach every server and the Service, strangers neither."""
        expected = {}
        service = self.api.get("Service", self.namespace, "server")["spec"]["clusterIPs"]
        cluster = {6 if ":" in a else 4: a for a in service}
        # Those of the Deployment last.
        servers = [self.lab.peer(p) for app in ("fixed", "late", "server")
                   for p in self.lab.pods(self.namespace, app=app)]
        for app, wanted in (("friend", traffic.ALLOWED), ("stranger", traffic.DENIED)):
            for pod in self.lab.pods(self.namespace, app=app):
                client = self.lab.peer(pod)
                for family in (4, 6):
                    for server in servers:
                        for proto in ("tcp", "udp"):
                            expected[suite.probe(client, server, family=family, proto=proto)] = wanted
                    expected[suite.probe(client, servers[-1], family=family, address=cluster[family])] = wanted
        self.lab.wait_for_table(expected, 60)

    def watch(self, app, port):
        """A stream of packets from a pod of node1 to one of node2, and the other way round."""
        client = {p["spec"]["nodeName"]: self.lab.peer(p) for p in self.lab.pods(self.namespace, app=app)}
        server = {p["spec"]["nodeName"]: self.lab.peer(p) for p in self.lab.pods(self.namespace, app="fixed")}
        return [traffic.Stream(client[a], server[b], [(server[b].ipv4, port)], _STREAM_RATE)
                for a, b in (("node1", "node2"), ("node2", "node1"))]

    def through(self, disturb):
        """Disturbs the cluster under traffic: what is allowed arrives, every packet, what is not does not."""
        good, bad = self.watch("friend", 9991), self.watch("stranger", 9992)
        disturb()
        for stream in good + bad:
            stream.wait_sent(_STREAM_RATE)
        for stream in good:
            sent, arrived = stream.stop()
            self.assertEqual(len(arrived), sent, "allowed packets that arrived")
        for stream in bad:
            sent, arrived = stream.stop()
            self.assertEqual(len(arrived), 0, f"of {sent} forbidden packets arrived")
        self.settle()

    def restart(self, service):
        for node in self.lab.nodes.values():
            node.stop_service(service)
        for node in self.lab.nodes.values():
            node.start_service(service)
        for node in self.lab.nodes.values():
            self.lab.wait_node(node)

    def new_pod(self):
        """A server that starts now, seen as any other."""
        self.apply(suite.deployment("late", suite.container(), replicas=1))
        self.addCleanup(self.api.delete, "Deployment", self.namespace, "late")
        self.wait_ready("Deployment/late")
        self.expect()

    def test_kubelet_is_restarted(self):
        self.through(lambda: self.restart("kubelet"))
        self.new_pod()

    def test_containerd_is_restarted(self):
        self.through(lambda: self.restart("containerd"))
        self.new_pod()

    def test_kube_proxy_is_restarted(self):
        self.through(lambda: self.restart("kube-proxy"))

    def test_a_node_is_drained(self):
        self.addCleanup(self.plane.kubectl, "uncordon", "node1")
        self.plane.kubectl("drain", "node1", "--ignore-daemonsets", "--force", "--delete-emptydir-data",
                           "--pod-selector=app=server", "--timeout=60s")
        self.settle()
        nodes = {p["spec"]["nodeName"] for p in self.lab.pods(self.namespace, app="server")}
        self.assertEqual(nodes, {"node2"})
        self.plane.kubectl("uncordon", "node1")
        self.plane.kubectl("-n", self.namespace, "rollout", "restart", "deployment/server")
        self.settle()

    def reboot(self, name):
        node = self.lab.nodes[name]
        self.lab.reboot(node)
        self.lab.wait_sluice()
        self.settle()

    def test_the_bridge_plugins_node_loses_power(self):
        self.reboot("node1")

    def test_the_ptp_plugins_node_loses_power(self):
        self.reboot("node2")
