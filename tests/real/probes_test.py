# SPDX-License-Identifier: Apache-2.0
"""Kubelet's probes reach pods that nobody may reach: by HTTP, TCP and exec, for start-up, liveness and
readiness; by IPv4 to pods of the bridge plugin and by IPv6 to those of ptp; whatever is restarted."""

from tests.netns import traffic
from tests.netns.sluice import wait_for
from tests.real import suite

_PROBES = {
    "http": {"httpGet": {"path": "/", "port": suite.PORT}},
    "tcp": {"tcpSocket": {"port": suite.PORT}},
    "exec": {"exec": {"command": ["/peer", "check", str(suite.PORT)]}},
}


def _probed(how, **more):
    """A server whose three probes ask in the same way, as often as kubelet does it at most."""
    each = {**_PROBES[how], "periodSeconds": 1, "timeoutSeconds": 5}
    # A busy machine may take its time; a pod that is cut off fails all of them.
    return suite.container(startupProbe={**each, "failureThreshold": 20},
                           livenessProbe={**each, "failureThreshold": 5},
                           readinessProbe={**each, "failureThreshold": 3}, **more)


class Probes(suite.Case):
    namespace = "probes"

    @classmethod
    def make(cls):
        cls.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                   "metadata": {"name": "default-deny"},
                   "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}})
        for how in _PROBES:
            thing = suite.deployment(how, _probed(how), replicas=len(cls.lab.nodes))
            affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname",
                 "labelSelector": {"matchLabels": {"app": how}}}]}}
            thing["spec"]["template"]["spec"]["affinity"] = affinity
            cls.apply(thing)

    def setUp(self):
        self.wait_ready(*(f"Deployment/{how}" for how in _PROBES))

    def states(self):
        """{pod: (restarts, when it became ready)}: the same later means that it was ready throughout."""
        found = {}
        for pod in self.lab.pods(self.namespace):
            ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
            self.assertEqual(ready["status"], "True", pod["metadata"]["name"])
            found[pod["metadata"]["name"]] = (pod["status"]["containerStatuses"][0]["restartCount"],
                                              ready["lastTransitionTime"])
        return found

    def test_pods_become_ready_on_every_node_under_default_deny(self):
        for how in _PROBES:
            nodes = {p["spec"]["nodeName"] for p in self.lab.pods(self.namespace, app=how)}
            self.assertEqual(nodes, set(self.lab.nodes), how)
        for pod, (restarts, _) in self.states().items():
            self.assertEqual(restarts, 0, f"restarts of {pod}")

    def test_kubelet_asks_by_each_family(self):
        first = {p["spec"]["nodeName"]: ":" in p["status"]["podIP"] for p in self.lab.pods(self.namespace)}
        self.assertEqual(first, {"node1": False, "node2": True}, "the first address is an IPv6 address")

    def test_the_node_reaches_its_pods_and_nobody_else_does(self):
        expected = {}
        for pod in self.lab.pods(self.namespace):
            peer = self.lab.peer(pod)
            for family in (4, 6):
                for node in self.lab.nodes.values():
                    own = node.name == pod["spec"]["nodeName"]
                    expected[suite.probe(node, peer, family=family)] = suite.verdict(own)
                expected[suite.probe(self.lab.outsider, peer, family=family)] = traffic.DENIED
        self.lab.wait_for_table(expected)

    def stay_ready(self, what, restart):
        """Nothing happens to the pods, though every probe of them is due several times meanwhile."""
        before = self.states()
        restart()
        asked = self.probe_rounds()
        wait_for(lambda: self.probe_rounds() > asked + 6, "kubelet goes on probing", 60)
        self.assertEqual(self.states(), before, f"pods after {what}")

    def probe_rounds(self):
        """Successful probes of this namespace that the busiest kubelet counts, per probe."""
        counts = []
        for node in self.lab.nodes:
            text = self.api.request("GET", f"/api/v1/nodes/{node}/proxy/metrics/probes")
            counts += [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                       if line.startswith("prober_probe_total") and f'namespace="{self.namespace}"' in line
                       and 'probe_type="Readiness"' in line and 'result="successful"' in line]
        return min(counts) if counts else 0

    def test_they_stay_ready_while_agents_are_restarted(self):
        self.stay_ready("a restart of the agents", lambda: self.lab.restart_sluice("sluice-agent"))

    def test_they_stay_ready_while_operators_are_restarted(self):
        self.stay_ready("a restart of the operators", lambda: self.lab.restart_sluice("sluice-operator"))
