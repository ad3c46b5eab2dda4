# SPDX-License-Identifier: Apache-2.0
"""Clusters with somebody else's definitions of Cilium's kinds, or with none; and two operators on
one node. With an API server of its own, in which nothing is installed before."""

import json
import re
import subprocess
import unittest
import urllib.request

from tests.cluster import lab, suite
from tests.cluster.api import KINDS, ApiError
from tests.cluster.control_plane import ControlPlane
from tests.netns.sluice import cnp, wait_for

_CNP = "CiliumNetworkPolicy"
_OWNER = "cilium-operator"


def _definition(kind, short):
    """As Cilium's own are as far as it matters: conditions without a generation, nothing else in
    the status of a policy; a CIDR group has none at all."""
    _, plural, namespaced = KINDS[kind]
    condition = {"type": "object", "required": ["type", "status"], "properties": {
        name: {"type": "string"} for name in ("type", "status", "reason", "message", "lastTransitionTime")}}
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    version = {"name": "v2", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    if kind != "CiliumCIDRGroup":
        schema["properties"]["status"] = {"type": "object", "properties": {
            "conditions": {"type": "array", "items": condition}}}
        version["subresources"] = {"status": {}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.cilium.io"},
            "spec": {"group": "cilium.io", "scope": "Namespaced" if namespaced else "Cluster",
                     "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": [short]},
                     "versions": [version]}}


def _other_definition(group, plural, kind, scope):
    made = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": scope,
                     "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                     "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": {
                         "openAPIV3Schema": {"type": "object"}}}]}}
    if group.endswith("k8s.io"):
        # What the server asks of groups of the community's.
        made["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test"}
    return made


