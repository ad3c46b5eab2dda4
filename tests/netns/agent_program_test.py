# SPDX-License-Identifier: Apache-2.0
"""`sluice-agent` on a node does what an operator says, over TLS and with a token, and goes on
doing it while there is none."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import unittest

from tests.netns import metrics, suite
from tests.netns.agent_lab import PORT, TOKEN, Agent, Operator, binary
from tests.netns.lab import run
from tests.netns.sluice import Manifests, Monitor, cnp, ports, wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe, Stream


def _allow(*what, to="a"):
    return cnp("x", "p" if to == "a" else to, {"pod": to}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                       "toPorts": ports(*what)}])


class AgentProgram(unittest.TestCase):
    check, probes, host = suite.Case.check, suite.Case.probes, suite.Case.host

    def setUp(self):
        self.lab = suite.world()
        self.node = self.lab.host("node1")
        self.manifests = Manifests()
        self.manifests.put("cluster", *self.lab.objects())
        self.manifests.put("policy", _allow("80/TCP", "80/UDP"))
        self.operator = Operator(self.manifests)
        self.agent = None
        self.addCleanup(self._end)

    def _end(self):
        if self.agent and self.agent.process.poll() is None:
            self.agent.kill()
        if self.operator.process and self.operator.process.poll() is None:
            self.operator.kill()
        if self.agent:
            self.agent.cleanup()

    def begin(self, *options):
        self.operator.start()
        self.agent = Agent(self.node, self.operator, *options)
        self.agent.start()
        return self.operator.wait_acknowledged("node1")

    def change(self, *what):
        """Another policy, and returns when the agent has acknowledged it."""
        before = self.operator.acknowledged("node1")
        self.manifests.put("policy", _allow(*what))
        self.operator.wait_acknowledged("node1", before)

    def test_policy_is_enforced_changed_and_acknowledged(self):
        self.begin()
        self.check("x/b > x/a tcp/80 A, y/b > x/a tcp/80 D, x/b > x/a tcp/81 D, x/a > E tcp/80 A")
        self.change("81/TCP")
        self.check("x/b > x/a tcp/80 D, x/b > x/a tcp/81 A")

    def test_everything_stays_while_there_is_no_operator(self):
        self.begin()
        source, target = self.host("x/b"), self.host("x/a")
        streams = [Stream(source, target, [(target.address(f), 80), (target.address(f), 81)],
                          rate=500, sources=16) for f in (4, 6)]
        self.operator.kill()
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        self.agent.kill()
        self.agent.start()  # with nobody to ask
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        status = self.agent.query("status")
        self.assertTrue(status["enforced"], status["problem"])
        self.assertIn("its last state stays in force", json.dumps(status["problems"]))
        self.assertEqual(self.agent.http("/readyz")[0], 503, "a rollout goes no further")
        self.agent.stop()
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        # Another instance: other revisions, another certificate.
        self.agent.start()
        self.operator.forget("node1")
        self.manifests.put("policy", _allow("80/TCP", "80/UDP", "82/TCP"))
        self.operator.start()
        self.operator.wait_acknowledged("node1")
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D, x/b > x/a tcp/82 A")
        for stream in streams:
            sent, arrived = stream.stop()
            self.assertEqual(len([n for n in arrived if n % 2]), 0, "forbidden packets passed")
            self.assertEqual(len(arrived), (sent + 1) // 2, "allowed packets were lost")
            self.assertGreater(sent, 100)

    def marks(self, address):
        """
        What the kernel knows of an address. 3: it is the node's own, as the operator says;
        2: as only the agent has found; 0: it is no node's. None: nothing.
        """
        text = run(os.environ["SLUICE"], "peer", "list", "--pin-dir", self.agent.pin_dir, "-o", "json")
        prefix = f"{address}/{128 if ':' in address else 32}"
        return {p["prefix"]: p["cidr_id"] >> 30 for p in json.loads(text)["peers"]}.get(prefix)

    def add_devices(self):
        """more0 and more1, as long as the test runs."""
        self.node.ns.ip("link add more0 type veth peer name more1",
                        "link set more0 up", "link set more1 up")
        self.addCleanup(run, "ip", "-n", self.node.ns.name, "link", "del", "more0", check=False)

    def give(self, *addresses, device="more0"):
        """Addresses with their length."""
        self.node.ns.ip(*(f"addr add {a} dev {device}" + (" nodad" if ":" in a else "")
                          for a in addresses))

    def test_node_is_all_its_addresses_from_when_it_gets_them(self):
        """With nobody to tell the agent so, also across a restart."""
        self.begin()
        self.operator.kill()
        self.add_devices()
        addresses = {"192.0.2.77": 24, "fd77::1": 64, "169.254.77.1": 32, "fe80::77": 64}
        for address, length in addresses.items():
            self.assertIsNone(self.marks(address))
            begun = time.monotonic()
            self.give(f"{address}/{length}")
            wait_for(lambda a=address: self.marks(a) == 2, f"{address} is the node's")
            self.assertLess(time.monotonic() - begun, 10 if address.startswith("fe80") else 1)
        self.agent.kill()
        self.give("192.0.2.78/32")
        self.agent.start()
        for address in (*addresses, "192.0.2.78"):
            self.assertEqual(self.marks(address), 2, address)
        # Each is there twice, as a gateway's is on every pod's veth.
        for address, length in addresses.items():
            self.give(f"{address}/{length}", device="more1")
            self.node.ns.ip(f"addr del {address}/{length} dev more0")
        self.node.ns.ip("addr del 192.0.2.78/32 dev more0")
        wait_for(lambda: self.marks("192.0.2.78") is None, "what came before has been seen too")
        for address in addresses:
            self.assertEqual(self.marks(address), 2, address)
        self.node.ns.ip("link del more1")
        for address in addresses:
            wait_for(lambda a=address: self.marks(a) is None, f"{address} is nobody's")
        self.assertEqual(self.marks(self.node.address(4)), 3)
        self.assertEqual(self.marks(self.host("x/b").address(4)), 0)

    def test_link_local_addresses_are_taken_in_together(self):
        """Each pod's veth gets one: they do not have every flow judged again one by one."""
        self.begin()
        self.operator.kill()
        self.add_devices()
        self.give("192.0.2.77/24")
        wait_for(lambda: self.marks("192.0.2.77") == 2, "what came before has been seen too")
        epoch = self.agent.query("status")["epoch"]
        addresses = [f"fe80::77:{i}" for i in range(1, 9)]
        self.give(*(f"{a}/64" for a in addresses))
        wait_for(lambda: all(self.marks(a) == 2 for a in addresses), "all are the node's")
        self.assertLessEqual(self.agent.query("status")["epoch"], epoch + 2)

    def test_address_given_to_the_node_opens_and_closes_nothing(self):
        """Until an operator says that it is the node's: what rules said of it, they say on."""
        self.manifests.put("policy", cnp("x", "p", {"pod": "a"}, egress=[
            {"toEntities": ["host"]}, {"toCIDR": ["192.0.2.0/25"]}]))
        self.begin()
        self.operator.kill()
        self.add_devices()
        self.give("192.0.2.7/32", "192.0.2.200/32")
        wait_for(lambda: self.marks("192.0.2.7") == self.marks("192.0.2.200") == 2,
                 "the addresses are the node's")
        verdicts = {self.node.address(4): ALLOWED, "192.0.2.7": ALLOWED, "192.0.2.200": DENIED}
        self.check({Probe(self.host("x/a"), self.node, "tcp/80", address=address): verdict
                    for address, verdict in verdicts.items()})

    def test_operator_that_comes_back_at_once_changes_nothing(self):
        self.begin()
        epoch = self.agent.query("status")["epoch"]
        self.operator.kill()
        self.operator.forget("node1")
        self.operator.start()
        self.operator.wait_acknowledged("node1")
        self.assertEqual(self.agent.query("status")["epoch"], epoch,
                         "the same policies are nothing to write")

    def test_unknown_pod_is_allowed_by_default(self):
        self.begin("--pod-interfaces", "v*")
        pod = self.new_pod("u1", 41)
        self.check("x/b > x/u1 tcp/80 A, x/u1 > E tcp/80 A")
        self.assertEqual(pod.node, self.node)

    def new_pod(self, name, number):
        """A pod with a veth and an address that the operator knows nothing of."""
        pod = self.lab.pod(self.node, "x/" + name, 0, number)

        def end():
            pod.unplug()
            del self.lab.pods[pod.full_name]
        self.addCleanup(end)
        return pod

    def test_unknown_pod_is_denied_if_so_asked(self):
        """With an operator, without one, and until its verdict comes."""
        self.begin("--on-unknown", "deny", "--pod-interfaces", "v*")
        pod = self.new_pod("u2", 42)
        self.wait_denied(1)
        self.check("x/b > x/u2 tcp/80 D, x/u2 > E tcp/80 D, x/b > x/a tcp/80 A, node1 > x/u2 tcp/80 D")
        self.operator.kill()
        self.agent.kill()
        self.agent.start()
        self.wait_denied(1)
        self.check("x/b > x/u2 tcp/80 D, x/u2 > E tcp/80 D, x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        self.operator.forget("node1")
        self.operator.start()
        self.operator.wait_acknowledged("node1")
        self.check("x/b > x/u2 tcp/80 D")
        before = self.operator.acknowledged("node1")
        self.manifests.put("late", pod.object())
        self.operator.wait_acknowledged("node1", before)
        self.wait_denied(0)
        self.check("x/b > x/u2 tcp/80 A, x/u2 > E tcp/80 A, x/b > x/a tcp/81 D")
        # The pod's object goes before its interface does.
        before = self.operator.acknowledged("node1")
        self.manifests.remove("late")
        self.operator.wait_acknowledged("node1", before)
        self.check("x/b > x/u2 tcp/80 D")

    def test_command_works_while_there_is_no_operator(self):
        """Of an agent that has never heard one: what the process before it was told."""
        def query(*what):
            answer = self.agent.query(*what)
            for problem in answer.get("problems", []):
                # What the last attempt to connect has met differs.
                problem["message"] = problem["message"].split("unavailable: ")[0]
            return answer
        self.begin()
        self.operator.kill()
        before = {what: query(*what) for what in (("endpoint", "list"), ("policy", "list"), ("policy", "dump"))}
        self.agent.kill()
        self.agent.start()
        for what, answer in before.items():
            self.assertEqual(query(*what), answer, what)
        monitor = Monitor(self.node, self.agent.socket, "--drops")
        self.addCleanup(monitor.end)
        event = monitor.event(lambda e: e["to_name"] == "x/a", lambda: self.check("y/b > x/a tcp/80 D"))
        self.assertEqual((event["verdict"], event["isolating"]), ("denied", ["CiliumNetworkPolicy/x/p"]))

    def test_known_pod_whose_interface_is_made_anew_without_an_operator(self):
        """While the agent runs, and while it does not."""
        self.begin("--on-unknown", "deny", "--pod-interfaces", "v*")
        pod = self.new_pod("u4", 44)
        self.manifests.put("late", pod.object(), _allow("80/TCP", to="u4"))
        wait_for(lambda: self.attached("x/u4"), "u4 is enforced")
        self.operator.kill()
        before = pod.ifindex
        pod.unplug()
        pod.plug()
        self.assertNotEqual(pod.ifindex, before)
        wait_for(lambda: self.attached("x/u4", pod.ifindex), "attached again")
        self.check("x/b > x/u4 tcp/80 A, x/b > x/u4 tcp/81 D")
        self.agent.kill()
        pod.unplug()
        pod.plug()
        self.agent.start()
        wait_for(lambda: self.attached("x/u4", pod.ifindex), "attached again")
        self.check("x/b > x/u4 tcp/80 A, x/b > x/u4 tcp/81 D")
        # Its object has not gone, as far as anybody here knows; its interface has.
        pod.unplug()
        self.addCleanup(pod.plug)
        wait_for(lambda: not self.attached("x/u4"), "nothing is left of the interface")
        self.wait_denied(0)

    def test_operator_says_what_becomes_of_unknown_pods(self):
        self.begin("--pod-interfaces", "v*")
        self.new_pod("u3", 43)
        self.check("x/b > x/u3 tcp/80 A")
        with open(os.path.join(self.manifests.path, "on-unknown"), "w", encoding="ascii") as file:
            file.write("deny")
        self.wait_denied(1)
        self.check("x/b > x/u3 tcp/80 D, x/u3 > E tcp/80 D")
        os.unlink(os.path.join(self.manifests.path, "on-unknown"))
        self.wait_denied(0)
        self.check("x/b > x/u3 tcp/80 A, x/u3 > E tcp/80 A")

    def attached(self, name, ifindex=None):
        """Whether the agent says that a pod's policies are in force, on this interface."""
        found = [e for e in self.agent.query("endpoint", "list")["endpoints"] if e["name"] == name]
        return bool(found) and found[0]["attached"] and ifindex in (None, found[0]["ifindex"])

    def test_life_of_a_pod_that_is_unknown_at_first(self):
        """Packets to two ports all the time, of which its policy will allow one."""
        self.begin("--on-unknown", "deny", "--pod-interfaces", "v*")
        pod = self.new_pod("u5", 45)
        self.wait_denied(1)
        streams = [Stream(self.host("x/b"), pod, [(pod.address(f), 1080), (pod.address(f), 1081)],
                          rate=500, sources=4) for f in (4, 6)]
        before = [stream.wait_sent(100) or stream.sent() for stream in streams]
        self.manifests.put("late", pod.object(), _allow("80/TCP", "1080/UDP", to="u5"))
        wait_for(lambda: self.attached("x/u5"), "its policy is enforced")
        self.check("x/b > x/u5 tcp/80 A, x/b > x/u5 tcp/81 D")
        # The agent starts anew while there is nobody to tell it who is who.
        other = self.new_pod("u6", 46)
        self.wait_denied(1)
        self.operator.kill()
        self.agent.kill()
        claimed = [stream.sent() for stream in streams]
        self.agent.start()
        self.wait_denied(1)
        self.assertTrue(self.attached("x/u5"))
        self.check("x/b > x/u6 tcp/80 D, x/u6 > E tcp/80 D, x/b > x/u5 tcp/80 A")
        for stream, begun, known in zip(streams, before, claimed):
            stream.wait_sent(50)
            sent, arrived = stream.stop()
            self.assertEqual([n for n in arrived if n % 2], [], "forbidden packets passed")
            self.assertEqual([n for n in arrived if n < begun], [], "packets passed before the verdict")
            late = [n for n in arrived if n >= known]
            self.assertEqual(len(late), (sent + 1) // 2 - (known + 1) // 2, "allowed packets were lost")
        other.unplug()
        self.wait_denied(0)
        other.plug()  # for the end of the test
        self.wait_denied(1)

    def test_pod_that_goes_leaves_nothing(self):
        self.begin("--on-unknown", "deny", "--pod-interfaces", "v*")
        pod = self.new_pod("u7", 47)
        self.manifests.put("late", pod.object(), _allow("80/TCP", to="u7"))
        wait_for(lambda: self.attached("x/u7"), "its policy is enforced")
        before = self.operator.acknowledged("node1")
        pod.unplug()
        self.addCleanup(pod.plug)
        self.manifests.remove("late")
        self.operator.wait_acknowledged("node1", before)
        self.wait_denied(0)
        self.assertNotIn("x/u7", [e["name"] for e in self.agent.query("endpoint", "list")["endpoints"]])
        self.assertNotIn("CiliumNetworkPolicy/x/u7", json.dumps(self.agent.query("policy", "dump")))

    def test_what_was_acknowledged_is_not_taken_back(self):
        """By an agent that is killed at once, and starts while the operator does not answer."""
        self.begin()
        for port in (81, 82, 83):
            self.change(f"{port}/TCP")
            self.operator.process.send_signal(signal.SIGSTOP)
            epoch = self.agent.query("status")["epoch"]
            self.agent.kill()
            self.agent.start()
            status = self.agent.query("status")
            self.assertEqual((status["epoch"], status["enforced"]), (epoch, True), status["problem"])
            self.check(f"x/b > x/a tcp/{port} A, x/b > x/a tcp/{port - 1} D")
            self.operator.forget("node1")
            self.operator.process.send_signal(signal.SIGCONT)
            self.operator.wait_acknowledged("node1")

    def test_what_the_operator_said_of_unknown_pods_outlives_the_agent(self):
        self.begin("--pod-interfaces", "v*")
        with open(os.path.join(self.manifests.path, "on-unknown"), "w", encoding="ascii") as file:
            file.write("deny")
        self.new_pod("u8", 48)
        self.wait_denied(1)
        self.operator.kill()
        self.agent.kill()
        self.agent.start()
        self.wait_denied(1)
        self.check("x/b > x/u8 tcp/80 D, x/u8 > E tcp/80 D, x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")

    def test_journal_that_is_damaged_changes_nothing(self):
        """What is in force stays, as it does where there is no journal."""
        self.begin()
        self.operator.kill()
        self.agent.kill()
        journal = os.path.splitext(self.agent.socket)[0] + ".journal"
        with open(journal, "r+b") as file:
            file.seek(-3, os.SEEK_END)
            byte = file.read(1)
            file.seek(-3, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        self.agent.start()
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        self.assertIn("the journal cannot be read", self.agent.log())
        self.assertIn("no operator has connected yet", self.agent.query("status")["problem"])
        self.operator.forget("node1")
        self.operator.start()
        self.operator.wait_acknowledged("node1")
        self.assertTrue(self.agent.query("status")["enforced"])

    def wait_denied(self, count):
        wait_for(lambda: f"sluice_agent_unclaimed_denied {count}" in self.agent.http("/metrics")[1],
                 f"{count} interfaces denied")

    def test_command_works_with_an_agent(self):
        self.begin()
        status = self.agent.query("status")
        self.assertTrue(status["enforced"], status["problem"])
        self.assertEqual((status["node"], status["policies"]), ("node1", 1))
        endpoints = {e["name"]: e for e in self.agent.query("endpoint", "list")["endpoints"]}
        self.assertTrue(endpoints["x/a"]["attached"])
        self.assertEqual(endpoints["x/a"]["policies"], ["CiliumNetworkPolicy/x/p"])
        policies = self.agent.query("policy", "list")["policies"]
        self.assertEqual([(p["kind"], p["namespace"], p["name"], p["in_force"]) for p in policies],
                         [("CiliumNetworkPolicy", "x", "p", True)])
        entries = self.agent.query("policy", "dump")["entries"]
        self.assertIn("80/TCP", [e["l4"] for e in entries])
        self.check("x/b > x/a tcp/80 A")
        flows = self.agent.query("conntrack", "list")["entries"]
        self.assertIn("x/a", [f["endpoint"] for f in flows])
        # As people read it, too.
        for what in (("status",), ("endpoint", "list"), ("policy", "list"), ("policy", "dump"),
                     ("conntrack", "list")):
            code, out, err = self.agent.command(*what)
            # The fake operator answers no questions, and the command says so.
            note = ("note: names of pods of other nodes are missing: this operator answers no "
                    "questions\n" if what == ("conntrack", "list") else "")
            self.assertEqual((code, err), (0, note), what)
            self.assertGreater(len(out.splitlines()), 1, what)
        monitor = Monitor(self.node, self.agent.socket)
        self.addCleanup(monitor.end)
        event = monitor.event(lambda e: e["direction"] == "ingress" and e["to_name"] == "x/a",
                              lambda: self.check("x/b > x/a tcp/80 A"))
        self.assertEqual((event["from_name"], event["verdict"], event["policy"]),
                         ("x/b", "allowed", "CiliumNetworkPolicy/x/p"))
        code, _, err = self.agent.command("cleanup", "--pin-dir", self.agent.pin_dir)
        self.assertEqual(code, 2, "while an agent runs")
        self.assertIn("another instance", err)

    def test_explain_agrees_with_packets(self):
        self.begin()

        def explain(source, target, port):
            code, out, err = self.agent.command("explain", "--from", source, "--to", target,
                                                "--port", port, "-o", "json")
            self.assertEqual(err, "")
            view = json.loads(out)
            self.assertEqual(code, 0 if view["allowed"] else 1)
            return view
        for source in ("x/b", "y/b"):
            for port in (80, 81):
                view = explain(source, "x/a", f"{port}/TCP")
                self.check(f"{source} > x/a tcp/{port} {'A' if view['allowed'] else 'D'}")
                ingress = [s for s in view["sides"] if s["direction"] == "ingress"]
                self.assertEqual({s["endpoint"] for s in ingress}, {"x/a"})
                self.assertEqual({(s["isolated"], *s["isolating"]) for s in ingress},
                                 {(True, "CiliumNetworkPolicy/x/p")})
                missed = {(m["policy"], m["differs"]) for s in ingress for m in s["near_misses"]}
                decided = {(s["policy"], s["path"]) for s in ingress}
                if (source, port) == ("x/b", 80):
                    self.assertEqual(decided, {("CiliumNetworkPolicy/x/p", "spec.ingress[0]")})
                    self.assertEqual(missed, set())
                elif source == "x/b":
                    self.assertEqual(missed, {("CiliumNetworkPolicy/x/p", "port")})
                elif port == 80:
                    self.assertEqual(missed, {("CiliumNetworkPolicy/x/p", "peer")})
        # Of another node's pod it is said that nobody here knows.
        view = explain("x/a", "192.0.2.9", "80/TCP")
        self.assertEqual([(s["judged"], "ask its node" in s["unknown"]) for s in view["sides"]],
                         [(True, False), (False, True)])
        code, out, _ = self.agent.command("explain", "--from", "x/a", "--to", "192.0.2.9", "--port", "80")
        self.assertEqual(code, 0)
        self.assertIn("ingress: 192.0.2.9 is no pod's of this node", out)
        for source, target, port, message in (
                ("z/none", "x/a", "80", "--from: z/none is not a pod of this node; give its address"),
                ("192.0.2.1", "192.0.2.2", "80", "neither end is a pod of this node"),
                ("x/b", "fe80::1", "8/ICMP", "no address family in common"),
                ("x/b", "x/a", "80/XYZ", "XYZ")):
            code, _, err = self.agent.command("explain", "--from", source, "--to", target, "--port", port)
            self.assertEqual(code, 2, err)
            self.assertIn(message, err)
        code, out, err = self.agent.command("reach")
        self.assertEqual((code, out), (2, ""), err)
        self.assertIn("an agent has the policies of its own node's pods only", err)

    def test_health_and_metrics(self):
        self.operator.start()
        self.operator.kill()
        self.agent = Agent(self.node, self.operator)
        self.agent.start()
        self.assertEqual(self.agent.http("/healthz")[0], 200)
        wait_for(lambda: "Connection refused" in self.agent.http("/readyz")[1], "the reason")
        self.assertEqual(self.agent.http("/readyz")[0], 503)
        self.operator.start()
        self.operator.wait_acknowledged("node1")
        wait_for(lambda: self.agent.http("/readyz")[0] == 200, "ready")
        self.check("y/b > x/a tcp/80 D")
        text = self.agent.http("/metrics")[1]
        for line in ('sluice_agent_packets_total{reason="default deny",direction="ingress",verdict="denied"} ',
                     'sluice_agent_packets_total{reason="internal error",direction="egress",verdict="denied"} 0',
                     "sluice_agent_behind_seconds 0", "sluice_agent_journal_failures_total 0",
                     'sluice_agent_map_entries{map="policy"} ', "sluice_agent_apply_seconds_bucket",
                     "sluice_agent_pod_start_seconds_count 0",
                     "sluice_agent_operator_connected 1", "sluice_agent_in_force 1",
                     'sluice_agent_endpoints{state="enforced"} ', "sluice_agent_build_info{"):
            self.assertIn("\n" + line, "\n" + text)
        self.assertEqual(self.agent.http("/nothing")[0], 404)
        self.assertFalse({what: names for what, names in metrics.problems("sluice_agent", text).items()
                          if names})

    def test_a_health_port_that_is_taken_ends_the_agent_before_it_loads_programs(self):
        self.agent = Agent(self.node, self.operator)
        with self.node.ns.entered():
            listener = socket.create_server(("127.0.0.1", 9965))
        self.addCleanup(listener.close)
        with self.assertRaisesRegex(AssertionError, "error: --health: 127.0.0.1:9965: cannot listen there"):
            self.agent.start()
        self.assertEqual(self.agent.process.returncode, 2)
        self.assertEqual([name for _, _, files in os.walk(self.agent.pin_dir) for name in files], [])

    def wait_refused(self, why):
        """Several times, of which the log tells once."""
        def attempts():
            text = self.agent.http("/metrics")[1]
            return int(re.search(r"^sluice_agent_operator_attempts_total (\d+)$", text, re.M).group(1))
        before = attempts()
        wait_for(lambda: why in self.agent.log() and attempts() > before + 4, f"refused: {why}")
        self.assertEqual(self.agent.log().count("no operator is connected; its last state"), 1, self.agent.log())
        self.assertEqual(self.agent.http("/readyz")[0], 503)

    def test_operator_that_is_not_the_one_of_the_CA_is_not_listened_to(self):
        self.operator.start()
        other = Operator(self.manifests)
        other.start(PORT + 1)
        other.kill()
        self.agent = Agent(self.node, self.operator)
        self.agent.ca_file = os.path.join(other.out, "ca.crt")
        self.agent.start()
        self.wait_refused("unavailable")
        self.check("y/b > x/a tcp/80 A")

    def test_nobody_where_the_operator_should_be(self):
        self.operator.start()
        self.operator.kill()
        self.agent = Agent(self.node, self.operator)
        self.agent.start()
        self.wait_refused("unavailable")

    def test_wrong_token_gets_nothing_and_the_right_one_later_does(self):
        self.operator.start()
        self.agent = Agent(self.node, self.operator)
        self.agent.set_token("wrong")
        self.agent.start()
        self.wait_refused("the token is not accepted")
        self.check("y/b > x/a tcp/80 A")
        self.agent.set_token(TOKEN)
        self.operator.wait_acknowledged("node1")
        self.check("y/b > x/a tcp/80 D")

    def test_wrong_command_lines_change_nothing(self):
        good = ["--node", "n", "--operator", "10.0.0.1:9443", "--ca-file", "/x", "--pin-dir",
                "/sys/fs/bpf/wrong", "--socket", "/run/wrong/s"]
        for wrong, why in (
                (good[2:], "--node"), (good[:2] + good[4:], "--operator"),
                (good[:4] + good[6:], "--ca-file"), ([*good[:3], "host", *good[4:]], "HOST:PORT"),
                ([*good[:3], "$(HOST):$(PORT)", *good[4:]], "a variable that is not set"),
                ([*good, "--on-unknown", "maybe"], "allow"), ([*good, "--nodes", "x"], "--nodes"),
                ([*good, "more"], "more")):
            done = subprocess.run([binary("agent", "program", "sluice-agent"), *wrong], check=False,
                                  env={}, text=True, timeout=15, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(why, done.stdout)
            self.assertFalse(os.path.exists("/sys/fs/bpf/wrong"), wrong)
            self.assertFalse(os.path.exists("/run/wrong"), wrong)

    def test_pod_without_an_interface_is_reported(self):
        self.begin()
        ghost = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "x", "name": "ghost"},
                 "spec": {"nodeName": "node1"},
                 "status": {"phase": "Running", "podIP": "10.0.0.99", "podIPs": [{"ip": "10.0.0.99"}]}}
        self.manifests.put("ghost", ghost)
        failures = wait_for(lambda: self.operator.acknowledged("node1")["failures"], "reported")
        self.assertEqual([f["endpoint"] for f in failures], ["x/ghost"])
        self.manifests.remove("ghost")
        self.operator.wait_acknowledged("node1")

    def test_cleanup_leaves_no_trace(self):
        self.begin()
        self.agent.stop()
        self.check("y/b > x/a tcp/80 D")
        self.agent.cleanup()
        self.assertFalse(os.path.exists(self.agent.pin_dir))
        self.assertEqual(os.listdir(os.path.dirname(self.agent.socket)), [])
        self.check("y/b > x/a tcp/80 A")
