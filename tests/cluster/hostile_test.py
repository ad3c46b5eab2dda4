# SPDX-License-Identifier: Apache-2.0
"""Whoever is at the other end, and whatever it sends: the programs live, keep within
their memory and keep what is in force."""

import socket

from tests.cluster import garbage, lab, suite
from tests.netns import lab as netlab
from tests.netns.sluice import cnp, wait_for

_MEMORY_MAX = 400 << 20
# An agent takes updates of up to 512 MB by its own reckoning: what nodes with very much to enforce need.
_UPDATE_MAX = 1000 << 20
# What is kept of answers would add up to more than it may.
_ANSWERS = 8
_SENT = 4 * garbage.SIZE


def listen(ns=None):
    made = None
    if ns is None:
        made = socket.socket()
    else:
        with ns.entered():
            made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


class Hostile(suite.ClusterCase):

    def ride_out(self, process, server, memory_max, answers=_ANSWERS):
        wait_for(lambda: not process.running() or server.answered >= answers or server.sent >= _SENT,
                 f"garbage is sent; {process.log()}", 120)
        self.assertTrue(process.running(), process.log())
        peak = process.memory_peak()
        print(f"{server.answered} answers, {server.sent >> 20} MB, peak {peak >> 20} MB", end=" ... ",
              flush=True)
        self.assertLess(peak, memory_max)
        self.assertGreater(server.sent, 0)

    # ---- a false API server ----------------------------------------------------------------

    def test_an_api_server_sends_noise(self):
        self.api_server(garbage.noise)

    def test_an_api_server_sends_json_without_an_end(self):
        self.api_server(garbage.body(b'{"items":[{"metadata":{"name":"a"}},'))

    def test_an_api_server_sends_json_without_a_bottom(self):
        self.api_server(garbage.body(b"["))

    def test_an_api_server_sends_text(self):
        self.api_server(garbage.body(b"\xff\x00<html>"))

    def test_an_api_server_sends_events_without_an_end(self):
        self.api_server(garbage.long_events)

    def test_an_api_server_sends_strange_objects(self):
        self.api_server(garbage.strange_objects)

    def api_server(self, answer):
        plane = self.cluster.plane
        server = garbage.Server(listen(), answer,
                                garbage.tls(plane.path("server.crt"), plane.path("server.key")))
        self.addCleanup(server.close)
        kubeconfig = plane.write_kubeconfig("false.kubeconfig", token="none",
                                            server=f"https://127.0.0.1:{server.port}")
        command = lab.operator_command("false", "127.0.0.1", kubeconfig)
        operator = lab.Process("operator-false", lab.Own, command)
        operator.start()
        self.addCleanup(operator.kill)
        self.ride_out(operator, server, _MEMORY_MAX)
        self.assertIn("200", netlab.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                                        "http://127.0.0.1:9964/healthz", check=False))
        self.assertEqual(operator.stop(), 0, operator.log())

    # ---- a false operator --------------------------------------------------------------------

    def test_an_operator_sends_noise(self):
        self.operator(garbage.noise)

    def test_an_operator_sends_short_messages_of_noise(self):
        self.operator(garbage.grpc(1000), answers=2)  # it waits ten seconds for a welcome

    def test_an_operator_sends_long_messages_of_noise(self):
        self.operator(garbage.grpc(1 << 20), answers=2)

    def test_an_operator_sends_one_message_without_an_end(self):
        self.operator(garbage.grpc(garbage.SIZE))

    def test_an_operator_sends_fields_that_nobody_knows(self):
        self.operator(garbage.welcome_and(garbage.unknown_field))

    def test_an_operator_sends_a_snapshot_without_an_end(self):
        self.operator(garbage.welcome_and(garbage.chunk_of_no_end), _UPDATE_MAX)

    def test_an_operator_sends_a_snapshot_of_nothings(self):
        self.operator(garbage.welcome_and(garbage.chunk_of_small_things), _UPDATE_MAX, answers=3)

    def operator(self, answer, memory_max=_MEMORY_MAX, answers=_ANSWERS):
        """node1's agent goes over to it, with what is in force from before."""
        self.addCleanup(self.cluster.clear_policies)
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=[
            {"fromEndpoints": [{"matchLabels": {"pod": "b"}}]}]))
        right = ("x/b > x/a A", "x/c > x/a D")
        self.expect(*right)
        server = garbage.Server(listen(self.host("node1").ns), answer)
        self.addCleanup(server.close)
        agent = self.cluster.agents["node1"]
        self.assertEqual(agent.stop(), 0, agent.log())
        self.addCleanup(self.expect, *right)
        self.addCleanup(self.cluster.start_agent, "node1")
        command = list(agent.command)
        command[command.index("--operator") + 1] = f"127.0.0.1:{server.port}"
        victim = lab.Process("agent-false", agent.ns, [*command, "--plain-text"])
        victim.start()
        self.addCleanup(victim.kill)
        self.ride_out(victim, server, memory_max, answers)
        self.expect(*right)
        self.assertEqual(victim.stop(), 0, victim.log())
