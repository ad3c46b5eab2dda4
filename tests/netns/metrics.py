# SPDX-License-Identifier: Apache-2.0
"""What programs export, what the documents say of it, and what the dashboard asks for."""

import json
import os
import re

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_NAME = r"\b(?:sluice_(?:agent|operator)|process)_[a-z0-9_]+\b"


def exported(text):
    """{name: type} of an answer in Prometheus' text format; checks how names are made."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.M))
    assert types.keys() == helps.keys(), f"without help or type: {types.keys() ^ helps.keys()}"
    for name, kind in types.items():
        assert re.fullmatch(_NAME, name), name
        assert (kind == "counter") == name.endswith("_total"), f"{kind} {name}"
        assert kind != "histogram" or name.endswith("_seconds"), f"a histogram's unit: {name}"
        assert not re.search(r"_(ms|us|ns|kb|percent)(_total)?$", name), f"not a base unit: {name}"
        assert helps[name].endswith("."), f"a sentence: {name}"
    series = re.findall(r"^([a-z].*) \S+$", text, re.M)
    assert len(series) == len(set(series)), "a series is there twice"
    for line in text.splitlines():
        name = re.match(r"[a-z0-9_]+", line)
        assert not name or base(name.group(), types) in types, f"without a type: {line}"
    return types


def base(name, types):
    """The metric that a series is of: that of a histogram has suffixes."""
    short = re.sub(r"_(bucket|sum|count)$", "", name)
    return short if types.get(short) == "histogram" else name


def documented(program, table=""):
    """Names in docs/operations.md that begin with `program`, of the tables whose header contains `table`."""
    with open(os.path.join(_ROOT, "docs", "operations.md"), encoding="utf-8") as file:
        tables = re.findall(r"^\| (metric of .*) \| meaning \|.*\n((?:\|.*\n)+)", file.read(), re.M)
    rows = [name for header, text in tables if table in header
            for name in re.findall(r"^\| `([a-z_]+)(?:\{[^`]*\})?` \|", text, re.M)]
    return {name for name in rows if name.startswith(program)}


def of_the_dashboard(program):
    """Names that begin with `program` in the dashboard's queries."""
    with open(os.path.join(_ROOT, "deploy", "dashboards", "sluice.json"), encoding="utf-8") as file:
        board = json.load(file)
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    queries += [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
    assert len(queries) > 20
    return {name for query in queries for name in re.findall(_NAME, query) if name.startswith(program)}


def problems(program, text):
    """What does not fit together, of one program's own metrics and its answer."""
    types = exported(text)
    own = {name for name in types if name.startswith(program)}
    asked = {base(name, types) for name in of_the_dashboard(program)}
    return {"in the dashboard and not exported": sorted(asked - own),
            "exported and not documented": sorted(own - documented(program)),
            "documented and not exported": sorted(documented(program) - own)}
