# SPDX-License-Identifier: Apache-2.0
"""What the suites share: the standard world with sluice on node1."""

import functools
import unittest

from tests.netns import lab
from tests.netns.sluice import Manifests, Sluice
from tests.netns.traffic import ALLOWED, DENIED, Probe, verdicts


@functools.cache
def world():
    """Made once for all suites of a process; what a test adds it takes away."""
    return lab.standard()


class Case(unittest.TestCase):
    """A test with its own instance of sluice on node1, cleaned up at the end."""

    options = ()

    def setUp(self):
        self.lab = world()
        self.node = self.lab.host("node1")
        self.manifests = Manifests()
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice = Sluice(self.node, self.manifests, *self.options)
        self.addCleanup(self._end)

    def _end(self):
        if self.sluice.process and self.sluice.process.poll() is None:
            self.sluice.kill()
        self.sluice.cleanup()

    def host(self, name):
        return self.lab.host(name)

    def probes(self, lines, default_what="tcp/80"):
        """Probes with what they should give, from lines such as
        "x/b > x/a tcp/80 A": destination x/a, tcp/80 and both families by default;
        "E > x/a ping A 4" is IPv4 only. Commas part lines too."""
        expected = {}
        for line in lines.replace("\n", ",").split(","):
            words = line.split()
            if not words:
                continue
            families = (4, 6)
            if words[-1] in ("4", "6"):
                families = (int(words.pop()),)
            verdict = {"A": ALLOWED, "D": DENIED}[words.pop()]
            source, destination, what = words[0], "x/a", default_what
            rest = words[1:]
            if rest and rest[0] == ">":
                destination, rest = rest[1], rest[2:]
            if rest:
                what = rest[0]
            for family in families:
                expected[Probe(self.host(source), self.host(destination), what, family)] = verdict
        return expected

    def check(self, lines, **options):
        expected = self.probes(lines, **options) if isinstance(lines, str) else lines
        seen = verdicts(expected)
        wrong = [f"{p}: {seen[p]}, not {v}" for p, v in expected.items() if seen[p] != v]
        self.assertFalse(wrong, "\n" + "\n".join(wrong))
