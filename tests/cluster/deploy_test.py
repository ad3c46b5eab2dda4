# SPDX-License-Identifier: Apache-2.0
"""deploy/ as a cluster's administrator uses it, with kubectl 1.20."""

import os
import re
import subprocess
import unittest

from tests.cluster import suite

_DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy")


class Deploy(unittest.TestCase):
    """In order: what is there is applied once for all suites."""

    def setUp(self):
        self.plane = suite.plane()

    def dry_run(self, folder):
        return self.plane.kubectl("apply", "-k", folder, "--dry-run=server").strip().splitlines()

    def test_1_the_server_takes_every_object(self):
        # Nothing can be checked inside a namespace that is not there yet.
        self.plane.kubectl("apply", "-f", "deploy/namespace.yaml")
        lines = self.dry_run("deploy/")
        self.assertGreater(len(lines), 10)
        for line in lines:
            self.assertRegex(line, r"(created|configured|unchanged) \(server dry run\)$")

    def test_2_applied_again_nothing_changes(self):
        suite.deployed()
        changed = [line for line in self.dry_run("deploy/") if " unchanged " not in line]
        self.assertEqual(changed, [])

    def test_3_budgets(self):
        """For both versions of the API the same; this server has the older one."""
        suite.deployed()
        self.assertEqual(self.dry_run("deploy/pdb/v1beta1"),
                         ["poddisruptionbudget.policy/sluice-operator created (server dry run)"])
        texts = []
        for path in ("pdb/pdb.yaml", "pdb/v1beta1/pdb.yaml"):
            with open(os.path.join(_DEPLOY, path), encoding="utf-8") as file:
                texts.append(file.read())
        self.assertEqual(texts[0].replace("policy/v1\n", "policy/v1beta1\n"), texts[1])

    def test_3_cleanup(self):
        suite.deployed()
        self.assertEqual(self.dry_run("deploy/cleanup"),
                         ["daemonset.apps/sluice-cleanup created (server dry run)"])

    def test_3_dashboard(self):
        suite.deployed()
        self.assertEqual(self.dry_run("deploy/dashboards"),
                         ["configmap/sluice-dashboard created (server dry run)"])
        done = subprocess.run([os.path.join(_DEPLOY, "dashboards", "generate.py"), "--check"], check=False,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_4_short_names_and_columns(self):
        plane = suite.deployed()
        policy = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
                  "metadata": {"namespace": "default", "name": "columns"},
                  "spec": {"endpointSelector": {}, "ingress": [{}]}}
        plane.api.ensure(policy)
        plane.api.patch("CiliumNetworkPolicy", "default", "columns", {"status": {"conditions": [
            {"type": "Valid", "status": "True", "reason": "Valid", "message": "",
             "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1},
            {"type": "Enforced", "status": "False", "reason": "Waiting", "message": "1/3 nodes",
             "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1}]}},
            subresource="status")
        for name in ("cnp", "ciliumnp", "ciliumnetworkpolicies"):
            head, line = plane.kubectl("get", name, "columns").splitlines()
            self.assertEqual(head.split(), ["NAME", "VALID", "ENFORCED", "AGE"])
            self.assertRegex(line, r"^columns +True +False +\w+$")
        for name in ("ccnp", "ccg"):
            self.assertIn("No resources found", plane.kubectl("get", name))
        plane.kubectl("wait", "--for=condition=Valid", "--timeout=5s", "cnp/columns")
        code, _ = plane.kubectl("wait", "--for=condition=Enforced", "--timeout=1s", "cnp/columns",
                                check=False)
        self.assertNotEqual(code, 0)
        plane.api.delete("CiliumNetworkPolicy", "default", "columns")

    def test_5_status_is_apart_from_spec(self):
        """Whoever may write policies does not thereby say that they are enforced."""
        plane = suite.deployed()
        policy = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
                  "metadata": {"namespace": "default", "name": "apart"},
                  "spec": {"endpointSelector": {}, "ingress": [{}]},
                  "status": {"conditions": [{"type": "Enforced", "status": "True"}]}}
        made = plane.api.create(policy)
        self.addCleanup(plane.api.delete, "CiliumNetworkPolicy", "default", "apart")
        self.assertNotIn("status", made)
        changed = plane.api.patch("CiliumNetworkPolicy", "default", "apart",
                                  {"spec": {"ingress": [{}, {}]}, "status": {"conditions": [
                                      {"type": "Valid", "status": "True"}]}}, subresource="status")
        self.assertEqual(changed["spec"], policy["spec"])
        self.assertEqual(changed["metadata"]["generation"], 1)
        self.assertEqual(len(changed["status"]["conditions"]), 1)

    def test_6_groups_have_both_their_versions(self):
        plane = suite.deployed()
        group = {"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumCIDRGroup",
                 "metadata": {"name": "both"}, "spec": {"externalCIDRs": ["203.0.113.0/24"]}}
        plane.kubectl("apply", "-f", "-", stdin=str(group).replace("'", '"'))
        self.addCleanup(plane.api.delete, "CiliumCIDRGroup", None, "both")
        self.assertEqual(plane.api.get("CiliumCIDRGroup", None, "both")["spec"], group["spec"])

    def test_7_definitions_are_as_generated(self):
        done = subprocess.run([os.path.join(_DEPLOY, "crds", "generate.py"), "--check"], check=False,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_8_uninstalls(self):
        """What `kubectl delete -k` names is everything that was made."""
        plane = suite.deployed()
        named = plane.kubectl("delete", "-k", "deploy/", "--dry-run=server").splitlines()
        applied = self.dry_run("deploy/")
        self.assertEqual(sorted(re.match(r'(\S+) "(\S+)"', n).group(2) for n in named),
                         sorted(a.split()[0].split("/")[1] for a in applied))
