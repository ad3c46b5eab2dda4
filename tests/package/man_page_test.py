# SPDX-License-Identifier: Apache-2.0
"""Manual pages: they say what --help says, and formatters find nothing wrong with them."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from tests.package import programs

_PROGRAMS = {"sluice": 1, "sluice-agent": 8, "sluice-operator": 8}


def _words(text):
    """Of a formatted text, however it is wrapped."""
    return " ".join(text.replace(":", " ").replace(".", " ").split())


def _help(program, *command):
    return programs.run(program, *command, "--help")


def commands(program, *path):
    """Every command, by its help, as a tuple of words; the first one is empty."""
    yield path
    for name in re.findall(r"^  ([a-z]+) ", _help(program, *path).partition("Subcommands:")[2], re.M):
        yield from commands(program, *path, name)


class ManPages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="man-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for program in _PROGRAMS:
            assert programs.run(program, "--man-pages", cls.folder) == ""

    def pages(self):
        """(program, command, path of the page)"""
        for program, section in _PROGRAMS.items():
            for command in commands(program):
                yield program, command, os.path.join(self.folder, f"{'-'.join((program, *command))}.{section}")

    def shown(self, page):
        return subprocess.run(["mandoc", "-Tutf8", "-Owidth=400", page], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def plain(self, page):
        return re.sub(".\b", "", self.shown(page))

    def test_every_command_has_a_page_and_nothing_else_has(self):
        pages = [os.path.basename(page) for _, _, page in self.pages()]
        self.assertGreater(len(pages), 15)
        self.assertEqual(sorted(pages), sorted(os.listdir(self.folder)))

    def test_a_page_has_all_options_and_their_descriptions_as_the_help_has_them(self):
        for program, command, page in self.pages():
            text, formatted = _help(program, *command).replace("`", ""), _words(self.plain(page))
            options = re.findall(r"^(  (-\S+).*)\n(?: {30}(.*)\n)?", text, re.M)
            self.assertGreater(len(options), 0)
            for line, names, below in options:
                self.assertIn(names.replace(",", ", "), formatted, page)
                # In the 31st column, or in the next line.
                self.assertIn(_words(below or line[30:]), formatted, page)

    def test_a_page_has_the_text_below_the_options_of_the_help(self):
        for program, command, page in self.pages():
            below = _help(program, *command).rpartition("\n\n\n")[2]
            if below and not command or command in (("explain",), ("run",), ("policy", "list")):
                self.assertIn(_words(below.replace("`", "")), _words(self.plain(page)))

    def test_formatters_have_nothing_to_say_but_that_there_is_no_date(self):
        # The same source gives the same pages, whenever they are made.
        found = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *(page for _, _, page in self.pages())], check=False,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.splitlines()
        self.assertEqual([line for line in found if "missing date" not in line], [])

    def test_a_folder_that_is_not_there_is_an_error(self):
        for program in _PROGRAMS:
            done = subprocess.run([programs.path(program), "--man-pages", self.folder + "/none"], check=False,
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, 2)
            self.assertIn(self.folder + "/none", done.stderr)
