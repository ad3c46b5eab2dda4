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


class Capabilities(unittest.TestCase):

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(dir="/run"))
        self.pins = self.enterContext(tempfile.TemporaryDirectory(dir="/sys/fs/bpf")) + "/sluice"
        os.makedirs(self.folder + "/manifests")
        self.socket = self.folder + "/sluice.sock"
        self.addCleanup(self.run_sluice, "cleanup", "--pin-dir", self.pins)

    def run_sluice(self, *arguments):
        return subprocess.run([lab.program("sluice"), *arguments, "--socket", self.socket], check=False,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    def pinned(self):
        """{name: inode}; what is pinned anew has another one."""
        return {name: os.stat(os.path.join(self.pins, folder, name)).st_ino
                for folder in os.listdir(self.pins) for name in os.listdir(os.path.join(self.pins, folder))}

    def start(self, *without, limit=None):
        """Whether the program comes to answer questions."""
        command = lab.confined([lab.program("sluice"), "run", self.folder + "/manifests", "--node", "n",
                                "--pin-dir", self.pins, "--socket", self.socket])
        for capability in without:
            self.assertIn(capability, command[1])
            command[1] = command[1].replace("," + capability, "")
        if limit:
            command = ["prlimit", f"--memlock={limit}:{limit}", *command]
        process = lab.Own.popen(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
        try:
            return wait_for(lambda: self.answer(process), "an answer or the end", 30)
        finally:
            process.kill()
            process.communicate()

    def answer(self, process):
        if process.poll() is not None:
            return "ended"
        return "runs" if re.search(r"enforced +yes", self.run_sluice("status")) else None

    def test_they_are_enough(self):
        self.assertEqual(self.start(), "runs")
        pinned = self.pinned()
        self.assertEqual(self.start(), "runs", "with what the first one left")
        self.assertEqual(self.pinned(), pinned, "a start that changes nothing replaces nothing")

    def test_they_are_enough_to_take_over_from_an_older_version(self):
        """Which did not pin the configuration of its programs: they are replaced."""
        self.assertEqual(self.start(), "runs")
        pinned = self.pinned()
        for folder in os.listdir(self.pins):
            os.unlink(os.path.join(self.pins, folder, "configuration"))
        self.assertEqual(self.start(), "runs")
        changed = {name for name, inode in self.pinned().items() if pinned[name] != inode}
        self.assertEqual(changed, {"from_pod", "to_pod", "log", "reset", "from_4", "from_6", "to_4", "to_6",
                                   "link", "configuration"})

    def test_they_are_enough_to_clean_up(self):
        self.assertEqual(self.start(), "runs")
        command = lab.confined([lab.program("sluice"), "cleanup", "--pin-dir", self.pins,
                                "--socket", self.socket], "cleanup/cleanup.yaml")
        subprocess.run(command, check=True)
        self.assertFalse(os.path.exists(self.pins))

    def test_bpf_is_needed(self):
        self.assertEqual(self.start("+bpf"), "ended")

    def test_perfmon_is_needed(self):
        self.assertEqual(self.start("+perfmon"), "ended")

    def test_net_admin_is_needed(self):
        self.assertEqual(self.start("+net_admin"), "ended")

    def test_there_are_no_others(self):
        self.assertEqual(sorted(lab.confined([])[1].split("=")[1].split(",")),
                         ["+bpf", "+net_admin", "+perfmon", "-all"])

    def test_the_limit_of_locked_memory_is_left_alone(self):
        """No kernel from 5.11 on looks at it, and raising it takes CAP_SYS_RESOURCE."""
        release = [int(n) for n in os.uname().release.split(".")[:2]]
        self.assertEqual(self.start(limit=65536), "runs" if release >= [5, 11] else "ended")
