# SPDX-License-Identifier: Apache-2.0
"""The agent's capabilities: what deploy/ gives is enough, and is needed. Asked of
`sluice run`, which loads and attaches as the agent does."""

import os
import re
import subprocess
import tempfile
import unittest

from tests.cluster import lab
from tests.netns.sluice import wait_for

# Needed only by kernels that count memory for maps as locked memory.
_OLD_KERNELS = "+sys_resource"


class Capabilities(unittest.TestCase):

    def start(self, without=None):
        """Whether the program comes to answer questions."""
        with tempfile.TemporaryDirectory(dir="/run") as folder, \
                tempfile.TemporaryDirectory(dir="/sys/fs/bpf") as pins:
            os.makedirs(folder + "/manifests")
            socket = folder + "/sluice.sock"
            command = lab.confined([lab.program("sluice"), "run", folder + "/manifests", "--node", "n",
                                    "--pin-dir", pins + "/sluice", "--socket", socket])
            if without:
                self.assertIn(without, command[1])
                command[1] = command[1].replace("," + without, "")
            process = lab.Own.popen(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True)
            status = [lab.program("sluice"), "status", "--socket", socket]
            try:
                return wait_for(lambda: self.answer(process, status), "an answer or the end", 30)
            finally:
                process.kill()
                process.communicate()
                subprocess.run([lab.program("sluice"), "cleanup", "--pin-dir", pins + "/sluice",
                                "--socket", socket], check=True, stdout=subprocess.DEVNULL)

    @staticmethod
    def answer(process, status):
        if process.poll() is not None:
            return "ended"
        done = subprocess.run(status, check=False, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        return "runs" if re.search(r"enforced +yes", done.stdout) else None

    def test_they_are_enough(self):
        self.assertEqual(self.start(), "runs")

    def test_each_is_needed(self):
        bounds = lab.confined([])[1].split("=")[1].split(",")[1:]
        self.assertEqual(len(bounds), 4)
        for capability in bounds:
            with self.subTest(capability):
                if capability == _OLD_KERNELS:
                    release = [int(n) for n in os.uname().release.split(".")[:2]]
                    expected = "runs" if release >= [5, 11] else "ended"
                else:
                    expected = "ended"
                self.assertEqual(self.start(without=capability), expected)
