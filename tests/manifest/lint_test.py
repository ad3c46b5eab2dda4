#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice lint` as a command. `lint_test.py SLUICE [VECTORS...]`.

With files of recorded scenarios, their verdicts must not change when every rule that is found to be shadowed
is emptied.
"""

import gzip
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

SLUICE = sys.argv[1]
VECTORS = sys.argv[2:]
SCENARIOS = 250  # of each file
ENOUGH_RULES = 100

CLUSTER = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.0.0.1}]}
"""
GOOD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: good}
spec: {podSelector: {matchLabels: {app: web}}}
"""
BAD = GOOD.replace("good", "bad").replace("app: web", "app: wbe")
OLD = "apiVersion: cilium.io/v2alpha1\nkind: CiliumNetworkPolicy\nmetadata: {namespace: shop, name: old}\n"
INVALID = GOOD.replace("good", "invalid").replace("podSelector", "podSelectors")
SAID = ('spec: selects no pod: none matches app=wbe in namespace shop; did you mean "web"? [selects-no-pod]')


def sluice(*arguments, given=None):
    done = subprocess.run([SLUICE, *arguments], input=given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class Lint(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()  # pylint: disable=R1732
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.put("cluster.yaml", CLUSTER)

    def put(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_nothing_is_found_in_good_manifests(self):
        self.put("good.yaml", GOOD)
        self.assertEqual(sluice("lint", "--strict", self.folder),
                         (0, "0 findings in 1 policy, 1 pod or workload, 1 namespace\n", ""))

    def test_findings_have_place_object_sentence_and_code(self):
        path = self.put("bad.yaml", GOOD + "---\n" + BAD)
        code, out, err = sluice("lint", self.folder)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, f"{path}:6: NetworkPolicy/shop/bad: {SAID}\n"
                              "1 finding in 2 policies, 1 pod or workload, 1 namespace\n")

    def test_strict_makes_findings_count(self):
        self.put("bad.yaml", BAD)
        self.assertEqual(sluice("lint", self.folder)[0], 0)
        self.assertEqual(sluice("lint", "--strict", self.folder)[0], 1)

    def test_json_has_the_parts(self):
        path = self.put("bad.yaml", BAD)
        code, out, _ = sluice("lint", "--strict", "-o", "json", self.folder)
        self.assertEqual(code, 1)
        view = json.loads(out)
        self.assertEqual(view["findings"], [{
            "code": "selects-no-pod", "file": path, "line": 1, "object": "NetworkPolicy/shop/bad",
            "message": SAID.removesuffix(" [selects-no-pod]")}])
        self.assertEqual((view["problems"], view["policies"], view["pods"], view["namespaces"]), ([], 1, 1, 1))

    def test_several_files_and_the_standard_input_are_one_cluster(self):
        bad = self.put("bad.txt", BAD)
        self.assertIn("0 findings", sluice("lint", bad)[1], "no pod of the namespace is known")
        self.assertIn("selects-no-pod", sluice("lint", bad, os.path.join(self.folder, "cluster.yaml"))[1])
        self.assertIn("bad.txt:1:", sluice("lint", bad, "-", given=CLUSTER)[1])
        self.assertIn("stdin:1:", sluice("lint", "-", os.path.join(self.folder, "cluster.yaml"), given=BAD)[1])
        self.assertEqual(sluice("lint", "-", "-", given=BAD)[0], 2)

    def test_input_that_cannot_be_used_is_an_error(self):
        self.put("bad.yaml", BAD)
        for text, said in ((INVALID, "podSelectors: unknown field"), ("kind: [", "error: ")):
            self.put("other.yaml", text)
            code, out, err = sluice("lint", "--strict", self.folder)
            self.assertEqual(code, 2)
            self.assertIn("selects-no-pod", out, "the rest is read")
            self.assertIn(said, err)
            self.assertEqual(sluice("lint", "--allow-partial", self.folder)[0], 0)
            self.assertEqual(sluice("lint", "--allow-partial", "--strict", self.folder)[0], 1)
        self.assertEqual(sluice("lint", os.path.join(self.folder, "none"))[0], 2)
        self.assertEqual(sluice("lint")[0], 2)

    def test_a_version_that_there_is_not_is_a_finding_and_no_error(self):
        self.put("old.yaml", OLD)
        code, out, err = sluice("lint", self.folder)
        self.assertEqual((code, err), (0, ""))
        self.assertIn('did you mean "cilium.io/v2"? [unknown-kind]', out)

    def test_policy_list_has_the_same_warnings(self):
        self.put("bad.yaml", GOOD + "---\n" + BAD)
        other = self.put("other.yaml", GOOD.replace("NetworkPolicy", "NetworkPolcy"))
        said = 'kind: there is no "NetworkPolcy" in networking.k8s.io/v1; did you mean "NetworkPolicy"? [unknown-kind]'
        view = json.loads(sluice("policy", "list", "-o", "json", self.folder)[1])
        self.assertEqual({p["name"]: p["warnings"] for p in view["policies"]}, {"good": [], "bad": [SAID]})
        self.assertEqual([(p["severity"], p["source"], p["message"]) for p in view["problems"]],
                         [("note", other + ":1", said)])
        _, out, _ = sluice("policy", "list", self.folder)
        self.assertIn(f"bad.yaml:6: NetworkPolicy/shop/bad: {SAID}\n", out)
        self.assertIn(f"note: {other}:1: NetworkPolcy/shop/good: {said}\n", out)


def empty_rules(objects, findings):
    """Empties the shadowed rules of the objects; the number of these."""
    rules = {}
    for finding in findings:
        if finding["code"] == "shadowed":
            spec, section, index = re.match(r"(spec|specs\[\d+\])\.(\w+)\[(\d+)\]: ", finding["message"]).groups()
            rules.setdefault(finding["object"], set()).add((spec, section, int(index)))
    for one in objects:
        meta = one["metadata"]
        key = "/".join(part for part in (one["kind"], meta.get("namespace"), meta["name"]) if part)
        for spec, section, index in sorted(rules.get(key, ()), reverse=True):
            parent = one["spec"] if spec == "spec" else one["specs"][int(spec[6:-1])]
            if one["kind"].startswith("Cilium"):
                parent[section][index] = {}  # selects nobody, and still isolates
            else:
                del parent[section][index]
    return sum(len(each) for each in rules.values())


class Shadowed(unittest.TestCase):
    def test_rules_that_change_nothing_change_no_verdict(self):
        for vectors in VECTORS:
            with self.subTest(vectors), tempfile.TemporaryDirectory() as folder:
                self.check(vectors, folder)

    def check(self, vectors, folder):
        one, changed = os.path.join(folder, "one.yaml"), os.path.join(folder, "changed.jsonl")
        emptied = 0
        with gzip.open(vectors, "rt") as file, open(changed, "w", encoding="utf-8") as out:
            for scenario in map(json.loads, itertools.islice(file, SCENARIOS)):
                with open(one, "w", encoding="utf-8") as manifests:
                    manifests.write("\n---\n".join(map(json.dumps, scenario["objects"])))
                _, text, _ = sluice("lint", "-o", "json", one)
                count = empty_rules(scenario["objects"], json.loads(text)["findings"])
                emptied += count
                if count:
                    out.write(json.dumps(scenario) + "\n")
        code, out, _ = sluice("test", changed)
        self.assertEqual(code, 0, out[:5000])
        self.assertGreater(emptied, ENOUGH_RULES)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
