# SPDX-License-Identifier: Apache-2.0
"""The flows that a node keeps are those that there were."""

import json
import os
import select
import shutil
import socket
import subprocess
import tempfile

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe

_POLICY = cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                              "toPorts": ports("80/TCP")}])


def exported(path):
    """Messages in the file of an export, as far as it is there."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return []


class Export(suite.Case):
    """Flows as lines of a file."""

    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _POLICY)
        self.folder = tempfile.mkdtemp(prefix="sluice-flows-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "later", "flows.json")
        self.sluice.options = ["--export-file", self.path, "--export-allowlist", '{"verdict":["DROPPED"]}',
                               "--export-denylist", '{"source_ip":["::/0"]}']

    def test_lines_are_those_of_observe(self):
        """The folder is missing at first, which ends nothing."""
        self.sluice.start()
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D")
        wait_for(lambda: "flows are not exported" in self.sluice.log(), "a warning")
        os.mkdir(os.path.dirname(self.path))
        wait_for(lambda: exported(self.path), "lines")
        server = f"unix:{os.path.splitext(self.sluice.socket)[0]}-hubble.sock"

        def both():
            done = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", server, "-o", "json", "--all",
                                      "--verdict", "dropped", "-4", stdout=subprocess.PIPE, text=True)
            lines = done.communicate(timeout=30)[0].splitlines()
            return lines and [json.loads(line) for line in lines] == exported(self.path)
        wait_for(both, "the same lines")
        for message in exported(self.path):
            self.assertEqual(message["flow"]["source"]["pod_name"], "c")
            self.assertEqual(message["flow"]["verdict"], "DROPPED")

    def test_the_standard_output(self):
        self.sluice.options = ["--export-file", "-", "--export-fieldmask", "verdict,destination.pod_name"]
        self.sluice.start()
        self.check("x/c > x/a tcp/80 D")
        wait_for(lambda: '"flow":{"destination":{"pod_name":"a"},"verdict":"DROPPED"}' in self.sluice.log()
                 or '"flow":{"verdict":"DROPPED","destination":{"pod_name":"a"}}' in self.sluice.log(), "the flow")

    def test_wrong_filters_change_nothing(self):
        for option, value in (("--export-allowlist", "verdict=DROPPED"), ("--export-denylist", '{"pod":["a"]}'),
                              ("--export-allowlist", '{"l7":{}}'), ("--export-fieldmask", "pod")):
            self.sluice.options = ["--export-file", self.path, option, value]
            self.sluice.spawn()
            self.assertEqual(self.sluice.process.wait(30), 2, value)
            self.assertFalse(os.path.exists(self.sluice.pin_dir), value)


class Counters(suite.Case):
    """Of flows that are older than a look at conntrack."""

    def test_a_long_connection_is_told_with_its_counters_and_its_end(self):
        self.manifests.put("policy", _POLICY)
        self.sluice.options = ["--flow-counters", "1"]
        self.sluice.start()
        server = f"unix:{os.path.splitext(self.sluice.socket)[0]}-hubble.sock"
        a, b = self.host("x/a"), self.host("x/b")

        def traffic():
            done = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", server, "-o", "json", "--all",
                                      "--type", "trace", "--to-pod", "x/a", "--port", "80", "--traffic-direction",
                                      "ingress", stdout=subprocess.PIPE, text=True)
            return [json.loads(line)["flow"] for line in done.communicate(timeout=30)[0].splitlines()]
        with a.ns.entered():
            listener = socket.create_server((a.ipv4, 80), reuse_port=True)
        with b.ns.entered():
            client = socket.create_connection((a.ipv4, 80), timeout=10)
        self.addCleanup(listener.close)
        self.addCleanup(client.close)

        def told(ended):
            if not ended:
                client.send(b"x" * 1000)
            return [f for f in traffic() if f["traffic"].get("ended", False) == ended]
        flow = wait_for(lambda: told(False), "a flow that goes on")[-1]
        self.assertEqual((flow["source"]["pod_name"], flow["destination"]["pod_name"], flow["verdict"]),
                         ("b", "a", "FORWARDED"))
        self.assertEqual(flow["ingress_allowed_by"], [{"name": "p", "namespace": "x", "kind": "CiliumNetworkPolicy"}])
        self.assertGreater(int(flow["traffic"]["ingress_bytes"]), 1000)
        client.close()
        listener.close()
        ended = wait_for(lambda: told(True), "its end")
        self.assertGreaterEqual(int(ended[0]["traffic"]["ingress_bytes"]), int(flow["traffic"]["ingress_bytes"]))


class Flows(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _POLICY)
        self.sluice.start()
        stem = os.path.splitext(self.sluice.socket)[0]
        self.server = f"unix:{stem}-hubble.sock"

    def observe(self, *options):
        done = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", self.server, "-o", "jsonpb", *options,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=30)[0]
        self.assertEqual(done.returncode, 0, text)
        return [json.loads(line) for line in text.splitlines()]

    def flows(self, *options):
        return [r["flow"] for r in self.observe(*options) if "flow" in r]

    def test_every_connection_is_there_once(self):
        probes = self.probes("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D")
        self.check(probes)

        def seen():
            flows = self.flows("--all", "--to-pod", "x/a", "--port", "80", "--traffic-direction", "ingress")
            return flows if len({(f["source"].get("pod_name"), f["IP"]["source"]) for f in flows}) >= 4 else None
        flows = wait_for(seen, "flows of both pods and families")
        for flow in flows:
            allowed = flow["source"]["pod_name"] == "b"
            self.assertEqual(flow["verdict"], "FORWARDED" if allowed else "DROPPED")
            self.assertEqual(flow["destination"]["namespace"], "x")
            self.assertIn("k8s:pod=a", flow["destination"]["labels"])
            by = flow["ingress_allowed_by" if allowed else "ingress_denied_by"]
            self.assertEqual(by, [{"kind": "CiliumNetworkPolicy", "namespace": "x", "name": "p"}])
            self.assertEqual(flow["node_name"], "node1")
        allowed = [(f["IP"]["source"], f["l4"]["TCP"]["source_port"]) for f in flows if f["verdict"] == "FORWARDED"]
        self.assertEqual(len(allowed), len(set(allowed)))

    def test_filters(self):
        self.check(self.probes("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D"))
        wait_for(lambda: self.flows("--verdict", "dropped", "--to-pod", "x/a"), "a drop")
        for flow in self.flows("--all", "--not", "--verdict", "dropped"):
            self.assertEqual(flow["verdict"], "FORWARDED")
        self.assertEqual({f["source"]["pod_name"] for f in self.flows("--all", "--from-label", "pod in (c)",
                                                                      "--to-pod", "x/a", "--verdict", "dropped")}, {"c"})
        self.assertEqual(self.flows("--all", "-n", "nobody"), [])
        self.assertEqual(len(self.flows("--last", "1")), 1)

    def test_what_is_outside_is_the_world(self):
        self.check({Probe(self.host("E"), self.host("x/a"), "tcp/80", 4): DENIED})
        flow = wait_for(lambda: self.flows("--to-pod", "x/a", "--from-ip", self.host("E").ipv4), "the flow")[0]
        self.assertEqual(flow["source"]["labels"], ["reserved:world"])
        self.assertEqual(flow["source"]["identity"], 2)
        self.assertEqual(flow["drop_reason_desc"], "POLICY_DENIED")

    def test_follow(self):
        process = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", self.server, "-o", "jsonpb", "-f",
                                     "--to-pod", "x/a", stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        probe = Probe(self.host("x/b"), self.host("x/a"), "tcp/80", 4)

        def followed():
            self.check({probe: ALLOWED})  # the first ones may come before the stream is open
            return select.select([process.stdout], [], [], 0.2)[0]
        wait_for(followed, "a flow of the stream")
        flow = json.loads(process.stdout.readline())["flow"]
        self.assertEqual(flow["source"]["pod_name"], "b")

    def test_bad_filters(self):
        for options, error in ((("--pod", ""), "source_pod"), (("--port", "http"), "'http' is not a port"),
                               (("--label", "app in"), "source_label"), (("--since", "soon"), "neither a duration")):
            done = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", self.server, *options,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            text = done.communicate(timeout=30)[0]
            self.assertEqual(done.returncode, 2, text)
            self.assertIn(error, text)

    def test_a_server_that_is_away(self):
        done = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", "unix:/nowhere.sock",
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=30)[0]
        self.assertEqual(done.returncode, 2, text)
        self.assertIn("unix:/nowhere.sock", text)
