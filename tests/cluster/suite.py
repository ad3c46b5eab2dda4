# SPDX-License-Identifier: Apache-2.0
"""What the suites share: one API server with deploy/ applied."""

import functools
import os
import unittest

from tests.cluster.control_plane import ControlPlane
from tests.netns.traffic import ALLOWED, DENIED, Probe

SYSTEM = "sluice-system"


@functools.cache
def plane():
    """Started once for all suites of a process, and ended with it: the sandbox
    that tests/cluster/run enters takes processes and files away."""
    made = ControlPlane(folder="/run/cluster")
    made.__enter__()
    return made


@functools.cache
def deployed():
    """The same with deploy/ applied, from the first call on."""
    made = plane()
    made.deploy()
    return made


class Case(unittest.TestCase):
    """A test against the API server with deploy/ applied."""

    def setUp(self):
        self.plane = deployed()
        self.api = self.plane.api


@functools.cache
def cluster():
    """Nodes, pods, operators and agents, for all suites of a process."""
    from tests.cluster import lab  # pylint: disable=C0415
    made = lab.Cluster(deployed())
    made.start_operators()
    made.start_agents()
    return made


class ClusterCase(unittest.TestCase):
    """A test with the whole cluster, in which no policy is left over."""

    def setUp(self):
        self.cluster = cluster()
        self.plane, self.api = self.cluster.plane, self.cluster.api

    def expect(self, *lines, seconds=20):
        """Returns when packets say so: "x/b > x/a A" (TCP port 80), "x/b > x/a udp/53 D";
        each in both families."""
        expected = {}
        for line in lines:
            source, _, destination, *what, verdict = line.split()
            for family in (4, 6):
                probe = Probe(self.host(source), self.host(destination), what[0] if what else "tcp/80",
                              family)
                expected[probe] = {"A": ALLOWED, "D": DENIED}[verdict]
        self.cluster.wait_for_table(expected, seconds)

    def host(self, name):
        return self.cluster.net.host(name)

    def pod(self, name, node, number, **options):
        """A pod of this test, with an address in x's subnet."""
        pod = self.cluster.add_pod(name, node, 0, number, **options)
        self.addCleanup(lambda: name in self.cluster.pods() and self.cluster.delete_pod(name))
        return pod

    def label(self, name, **labels):
        self.api.patch("Pod", *name.split("/"), {"metadata": {"labels": labels}})


def vectors(name):
    """Path of a file of tests/vectors."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.join(here, "..", "vectors", name + ".jsonl.gz")
