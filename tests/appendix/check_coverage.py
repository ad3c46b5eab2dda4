#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a row of Appendix A has no test that carries its id."""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ROWS = {"V": 20, "P": 33, "N": 12, "K": 10}


def ids_of(text):
    """"V01-V17" or "P23" to the ids it stands for."""
    first, _, last = text.partition("-")
    last = last or first
    return [f"{first[0]}{n:02}" for n in range(int(first[1:]), int(last[1:]) + 1)]


def mentions(text, wanted):
    """The text has the id itself, or a range of ids that holds it."""
    if re.search(rf"{wanted}(?![0-9])", text):
        return True
    ranges = re.findall(r"([VPNK])(\d\d) ?(?:-|to|\.\.) ?\1(\d\d)", text)
    return any(letter == wanted[0] and int(first) <= int(wanted[1:]) <= int(last)
               for letter, first, last in ranges)


def main():
    problems = []
    covered = set()
    for row in re.findall(r"^\| *([VPNK][^|]*?) *\|[^|]*\| *([^|]*?) *\|$",
                          (HERE / "README.md").read_text(), re.M):
        path = ROOT / row[1]
        text = path.read_text() if path.is_file() else ""
        for wanted in ids_of(row[0]):
            if mentions(text, wanted):
                covered.add(wanted)
            else:
                problems.append(f"{wanted}: not in {row[1]}")
    for path in HERE.glob("*.yaml"):
        wanted = path.stem.upper()
        text = path.read_text()
        if not re.search(rf"^name: {wanted}\b", text, re.M):
            problems.append(f"{path.name}: no scenario is named {wanted}")
        elif not re.search(r"(in|e)gress: (allow|deny)\}", text):
            problems.append(f"{path.name}: no probe expects anything")
        else:
            covered.add(wanted)
    for letter, count in ROWS.items():
        for wanted in ids_of(f"{letter}01-{letter}{count:02}"):
            if wanted not in covered:
                problems.append(f"{wanted}: no test")
    print("\n".join(problems) or f"{len(covered)} rows have tests")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
