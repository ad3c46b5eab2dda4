# SPDX-License-Identifier: Apache-2.0
"""What the suites share: one API server with deploy/ applied."""

import functools
import os
import unittest

from tests.cluster.control_plane import ControlPlane

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
    from tests.cluster import lab, standalone  # pylint: disable=C0415
    module = standalone if os.environ.get("SLUICE_STANDALONE") else lab
    made = module.Cluster(deployed())
    made.start_operators()
    made.start_agents()
    return made


class ClusterCase(unittest.TestCase):
    """A test with the whole cluster, in which no policy is left over."""

    def setUp(self):
        self.cluster = cluster()
        self.api = self.cluster.api


def vectors(name):
    """Path of a file of tests/vectors."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.join(here, "..", "vectors", name + ".jsonl.gz")