class Foreign(unittest.TestCase):
    """In order: a cluster without definitions gets somebody else's."""

    @classmethod
    def setUpClass(cls):
        cls.plane = cls.enterClassContext(ControlPlane(folder="/run/foreign"))
        cls.api = cls.plane.api
        cls.plane.kubectl("apply", "-k", "deploy/")
        cls.started = []

    def tearDown(self):
        for operator in self.started:
            if operator.running():
                operator.kill()
        self.started.clear()

    # ---- helpers ---------------------------------------------------------------------

    def operator(self, name, address="10.0.253.1"):
        """One replica; those with the same address are on the same node. No two have one name:
        what is in the log is this one's."""
        subprocess.run(["ip", "address", "replace", address + "/32", "dev", "lo"], check=True)
        kubeconfig = self.plane.kubeconfig_of(suite.SYSTEM, "sluice-operator")
        made = lab.Process(f"foreign-{name}", lab.Own, lab.operator_command(name, address, kubeconfig))
        made.address = address
        made.start()
        self.started.append(made)
        return made

    @staticmethod
    def get(operator, path):
        """The answer's text, or None while there is no good one."""
        try:
            with urllib.request.urlopen(f"http://{operator.address}:9964{path}", timeout=5) as reply:
                return reply.read().decode()
        except OSError:
            return None

    def wait_ready(self, operator):
        wait_for(lambda: self.get(operator, "/readyz"), f"the operator is ready; {operator.log()}", 30)

    def logged(self, operator, text):
        wait_for(lambda: text in operator.log(100_000), f"{text!r} is logged; {operator.log()}", 30)

    def metric(self, operator, name):
        return float(re.search(rf"^{name} (\S+)$", self.get(operator, "/metrics"), re.M).group(1))

    def leader(self):
        lease = self.api.find("Lease", suite.SYSTEM, "sluice-operator") or {"spec": {}}
        return (lease["spec"].get("holderIdentity") or "").split("@")[0]

    def definitions(self):
        """{name: (manager, generation)}"""
        return {d["metadata"]["name"]: ({m["manager"] for m in d["metadata"]["managedFields"]}
                                        - {"kube-apiserver"}, d["metadata"]["generation"])
                for d in self.api.get("CustomResourceDefinition")["items"]}

    def wait_condition(self, name, what, status, contains=""):
        def reached():
            thing = self.api.get(_CNP, "default", name)
            return next((c for c in thing.get("status", {}).get("conditions", ())
                         if c["type"] == what and c["status"] == status and contains in c["message"]), None)
        return wait_for(reached, f"{name} is {what}={status} {contains}", 30)

    # ---- none ------------------------------------------------------------------------

    def test_1_without_definitions(self):
        """NetworkPolicy alone: the operator is ready, and says what is not there."""
        self.assertEqual(self.definitions(), {})
        operator = self.operator("alone")
        self.wait_ready(operator)
        for kind in (_CNP, "CiliumClusterwideNetworkPolicy", "CiliumCIDRGroup", "ClusterNetworkPolicy"):
            self.logged(operator, f"{kind}: not installed; waiting for its definition")
        self.api.create({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                         "metadata": {"namespace": "default", "name": "p"}, "spec": {"podSelector": {}}})
        wait_for(lambda: 'sluice_operator_objects{kind="NetworkPolicy"} 1' in (self.get(operator, "/metrics") or ""),
                 "the policy is known")

    # ---- two on one node ---------------------------------------------------------------

    def test_2_a_second_replica_on_a_node_stands_by(self):
        """Without ever answering at the ports of the first; then it takes over."""
        first = self.operator("first")
        self.wait_ready(first)
        wait_for(lambda: self.leader() == "first", "the first one leads", 30)
        second = self.operator("second")
        self.logged(second, "this one stands by")
        self.assertNotIn("serves agents", second.log(100_000))
        self.assertEqual(first.stop(), 0)
        self.logged(second, "no longer stands by")
        self.logged(second, "serves agents at")
        self.wait_ready(second)
        wait_for(lambda: self.leader() == "second", "the second one leads", 60)
        self.assertEqual(second.stop(), 0)

    def test_2_one_that_stands_by_ends_when_told(self):
        serving = self.operator("serving")
        self.wait_ready(serving)
        waiting = self.operator("waiting")
        self.logged(waiting, "this one stands by")
        self.assertEqual(waiting.stop(), 0)
        self.assertTrue(self.get(serving, "/readyz"))

    # ---- somebody else's ---------------------------------------------------------------

    def test_3_installing_leaves_definitions_of_others(self):
        for kind, short in ((_CNP, "cnp"), ("CiliumClusterwideNetworkPolicy", "ccnp")):
            self.api.create(_definition(kind, short), f"?fieldManager={_OWNER}")
        for group, plural, kind, scope in (
                ("policy.networking.k8s.io", "adminnetworkpolicies", "AdminNetworkPolicy", "Cluster"),
                ("crd.projectcalico.org", "globalnetworkpolicies", "GlobalNetworkPolicy", "Cluster"),
                ("example.org", "networkpolicies", "NetworkPolicy", "Namespaced")):
            self.api.create(_other_definition(group, plural, kind, scope), f"?fieldManager={_OWNER}")
        before = self.definitions()
        self.assertEqual(len(before), 5)
        code, text = self.plane.kubectl("apply", "--server-side", "-k", "deploy/crds", check=False)
        self.assertNotEqual(code, 0)
        self.assertEqual(len(re.findall(rf'conflicts? with "{_OWNER}"', text)), 2, text)
        self.plane.kubectl("apply", "-k", "deploy/")
        after = self.definitions()
        self.assertEqual({name: after[name] for name in before}, before)
        self.assertEqual(set(after) - set(before), {"ciliumcidrgroups.cilium.io"})

    def test_4_policies_of_such_definitions(self):
        """Are enforced, and their status is what the definition has room for."""
        served = lambda: {r["kind"] for r in self.api.request("GET", "/apis/cilium.io/v2")["resources"]}  # noqa: E731
        wait_for(lambda: {_CNP, "CiliumCIDRGroup"} <= served(), "the kinds are served", 30)
        operator = self.operator("other")
        self.wait_ready(operator)
        self.api.create(cnp("default", "p", {"app": "a"}, ingress=[{}]))
        self.addCleanup(self.api.delete, _CNP, "default", "p")
        self.assertNotIn("observedGeneration", self.wait_condition("p", "Valid", "True"))
        # What has no room for a generation says it in its message.
        self.wait_condition("p", "Enforced", "True", "generation 1: ")
        self.logged(operator, f"{_CNP}: its definition at the API server is not Sluice's")
        # What is not valid leaves the version before in force, which is kept beside the operator.
        self.api.patch(_CNP, "default", "p", {"spec": {"ingress": [{"fromEntities": ["nobody"]}]}})
        self.wait_condition("p", "Valid", "False", "nobody")
        self.wait_condition("p", "Valid", "False", "generation 2: ")
        self.wait_condition("p", "Enforced", "False", "generation 2: generation 1 stays in force")
        self.assertNotIn("inForce", self.api.get(_CNP, "default", "p")["status"])
        kept = json.loads(wait_for(lambda: self.kept("default").get(f"{_CNP}.p"), "it is kept", 30))
        self.assertEqual((kept["name"], kept["generation"]), ("p", 1))
        # One that starts anew goes on from it, and keeps it on.
        self.assertEqual(operator.stop(), 0)
        operator = self.operator("anew")
        self.wait_ready(operator)
        wait_for(lambda: self.leader() == "anew", "the new one leads", 60)
        self.wait_condition("p", "Enforced", "False", "generation 1 stays in force")
        self.api.patch(_CNP, "default", "p", {"metadata": {"labels": {"seen": "once"}}})
        self.wait_condition("p", "Valid", "False", "generation 1 stays in force")
        self.assertIn(f"{_CNP}.p", self.kept("default"))
        # And nothing is written again and again for what the definition drops.
        before = self.metric(operator, "sluice_operator_status_writes_total")
        self.assertLess(before, 12)
        self.api.patch(_CNP, "default", "p", {"metadata": {"labels": {"seen": "again"}}})
        self.api.create(cnp("default", "later", {"app": "a"}, ingress=[{}]))
        self.addCleanup(self.api.delete, _CNP, "default", "later")
        self.wait_condition("later", "Enforced", "True")
        wait_for(lambda: self.metric(operator, "sluice_operator_status_writes_total") > before, "its writes are counted")
        self.assertLess(self.metric(operator, "sluice_operator_status_writes_total") - before, 5)
        # It is kept as long as it is needed.
        self.api.patch(_CNP, "default", "p", {"spec": {"ingress": [{}]}})
        self.wait_condition("p", "Enforced", "True", "generation 3: ")
        wait_for(lambda: not self.kept("default"), "nothing is kept any more", 30)

    def kept(self, namespace):
        """What the operator keeps of objects of the namespace."""
        found = self.api.find("ConfigMap", suite.SYSTEM, "sluice-kept." + namespace)
        return (found or {}).get("data", {})

    def test_4_policies_of_other_engines(self):
        """Whoever relies on them is told that they have no effect, once for each kind."""
        operator = self.operator("teller")
        self.wait_ready(operator)
        wait_for(lambda: self.leader() == "teller", "it leads", 60)
        self.logged(operator, "AdminNetworkPolicy of policy.networking.k8s.io is installed")
        said = "GlobalNetworkPolicy of crd.projectcalico.org is installed, but Sluice does not enforce it"
        self.logged(operator, said)
        def events():
            return [e for e in self.api.get("Event", suite.SYSTEM)["items"]
                    if e["reason"] == "NotEnforced" and e["involvedObject"]["kind"] == "Service"]
        wait_for(lambda: len(events()) == 2, lambda: f"an event of each kind: {events()}; {operator.log()}", 30)
        self.assertEqual(len([e for e in events() if said in e["message"]]), 1)
        self.assertEqual(operator.log(100_000).count("is installed, but"), 2)

    def test_5_definitions_of_others_survive_the_uninstall(self):
        before = set(self.definitions())
        self.plane.kubectl("delete", "-k", "deploy/", "--wait=false")
        self.assertEqual(set(self.definitions()), before)
        with self.assertRaises(ApiError):
            self.api.get("Service", suite.SYSTEM, "sluice-operator")
