# SPDX-License-Identifier: Apache-2.0
"""`sluice preview` says what packets do after the change, and takes its input as the other commands do."""

import json
import os
import subprocess
import tempfile

import yaml

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for

_OLD = cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                             "toPorts": ports("80/TCP")}])
_NEW = cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "c"}}],
                                             "toPorts": ports("80/TCP", "81/TCP")}])


class Preview(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _OLD)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def file(self, name, *objects):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump_all(objects, file)
        return path

    def preview(self, *arguments, stdin=None):
        """Status, standard output and standard error."""
        done = subprocess.run([os.environ["SLUICE"], "preview", *arguments], input=stdin, capture_output=True,
                              text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def against(self, *arguments, stdin=None):
        return self.preview("--against", self.manifests.path, *arguments, stdin=stdin)

    def changes(self, *arguments):
        """Status, and by ends what becomes allowed and denied at which ports."""
        code, out, err = self.against("-o", "json", *arguments)
        self.assertIn(code, (0, 1), err)
        found = {}
        for change in json.loads(out)["changes"]:
            ends = found.setdefault((change["from"], change["to"]), {"allowed": [], "denied": []})
            ends[change["becomes"]] += change["ports"]
        return code, found

    def test_packets_do_after_the_change_what_it_says(self):
        self.sluice.start()
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D, x/c > x/a tcp/81 D")
        code, changes = self.changes("-f", self.file("new.yaml", _NEW))
        self.assertEqual(code, 1)
        self.assertEqual(changes["x/b", "x/a"], {"allowed": [], "denied": ["80/TCP"]})
        self.assertEqual(changes["x/c", "x/a"], {"allowed": ["80/TCP", "81/TCP"], "denied": []})
        self.assertEqual(set(changes), {("x/b", "x/a"), ("x/c", "x/a")})
        self.manifests.put("policy", _NEW)
        self.sluice.settle()
        self.check("x/b > x/a tcp/80 D, x/c > x/a tcp/80 A, x/c > x/a tcp/81 A")

    def test_flows_that_have_been_seen(self):
        self.sluice.start()
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D")
        server = f"unix:{os.path.splitext(self.sluice.socket)[0]}-hubble.sock"
        flows = os.path.join(self.folder, "flows.json")

        def observed():
            done = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", server, "-o", "json", "--all",
                                      stdout=subprocess.PIPE, text=True)
            text = done.communicate(timeout=30)[0]
            with open(flows, "w", encoding="utf-8") as file:
                file.write(text)
            seen = [json.loads(line).get("flow", {}) for line in text.splitlines()]
            return {flow.get("source", {}).get("pod_name") for flow in seen} >= {"b", "c"}
        wait_for(observed, "flows of both pods")
        code, out, err = self.against("-f", self.file("new.yaml", _NEW), "--flows", flows, "-o", "json")
        self.assertEqual(code, 1, err)
        changes = json.loads(out)["flows"]["changes"]
        self.assertEqual({(c["from"], c["to"], c["port"], c["becomes"]) for c in changes},
                         {("x/b", "x/a", "80/TCP", "denied"), ("x/c", "x/a", "80/TCP", "allowed")})
        for change in changes:
            self.assertGreater(change["count"], 0)
            self.assertRegex(change["last_seen"], r"^20\d\d-\d\d-\d\dT")
        # Denied for all others, who have not been seen.
        allows_b = cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                                        "toPorts": ports("80/TCP")}], egress=[{}])
        narrow = cnp("x", "q", {"pod": "d"}, ingress=[{}])
        code, out, err = self.against("-f", self.file("narrow.yaml", allows_b, narrow), "--flows", flows)
        self.assertEqual(code, 0, err)
        self.assertIn("flows: 0 would be denied, 0 allowed; of ", out)
        with open(flows, "a", encoding="utf-8") as file:
            file.write("nonsense\n")
        code, out, err = self.against("-f", self.file("new.yaml", _NEW), "--flows", flows)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("not a flow as `sluice observe -o json` prints it", err)

    def test_exit_status_and_rows(self):
        new = self.file("new.yaml", _NEW)
        code, out, err = self.against("-f", new)
        self.assertEqual(code, 1, err)
        self.assertRegex(out, r"denied +1 +x/b -> x/a +80/TCP +ingress: default deny of CiliumNetworkPolicy/x/p "
                              r"+ingress: CiliumNetworkPolicy/x/p spec.ingress\[0\]\n")
        self.assertIn("deny: 1 pair, allow: 1 pair; of ", out)
        code, out, err = self.against("--expand", "-f", new)
        self.assertEqual(code, 1, err)
        self.assertRegex(out, r"allowed +x/c +x/a +80/TCP, 81/TCP +ingress: ")
        self.assertEqual(self.against("--delete", "CiliumNetworkPolicy/x/p")[0], 0)
        self.assertEqual(self.against("-f", self.file("same.yaml", _OLD))[0], 0)

    def test_both_inputs_may_be_the_standard_input_but_not_together(self):
        whole = self.against("-f", self.file("new.yaml", _NEW))
        self.assertEqual(self.against("-f", "-", stdin=json.dumps(_NEW)), whole)
        objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*self.lab.objects(), _OLD]})
        self.assertEqual(self.preview("-f", os.path.join(self.folder, "new.yaml"), "--against", "-", stdin=objects),
                         whole)
        code, out, err = self.preview("-f", "-", "--against", "-", stdin=objects)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("the standard input (-) can be given once only", err)

    def test_bad_input(self):
        bad = self.file("bad.yaml", {}, cnp("x", "p", {"pod": "a"}, ingress=[{"toPorts": ports("65536/TCP")}]))
        unknown = self.file("unknown.yaml", dict(_NEW, spec={"endpointSelektor": {}}))
        good = self.file("good.yaml", _NEW)
        for arguments, expected in (
                (("-f", bad), "bad.yaml:3: CiliumNetworkPolicy/x/p: spec.ingress[0].toPorts[0].ports[0].port: "),
                (("-f", bad, "--allow-partial"), "bad.yaml:3: "),
                (("-f", unknown), "unknown.yaml:1: CiliumNetworkPolicy/x/p: spec.endpointSelektor"),
                (("-f", os.path.join(self.folder, "none.yaml")), "none.yaml"),
                ((), "there is no change: give -f or --delete"),
                (("--delete", "CiliumNetworkPolicy/x/q"), 'did you mean "CiliumNetworkPolicy/x/p"?'),
                (("-f", good, "--delete", "CiliumNetworkPolicy/x/p"), "CiliumNetworkPolicy/x/p is in -f, too"),
                (("-f", good, "--expnd"), 'did you mean "--expand"?'),
                (("-f", good, "-o", "csv"), '"csv" is not one of json, table')):
            with self.subTest(arguments):
                code, out, err = self.against(*arguments)
                self.assertEqual((code, out), (2, ""), err)
                self.assertIn(expected, err)

    def test_a_cluster_that_is_not_whole(self):
        self.manifests.put_text("broken.yaml", "kind: [\n")
        new = self.file("new.yaml", _NEW)
        code, out, err = self.against("-f", new)
        self.assertEqual(code, 2, err)
        self.assertIn("denied", out)
        self.assertIn("broken.yaml", err)
        code, _, err = self.against("--allow-partial", "-f", new)
        self.assertEqual(code, 1, err)
        self.assertIn("broken.yaml", err)

    def test_kinds_that_are_not_known_are_noted(self):
        typo = dict(_NEW, kind="CiliumNetworkPolicie")
        code, out, err = self.against("-f", self.file("typo.yaml", typo))
        self.assertEqual(code, 0, err)
        self.assertIn("deny: 0 pairs", out)
        self.assertIn("typo.yaml:1: ", err)
        self.assertIn("CiliumNetworkPolicie", err)
