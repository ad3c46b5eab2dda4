#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy on the sources of a build, only where something has changed.

A file's result is kept under the hash of its own text, of every header of the
project that it includes (generated ones too), of the compile command, of the
.clang-tidy files of its folders, of own_code.cpp and of clang-tidy's version.

  scripts/checks/tidy.py [--build build/release] [PATH...]   PATH: file or folder prefix
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_TIDY = "clang-tidy-19"
_PLUGIN = os.path.join(_ROOT, "scripts", "checks", "own_code.cpp")
_FOLDER = re.compile(r"-I\s*(\S+)")
_QUOTED = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


class Hasher:
    """Hashes of sources with the headers they include."""

    def __init__(self):
        self._names = {}
        self._version = subprocess.run([_TIDY, "--version"], check=True,
                                       stdout=subprocess.PIPE).stdout

    def hash(self, entry):
        digest = hashlib.sha256(self._version)
        digest.update(entry["command"].replace(_ROOT, "").encode())
        folders = _FOLDER.findall(entry["command"])
        for path in [_PLUGIN] + _configs(entry["file"]) + sorted(self._closure(entry["file"], folders)):
            with open(path, "rb") as file:
                digest.update(os.path.relpath(path, _ROOT).encode() + b"\0" + file.read())
        return digest.hexdigest()

    def _closure(self, path, folders):
        seen, waiting = set(), [path]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting += self._included(current, folders)
        return seen

    def _included(self, path, folders):
        if path not in self._names:
            with open(path, encoding="utf-8") as file:
                self._names[path] = _QUOTED.findall(file.read())
        return [p for n in self._names[path] for b in [os.path.dirname(path), *folders]
                if os.path.isfile(p := os.path.normpath(os.path.join(b, n)))]


def _configs(path):
    """The .clang-tidy files that hold for a source, the project's first."""
    found = []
    while path != _ROOT:
        path = os.path.dirname(path)
        if os.path.exists(config := os.path.join(path, ".clang-tidy")):
            found.insert(0, config)
    return found


def cache_folder():
    """Outlives the checkout, as the compiler's results do."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(base, "sluice", "tidy")
    os.makedirs(folder, exist_ok=True)
    return folder


def build_plugin(cache):
    """Path of own_code.cpp as a plugin; built where it has changed."""
    with open(_PLUGIN, "rb") as file:
        path = os.path.join(cache, f"own_code-{hashlib.sha256(file.read()).hexdigest()[:16]}.so")
    if not os.path.exists(path):
        flags = subprocess.run(["llvm-config-19", "--cxxflags"], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.split()
        fresh = f"{path}.{os.getpid()}"
        subprocess.run(["g++", "-shared", "-fPIC", "-O2", *flags, "-o", fresh, _PLUGIN], check=True)
        os.rename(fresh, path)
    return path


def check(path, build, plugin):
    # -Wno-*: flags of gcc that clang does not know are no finding.
    done = subprocess.run([_TIDY, "--quiet", "-p", build, "--load", plugin,
                           "--checks=sluice-own-code", "--extra-arg=-Wno-unknown-warning-option",
                           path], check=False, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    text = done.stdout.strip()
    if done.returncode != 0 and not text:
        text = done.stderr.strip()
    return done.returncode == 0, text


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("paths", nargs="*")
    arguments = parser.parse_args()
    build = os.path.abspath(arguments.build)
    os.chdir(_ROOT)
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    unique = {e["file"]: e for e in entries if e["file"].endswith(".cpp")
              and e["file"].startswith(_ROOT + "/") and not e["file"].startswith(build)}
    wanted = [e for f, e in sorted(unique.items()) if not arguments.paths or any(
        os.path.relpath(f, _ROOT).startswith(p) for p in arguments.paths)]
    cache = cache_folder()
    hasher = Hasher()
    marks = {e["file"]: os.path.join(cache, hasher.hash(e)) for e in wanted}
    todo = [f for f, mark in marks.items() if not os.path.exists(mark)]
    print(f"{len(marks)} files, {len(marks) - len(todo)} unchanged since they were clean", flush=True)
    plugin, bad = build_plugin(cache), 0

    def work(path):
        ok, text = check(path, build, plugin)
        if ok:
            open(marks[path], "w", encoding="ascii").close()
        return path, ok, text

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in concurrent.futures.as_completed(pool.submit(work, f) for f in todo):
            path, ok, text = done.result()
            if not ok:
                bad += 1
                print(f"--- {os.path.relpath(path, _ROOT)}\n{text}", flush=True)
    print(f"{len(marks) - bad} passed, {bad} failed, 0 skipped")
    return 1 if bad or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
