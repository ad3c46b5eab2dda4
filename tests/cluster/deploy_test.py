# SPDX-License-Identifier: Apache-2.0
"""deploy/ as a cluster's administrator uses it, with kubectl 1.20."""

import os
import re
import subprocess
import tempfile
import textwrap
import unittest

import yaml

from scripts.checks import manifests
from tests.cluster import suite

_DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy")


# Values of the Helm chart, each of which changes what is rendered.
_VARIANTS = {
    "one node": {"operator": {"replicas": 1}},
    "kernel 5.10": {"agent": {"extraCapabilities": ["SYS_RESOURCE"]}},
    "images": {"operator": {"image": {"repository": "registry.example/o", "tag": "1.2", "pullPolicy": "Always"}},
               "agent": {"image": {"repository": "registry.example:5000/a", "tag": "1.2"}},
               "imagePullSecrets": [{"name": "key"}]},
    "places": {"operator": {"spread": "DoNotSchedule", "nodeSelector": {"role": "infra"}, "tolerations": [],
                            "priorityClassName": "system-node-critical"},
               "agent": {"nodeSelector": {"kubernetes.io/os": "linux"}, "maxUnavailable": "10%",
                         "tolerations": [{"key": "only", "operator": "Exists", "effect": "NoExecute"}]}},
    "programs": {"operator": {"extraArgs": ["--cidr-match=all"], "maxSetEntries": 1000, "maxNamespaceEntries": 5000,
                              "resources": {"limits": {"memory": "8Gi"}}},
                 "agent": {"extraArgs": ["--conntrack=1000000", "--events=drops"], "onUnknown": "deny",
                           "podInterfaces": ["veth*", "nic-*"], "resources": {}}},
    "flows to a file": {"agent": {"flowExport": {"output": "file", "dir": "/var/log/flows", "maxSizeMB": 50, "maxBackups": 2,
                                                 "allowList": ['{"verdict":["DROPPED"]}', '{"source_pod":["shop/"]}'],
                                                 "denyList": ['{"destination_port":["53"]}'],
                                                 "fieldMask": ["time", "source.pod_name"]}}},
    "flows to the log": {"agent": {"flowExport": {"output": "stdout"}}},
    "apart": {"metrics": {"scrape": False}, "podDisruptionBudget": {"create": False},
              "namespace": {"create": True}},
}


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
        self.assertEqual(len(lines), 16)
        for line in lines:
            self.assertRegex(line, r"(created|configured|unchanged) \(server dry run\)$")

    def test_2_security_of_pods(self):
        """A cluster that enforces Pod Security lets the agents in by the namespace's label."""
        suite.deployed()
        namespace = self.plane.api.get("Namespace", None, suite.SYSTEM)
        self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged")

    def test_2_helm_says_the_same(self):
        """What it renders with its default values changes nothing of what kubectl has applied."""
        suite.deployed()
        texts = manifests.render({"namespace": {"create": True}}, api_versions=())
        lines = self.plane.kubectl("apply", "-f", "-", "--dry-run=server",
                                   stdin="\n---\n".join(texts.values())).strip().splitlines()
        self.assertEqual([line for line in lines if " unchanged " not in line],
                         ["poddisruptionbudget.policy/sluice-operator created (server dry run)"])
        self.assertEqual(len(lines) - 1, len(self.dry_run("deploy/")))

    def test_2_helm_with_other_values(self):
        """Is taken by the server, each variant, and says something else than the default."""
        suite.deployed()
        usual = manifests.render(api_versions=())
        for name, values in _VARIANTS.items():
            with self.subTest(name):
                texts = manifests.render(values, api_versions=())
                self.assertNotEqual(texts, usual)
                lines = self.plane.kubectl("apply", "-f", "-", "--dry-run=server",
                                           stdin="\n---\n".join(texts.values())).strip().splitlines()
                for line in lines:
                    self.assertRegex(line, r"(created|configured|unchanged) \(server dry run\)$")
        self.assertIn("add: [BPF, NET_ADMIN, PERFMON, SYS_RESOURCE]",
                      manifests.render(_VARIANTS["kernel 5.10"])["agent.yaml"])
        self.assertIn('- "--pod-interfaces=veth*,nic-*"', manifests.render(_VARIANTS["programs"])["agent.yaml"])
        agent = next(yaml.safe_load_all(manifests.render(_VARIANTS["flows to a file"])["agent.yaml"]))["spec"]["template"]["spec"]
        self.assertEqual([a for a in agent["containers"][0]["args"] if a.startswith("--export")],
                         ["--export-file=/var/log/sluice/flows.json", "--export-file-max-size-mb=50",
                          "--export-file-max-backups=2", '--export-allowlist={"verdict":["DROPPED"]}',
                          '--export-allowlist={"source_pod":["shop/"]}', '--export-denylist={"destination_port":["53"]}',
                          "--export-fieldmask=time,source.pod_name"])
        self.assertIn({"name": "flows", "mountPath": "/var/log/sluice"}, agent["containers"][0]["volumeMounts"])
        self.assertIn("/var/log/flows", [v["hostPath"]["path"] for v in agent["volumes"] if v["name"] == "flows"])

    def test_2_helm_refuses_values_that_it_does_not_know(self):
        for values, what in (({"agent": {"onUnkown": "deny"}}, "onUnkown is not allowed"),
                             ({"agent": {"onUnknown": "open"}}, 'one of the following: "allow", "deny"'),
                             ({"agent": {"flowExport": {"allowList": ["DROPPED"]}}}, "Does not match pattern"),
                             ({"operator": {"replicas": "two"}}, "operator.replicas: Invalid type"),
                             ({"agent": {"extraArgs": ["events=drops"]}}, "Does not match pattern")):
            with self.assertRaisesRegex(manifests.NotRendered, what):
                manifests.render(values)

    def test_2_helm_in_another_namespace(self):
        """Nothing of the chart is bound to the usual one."""
        for text in manifests.render(namespace="elsewhere").values():
            self.assertNotIn(suite.SYSTEM, text)

    def test_2_a_kustomization_of_ones_own(self):
        """Changes the manifests without touching them, as docs/operations.md says for old kernels."""
        suite.deployed()
        with open(os.path.join(_DEPLOY, "..", "docs", "operations.md"), encoding="utf-8") as file:
            example = re.search(r"# agent\.yaml\n(.*?)\n\n", file.read(), re.S).group(1)
        with tempfile.TemporaryDirectory(dir="/run") as folder:
            base = os.path.relpath(os.path.realpath(_DEPLOY), folder)
            for name, text in (("agent.yaml", textwrap.dedent(example)),
                               ("kustomization.yaml", f"bases: [{base}]\npatchesStrategicMerge: [agent.yaml]\n")):
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            changed = [line for line in self.dry_run(folder) if " unchanged " not in line]
            self.assertEqual(changed, ["daemonset.apps/sluice-agent configured (server dry run)"])
            self.assertIn("- SYS_RESOURCE", self.plane.kubectl("kustomize", folder))

    def test_2_definitions_applied_again_do_not_change(self):
        suite.deployed()
        lines = self.plane.kubectl("apply", "--server-side", "-k", "deploy/crds", "--dry-run=server").splitlines()
        self.assertEqual(len(lines), 3)
        definitions = "customresourcedefinition.apiextensions.k8s.io/"
        self.assertTrue(all(line.startswith(definitions) for line in lines), lines)

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

    def test_7_manifests_are_as_the_chart_says(self):
        done = subprocess.run([os.path.join(_DEPLOY, "..", "scripts", "checks", "manifests.py"), "--check"],
                              check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_8_uninstalls(self):
        """What `kubectl delete -k` names is everything that was made, and no definition, with which
        all policies would go."""
        plane = suite.deployed()
        named = plane.kubectl("delete", "-k", "deploy/", "--dry-run=server").splitlines()
        applied = self.dry_run("deploy/")
        self.assertFalse([n for n in named if "customresourcedefinition" in n])
        self.assertEqual(sorted(re.match(r'(\S+) "(\S+)"', n).group(2) for n in named),
                         sorted(a.split()[0].split("/")[1] for a in applied))
