# SPDX-License-Identifier: Apache-2.0
"""`sluice reach` answers from files and from a running program, as explain and packets do."""

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

from tests.netns import suite
from tests.netns.sluice import cnp, ports

_POLICY = cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                                "toPorts": ports("80/TCP", "8000-8010/UDP")}])


class Reach(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _POLICY)
        self.sluice.start()

    def reach(self, *arguments, stdin=None):
        """Status, standard output and standard error."""
        done = self.node.ns.popen(os.environ["SLUICE"], "reach", *arguments, text=True, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = done.communicate(stdin, timeout=60)
        return done.returncode, out, err

    def read(self, *arguments):
        code, out, err = self.reach("-o", "json", *arguments)
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def test_live_is_as_from_files_and_as_packets(self):
        live = self.read("--socket", self.sluice.socket, "--pods-only")
        self.assertEqual(live, self.read("--pods-only", self.manifests.path))
        cells = {(cell["from"], cell["to"]): cell for cell in live["cells"]}
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D, x/b > x/a tcp/81 D, x/a > x/b tcp/80 A")
        self.assertEqual(cells["x/b", "x/a"]["allowed"], ["80/TCP", "8000-8010/UDP"])
        self.assertEqual(cells["x/c", "x/a"]["allowed"], [])
        self.assertEqual(cells["x/a", "x/b"]["denied"], [])

    def test_live_is_what_explain_says(self):
        view = self.read("--socket", self.sluice.socket, "-n", "x")
        asked = {port["port"]: port["asked"] for port in view["ports"]}
        self.assertIn("other/TCP", asked)
        ends = {end["name"]: end for end in view["ends"]}
        compared = 0
        for cell in view["cells"]:
            # Members of the others differ from node to node.
            members = [ends[cell[side]]["pods"] or ends[cell[side]]["addresses"] for side in ("from", "to")]
            if not all(members):
                continue
            self.assertEqual(cell["some"], [])  # every pod is alone in its workload here
            for verdict, names in ((True, cell["allowed"]), (False, cell["denied"])):
                for port in names[:2]:
                    text = self.sluice.command("explain", "--from", members[0][0], "--to", members[1][0],
                                               "--port", asked[port], "-o", "json", check=False)
                    self.assertEqual(json.loads(text)["allowed"], verdict, (cell["from"], cell["to"], port))
                    compared += 1
        self.assertGreater(compared, 30)

    def test_a_running_program_says_what_is_wrong(self):
        for options, expected in ((("-n", "xx"), 'no namespace "xx"; did you mean "x"?'),
                                  (("--port", "80/TPC"), "the protocol is TCP"),
                                  (("--port", "nothing"), "no pod has a port of this name")):
            with self.subTest(options):
                code, out, err = self.reach("--socket", self.sluice.socket, *options)
                self.assertEqual((code, out), (2, ""), err)
                self.assertIn(expected, err)
        code, _, err = self.reach("--socket", self.sluice.socket + "-none")
        self.assertEqual(code, 2, err)

    def test_requests_of_wrong_types_are_refused(self):
        for request in ({"namespace": 1}, {"ports": "80"}, {"ports": [80]}, {"outside": "yes"}):
            with self.subTest(request):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10)
                    client.connect(self.sluice.socket)
                    client.sendall(json.dumps({"command": "reach", **request}).encode() + b"\n")
                    with client.makefile(encoding="utf-8") as lines:
                        self.assertIn("wrong type", json.loads(lines.readline())["error"])

    def test_input_that_is_not_whole(self):
        folder = self.manifests.path
        bad = os.path.join(folder, "bad.yaml")
        with open(bad, "w", encoding="utf-8") as file:
            file.write("kind: [\n")
        self.addCleanup(os.unlink, bad)
        code, out, err = self.reach(folder)
        self.assertEqual(code, 2, err)
        self.assertIn("FROM", out)
        self.assertIn("bad.yaml", err)
        code, out, err = self.reach("--allow-partial", folder)
        self.assertEqual(code, 0, err)
        self.assertIn("bad.yaml", err)
        for arguments, expected in (((os.path.join(folder, "none.yaml"),), "none.yaml"),
                                    (("-o", "xml", folder), '"xml" is not one of csv, dot, json, table'),
                                    (("-o", "csv", "--denied", folder), "--denied: "),
                                    (("--all", "--denied", folder), "--denied excludes --all"),
                                    (("--prot", "80", folder), 'did you mean "--port"?')):
            with self.subTest(arguments):
                code, out, err = self.reach(*arguments)
                self.assertEqual((code, out), (2, ""), err)
                self.assertIn(expected, err)

    def test_one_file_the_standard_input_and_csv(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "all.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"apiVersion": "v1", "kind": "List", "items": [*self.lab.objects(), _POLICY]}, file)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            whole = self.reach("-o", "csv", path)
            self.assertEqual(whole[0], 0, whole[2])
            self.assertEqual(self.reach("-o", "csv", "-", stdin=text), whole)
        rows = list(csv.DictReader(io.StringIO(whole[1], newline="")))
        verdicts = {row["verdict"] for row in rows if (row["from"], row["to"], row["port"]) == ("x/b", "x/a", "80/TCP")}
        self.assertEqual(verdicts, {"allowed"})

    @unittest.skipUnless(shutil.which("dot"), "needs the package graphviz")
    def test_graphviz_reads_the_graph(self):
        for options in ((), ("--denied",), ("--all", "-n", "x")):
            code, out, err = self.reach("-o", "dot", *options, self.manifests.path)
            self.assertEqual(code, 0, err)
            done = subprocess.run(["dot", "-Tsvg"], input=out, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("x/a", done.stdout)
