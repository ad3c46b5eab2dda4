# SPDX-License-Identifier: Apache-2.0
"""What the kernel does not take away with a lab that is killed, its janitor does."""

import glob
import os
import subprocess
import sys
import tempfile
import unittest

from tests.netns.sluice import wait_for

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_LAB = """
import os, signal, sys
from tests.real import cgroups
name = cgroups.start_janitor()
cgroups.Groups(sys.argv[1], name).make("node1")
print(name, flush=True)
signal.pause()
"""


class Cleanup(unittest.TestCase):

    def test_control_groups_of_a_lab_that_was_killed_are_gone(self):
        folder = tempfile.mkdtemp(prefix="cgroups-", dir="/run")
        with subprocess.Popen([sys.executable, "-c", _LAB, folder], cwd=_ROOT, stdout=subprocess.PIPE,
                              text=True) as lab:
            self.addCleanup(lab.kill)
            name = lab.stdout.readline().strip()
            groups = glob.glob(os.path.join(folder, "**", name), recursive=True)
            self.assertTrue(all(os.path.isdir(os.path.join(g, "node1")) for g in groups), groups)
            self.assertGreater(len(groups), 4)
            lab.kill()
            lab.wait(30)
        wait_for(lambda: not any(map(os.path.exists, groups)), lambda: f"one of {groups} is left", 60)
