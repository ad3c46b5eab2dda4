#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""abi.h means the same to every compiler, and does not change by accident.

Compiles all structs of abi.h for BPF, reads their layout from BTF, and
  - has g++ (C++) and clang (C) confirm every size, offset and enumerator,
  - fails where a struct has a hole that no member names,
  - compares it with the recorded layout in tests/abi/layout.txt.
A wanted change: raise SLUICE_ABI_VERSION and run this with --record.
"""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_HEADER = os.path.join(_ROOT, "include/sluice/abi.h")
_RECORD = os.path.join(_ROOT, "tests/abi/layout.txt")
_FLAGS = ["-I" + os.path.join(_ROOT, "include"), "-I/usr/include/x86_64-linux-gnu"]


def clang():
    return next(c for c in ("clang-19", "clang-14", "clang") if shutil.which(c))


def read_btf(folder):
    """BTF types of every struct and enum of abi.h, by id."""
    with open(_HEADER, encoding="utf-8") as file:
        text = file.read()
    source = os.path.join(folder, "abi.c")
    with open(source, "w", encoding="ascii") as file:
        file.write('#include "sluice/abi.h"\n')
        for kind, name in re.findall(r"^(struct|enum) (sluice_\w+) \{", text, re.M):
            file.write(f"{kind} {name} variable_{name};\n")
    obj = os.path.join(folder, "abi.o")
    subprocess.run([clang(), "-target", "bpf", "-g", "-O2", *_FLAGS, "-c", source, "-o", obj],
                   check=True)
    bpftool = shutil.which("bpftool") or "/usr/sbin/bpftool"
    dump = subprocess.run([bpftool, "-j", "btf", "dump", "file", obj], check=True,
                          stdout=subprocess.PIPE).stdout
    version = re.search(r"#define SLUICE_ABI_VERSION (\d+)", text).group(1)
    return {t["id"]: t for t in json.loads(dump)["types"]}, version


def size_of(types, number):
    kind = types[number]
    while kind["kind"] in ("TYPEDEF", "CONST", "VOLATILE"):
        kind = types[kind["type_id"]]
    if kind["kind"] == "ARRAY":
        return kind["nr_elems"] * size_of(types, kind["type_id"])
    return 8 if kind["kind"] == "PTR" else kind["size"]


def layout_of(types):
    """([(struct, size, [(member, offset, size)])], [(enumerator, value)])"""
    structs, enumerators = [], []
    for kind in types.values():
        if not kind["name"].startswith("sluice_"):
            continue
        if kind["kind"] == "STRUCT":
            members = [(m["name"], m["bits_offset"] // 8, size_of(types, m["type_id"]))
                       for m in kind["members"]]
            structs.append((kind["name"], kind["size"], members))
        elif kind["kind"] in ("ENUM", "ENUM64"):
            enumerators += [(v["name"], v["val"]) for v in kind["values"]]
    return sorted(structs), enumerators


def as_text(structs, enumerators, version):
    lines = ["# Layout of include/sluice/abi.h: written by scripts/checks/abi.py --record",
             f"version {version}"]
    for name, size, members in structs:
        lines.append(f"struct {name} {size}")
        lines += [f"  {offset:3} {size:3} {member}" for member, offset, size in members]
    lines += [f"{name} = {value}" for name, value in enumerators]
    return "\n".join(lines) + "\n"


def holes(structs):
    for name, size, members in structs:
        end = 0
        for member, offset, length in members:
            if offset != end:
                yield f"{name}: {offset - end} bytes before {member} have no name"
            end = offset + length
        if end != size:
            yield f"{name}: {size - end} bytes at the end have no name"


def confirm(structs, enumerators, folder):
    """Static asserts of the same layout, by the compilers of the other side."""
    checks = []
    for name, size, members in structs:
        checks.append(f"sizeof(struct {name}) == {size}")
        for member, offset, length in members:
            checks.append(f"__builtin_offsetof(struct {name}, {member}) == {offset}")
            checks.append(f"sizeof(((struct {name} *)0)->{member}) == {length}")
    checks += [f"(long)({name}) == {value}" for name, value in enumerators]
    text = '#include "sluice/abi.h"\n' + "".join(f'SLUICE_ASSERT({c}, "{c}");\n' for c in checks)
    for suffix, command in ((".cpp", ["g++", "-std=c++23"]), (".c", [clang(), "-std=c11"])):
        path = os.path.join(folder, "confirm" + suffix)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        done = subprocess.run([*command, "-fsyntax-only", *_FLAGS, path], check=False, text=True,
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            yield f"{command[0]} disagrees with BPF:\n{done.stderr}"
    # The confirmation itself must be able to fail.
    path = os.path.join(folder, "wrong.cpp")
    with open(path, "w", encoding="ascii") as file:
        file.write(text.replace(f"== {structs[0][1]},", f"== {structs[0][1] + 1},", 1))
    if subprocess.run(["g++", "-std=c++23", "-fsyntax-only", *_FLAGS, path], check=False,
                      stderr=subprocess.DEVNULL).returncode == 0:
        yield "a wrong size was not noticed"


def main():
    with tempfile.TemporaryDirectory(prefix="sluice-abi-") as folder:
        types, version = read_btf(folder)
        structs, enumerators = layout_of(types)
        problems = [*holes(structs), *confirm(structs, enumerators, folder)]
    text = as_text(structs, enumerators, version)
    if "--record" in sys.argv:
        with open(_RECORD, "w", encoding="ascii") as file:
            file.write(text)
    try:
        with open(_RECORD, encoding="ascii") as file:
            recorded = file.read()
    except OSError:
        recorded = ""
    if recorded != text:
        problems.append("the layout is not the recorded one:\n" + "".join(difflib.unified_diff(
            recorded.splitlines(True), text.splitlines(True), "recorded", "abi.h", n=1)))
    for problem in problems:
        print(problem)
    count = len(structs) + 1
    print(f"{max(0, count - len(problems))} passed, {len(problems)} failed, 0 skipped")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
