# SPDX-License-Identifier: Apache-2.0
"""Bad manifests: the last good version stays in force and the place is named."""

import os
import random

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for

_A = {"pod": "a"}

_GOOD = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: x, name: p}
spec:
  endpointSelector: {matchLabels: {pod: a}}
  ingress:
  - toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"""


class Input(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put_text("policy.yaml", _GOOD)
        self.sluice.start()
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")

    def policy(self, name="p"):
        return next((p for p in self.sluice.query("policy", "list")["policies"]
                     if p["name"] == name), None)

    def problems(self):
        status = self.sluice.query("status")
        return " ".join(f"{p['source']} {p['object']} {p['message']}" for p in status["problems"])

    def test_broken_yaml_keeps_the_last_version(self):
        self.manifests.put_text("policy.yaml", _GOOD + "  - [unclosed\n")
        self.sluice.settle()
        self.assertIn("policy.yaml:", self.problems())
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        self.manifests.put_text("policy.yaml", _GOOD.replace('"80"', '"81"'))
        self.sluice.settle()
        self.assertEqual(self.problems(), "")
        self.check("x/b > x/a tcp/80 D, x/b > x/a tcp/81 A")

    def test_invalid_object_keeps_its_last_version(self):
        self.manifests.put_text("policy.yaml", _GOOD.replace('"80"', '"65536"'))
        self.sluice.settle()
        policy = self.policy()
        self.assertFalse(policy["valid"])
        self.assertTrue(policy["in_force"])
        self.assertIn("spec.ingress[0].toPorts[0].ports[0].port", policy["reason"])
        self.assertIn("policy.yaml:1", policy["source"])
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")

    def test_unsupported_field_is_not_half_enforced(self):
        self.manifests.put("other", cnp("x", "l7", {"pod": "b"}, ingress=[
            {"toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}],
                          "rules": {"http": [{"method": "GET"}]}}]}]))
        self.sluice.settle()
        policy = self.policy("l7")
        self.assertFalse(policy["valid"])
        self.assertFalse(policy["in_force"])
        self.assertIn("rules", policy["reason"])
        self.check("x/a > x/b tcp/80 A, x/a > x/b tcp/81 A")

    def test_other_objects_of_the_file_still_count(self):
        self.manifests.put_text("policy.yaml", _GOOD + "---\n" + _GOOD.replace("name: p", "name: q")
                                .replace('"80"', '"90000"') + "---\n" + _GOOD.replace(
                                    "name: p", "name: r").replace('"80"', '"82"'))
        self.sluice.settle()
        self.assertFalse(self.policy("q")["valid"])
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D, x/b > x/a tcp/82 A")

    def test_deleted_file_takes_its_policies_along(self):
        self.manifests.put("more", cnp("x", "more", _A, ingress=[{"toPorts": ports("82/TCP")}]))
        self.sluice.settle()
        self.check("x/b > x/a tcp/82 A")
        self.sluice.remove("more")
        self.check("x/b > x/a tcp/82 D, x/b > x/a tcp/80 A")

    def test_same_object_in_two_files(self):
        self.manifests.put_text("second.yaml", _GOOD.replace('"80"', '"81"'))
        self.sluice.settle()
        self.assertIn("policy.yaml", self.problems())
        self.assertIn("second.yaml", self.problems())
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")

    def test_junk_beside_it_disturbs_nothing(self):
        """Whatever lies in the folder: it is named, and good files still count."""
        def path(name):
            return os.path.join(self.manifests.path, name)
        junk = {
            "binary.yaml": random.Random(1).randbytes(20000),
            "zeros.json": bytes(5000),
            "bomb.yaml": b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
                b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9))
                for c in range(ord("b"), ord("l"))),
            "deep.json": b"[" * 100000,
            "twice.yaml": _GOOD.replace("spec:", "spec: {}\nspec:", 1).encode(),
            "tabs.yaml": _GOOD.replace("  ingress", "\tingress").encode(),
            "text.yaml": b"this is no object\n",
            "list.yaml": b"apiVersion: v1\nkind: List\nitems: {}\n",
            "number.yaml": _GOOD.replace("name: p", "name: 12").encode(),
        }
        for name, content in junk.items():
            with open(path(name), "wb") as file:
                file.write(content)
        with open(path("huge.yaml"), "wb") as file:
            file.truncate(1 << 40)
        os.mkfifo(path("pipe.yaml"))
        os.mkdir(path("folder.yaml"))
        os.symlink(".", path("loop"))
        os.symlink("nowhere", path("dangling.yaml"))
        os.symlink("/dev/zero", path("endless.yaml"))
        with open(path("empty.yaml"), "wb"):
            pass
        self.manifests.put("more", cnp("x", "more", _A, ingress=[{"toPorts": ports("82/TCP")}]))
        self.sluice.settle()
        problems = self.problems()
        for name in [*junk, "huge.yaml"]:
            self.assertIn(name + (":" if name in junk else ""), problems)
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D, x/b > x/a tcp/82 A")

    def test_file_that_is_being_written_is_not_half_read(self):
        whole = _GOOD.replace('"80"', '"81"') + "---\n" + _GOOD.replace("name: p", "name: q")
        with open(os.path.join(self.manifests.path, "policy.yaml"), "w", encoding="utf-8") as file:
            file.write(whole[:len(whole) // 2])
            file.flush()
            self.sluice.settle()
            self.assertEqual(self.problems(), "")
            self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
            file.write(whole[len(whole) // 2:])
        wait_for(lambda: self.policy("q"), "the whole file is read")
        self.sluice.settle()
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 A")

    def test_file_that_is_renamed_keeps_its_objects(self):
        folder = self.manifests.path
        os.rename(os.path.join(folder, "policy.yaml"), os.path.join(folder, "renamed.yml"))
        self.sluice.settle()
        self.assertIn("renamed.yml:1", self.policy()["source"])
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        # No manifest any more.
        os.rename(os.path.join(folder, "renamed.yml"), os.path.join(folder, "policy.yaml.off"))
        self.sluice.settle()
        self.assertIsNone(self.policy())
        self.check("x/b > x/a tcp/81 A")
