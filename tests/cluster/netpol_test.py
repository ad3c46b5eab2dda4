# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy end to end: kubectl's objects in, packets between nine pods on
three nodes out, in both address families, the whole table each time."""

from tests.cluster import netpol_cases, suite
from tests.netns.traffic import ALLOWED, DENIED, Probe


class NetworkPolicies(suite.ClusterCase):

    def probes(self, tables):
        pods = self.cluster.pods()
        expected = {}
        for what, statements in tables.items():
            # The first packet of SCTP is what can be sent without SCTP in the kernel.
            what = what.replace("sctp/", "sctp-init/")
            for (source, destination), may in netpol_cases.table(statements).items():
                for family in (4, 6):
                    probe = Probe(pods[source], pods[destination], what, family)
                    expected[probe] = ALLOWED if may else DENIED
        return expected

    def play(self, case):
        self.addCleanup(self.undo, case)
        for step in case.steps:
            for policy in step.put:
                self.api.apply(policy)
            for namespace, name in step.remove:
                self.api.delete("NetworkPolicy", namespace, name)
            for namespace, labels in step.namespace_labels.items():
                self.api.patch("Namespace", None, namespace, {"metadata": {"labels": labels}})
            for pod, labels in step.pod_labels.items():
                self.api.patch("Pod", *pod.split("/"), {"metadata": {"labels": labels}})
            self.cluster.wait_for_table(self.probes(step.tables))

    def undo(self, case):
        self.cluster.clear_policies()
        for step in case.steps:
            for namespace, labels in step.namespace_labels.items():
                self.api.patch("Namespace", None, namespace,
                               {"metadata": {"labels": dict.fromkeys(labels)}})
            for pod, labels in step.pod_labels.items():
                self.api.patch("Pod", *pod.split("/"), {"metadata": {"labels": dict.fromkeys(labels)}})
        self.cluster.wait_for_table(self.probes({"tcp/80": ()}))


def _add(case):
    name = "test_" + "".join(c if c.isalnum() else "_" for c in case.name)
    assert not hasattr(NetworkPolicies, name), name
    setattr(NetworkPolicies, name, lambda self: self.play(case))


for _case in netpol_cases.TCP + netpol_cases.UDP + netpol_cases.SCTP:
    _add(_case)
