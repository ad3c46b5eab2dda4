# SPDX-License-Identifier: Apache-2.0
"""A change takes effect between two packets, whatever its size.

One flow of numbered packets goes in turn to a target that only the old policy
allows (even numbers) and one that only the new policy allows (odd numbers).
In the numbers that arrive, each step is then 2 while a policy is in force,
and 1 or 3 over a change. Any mixture of old and new, for a single packet,
gives another step: both or none allowed, or back and forth.
"""

from tests.netns import suite
from tests.netns.sluice import cnp, ports
from tests.netns.traffic import Stream

_A = {"pod": "a"}
_FLIPS = 40
_OLD4, _NEW4 = "203.0.113.21", "203.0.113.22"
_OLD6, _NEW6 = "2001:db8:113::21", "2001:db8:113::22"


class Atomic(suite.Case):
    options = ("--events", "drops")

    def setUp(self):
        super().setUp()
        outside = self.host("E")
        if not getattr(outside, "has_targets", False):
            for address in (_OLD4, _NEW4, _OLD6, _NEW6):
                outside.add_address(address)
            outside.has_targets = True

    def test_thousand_cidrs(self):
        def policy(new):
            block = "198.19" if new else "198.18"
            block6 = "2001:db8:b" if new else "2001:db8:a"
            cidrs = [f"{block}.{n // 200}.{n % 200}/32" for n in range(500)]
            cidrs += [f"{block6}::{n:x}/128" for n in range(500)]
            cidrs += [f"{_NEW4 if new else _OLD4}/32", f"{_NEW6 if new else _OLD6}/128"]
            return [cnp("x", "p", _A, egress=[{"toCIDR": cidrs}])]
        self.flip(policy, [(_OLD4, 80), (_NEW4, 80)])
        self.flip(policy, [(_OLD6, 80), (_NEW6, 80)])

    def test_thousand_ports(self):
        def policy(new):
            first = 20001 if new else 10001
            # Every other port, so that ranges cannot be merged into few prefixes.
            blocks = [{"toPorts": ports(*(f"{first + 2 * n}/UDP" for n in range(at, at + 40)))}
                      for at in range(0, 1000, 40)]
            return [cnp("x", "p", _A, egress=blocks)]
        self.flip(policy, [(_OLD4, 10001), (_OLD4, 20001)])

    def test_thousand_pods_change_places(self):
        def policy(new):
            pods = [self.pod(n, "one" if (n % 2 == 0) != new else "two") for n in range(1000)]
            return [cnp("x", "p", _A, egress=[
                {"toEndpoints": [{"matchLabels": {"role": "one"}}]}]), *pods]
        self.flip(policy, [(_OLD4, 80), (_NEW4, 80)])

    def pod(self, number, role):
        """Two pods stand behind E's addresses, the others nowhere."""
        ips = {0: [_OLD4, _OLD6], 1: [_NEW4, _NEW6]}.get(number) or [
            f"10.1.{number // 200}.{number % 200 + 1}", f"fd00:1::{number:x}"]
        return {"apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "x", "name": f"m{number}", "labels": {"role": role}},
                "spec": {"nodeName": "node2"},
                "status": {"phase": "Running", "podIP": ips[0],
                           "podIPs": [{"ip": ip} for ip in ips]}}

    def flip(self, policy, targets):
        self.manifests.put("policy", *policy(False))
        if self.sluice.process:
            self.sluice.settle()
        else:
            self.sluice.start()
        stream = Stream(self.host("x/a"), self.host("E"), targets, rate=20000)
        stream.wait_sent(1000)
        for number in range(1, _FLIPS + 1):
            self.sluice.apply("policy", *policy(number % 2 == 1))
            stream.wait_sent(100)
        sent, arrived = stream.stop()
        self.judge(sent, sorted(arrived))

    def judge(self, sent, arrived):
        self.assertEqual(arrived[0], 0)
        self.assertGreaterEqual(arrived[-1], sent - 2, "packets were lost at the end")
        changes, wrong = 0, []
        for before, after in zip(arrived, arrived[1:]):
            step = after - before
            if step in (1, 3):
                changes += 1
            elif step != 2:
                wrong.append((before, after))
        self.assertFalse(wrong, f"{len(wrong)} gaps, the first between {wrong[:3]}")
        self.assertEqual(changes, _FLIPS, "a packet saw a policy that was not in force")
