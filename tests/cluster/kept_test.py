# SPDX-License-Identifier: Apache-2.0
"""Objects whose status has no room for their last valid version: a bad edit and a restart of all
operators open nothing, and close nothing."""

import json

from tests.cluster import suite
from tests.cluster.foreign_test import _definition
from tests.netns.sluice import cnp, wait_for

_CNP, _NP = "CiliumNetworkPolicy", "NetworkPolicy"


def _from(pod):
    return [{"fromEndpoints": [{"matchLabels": {"pod": pod}}]}]


def _too_large():
    """CIDRs within each other with ports of their own: 39,000 entries, in which nobody is let in
    who is a pod."""
    return [{"from": [{"ipBlock": {"cidr": f"8.0.0.0/{8 + n}"}}],
             "ports": [{"port": 1000 + 2 * (120 * n + k)} for k in range(120)]} for n in range(25)]


class Kept(suite.ClusterCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)

    def kept(self):
        """{key: what is kept} of objects in x."""
        found = self.api.find("ConfigMap", suite.SYSTEM, "sluice-kept.x")
        return {key: json.loads(value) for key, value in (found or {}).get("data", {}).items()}

    def is_kept(self, key, generation=1):
        return self.kept().get(key, {}).get("generation") == generation

    def restart_operators(self):
        for operator in self.cluster.operators:
            operator.kill()
        for operator in self.cluster.operators:
            operator.start()
        self.cluster.balance()

    def stays_through_a_restart(self):
        self.expect("x/b > x/a A", "x/c > x/a D")
        self.restart_operators()
        # What is said afterwards takes effect, and so all before it has.
        self.api.create(cnp("x", "meanwhile", {"pod": "b"}, ingress=_from("a")))
        self.expect("x/c > x/b D", "x/a > x/b A", "x/b > x/a A", "x/c > x/a D", seconds=60)

    def wait_condition(self, name, what, status, contains):
        """Of a kind whose conditions have no room for the generation."""
        def reached():
            found = self.api.get(_CNP, "x", name).get("status", {}).get("conditions", ())
            return any(c["type"] == what and c["status"] == status and contains in c["message"] for c in found)
        wait_for(reached, f"{name} is {what}={status} {contains}", 60)

    def test_a_network_policy(self):
        policy = {"apiVersion": "networking.k8s.io/v1", "kind": _NP, "metadata": {"namespace": "x", "name": "p"},
                  "spec": {"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress"],
                           "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]}}
        self.addCleanup(self.api.delete, _NP, "x", "p")
        self.api.create(policy)
        self.expect("x/b > x/a A", "x/c > x/a D")
        self.assertEqual(self.kept(), {})
        self.api.patch(_NP, "x", "p", {"spec": {"ingress": _too_large()}})
        wait_for(lambda: self.is_kept(f"{_NP}.p"), "the last valid version is kept", 30)
        self.stays_through_a_restart()
        events = [e for e in self.api.get("Event", "x")["items"] if e["reason"] == "Invalid"]
        self.assertTrue(any("more than 32768 policy-map entries" in e["message"] for e in events), events)
        self.assertTrue(self.is_kept(f"{_NP}.p"))
        self.api.patch(_NP, "x", "p", {"spec": {"ingress": [
            {"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}]}})
        self.expect("x/b > x/a D", "x/c > x/a A")
        wait_for(lambda: not self.kept(), "it is not needed any more", 30)

    def test_a_kind_whose_definition_prunes_the_status(self):
        name = "ciliumnetworkpolicies.cilium.io"
        before = self.api.get("CustomResourceDefinition", None, name)["spec"]["versions"][0]["schema"]
        self.addCleanup(self.api.patch, "CustomResourceDefinition", None, name,
                        [{"op": "replace", "path": "/spec/versions/0/schema", "value": before}], how="json")
        pruning = _definition(_CNP, "cnp")["spec"]["versions"][0]["schema"]
        self.api.patch("CustomResourceDefinition", None, name,
                       [{"op": "replace", "path": "/spec/versions/0/schema", "value": pruning}], how="json")
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=_from("b")))
        self.expect("x/b > x/a A", "x/c > x/a D")

        def prunes():
            # The server takes a moment to go by another definition.
            status = {"status": {"conditions": [], "inForce": {"generation": 7, "rules": "{}"}}}
            return "inForce" not in self.api.patch(_CNP, "x", "p", status, subresource="status").get("status", {})
        wait_for(prunes, "the definition prunes", 30)
        self.api.patch(_CNP, "x", "p", {"spec": {"ingress": [{"fromNowhere": [{}]}]}})
        self.wait_condition("p", "Valid", "False", "generation 2: ")
        self.wait_condition("p", "Enforced", "False", "generation 2: generation 1 stays in force")
        wait_for(lambda: self.is_kept(f"{_CNP}.p"), "the last valid version is kept", 30)
        self.stays_through_a_restart()
        self.wait_condition("p", "Valid", "False", "generation 1 stays in force")
        self.api.patch(_CNP, "x", "p", {"spec": {"ingress": _from("c")}})
        self.expect("x/b > x/a D", "x/c > x/a A")
        wait_for(lambda: not self.kept(), "it is not needed any more", 30)
        # A condition of a generation before does not stand for this one.
        self.wait_condition("p", "Enforced", "True", "generation 3: ")
