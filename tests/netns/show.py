# SPDX-License-Identifier: Apache-2.0
"""How the demonstrations show what happens."""

import sys
import textwrap

from tests.netns.traffic import ALLOWED, DENIED, Probe, verdicts

_COLOUR = sys.stdout.isatty()
_WIDTH = 110


def say(text):
    line = f"\n== {text}"
    print(f"\033[1m{line}\033[0m" if _COLOUR else line, flush=True)


def paint(text, good):
    return f"\033[{32 if good else 31}m{text}\033[0m" if _COLOUR else text


def lines(text, count):
    """The first lines of a command's output."""
    rows = text.rstrip().splitlines()
    for row in rows[:count]:
        print(textwrap.fill(row, _WIDTH, initial_indent="  ", subsequent_indent="        ",
                            drop_whitespace=len(row) > _WIDTH, break_on_hyphens=False,
                            replace_whitespace=False))
    if len(rows) > count:
        print(f"  ... {len(rows) - count} more lines")
    sys.stdout.flush()


def matrix(host, sources, targets):
    """TCP connections from all names in `sources` to all (name, port) of `targets`, of which
    `host` gives the hosts: IPv4 above, IPv6 must say the same."""
    probes = {(s, t, f): Probe(host(s), host(t), f"tcp/{port}", f)
              for s in sources for t, port in targets for f in (4, 6) if s != t}
    seen = verdicts({p: DENIED for p in probes.values()})
    heads = "".join(f"{t}:{p}".ljust(18) for t, p in targets)
    print(f"  {'from / to':<14}{heads}".rstrip())
    for source in sources:
        cells = ""
        for target, _ in targets:
            if source == target:
                cells += "-".ljust(18)
                continue
            four, six = (seen[probes[source, target, f]] for f in (4, 6))
            good = four == ALLOWED
            word = ("open" if good else "blocked") + ("" if four == six else " (IPv6 differs)")
            cells += paint(word.ljust(18), good)
        print(f"  {source:<14}{cells}".rstrip())
    sys.stdout.flush()
