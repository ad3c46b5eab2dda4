#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails where a module includes what its row in ARCHITECTURE.md, "Modules", does not allow.

The check also fails when a folder with code has no row. `--self-test` proves that it can fail.
"""

import os
import re
import subprocess
import sys

_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def _names(text):
    return re.findall(r"`([^`]+)`", text)


def table_of(page):
    """{folder: folders and files it may include from, besides itself} of the table in "Modules". None: anything."""
    section = re.search(r"^## Modules$(.*?)^## ", page, re.M | re.S).group(1)
    rows = [(folder, cell) for folders, cell in re.findall(r"^\| (`.*?) \| .* \| ([^|]+) \|$", section, re.M)
            for folder in _names(folders)]
    short = {"include": ["include/sluice"], "abi.h": ["include/sluice/abi.h"], "maps.h": ["include/sluice/maps.h"],
             "lib/*": [folder for folder, _ in rows if folder.startswith("lib/")]}

    def allowed(cell):
        words = cell.split(".")[0]
        if words in ("everything", "nothing"):
            return None if words == "everything" else set()
        without = _names(" ".join(re.findall(r"except ([^,]+)", cell)))
        return {each for name in _names(cell) if name not in without for each in short.get(name, [name])}.difference(without)

    return {folder: allowed(cell) for folder, cell in rows}


with open(os.path.join(_ROOT, "ARCHITECTURE.md"), encoding="utf-8") as _page:
    ALLOWED = table_of(_page.read())
# The checks' own sources include nothing of ours.
ALLOWED["scripts/checks"] = set()
# Implements what include/sluice/state.h declares, and so includes it.
EXCEPTIONS = {("lib/base/state.cpp", "include/sluice")}
# Modules that stay free of I/O and clocks include none of these.
PURE = {"agent/dns", "lib/dns", "lib/policy", "lib/explain", "lib/lint", "lib/preview"}
IMPURE_HEADERS = {"chrono", "fstream", "filesystem", "thread", "ctime", "sys/socket.h", "unistd.h",
                  "fcntl.h", "sys/stat.h", "bpf/bpf.h", "bpf/libbpf.h"}
# Heavy libraries: not in headers that another module's sources get to see, but for sources that
# include the library themselves.
HEAVY = re.compile(r"(nlohmann/json\.hpp|spdlog/.*|CLI/.*)$")

_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
_SOURCE = (".h", ".cpp", ".c")


def module_of(path):
    """The innermost folder that has a row."""
    found = [folder for folder in ALLOWED if path.startswith(folder + "/")]
    return max(found, key=len, default=None)


def resolve(path, target, exists):
    """Path in the project of an included file, or None if it is none of ours."""
    for base in ("", "include/", os.path.dirname(path) + "/"):
        candidate = os.path.normpath(base + target)
        if exists(candidate):
            return candidate
    return None


def included_by(sources, exists):
    """{header of ours: files that include it}."""
    result = {}
    for path, text in sources.items():
        for line in text.splitlines():
            match = _INCLUDE.match(line)
            if match and (found := resolve(path, match.group(2), exists)):
                result.setdefault(found, set()).add(path)
    return result


def is_private(path, includers, includes_it):
    """Only its own module, tests, and sources (no headers) that include the library themselves get
    to see it, through headers or directly."""
    waiting, seen = [path], set()
    while waiting:
        for includer in includers.get(waiting.pop(), ()):
            if module_of(includer) not in (module_of(path), "tests", "bench"):
                if includer.endswith(".h") or not includes_it(includer):
                    return False
            if includer.endswith(".h") and includer not in seen:
                seen.add(includer)
                waiting.append(includer)
    return True


def check_file(path, text, exists, includers, includes):
    """Complaints about one file. includes(file, target): whether its own text includes `target`."""
    module = module_of(path)
    if module is None:
        return [f"{path}: its folder has no row in the table of modules"]
    complaints = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _INCLUDE.match(line)
        if not match:
            continue
        target = match.group(2)
        place = f"{path}:{number}"
        if module in PURE and target in IMPURE_HEADERS:
            complaints.append(f"{place}: <{target}> in a module that does no I/O and has no clock")
        if (path.endswith(".h") and module not in ("tests", "bench") and HEAVY.match(target)
                and not is_private(path, includers, lambda file, t=target: includes(file, t))):
            complaints.append(f"{place}: {target} in a header that others include")
        found = resolve(path, target, exists)
        if found is not None and not _allowed(path, module, found):
            complaints.append(f"{place}: {module} may not include {found}")
    return complaints


def _allowed(path, module, found):
    other = module_of(found)
    allowed = ALLOWED[module]
    return (other == module or allowed is None or other in allowed or found in allowed
            or (path, other) in EXCEPTIONS)


def self_test():
    """What must be found is found, what is right is not."""
    files = {"lib/base/ip.h", "lib/kube/objects.h", "agent/agent.h", "include/sluice/abi.h",
             "include/sluice/state.h", "lib/policy/rule.h", "cli/main.h", "agent/node/x.h",
             "agent/program/x.h"}
    cases = [
        ("lib/base/x.h", '#include "lib/kube/objects.h"', 1),
        ("lib/policy/x.cpp", '#include "agent/agent.h"', 1),
        ("lib/policy/x.cpp", "#include <fstream>", 1),
        ("lib/policy/rule.h", "  #  include <nlohmann/json.hpp>", 1),
        ("lib/policy/private.h", "#include <nlohmann/json.hpp>", 0),
        ("lib/policy/json.h", "#include <nlohmann/json.hpp>", 0),
        ("lib/policy/json.h", "#include <spdlog/spdlog.h>", 1),
        ("agent/x.cpp", '#include "lib/kube/objects.h"', 1),
        ("bpf/x.bpf.h", '#include "sluice/state.h"', 1),
        ("operator/x.cpp", '#include "cli/main.h"', 1),
        ("elsewhere/x.cpp", "", 1),
        ("lib/policy/x.cpp", '#include "lib/policy/rule.h"\n#include "sluice/state.h"', 0),
        ("bpf/x.bpf.h", '#include "sluice/abi.h"\n#include <linux/bpf.h>', 0),
        ("cli/x.cpp", '#include "agent/agent.h"\n#include <nlohmann/json.hpp>', 0),
        ("agent/x.cpp", "#include <fstream>", 0),
        ("agent/program/x.cpp", '#include "agent/agent.h"\n#include "agent/node/x.h"', 0),
        ("agent/program/x.cpp", '#include "cli/main.h"', 1),
        ("agent/node/x.cpp", '#include "lib/policy/rule.h"', 1),
        ("agent/x.cpp", '#include "agent/node/x.h"', 1),
        ("agent/x.cpp", '#include "agent/program/x.h"', 1),
    ]
    includers = {"lib/policy/rule.h": {"lib/policy/model.h"}, "lib/policy/model.h": {"cli/main.h"},
                 "lib/policy/private.h": {"lib/policy/rule.cpp", "tests/unit/rule_test.cpp"},
                 "lib/policy/json.h": {"cli/reader.cpp"}}
    includes = {("cli/reader.cpp", "nlohmann/json.hpp"), ("lib/policy/model.h", "nlohmann/json.hpp"),
                ("cli/main.h", "nlohmann/json.hpp")}
    page = ("## Modules\n\n| folder | purpose | may include |\n|---|---|---|\n| `lib/a` | p | nothing. `x.cpp` is `b.h` |\n"
            "| `lib/b` | of `q` | `include`, `lib/a` |\n| `c` | p | `lib/*` except `lib/a` and `lib/x`, `bpf/d.h` |\n| `lib/x` | p | `lib/b` |\n"
            "| `e`, `f` | p | everything |\n\n## Words\n\n| `g` | p | `lib/b` |\n")
    table = {"lib/a": set(), "lib/b": {"include/sluice", "lib/a"}, "lib/x": {"lib/b"}, "c": {"lib/b", "bpf/d.h"}, "e": None, "f": None}
    wrong = [] if table_of(page) == table else [f"the table is read as {table_of(page)}"]
    wrong += [f"{path} with {text!r}: {found}" for path, text, count in cases
             if len(found := check_file(path, text, files.__contains__, includers,
                                     lambda *pair: pair in includes)) != count]
    return wrong, len(cases) + 1


def main():
    wrong, cases = self_test()
    if wrong:
        print("self-test failed:", *wrong, sep="\n  ")
        return 1
    if "--self-test" in sys.argv:
        print(f"{cases} passed, 0 failed, 0 skipped")
        return 0
    os.chdir(_ROOT)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.splitlines()
    sources = {}
    for path in listed:
        if path.endswith(_SOURCE) and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                sources[path] = file.read()
    includers = included_by(sources, os.path.exists)
    includes = {path: {match.group(2) for line in text.splitlines() if (match := _INCLUDE.match(line))}
                for path, text in sources.items()}
    complaints = [c for path, text in sources.items()
                  for c in check_file(path, text, os.path.exists, includers,
                                      lambda file, target: target in includes[file])]
    for complaint in complaints:
        print(complaint)
    bad = len({c.split(":")[0] for c in complaints})
    print(f"{len(sources) - bad + cases} passed, {bad} failed, 0 skipped")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
