#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy on the sources of a build, only where something has changed.

A file's result is kept under the hash of its own text, of every header of the
project that it includes, of the compile command and of .clang-tidy.

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
_QUOTED = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


class Hasher:
    """Hashes of sources with the headers they include."""

    def __init__(self, build):
        self._build = build
        self._headers = {}
        with open(os.path.join(_ROOT, ".clang-tidy"), "rb") as file:
            self._config = file.read()

    def hash(self, entry):
        digest = hashlib.sha256(self._config)
        digest.update(entry["command"].replace(_ROOT, "").encode())
        for path in sorted(self._closure(entry["file"])):
            with open(path, "rb") as file:
                digest.update(os.path.relpath(path, _ROOT).encode() + b"\0" + file.read())
        return digest.hexdigest()

    def _closure(self, path):
        seen, waiting = set(), [path]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting += self._included(current)
        return seen

    def _included(self, path):
        if path not in self._headers:
            with open(path, encoding="utf-8") as file:
                names = _QUOTED.findall(file.read())
            bases = [_ROOT, os.path.join(_ROOT, "include"), os.path.dirname(path),
                     os.path.join(self._build, "bpf")]
            self._headers[path] = [p for n in names for b in bases
                                   if os.path.isfile(p := os.path.normpath(os.path.join(b, n)))]
        return self._headers[path]


def check(entry, build):
    # -Wno-*: flags of gcc that clang does not know are no finding.
    done = subprocess.run([_TIDY, "--quiet", "-p", build, "--extra-arg=-Wno-unknown-warning-option",
                           entry["file"]], check=False, text=True, stdout=subprocess.PIPE,
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
    cache = os.path.join(_ROOT, "build", "tidy")
    os.makedirs(cache, exist_ok=True)
    hasher = Hasher(build)
    clean, todo = 0, []
    for entry in wanted:
        mark = os.path.join(cache, hasher.hash(entry))
        if os.path.exists(mark):
            clean += 1
        else:
            todo.append((entry, mark))
    print(f"{len(wanted)} files, {clean} unchanged since they were clean", flush=True)
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda item: (item, check(item[0], build)), todo)
        for (entry, mark), (ok, text) in results:
            if ok:
                clean += 1
                open(mark, "w", encoding="ascii").close()
            else:
                bad += 1
                print(f"--- {os.path.relpath(entry['file'], _ROOT)}\n{text}", flush=True)
    print(f"{clean} passed, {bad} failed, 0 skipped")
    return 1 if bad or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
