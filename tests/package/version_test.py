# SPDX-License-Identifier: Apache-2.0
"""--version: version and commit, and what a commit rebuilds."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from tests.package import programs

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_SCRIPT = os.path.join(_ROOT, "cmake", "commit.cmake")


def commit_of(file):
    with open(file, encoding="ascii") as text:
        return re.search(r'return "(.*)"', text.read()).group(1)


class Programs(unittest.TestCase):
    def test_programs_print_version_and_commit(self):
        with open(os.path.join(_ROOT, "CMakeLists.txt"), encoding="utf-8") as file:
            version = re.search(r"project\(sluice VERSION (\S+)", file.read()).group(1)
        commit = commit_of(os.path.join(os.environ["SLUICE_BUILD"], "lib", "base", "commit.cpp"))
        for name in ("sluice", "sluice-agent", "sluice-operator", "sluice-cni"):
            self.assertEqual(programs.run(name, "--version"),
                             f"{name} {version}{f' ({commit})' if commit else ''}\n")

    def test_a_commit_compiles_one_file(self):
        build = os.environ["SLUICE_BUILD"]
        users = subprocess.run(["ninja", "-C", build, "-t", "query",
                                os.path.join(build, "lib", "base", "commit.cpp")], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.partition("outputs:")[2].split()
        self.assertEqual([os.path.basename(name) for name in users if name.endswith(".o")], ["commit.cpp.o"])


class Script(unittest.TestCase):
    """cmake/commit.cmake, for folders of the test's own."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="commit-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.output = os.path.join(self.folder, "commit.cpp")

    def git(self, folder, *command):
        return subprocess.run(["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=e", *command], check=True,
                              text=True, stdout=subprocess.PIPE).stdout.strip()

    def run_script(self, source, *options):
        subprocess.run(["cmake", "-DOUTPUT=" + self.output, "-DSOURCE=" + source, *options, "-P", _SCRIPT], check=True,
                       stdout=subprocess.DEVNULL)
        return commit_of(self.output)

    def checkout(self):
        folder = os.path.join(self.folder, "checkout")
        os.mkdir(folder)
        self.git(folder, "init", "-q")
        self.git(folder, "commit", "-q", "--allow-empty", "-m", "one")
        return folder

    def test_it_is_the_checked_out_commit_and_the_file_is_written_when_that_changes(self):
        folder = self.checkout()
        self.assertEqual(self.run_script(folder), self.git(folder, "rev-parse", "--short", "HEAD"))
        os.utime(self.output, (1, 1))
        self.run_script(folder)
        self.assertEqual(os.stat(self.output).st_mtime, 1)
        self.git(folder, "commit", "-q", "--allow-empty", "-m", "two")
        self.assertEqual(self.run_script(folder), self.git(folder, "rev-parse", "--short", "HEAD"))

    def test_an_archive_has_none_also_within_another_checkout(self):
        archive = os.path.join(self.checkout(), "archive")
        os.mkdir(archive)
        self.assertEqual(self.run_script(archive), "")

    def test_the_builder_can_name_it(self):
        self.assertEqual(self.run_script(self.folder, "-DCOMMIT=1234abc"), "1234abc")
