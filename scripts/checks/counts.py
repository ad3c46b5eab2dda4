# SPDX-License-Identifier: Apache-2.0
"""Numbers of tests, read from what test programs print."""

import dataclasses
import re
import xml.etree.ElementTree

_GTEST = {"passed": re.compile(r"\[  PASSED  \] (\d+) tests?\."),
          "failed": re.compile(r"^\[  FAILED  \] (\d+) tests?, listed", re.M),
          "skipped": re.compile(r"^\[  SKIPPED \] (\d+) tests?, listed", re.M)}
_NAMED = re.compile(r"^(?:\[  (?:FAILED|SKIPPED) *\] [A-Za-z]\w*[./]\S+|(?:FAILED|SKIPPED) .*)", re.M)
_PLAIN = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
_SCENARIOS = re.compile(r"^(\d+) scenarios?, (\d+) probes?, (\d+) failed", re.M)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    names: list = dataclasses.field(default_factory=list)  # of what failed or was skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.names += other.names

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def from_output(text, ok, name):
    """Of one program: its own summary if it prints one we know, else one test.
    A program that failed without a failed test counts as one."""
    text = _COLOUR.sub("", text)
    counts = Counts(names=sorted({_tidy(n) for n in _NAMED.findall(text)}))
    if plain := _PLAIN.findall(text):
        counts.passed, counts.failed, counts.skipped = map(int, plain[-1])
    elif scenarios := _SCENARIOS.findall(text):
        total = sum(int(s[0]) for s in scenarios)
        counts.failed = min(total, sum(int(s[2]) for s in scenarios))
        counts.passed = total - counts.failed
    elif found := {k: p.findall(text) for k, p in _GTEST.items()}:
        for field, numbers in found.items():
            setattr(counts, field, sum(map(int, numbers)))
    if ok and counts.passed + counts.failed + counts.skipped == 0:
        counts.passed = 1
    if not ok and counts.failed == 0:
        counts.failed = 1
        counts.names.append(f"FAILED {name}")
    return counts


def _tidy(name):
    return re.sub(r"\[  (\w+) *\]", r"\1", name).strip()


def from_ctest(path):
    """Of a ctest run: sum over its tests, by their output in the JUnit file."""
    total = Counts()
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = case.get("name")
        status = case.get("status")
        text = case.findtext("system-out") or ""
        if status in ("disabled", "notrun"):
            total.add(Counts(skipped=1, names=[f"SKIPPED {name}: {status}"]))
        else:
            ok = status == "run"
            counts = from_output(text, ok, name)
            counts.names = [n if name in n else f"{n} ({name})" for n in counts.names]
            total.add(counts)
    return total
