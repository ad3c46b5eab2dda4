# SPDX-License-Identifier: Apache-2.0
"""Completion of commands in bash, zsh and fish. The shells run the scripts; nothing is simulated."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from tests.package import programs

_SECONDS = 30


class Completion(unittest.TestCase):
    """A folder with a file and a folder in it, and the scripts beside it."""

    def setUp(self):
        top = tempfile.mkdtemp(prefix="completion-")
        self.addCleanup(shutil.rmtree, top)
        self.folder = os.path.join(top, "work")
        os.makedirs(os.path.join(self.folder, "policies of shop"))
        with open(os.path.join(self.folder, "policy.yaml"), "w", encoding="ascii"):
            pass
        self.scripts = top
        for shell in ("bash", "zsh", "fish"):
            with open(self.script(shell), "w", encoding="utf-8") as file:
                file.write(programs.run("sluice", "completion", shell))

    def script(self, shell):
        return os.path.join(self.scripts, "sluice." + shell)


class Bash(Completion):
    def complete(self, *words):
        """What bash has for the last of the words."""
        text = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sluice; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "--norc", "-uc", text, "bash", self.script("bash"), *words], check=True,
                              cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.stderr, "")
        return [line for line in done.stdout.split("\n") if line]

    def test_all_commands_of_the_help_are_offered(self):
        listed = re.findall(r"^  ([a-z]+) ", programs.run("sluice", "--help").partition("Subcommands:")[2], re.M)
        self.assertGreater(len(listed), 10)
        self.assertEqual(self.complete("sluice", ""), listed)
        self.assertEqual(self.complete("sluice", "policy", ""), ["list", "dump"])

    def test_all_options_of_the_help_are_offered(self):
        shown = set(re.findall(r"(?<![-\w])--?[a-z0-9][-a-z0-9]*",
                               re.sub(r"(?m)^ {20,}.*$|Excludes:.*|Needs:.*", "",
                                      programs.run("sluice", "observe", "--help").partition("\n\nOne line")[0])))
        self.assertIn("--from-pod", shown)
        self.assertEqual(set(self.complete("sluice", "observe", "-")), shown)

    def test_words_that_an_option_takes_are_offered(self):
        self.assertEqual(self.complete("sluice", "policy", "list", "-o", ""), ["table", "json"])
        self.assertEqual(self.complete("sluice", "policy", "list", "--output", "=", "j"), ["json"])
        self.assertEqual(self.complete("sluice", "policy", "list", "--output", "="), ["table", "json"])
        self.assertEqual(self.complete("sluice", "completion", ""), ["bash", "zsh", "fish"])

    def test_files_are_offered_where_a_file_is_taken_and_folders_where_a_folder_is(self):
        both = ["policies of shop", "policy.yaml"]
        self.assertEqual(sorted(self.complete("sluice", "policy", "list", "pol")), both)
        self.assertEqual(sorted(self.complete("sluice", "explain", "--kubeconfig", "pol")), both)
        self.assertEqual(self.complete("sluice", "run", "--pin-dir", "pol"), both[:1])
        self.assertEqual(self.complete("sluice", "status", "pol"), [])

    def test_the_value_of_an_option_is_not_taken_for_a_command(self):
        self.assertEqual(self.complete("sluice", "run", "--node", "policy", "pol"),
                         self.complete("sluice", "run", "pol"))
        self.assertEqual(self.complete("sluice", "run", "--node", "pol"), [])


class Fish(Completion):
    def complete(self, line):
        done = subprocess.run(["fish", "--no-config", "-c", 'source $argv[1]; complete -C$argv[2]', self.script("fish"), line],
                              check=True, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**os.environ, "HOME": self.scripts})
        self.assertEqual(done.stderr, "")
        return [text.split("\t")[0] for text in done.stdout.splitlines()]

    def test_commands_options_words_and_files_are_offered(self):
        self.assertEqual(self.complete("sluice policy "), ["dump", "list"])
        self.assertEqual(self.complete("sluice policy list --allow"), ["--allow-partial"])
        self.assertEqual(self.complete("sluice policy list --output "), ["json", "table"])
        self.assertEqual(self.complete("sluice observe -t d"), ["drop"])
        self.assertEqual(sorted(self.complete("sluice explain --kubeconfig pol")), ["policies of shop/", "policy.yaml"])
        self.assertEqual(self.complete("sluice run --pin-dir pol"), ["policies of shop/"])
        self.assertEqual(self.complete("sluice run --node policy pol"), self.complete("sluice run pol"))
        self.assertEqual(self.complete("sluice status pol"), [])


class Zsh(Completion):
    """An interactive shell in a terminal of its own: zsh completes in no other."""

    def setUp(self):
        super().setUp()
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execvpe("zsh", ["zsh", "-f", "-i"], {"PATH": os.environ["PATH"], "HOME": self.scripts, "TERM": "dumb",
                                                    "COLUMNS": "200", "PS1": "> "})
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        self.addCleanup(os.close, self.terminal)
        self.type("autoload -Uz compinit && compinit -u -D && source " + self.script("zsh") + " && echo rea''dy\n", r"\nready")

    def type(self, text, answer):
        """Waits for the answer."""
        os.write(self.terminal, text.encode())
        seen, end = "", time.monotonic() + _SECONDS
        while not (found := re.search(answer, seen)):
            if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                self.fail(f"zsh did not answer {text!r}: {seen!r}")
            seen += os.read(self.terminal, 4096).decode("utf-8", "replace")
        return found

    def complete(self, line):
        """The line after the tabulator key. It then becomes the argument of `print`, for which zsh removes a space or
        slash that it has added at the end."""
        begin, end = "\x01", "\x05"
        return self.type(f"{line}\t{begin}print -r -- 'got {end}'\n", r"\ngot (.*?)\r\n").group(1)

    def test_commands_options_words_and_files_are_completed(self):
        expected = {"sluice mon": "sluice monitor", "sluice policy li": "sluice policy list",
                    "sluice policy list --allow": "sluice policy list --allow-partial",
                    "sluice observe -t d": "sluice observe -t drop",
                    "sluice observe --type=d": "sluice observe --type=drop",
                    "sluice completion f": "sluice completion fish",
                    "sluice explain --kubeconfig policy": "sluice explain --kubeconfig policy.yaml",
                    "sluice run --pin-dir pol": "sluice run --pin-dir policies\\ of\\ shop",
                    "sluice policy list policy": "sluice policy list policy.yaml",
                    "sluice status pol": "sluice status pol"}
        self.assertEqual({line: self.complete(line) for line in expected}, expected)
