#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Manifests as people keep them: files of the corpus, in the styles of Helm, kustomize, `kubectl -o yaml` and
GitOps repositories. `corpus_test.py READ_MANIFESTS SLUICE [--record]`.

For every file, the table corpus.yaml says how many objects of each kind it has, which policies are valid, and
what is said of all others. A second reader, over PyYAML, must find the same objects. --record writes the table;
read the difference before you believe it.
"""

import collections
import json
import os
import re
import struct
import subprocess
import sys

import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare_test  # noqa: E402  pylint: disable=C0413

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS, TABLE = os.path.join(HERE, "corpus"), os.path.join(HERE, "corpus.yaml")
ENOUGH_FILES, ENOUGH_OBJECTS = 30, 100


def corpus():
    """{path below the corpus: text}"""
    result = {}
    for folder, _, names in os.walk(CORPUS):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                result[os.path.relpath(path, CORPUS)] = file.read()
    return dict(sorted(result.items()))


def text_of(data):
    return data.decode("utf-16" if data.startswith(b"\xff\xfe") else "utf-8").removeprefix("\ufeff")


def read(tool, texts):
    """What the manifest reader makes of each text."""
    given = b"".join(struct.pack("<I", len(data)) + data for data in texts)
    lines = subprocess.run([tool], input=given, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    assert len(lines) == len(texts), f"{len(lines)} answers to {len(texts)} texts"
    return [json.loads(line) for line in lines]


def kinds(objects):
    return dict(sorted(collections.Counter(one["kind"] for one in objects).items()))


def row(answer, listed, path):
    """The table's row for a file, as Sluice has it."""
    def key(policy):
        return "/".join(policy[part] for part in ("kind", "namespace", "name") if policy[part])

    def said(severity):
        return sorted(problem["source"].removeprefix(path) + ": " + (problem["object"] + ": " if problem["object"] else "")
                      + problem["message"] for problem in listed["problems"] if problem["severity"] == severity)
    policies = listed["policies"]
    result = {
        "objects": kinds(answer["objects"]),
        "valid": sorted(key(p) for p in policies if p["valid"]),
        "refused": {key(p) + p["source"].removeprefix(path): p["reason"] for p in policies if not p["valid"]},
        "warnings": {key(p): p["warnings"] for p in policies if p["warnings"]},
        "errors": said("error"), "notes": said("note"),
    }
    text = json.dumps({name: value for name, value in result.items() if value})
    return json.loads(text.replace(json.dumps(path + ":")[1:-1], "line "))


def list_policies(tool, path):
    done = subprocess.run([tool, "policy", "list", path, "-o", "json"], stdout=subprocess.PIPE, check=False)
    listed = json.loads(done.stdout)
    right = 2 if any(problem["severity"] == "error" for problem in listed["problems"]) else \
        0 if all(p["valid"] for p in listed["policies"]) else 1
    assert done.returncode == right, f"{path}: exit status {done.returncode}, not {right}"
    return listed


def without_a_document(text):
    """The text again and again, each time without one of its documents."""
    parts = re.split(r"(?m)^(?=---(?:\s|$))", text)
    for at, part in enumerate(parts):
        if compare_test.expected(part)[0]:
            yield "".join(parts[:at] + parts[at + 1:])


def check_losses(reader, files):
    """Whether the table finds that a document is lost, whichever it is."""
    shortened = [(path, cut.encode()) for path, data in files.items() if not path.endswith(".json")
                 for cut in without_a_document(text_of(data).replace("\r\n", "\n"))]
    assert len(shortened) > ENOUGH_OBJECTS / 2, f"only {len(shortened)} documents were left out"
    with open(TABLE, encoding="utf-8") as file:
        table = yaml.safe_load(file)
    wrong = []
    for (path, _), answer in zip(shortened, read(reader, [data for _, data in shortened])):
        if kinds(answer["objects"]) == table[path].get("objects", {}) and len(answer["errors"]) == len(
                table[path].get("errors", [])):
            wrong.append(f"{path}: nobody notices that a document is missing")
    return len(shortened), wrong


def check_file(path, data, answer, found, expected):
    objects, errors = compare_test.expected(text_of(data))
    wrong = []
    if json.dumps(answer["objects"], sort_keys=True) != json.dumps(objects, sort_keys=True):
        wrong.append(f"{path}: other objects than PyYAML's: {kinds(answer['objects'])}, not {kinds(objects)}")
    if len(answer["errors"]) != len(errors):
        wrong.append(f"{path}: errors {answer['errors']}, PyYAML's are {errors}")
    if found != expected:
        for name in sorted({*found, *expected}):
            if found.get(name) != expected.get(name):
                wrong.append(f"{path}: {name}: {json.dumps(found.get(name))}, not {json.dumps(expected.get(name))}")
    return wrong


def main():
    reader, sluice = sys.argv[1:3]
    files = corpus()
    answers = dict(zip(files, read(reader, list(files.values()))))
    rows = {path: row(answers[path], list_policies(sluice, os.path.join(CORPUS, path)), os.path.join(CORPUS, path))
            for path in files}
    if "--record" in sys.argv:
        with open(TABLE, "w", encoding="utf-8") as file:
            file.write("# SPDX-License-Identifier: Apache-2.0\n# What corpus_test.py expects of each file of corpus/.\n")
            yaml.safe_dump(rows, file, sort_keys=False, width=150, allow_unicode=True)
    with open(TABLE, encoding="utf-8") as file:
        table = yaml.safe_load(file)
    wrong = [f"{path}: in one of corpus/ and corpus.yaml only" for path in sorted(files.keys() ^ table.keys())]
    for path in files.keys() & table.keys():
        wrong += check_file(path, files[path], answers[path], rows[path], table[path])
    # All of them at once, as `sluice run` reads a folder.
    count = len(list_policies(sluice, CORPUS)["policies"])
    if count != sum(len(one.get("valid", [])) + len(one.get("refused", {})) for one in table.values()):
        wrong.append(f"the folder has {count} policies, its files have another number")
    losses, unnoticed = check_losses(reader, files)
    objects = sum(sum(one.get("objects", {}).values()) for one in table.values())
    print("\n".join(wrong + unnoticed))
    print(f"{len(files)} files, {objects} objects, {count} policies; {losses} documents left out; "
          f"{len(wrong) + len(unnoticed)} differences")
    assert len(files) >= ENOUGH_FILES and objects >= ENOUGH_OBJECTS, "too small a corpus"
    sys.exit(1 if wrong or unnoticed else 0)


if __name__ == "__main__":
    main()
