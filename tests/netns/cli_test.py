# SPDX-License-Identifier: Apache-2.0
"""What the commands report of a running program is what its kernel does."""

import glob
import ipaddress
import json
import os
import struct
import subprocess

from tests.netns import suite
from tests.netns.lab import run
from tests.netns.sluice import Monitor, cnp, ports, wait_for

_A = {"pod": "a"}
_POLICY = cnp("x", "p", _A, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                      "toPorts": ports("80/TCP", "8000-8010/UDP")}])
_NAME = "CiliumNetworkPolicy/x/p"


def _bytes(dumped):
    return bytes(int(b, 16) for b in dumped)


class Cli(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _POLICY)
        self.sluice.start()

    def exit_code(self, *arguments):
        done = self.node.ns.popen(os.environ["SLUICE"], *arguments, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=30)[0]
        return done.returncode, text

    def sluice_json(self, *arguments):
        code, text = self.exit_code(*arguments, "-o", "json")
        self.assertEqual(code, 0, text)
        return json.loads(text)

    def kernel_entries(self):
        """Fields of keys and values, as bpftool reads them."""
        [pinned] = glob.glob(os.path.join(self.sluice.pin_dir, "v*", "policy"))
        entries = []
        for entry in json.loads(run("bpftool", "-j", "map", "dump", "pinned", pinned)):
            key = struct.unpack("=IIIBB", _bytes(entry["key"])[:14])
            port = struct.unpack(">H", _bytes(entry["key"])[14:])
            entries.append(key + port + struct.unpack("=BBHI", _bytes(entry["value"])))
        return sorted(entries)

    def dumped_entries(self):
        fields = ("prefixlen", "policy_id", "cidr_id", "direction", "protocol", "port",
                  "verdict", "flags", "jump", "rule")
        dump = self.sluice.query("policy", "dump", "--pin-dir", self.sluice.pin_dir)["entries"]
        return dump, sorted(tuple(e[f] for f in fields) for e in dump)

    def check_dump(self):
        kernel = self.kernel_entries()
        dump, entries = self.dumped_entries()
        self.assertGreater(len(kernel), 0)
        self.assertEqual(entries, kernel)
        web = next(e for e in dump if e["l4"] == "80/TCP")
        self.assertEqual(web["endpoints"], ["x/a"])
        self.assertEqual((web["policy"], web["path"]), (_NAME, "spec.ingress[0]"))
        self.assertIn(self.host("x/b").address(4), web["peers"])

    def test_dump_is_what_the_kernel_holds(self):
        self.check_dump()

    def test_dump_works_after_a_stop(self):
        self.sluice.stop()
        self.check_dump()

    def peers(self, *arguments):
        text = run(os.environ["SLUICE"], "peer", "list", *arguments, "-o", "json")
        return {p["prefix"]: p["cidr_id"] for p in json.loads(text)["peers"]}

    def test_peers_are_those_of_the_kernel(self):
        peers = self.peers("--pin-dir", self.sluice.pin_dir)
        web = next(e for e in self.dumped_entries()[0] if e["l4"] == "80/TCP")
        for family in (4, 6):
            self.assertEqual(peers[str(ipaddress.ip_network(self.host("x/b").address(family)))],
                             web["cidr_id"])
        self.assertEqual(self.peers("--socket", self.sluice.socket), peers)
        code, text = self.exit_code("peer", "list", "--socket", "/run/none.sock", "--pin-dir", "/sys/fs/bpf/none")
        self.assertEqual(code, 2, text)
        folder = self.peers(self.sluice.manifests.path, "--node", "node1")
        self.assertEqual({p: c for p, c in peers.items() if p in folder}, folder)
        # What only the host itself knows are its own addresses.
        for prefix, cidr_id in peers.items():
            if prefix not in folder:
                self.assertEqual(cidr_id >> 30, 2, prefix)

    def monitor(self, *options):
        monitor = Monitor(self.node, self.sluice.socket, *options)
        self.addCleanup(monitor.end)
        return monitor

    def test_monitor_says_who_and_why(self):
        monitor = self.monitor()
        source, target = self.host("x/c"), self.host("x/a")
        dropped = monitor.event(
            lambda e: e["verdict"] == "denied" and e["from"] == source.address(4),
            lambda: self.check("x/c > x/a tcp/80 D 4"))
        self.assertEqual((dropped["from_name"], dropped["to_name"]), ("x/c", "x/a"))
        self.assertEqual((dropped["to"], dropped["port"]), (target.address(4), 80))
        self.assertEqual((dropped["protocol"], dropped["direction"]), ("TCP", "ingress"))
        self.assertEqual(dropped["reason"], "default deny")
        self.assertEqual(dropped["isolating"], [_NAME])
        allowed = monitor.event(
            lambda e: e["direction"] == "ingress" and e["from_name"] == "x/b",
            lambda: self.check("x/b > x/a tcp/80 A 4"))
        self.assertEqual(allowed["verdict"], "allowed")
        self.assertEqual((allowed["policy"], allowed["path"]), (_NAME, "spec.ingress[0]"))

    def test_monitor_of_drops_shows_nothing_else(self):
        monitor = self.monitor("--drops")
        seen = []

        def is_drop(event):
            seen.append(event["verdict"])
            return event["verdict"] == "denied"
        monitor.event(is_drop, lambda: self.check("x/b A 4, x/c D 4"))
        self.assertEqual(set(seen), {"denied"})

    def test_explain_agrees_with_packets(self):
        at = ("explain", "--socket", self.sluice.socket)
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D")
        code, text = self.exit_code(*at, "--from", "x/b", "--to", "x/a", "--port", "80/TCP")
        self.assertEqual(code, 0, text)
        self.assertIn(_NAME, text)
        code, text = self.exit_code(*at, "--from", "x/c", "--to", "x/a", "--port", "80/TCP")
        self.assertEqual(code, 1, text)
        self.assertIn("isolated by " + _NAME, text)
        code, text = self.exit_code(*at, "--from", "x/nobody", "--to", "x/a", "--port", "80/TCP")
        self.assertEqual(code, 2, text)

    def test_explain_without_a_port_is_about_all_that_make_a_difference(self):
        code, text = self.exit_code("explain", "--socket", self.sluice.socket, "--from", "x/b", "--to", "x/a",
                                    "-o", "json")
        self.assertEqual(code, 1, text)
        views = {view["port"]: view for view in json.loads(text)}
        [allowed] = [port for port, view in views.items() if view["allowed"]]
        self.assertEqual(allowed.split(", ")[0], "80/TCP")
        self.assertIn("8000", allowed)
        [denied] = [port for port, view in views.items() if not view["allowed"]]
        self.assertIn("other/TCP", denied)
        code, text = self.exit_code("explain", "--socket", self.sluice.socket, "--from", "x/c", "--to", "x/a")
        self.assertEqual(code, 1, text)
        self.assertEqual([line for line in text.splitlines() if line.endswith(": allowed")], [])
        code, text = self.exit_code("explain", "--socket", self.sluice.socket, "--from", "x/b", "--to", "x/nobody")
        self.assertEqual(code, 2, text)
        self.assertIn("x/nobody", text)

    def test_explain_and_dump_name_the_same_policy(self):
        entries = self.sluice.query("policy", "dump")["entries"]
        [policy_id] = {e["policy_id"] for e in entries}
        question = ("--from", "x/b", "--to", "x/a", "--port", "80")
        view = self.sluice.query("explain", *question)
        self.assertEqual({side["policy_id"] for side in view["sides"] if side["entry"]}, {policy_id})
        _, text = self.exit_code("explain", "--socket", self.sluice.socket, "-v", *question)
        self.assertIn(f"entry policy {policy_id} class ", text)
        # Another generation has another id in the kernel.
        self.sluice.apply("policy", cnp("x", "p", _A, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                                                "toPorts": ports("80/TCP")}, {"fromEntities": ["host"]}]))
        [policy_id] = {e["policy_id"] for e in self.sluice.query("policy", "dump")["entries"]}
        view = self.sluice.query("explain", *question)
        self.assertEqual({side["policy_id"] for side in view["sides"] if side["entry"]}, {policy_id})
        # Of files, the id is that of a node that has only just begun.
        entries = self.sluice_json("policy", "dump", "--node", "node1", self.manifests.path)["entries"]
        self.assertEqual({e["policy_id"] | 1 for e in entries}, {policy_id | 1})

    def test_pods_that_there_are_not(self):
        at = ("--socket", self.sluice.socket)
        for command in (("conntrack", "list"), ("fqdn", "list")):
            code, text = self.exit_code(*command, *at, "--endpoint", "x/aa")
            self.assertEqual(code, 2, text)
            self.assertIn('--endpoint: the node has no pod "x/aa" with an address; did you mean "x/a"?', text)
            code, text = self.exit_code(*command, *at, "--endpoint", "x/a")
            self.assertEqual(code, 0, text)
        code, text = self.exit_code("explain", *at, "--from", "x/bb", "--to", "x/a", "--port", "80")
        self.assertEqual(code, 2, text)
        self.assertIn('--from: there is no pod x/bb; did you mean "x/', text)

    def test_wrong_options(self):
        """The message names the option, the value and what is allowed."""
        for arguments, wanted in (
                (("policy", "list", "-o", "yaml"), ("--output", '"yaml"', "json, table")),
                (("conntrack", "list", "--port", "http"), ("--port", "http", "1 to 65535")),
                (("conntrack", "list", "--opened-by", "both"), ("--opened-by", "both", "egress", "ingress")),
                (("run", "--events", "some", "x"), ("--events", '"some"', "all, drops")),
                (("run", "--max-set-entries", "many", "x"), ("--max-set-entries", "many", "0 to ")),
                (("observe", "--last", "few"), ("--last", "few", "0 to ")),
                (("observe", "-o", "yaml"), ("--output", '"yaml"', "compact, dict, json, jsonpb")),
                (("test", "-o", "xml", "x"), ("--output", '"xml"', "json, junit, table, tap")),
                (("explain", "--frm", "x/a"), ("no option --frm", '"--from"')),
                (("exlain",), ('no command "exlain"', '"explain"')),
                (("policy", "lst"), ('no command "lst"', '"list"'))):
            code, text = self.exit_code(*arguments)
            self.assertEqual(code, 2, text)
            for part in wanted:
                self.assertIn(part, text, arguments)

    def test_input_that_is_not_whole(self):
        """Every command that answers from files says so by its exit status."""
        folder = self.manifests.path
        commands = (("explain", "--from", "x/b", "--to", "x/a", "--port", "80"), ("policy", "dump", "--node", "node1"),
                    ("peer", "list", "--node", "node1"))
        for command in commands:
            code, text = self.exit_code(*command, folder)
            self.assertEqual(code, 0, text)
        self.manifests.put("broken", {**_POLICY, "metadata": {"namespace": "x", "name": "q"}, "spec": {"a": 1}})
        for command in commands:
            code, text = self.exit_code(*command, folder)
            self.assertEqual(code, 2, text)
            self.assertIn("CiliumNetworkPolicy/x/q", text)
            code, text = self.exit_code(*command, "--allow-partial", folder)
            self.assertEqual(code, 0, text)
            self.assertIn("CiliumNetworkPolicy/x/q", text)
        code, text = self.exit_code("policy", "list", folder)
        self.assertEqual(code, 1, text)
        self.manifests.put_text("torn.yaml", "kind: [")
        code, text = self.exit_code("policy", "list", folder)
        self.assertEqual(code, 2, text)
        code, text = self.exit_code("policy", "list", "-o", "json", "--allow-partial", folder)
        self.assertEqual(code, 1, text)
        self.assertEqual({p["in_force"] for p in json.loads(text)["policies"]}, {False})

    def test_conntrack_shows_flows(self):
        self.check("x/b > x/a tcp/80 A 4")
        flows = self.sluice.query("conntrack", "list", "--endpoint", "x/a", "--protocol", "tcp",
                                  "--remote", "x/b")["entries"]
        self.assertTrue(flows)
        self.assertEqual((flows[0]["direction"], flows[0]["local_port"]), ("ingress", 80))
        self.assertIn(_NAME, flows[0]["policy"])
        self.assertEqual(flows[0]["rule"], flows[0]["policy"])

    def test_flows_without_a_rule_of_a_policy(self):
        """They name what decided; the identifier of an ICMP echo is no port."""
        self.check("x/a > x/b tcp/80 A 4, x/a > x/b ping A 4")
        query = ("conntrack", "list", "--endpoint", "x/a", "--opened-by", "egress")
        flows = {f["protocol"]: f for f in self.sluice.query(*query)["entries"]}
        self.assertEqual({p: f["rule"] for p, f in flows.items()},
                         {"TCP": "not isolated", "ICMP": "not isolated"})
        self.assertEqual((flows["ICMP"]["local_port"], flows["ICMP"]["remote_port"]), (0, 0))
        table = self.sluice.command(*query)
        self.assertIn(f" id {flows['ICMP']['echo_id']} ", table)

    def test_scenarios_from_the_standard_input(self):
        """Errors and failures name it and the line."""
        def judge(text):
            done = subprocess.run([os.environ["SLUICE"], "test", "-"], input=text, check=False, text=True, timeout=30,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            return done.returncode, done.stdout
        pods = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "x", "name": name},
                 "spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIP": ip}}
                for name, ip in (("a", "10.0.0.1"), ("b", "10.0.0.2"))]
        ends = {"from": {"pod": "x/a"}, "to": {"pod": "x/b"}, "port": 80}
        scenario = {"objects": pods, "probes": [{**ends, "verdict": "allow"}]}
        self.assertEqual(judge(json.dumps(scenario))[0], 0)
        code, text = judge("\n" + json.dumps({**scenario, "probes": [{**ends, "verdict": "deny"}]}))
        self.assertEqual(code, 1, text)
        self.assertIn("stdin:2", text)
        for broken in ("", "objects: []\nprobes: [{}]", "["):
            code, text = judge(broken)
            self.assertEqual(code, 2, text)
            self.assertIn("stdin", text)

    def test_second_instance_is_refused(self):
        code, text = self.exit_code("run", self.manifests.path, "--pin-dir", self.sluice.pin_dir,
                                    "--socket", "/run/another.sock")
        self.assertEqual(code, 2, text)
        self.assertIn("another instance", text)
        code, text = self.exit_code("run", self.manifests.path, "--socket", self.sluice.socket,
                                    "--pin-dir", "/sys/fs/bpf/another")
        self.assertEqual(code, 2, text)
        code, text = self.exit_code("cleanup", "--socket", self.sluice.socket,
                                    "--pin-dir", self.sluice.pin_dir)
        self.assertEqual(code, 2, text)
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D")

    def test_manifests_that_vanish_take_nothing_along(self):
        elsewhere = self.manifests.path + "-elsewhere"
        os.rename(self.manifests.path, elsewhere)
        wait_for(lambda: self.manifests.path in self.sluice.query("status")["problem"],
                 "status says so")
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D")
        os.rename(elsewhere, self.manifests.path)
        wait_for(lambda: self.sluice.query("status")["enforced"], "all is well again")
        self.sluice.remove("policy")
        self.check("x/c > x/a tcp/80 A")

    def test_without_an_instance(self):
        self.sluice.stop()
        for command in (("status",), ("endpoint", "list"), ("conntrack", "list"), ("monitor",)):
            code, text = self.exit_code(*command, "--socket", self.sluice.socket)
            self.assertEqual(code, 2, text)
            self.assertIn("no running program", text)


class Quiet(suite.Case):
    options = ("--log-level", "warn")

    def test_nothing_below_the_level_is_logged(self):
        self.manifests.put("policy", _POLICY)
        self.sluice.start()
        self.assertNotIn(" info ", self.sluice.log())
        self.sluice.stop()
        self.sluice.options = ["--log-level", "info"]
        self.sluice.start()
        self.assertIn(" info ", self.sluice.log())
