# SPDX-License-Identifier: Apache-2.0
"""What both programs export is what the documents and the dashboard name."""

import re
import urllib.request

from tests.cluster import suite
from tests.netns import metrics
from tests.netns.sluice import wait_for


def _scrape(host, port):
    """As soon as the program serves it."""
    def text():
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as reply:
                return reply.read().decode()
        except OSError:
            return None
    return wait_for(text, f"{host}:{port} answers")


def _operator(operator):
    return _scrape(operator.address, 9964)


class Metrics(suite.ClusterCase):

    def check_all(self, program, text):
        self.assertFalse({what: names for what, names in metrics.problems(program, text).items() if names})

    def test_operator(self):
        self.check_all("sluice_operator", _operator(self.cluster.operators[0]))

    def test_agent(self):
        for node in self.cluster.net.nodes.values():
            with node.ns.entered():
                for address in ("127.0.0.1", "[::1]"):
                    self.check_all("sluice_agent", _scrape(address, 9965))

    def test_numbers_are_of_the_cluster(self):
        self.api.ensure({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
                         "metadata": {"namespace": "x", "name": "wrong"},
                         "spec": {"endpointSelector": {}, "ingress": [{"fromNodes": [{}]}]}})
        self.addCleanup(self.api.delete, "CiliumNetworkPolicy", "x", "wrong")
        wrong = 'sluice_operator_invalid_objects{kind="CiliumNetworkPolicy"} 1'
        running = [o for o in self.cluster.operators if o.running()]
        for operator in running:
            wait_for(lambda o=operator: wrong in _operator(o), "the policy that is not valid is counted")
        texts = [_operator(operator) for operator in running]
        self.assertEqual(self.total("sluice_operator_leader", texts), 1)
        wait_for(lambda: self.total("sluice_operator_agents_connected",
                                    [_operator(o) for o in running]) == len(self.cluster.net.nodes),
                 "every agent is counted once")

    def total(self, name, texts):
        return sum(float(re.search(rf"^{name} (\S+)$", text, re.M).group(1)) for text in texts)
