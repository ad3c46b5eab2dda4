# SPDX-License-Identifier: Apache-2.0
"""What both programs tell of themselves can be asked for by either family, as deploy/ installs them."""

import urllib.request

from tests.netns.sluice import wait_for
from tests.real import suite
from tests.real.lab import SYSTEM

_PORTS = {"sluice-agent": 9965, "sluice-operator": 9964}


class Health(suite.Case):
    namespace = "health"

    @staticmethod
    def get(address, port, path):
        """None while nobody answers."""
        host = f"[{address}]" if ":" in address else address
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def test_by_both_families(self):
        found = set()
        for pod in self.lab.pods(SYSTEM):
            name, node = pod["metadata"]["labels"]["app.kubernetes.io/name"], self.lab.nodes[pod["spec"]["nodeName"]]
            found.add(name)
            for address in (node.ipv4, node.ipv6):
                for path, contains in (("/healthz", "ok"), ("/readyz", "ok"), ("/metrics", "_build_info{")):
                    text = wait_for(lambda a=address, p=path, n=name: self.get(a, _PORTS[n], p),
                                    f"{name} at {address} answers {path}", 30)
                    self.assertIn(contains, text)
        self.assertEqual(found, set(_PORTS))
