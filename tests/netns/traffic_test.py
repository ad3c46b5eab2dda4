# SPDX-License-Identifier: Apache-2.0
"""Policies that come, change and go while packets flow."""

import json
import socket
import subprocess

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for
from tests.netns.traffic import Stream

_A = {"pod": "a"}


def _allow_b(*port):
    return cnp("x", "p", _A, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                       "toPorts": ports(*port)}])


class Traffic(suite.Case):
    def setUp(self):
        super().setUp()
        self.sluice.start()

    def test_policy_added_changed_removed(self):
        self.check("x/b A, y/b A, E A, x/b > x/a udp/80 A")
        self.sluice.apply("policy", _allow_b("80/TCP"))
        self.check("x/b A, y/b D, E D, x/b > x/a udp/80 D, x/b > x/a tcp/81 D, x/a > E A")
        self.sluice.apply("policy", _allow_b("81/TCP"))
        self.check("x/b D, x/b > x/a tcp/81 A")
        self.sluice.remove("policy")
        self.check("x/b A, y/b A, E A, x/b > x/a udp/80 A")

    def test_open_connection_follows_the_policy(self):
        for family in (4, 6):
            with self.subTest(family=family):
                self.follow_connection(family)

    def follow_connection(self, family):
        server, client, peer = self.connect("x/b", "x/a", family)
        with server, client, peer:
            self.assertTrue(self.passes(client, peer))
            # A policy that allows it, made after it was opened, cuts nothing.
            self.sluice.apply("policy", _allow_b("8080/TCP"))
            self.assertTrue(self.passes(client, peer))
            self.assertTrue(self.passes(peer, client))
            # A change that leaves it allowed does not touch it.
            self.sluice.apply("policy", _allow_b("8080/TCP", "9000/TCP"))
            self.assertTrue(self.passes(client, peer))
            # One that forbids it stops it at the next packet ...
            self.sluice.apply("policy", _allow_b("9000/TCP"))
            self.assertFalse(self.passes(client, peer, seconds=0.4))
            # ... and it goes on when it is allowed again: nobody was told of an end.
            self.sluice.apply("policy", _allow_b("8080/TCP"))
            peer.settimeout(10)
            self.assertTrue(peer.recv(100), "what waited arrives by retransmission")
            self.sluice.remove("policy")
            self.assertTrue(self.passes(client, peer))

    def test_replies_survive_a_policy_made_later(self):
        """x/a asked while nothing isolated it; the answers come after the policy."""
        server, client, peer = self.connect("x/a", "E", 4)
        with server, client, peer:
            self.sluice.apply("policy", cnp("x", "p", _A, ingress=[{}]))
            self.assertTrue(self.passes(peer, client))
            self.assertTrue(self.passes(client, peer))

    def test_thousand_unrelated_changes_disturb_nothing(self):
        self.sluice.apply("policy", _allow_b("80/UDP", "5201/TCP", "5201/UDP"))
        source, target = self.host("x/b"), self.host("x/a")
        stream = Stream(source, target, [(target.ipv4, 80)], rate=5000, sources=8)
        server, client = self.start_iperf(source, target)
        epoch = self.sluice.query("status")["epoch"]
        for number in range(1000):
            self.manifests.put("unrelated", cnp("y", "other", _A, ingress=[
                {"toPorts": ports(f"{1000 + number}/TCP")}]))
            last, epoch = epoch, self.wait_epoch_after(epoch)
            self.assertGreater(epoch, last)
        client.terminate()
        report = json.loads(client.communicate(timeout=20)[0])
        server.kill()
        server.wait()
        sent, arrived = stream.stop()
        self.assertEqual(len(arrived), sent, f"{sent - len(arrived)} of {sent} datagrams lost")
        self.assertGreater(sent, 5000)
        self.assertIn(report.get("error"), (None, "interrupt - the client has terminated"))
        intervals = [i["sum"]["bytes"] for i in report["intervals"]]
        self.assertTrue(intervals)
        self.assertGreater(min(intervals), 0, "the TCP stream stalled")

    def wait_epoch_after(self, epoch):
        return wait_for(lambda: (now := self.sluice.query("status")["epoch"]) > epoch and now,
                        "the change is in force")

    def start_iperf(self, source, target):
        server = target.ns.popen("iperf3", "-s", "-1", stdout=subprocess.DEVNULL)
        client = None

        def connected():
            nonlocal client
            if client is None or client.poll() is not None:
                client = source.ns.popen("iperf3", "-c", target.ipv4, "-t", "600", "-b", "20M",
                                         "-J", stdout=subprocess.PIPE, text=True)
            # iperf3 listens for both families at once, so IPv4 is listed under tcp6.
            listing = target.ns.popen("cat", "/proc/self/net/tcp6", stdout=subprocess.PIPE,
                                      text=True).communicate()[0]
            # Two established connections to port 5201: control and data.
            return sum(line.split()[1].endswith(":1451") and line.split()[3] == "01"
                       for line in listing.splitlines()[1:]) >= 2
        wait_for(connected, "iperf3 runs")
        return server, client

    # ---- helpers

    def connect(self, source, destination, family):
        target = self.host(destination)
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        address = (target.address(family), 8080)
        with target.ns.entered():
            server = socket.create_server(address, family=kind)
        with self.host(source).ns.entered():
            client = socket.create_connection(address, timeout=5)
        peer = server.accept()[0]
        return server, client, peer

    def passes(self, sender, receiver, seconds=3.0):
        sender.send(b"data")
        receiver.settimeout(seconds)
        try:
            return bool(receiver.recv(100))
        except TimeoutError:
            return False
