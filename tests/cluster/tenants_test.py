# SPDX-License-Identifier: Apache-2.0
"""Twenty tenants, one of them hostile: what the others' changes wait for, with and without it.

SLUICE_TENANTS_ROUNDS says how often the phases follow one another.

The goal is that the others wait at most twice as long. The policies that concern nobody are as large as the attack's,
because the API server alone makes the others wait when it takes them in. On two processors that three nodes, two
operators and the API server share, others' changes waited 2.2/7.7/17 ms (median, 9 of 10, 99 of 100) beside those and
3.4/17/73 ms beside the attack. So half of them are within the goal; the others come while an agent applies a change of
tens of thousands of entries, which it does in one piece. The test prints what was measured, and asserts that nobody
starves: half of the changes wait a small multiple of what they wait beside writes that concern nobody. A queue that
grows with the attack would give waits of seconds.
"""

import os
import socket
import time

from tests.cluster import suite, tenants

_TENANTS = 19
_BLOCK_SECONDS = 4
_ROUNDS = int(os.environ.get("SLUICE_TENANTS_ROUNDS", "2"))
_NODES = ("node1", "node2", "node3")
_STARVES = 50  # times; 4 on a quiet machine, 10 on one with several builds
_ALONE, _BUSY, _ATTACKED = 0, 1, 2
_NAMES = {_ALONE: "alone", _BUSY: "beside writes that concern nobody", _ATTACKED: "beside the hostile tenant"}


class Tenants(suite.ClusterCase):

    def setUp(self):
        super().setUp()
        self.hostile, self.tenants = None, []
        self.addCleanup(self.end)
        for number in range(_TENANTS):
            self.tenants.append(tenants.Tenant(self.cluster, number, _NODES[number % 3]))
        with self.host("x/a").ns.entered():
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.sender.close)
        self.hostile = tenants.Hostile(self.cluster, _TENANTS + 2, _NODES)

    def end(self):
        if self.hostile:
            self.hostile.end()
        self.cluster.clear_policies()
        for tenant in self.tenants:
            tenant.close()
        names = [t.namespace for t in self.tenants] + [tenants.HOSTILE, tenants.HOSTILE + "-idle"]
        for pod in [p for p in self.cluster.pods() if p.split("/")[0] in names]:
            self.cluster.delete_pod(pod)
        for name in names:
            self.api.delete_namespace(name)

    def test_nobody_starves_beside_a_hostile_tenant(self):
        """A phase alone, one in which the same processes write as much that concerns nobody, and one of attack
        take turns. The API server and the processors, which Sluice has no say over, are slower in the second phase
        already: that is what the third is compared with."""
        waits = {mode: [] for mode in _NAMES}
        seconds = dict.fromkeys(_NAMES, 0.0)
        for tenant in self.tenants:
            tenant.change(self.sender)
        for number in range(len(_NAMES) * _ROUNDS):
            seconds[number % 3] += self.phase(number % 3, waits[number % 3])
        for mode, name in _NAMES.items():
            print(f"\n  {name}: {len(waits[mode])} changes, in force after {self.say(waits[mode])}"
                  + self.say_rates(mode, seconds[mode]), end="", flush=True)
        print(f"; {self.hostile.refused} writes failed ...", end=" ", flush=True)
        for tenant in self.tenants:
            self.assertTrue(tenant.is_open(self.sender, tenant.open), tenant.namespace)
            self.assertFalse(tenant.is_open(self.sender, 1 - tenant.open), tenant.namespace)
        for way, count in self.hostile.written(_ATTACKED).items():
            self.assertGreater(count, 2, f"the attack by {way} took place")
        self.assertLess(self.hostile.refused, 10)
        # What the operator has held back of the hostile tenant comes into force too.
        self.hostile.set_mode(_ALONE)
        print(f"its last changes in force after {self.hostile.seconds_to_end_large_policies(self.sender):.1f} s ...",
              end=" ", flush=True)
        busy, attacked = (tenants.percentile(waits[mode], 0.5) for mode in (_BUSY, _ATTACKED))
        self.assertLess(attacked, _STARVES * max(busy, tenants.RESOLUTION_SECONDS))

    def phase(self, mode, waits):
        """Some seconds of changes; adds how long each took."""
        self.hostile.set_mode(mode)
        for tenant in self.tenants[:2]:  # not counted: what the last phase has left is worked off
            tenant.change(self.sender)
        begun = time.monotonic()
        while time.monotonic() < begun + _BLOCK_SECONDS:
            waits.append(self.tenants[len(waits) % _TENANTS].change(self.sender))
        return time.monotonic() - begun

    def say_rates(self, mode, seconds):
        if mode == _ALONE:
            return ""
        return "; written a second: " + ", ".join(
            f"{count / seconds:.0f} {way}" for way, count in self.hostile.written(mode).items())

    @staticmethod
    def say(values):
        return "/".join(f"{1000 * tenants.percentile(values, part):.1f}" for part in (0.5, 0.9, 0.99)) + " ms"
