# SPDX-License-Identifier: Apache-2.0
"""Enforcement does not depend on a living process: crashes, stops, starts."""

import os
import random
import select
import time

from tests.netns import suite
from tests.netns.lab import run
from tests.netns.sluice import cnp, ports
from tests.netns.traffic import Stream

_A = {"pod": "a"}
_KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "100"))


def _policy(number):
    """Port 80 from x/b; and something else in the same set each time."""
    return cnp("x", "p", _A, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                       "toPorts": ports("80/UDP", f"{1000 + number}-{1100 + number}/TCP")}])


class Restart(suite.Case):
    def test_killed_at_random_moments(self):
        """Not one forbidden packet passes and not one allowed is lost, while the
        process is killed again and again in the middle of start and change."""
        self.manifests.put("policy", _policy(0))
        self.sluice.start()
        source, target = self.host("x/b"), self.host("x/a")
        # Even numbers go to the allowed port, odd ones to a forbidden one.
        streams = [Stream(source, target, [(target.address(f), 80), (target.address(f), 81)],
                          rate=2000, sources=16) for f in (4, 6)]
        for kill in range(_KILLS):
            moment = random.Random(kill)
            if kill % 2:
                self.sluice.wait_enforced()
            self.change_until(time.monotonic() + moment.uniform(0, 0.15), kill)
            self.sluice.kill()
            self.sluice.spawn()
        self.sluice.wait_enforced()
        self.sluice.settle()
        for stream in streams:
            sent, arrived = stream.stop()
            forbidden = [n for n in arrived if n % 2]
            self.assertEqual(len(forbidden), 0, "forbidden packets passed")
            self.assertEqual(len(arrived), (sent + 1) // 2, "allowed packets were lost")
            self.assertGreater(sent, 2 * _KILLS)
        self.check("x/b > x/a udp/80 A, x/b > x/a udp/81 D, y/b > x/a udp/80 D")

    def change_until(self, end, seed):
        number = seed * 100
        while time.monotonic() < end:
            number += 1
            self.manifests.put("policy", _policy(number % 50000))
            # Changes that follow each other faster than this are taken as one.
            select.select([], [], [], min(0.03, max(0, end - time.monotonic())))

    def test_clean_stop_leaves_enforcement(self):
        self.manifests.put("policy", _policy(0))
        self.sluice.start()
        self.sluice.stop()
        self.check("x/b > x/a udp/80 A, x/b > x/a udp/81 D, y/b > x/a udp/80 D")

    def test_start_takes_over_what_is_there(self):
        self.manifests.put("policy", _policy(0))
        self.sluice.start()
        before = self.sluice.query("status")["epoch"], self.attached()
        self.sluice.stop()
        self.sluice.start()
        self.assertEqual((self.sluice.query("status")["epoch"], self.attached()), before,
                         "nothing has changed, so nothing is written")

    def test_changes_made_while_stopped_are_applied(self):
        self.manifests.put("policy", _policy(0))
        self.sluice.start()
        self.sluice.stop()
        self.manifests.put("policy", cnp("x", "p", _A, ingress=[{"toPorts": ports("81/UDP")}]))
        self.sluice.start()
        self.check("x/b > x/a udp/80 D, x/b > x/a udp/81 A, y/b > x/a udp/81 A")

    def test_cleanup_leaves_no_trace(self):
        self.manifests.put("policy", _policy(0))
        self.sluice.start()
        self.assertIn("sluice", self.attached())
        self.assertTrue(os.path.exists(self.sluice.pin_dir))
        self.sluice.stop()
        self.sluice.cleanup()
        self.assertEqual(self.attached(), "")
        self.assertFalse(os.path.exists(self.sluice.pin_dir))
        self.check("x/b > x/a udp/81 A, y/b > x/a udp/80 A")

    def test_foreign_filter_is_left_alone(self):
        link = self.host("x/a").link
        tc = ("ip", "netns", "exec", "node1", "tc")
        run(*tc, "qdisc", "replace", "dev", link, "clsact")
        self.addCleanup(run, *tc, "qdisc", "del", "dev", link, "clsact")
        run(*tc, "filter", "add", "dev", link, "ingress", "prio", "7", "protocol", "all",
            "bpf", "da", "bytecode", "1,6 0 0 4294967295,")
        self.manifests.put("policy", _policy(0))
        self.sluice.start()
        self.sluice.stop()
        self.sluice.cleanup()
        shown = run(*tc, "filter", "show", "dev", link, "ingress")
        self.assertIn("pref 7", shown)
        self.assertNotIn("sluice", shown)

    def attached(self):
        """tc's own words for our filters on all interfaces of the node."""
        text = ""
        for pod in self.lab.pods.values():
            if pod.node is self.node:
                for side in ("ingress", "egress"):
                    text += run("ip", "netns", "exec", "node1", "tc", "filter", "show", "dev",
                                pod.link, side)
        return text
