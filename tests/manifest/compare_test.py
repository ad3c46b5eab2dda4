#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Manifest files are read as kubectl reads them: thousands of mutated files, compared with a reader
of its own over PyYAML's events. `compare_test.py READ_MANIFESTS [FILES [SEED]]`."""

import json
import random
import re
import struct
import subprocess
import sys

import yaml

TEMPLATES = ["""\
---
# Source: chart/templates/web.yaml
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
  labels: &labels
    app.kubernetes.io/name: web
    version: "1.10"
    enabled: "yes"
spec:
  podSelector:
    matchLabels: *labels
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 10.0.0.0/8, except: ["10.1.0.0/16", '10.2.0.0/16']}
    ports:
    - port: 8080
      protocol: TCP
---
# Source: chart/templates/empty.yaml
---

---
# Source: chart/templates/db.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: db, namespace: shop}
data:
  text: |
    a: b
    # no comment
    --- no marker
  folded: >-
    one
    two

    three
  quoted: "a\\n\\u00e9\\
    b"
""", """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: A
  metadata: {name: a, labels: {on: x, 80: y, 010: z, n: m}}
  v: [1, 010, 0x1f, 1e3, 1.5, .5, yes, n, ~, null, 2001-01-01, 1_000, 12:30, "", '', +7, -0]
- &b
  apiVersion: v1
  kind: B
  metadata:
    name: b
- <<: *b
  kind: C
  metadata: {name: c}
---
base: &base {x: 1, y: 2}
other:
  x: 0
  <<: *base
  y: 3
list: {<<: [{a: 1}, {a: 2, b: 2}], c: 3}
""", """\
{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"},
 "v": [1, 2.5, true, null, "x\\ty"]}
---
# values
replicas: 3
image: {tag: latest}
...
# behind the end
apiVersion: v1
kind: B
metadata:
  name: b # comment
  annotations:
    ? long
    : value
    plain: many words
      over lines
---# no space
kind: D
apiVersion: v1
metadata: {name: d}
"""]

FRAGMENTS = ["---\n", "--- \n", "---\t\n", "--- # c\n", "---# c\n", "...\n", "... # c\n", "# c\n", "\n", "  # c\n",
             "\t", " ", "  ", "\r\n", "\n---\n---\n", "\n---\n# c\n---\n", "%YAML 1.1\n", "%TAG ! tag:x,2000:\n",
             "&a ", "*a", "*labels", "<<: *b\n", "<<: ", "- ", ": ", ":", "? ", "[", "]", "{", "}", ",", "'", '"',
             "|\n", ">\n", "|-\n", "!!str ", "!!int ", "! ", "#", " #", "~", "null", "\\", "@", "`", "%", "0",
             "name: x\n", "kind: A\n", "apiVersion: v1\n", "é", "yes: no\n", "\n\n", "k: v\n"]


class Wrong(Exception):
    """The document is not valid."""


# ---- scalars and trees, by the rules of YAML 1.1 as Go's readers have them ------------------------------------

WORDS = {**dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
         **dict.fromkeys("y Y yes Yes YES true True TRUE on On ON".split(), True),
         **dict.fromkeys("n N no No NO false False FALSE off Off OFF".split(), False)}
DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
WHOLE = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]([0-7]+)|0[bB]([01]+)|0([0-7]*)|([1-9][0-9]*))", re.ASCII)


def plain(text):
    if text in WORDS:
        return WORDS[text]
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        raise Wrong("no JSON value")
    if not re.match(r"[-+.0-9]", text):
        return text
    bare = text if text.startswith(".") else text.replace("_", "")
    whole = WHOLE.fullmatch(bare)
    if whole:
        digits = next(((group, base) for group, base in zip(whole.groups()[1:], (16, 8, 2, 8, 10)) if group), ("0", 10))
        number = int(*digits) * (-1 if whole[1] == "-" else 1)
        if -2**63 <= number < 2**64:
            return number
    if DECIMAL.fullmatch(bare):
        number = float(bare)
        if abs(number) != float("inf"):
            return int(number) if number == int(number) and abs(number) <= 2**53 else number
    return text


def tagged(event):
    """The value of a scalar's event."""
    if event.tag is None:
        return plain(event.value) if event.style is None else event.value
    name = event.tag.removeprefix("tag:yaml.org,2002:") if event.tag.startswith("tag:yaml.org,2002:") else ""
    if event.tag == "!" or name == "str":
        return event.value
    value = plain(event.value)
    kinds = {"int": type(value) is int, "float": type(value) in (int, float), "bool": type(value) is bool,
             "null": value is None}
    if kinds.get(name):
        return value
    raise Wrong("tag")


def as_key(value):
    if value is None or isinstance(value, (dict, list)):
        raise Wrong("key")
    return value if isinstance(value, str) else json.dumps(value)


class Tree:
    """One document's events as a value."""

    def __init__(self, events):
        self.events = events
        self.anchors = {}

    def value(self, event):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise Wrong("alias")
            return self.anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            value = tagged(event)
        else:
            self.anchors.pop(event.anchor, None)
            name = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
            if event.tag not in (None, "!", "tag:yaml.org,2002:" + name):
                raise Wrong("tag")
            value = self.sequence() if name == "seq" else self.mapping()
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def sequence(self):
        result = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            result.append(self.value(event))
        return result

    def mapping(self):
        result = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None and event.tag is None:
                merged = self.value(next(self.events))
                for one in reversed(merged) if isinstance(merged, list) else [merged]:
                    if not isinstance(one, dict):
                        raise Wrong("merge")
                    result.update(one)
                continue
            key = as_key(self.value(event))
            result[key] = self.value(next(self.events))
        return result


def documents(text):
    """As kubectl takes a file apart; `...` ends a document too, and `---` may be followed by one."""
    chunks = [""]
    for line in text.split("\n"):
        line = line.removesuffix("\r") + "\n"
        if re.match(r"---\s*(#|$)", line) and not re.fullmatch(r"(\s*(#.*)?\n|%.*\n)*%.*\n(\s*(#.*)?\n|%.*\n)*",
                                                               chunks[-1]):
            chunks.append("")
        elif re.match(r"---[ \t]", line):
            chunks.append(line)
        elif re.match(r"\.\.\.(\s*$|\s+#)", line):
            chunks.append("")
        else:
            chunks[-1] += line
    return chunks


def json_values(text):
    """Values of JSON that follow one another; ValueError if it is none."""
    values = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def read(chunk):
    """The values of a chunk: one document of YAML, or any number of JSON."""
    if re.match(r"(\s*#.*\n)*\s*[{[]", chunk):
        try:
            return json_values(re.sub(r"^(\s*#.*\n)*", "", chunk))
        except ValueError:
            pass  # YAML's flow style
    value = read_yaml(chunk)
    return [] if value is None else [value]


def read_yaml(chunk):
    """The value of a document; None if it has none."""
    if not re.sub(r"(?m)^\s*(#.*)?$|^%.*$|^---\s*(#.*)?$", "", chunk).strip():
        return None
    try:
        events = yaml.parse(chunk, Loader=yaml.SafeLoader)
        found = []
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                found.append(Tree(events).value(next(events)))
        if len(found) > 1:
            raise Wrong("two documents")
        return found[0] if found else None
    except (yaml.YAMLError, ValueError) as error:
        raise Wrong(str(error)) from error


def take(value, objects, wrong):
    heads = [value.get(name) for name in ("apiVersion", "kind")] if isinstance(value, dict) else []
    if not isinstance(value, dict) or ("metadata" not in value and not {"apiVersion", "kind"} <= value.keys()):
        return  # a note
    if not all(isinstance(head, str) and head for head in heads):
        wrong.append("head")
        return
    items = value.get("items")
    if not heads[1].endswith("List") or "items" not in value:
        objects.append(value)
    elif isinstance(items, list):
        for item in items:
            if not isinstance(item, dict):
                wrong.append("item")
                continue
            if heads[1] != "List":
                item = {"kind": heads[1][:-4], "apiVersion": heads[0], **item}
            take(item, objects, wrong)
    elif items is not None:
        wrong.append("items")


def expected(text):
    objects, wrong = [], []
    for chunk in documents(text.removeprefix("\ufeff")):
        try:
            for value in read(chunk):
                if value is not None:
                    take(value, objects, wrong)
        except Wrong as error:
            wrong.append(str(error))
    return objects, wrong


# ---- mutations -------------------------------------------------------------------------------------------------------

def mutate(dice, text):
    lines = text.splitlines(keepends=True)
    for _ in range(dice.randint(0, 4)):
        at = dice.randrange(len(lines) + 1)
        choice = dice.randrange(8)
        if choice == 0 and at < len(lines):
            del lines[at]
        elif choice == 1 and at < len(lines):
            lines.insert(at, lines[at])
        elif choice == 2 and at < len(lines):
            lines[at] = dice.choice([" ", "  ", "\t"]) + lines[at]
        elif choice == 3 and at < len(lines):
            lines[at] = lines[at].removeprefix(dice.choice([" ", "  "]))
        elif choice == 4 and at < len(lines):
            column = dice.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:column] + dice.choice(FRAGMENTS) + lines[at][column:]
        elif choice == 5 and at < len(lines) and lines[at]:
            column = dice.randrange(len(lines[at]))
            lines[at] = lines[at][:column] + lines[at][column + 1:]
        else:
            lines.insert(at, dice.choice(FRAGMENTS))
    text = "".join(lines)
    if dice.random() < 0.2:
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    if dice.random() < 0.1:
        text = "\ufeff" + text
    if dice.random() < 0.1:
        text = text.rstrip("\n")
    return text


def is_disputed(errors, wrong):
    """PyYAML refuses tabs between tokens, `?` within a word in braces and a comment next to `>-`, and takes `a:[b]` in
    braces for a word and unknown directives for comments; kubectl's reader, as ours, does none of it."""
    return (any("'\\t' that cannot start any token" in what or "but got '?'" in what or "but found '#'" in what for what in wrong)
            or any("found unexpected ':'" in what or "unknown directive" in what for what in errors))


def show(text, answer, objects, wrong):
    print(f"---- differs: {text!r}\n  errors: {answer['errors']}, expected {wrong}")
    for one in answer["objects"]:
        if one not in objects:
            print(f"  only sluice: {json.dumps(one)}")
    for one in objects:
        if one not in answer["objects"]:
            print(f"  only PyYAML: {json.dumps(one)}")


def main():
    tool, count, seed = sys.argv[1], int((sys.argv + ["4000"])[2]) if len(sys.argv) > 2 else 4000, 1
    if len(sys.argv) > 3:
        seed = int(sys.argv[3])
    dice = random.Random(seed)
    texts = [mutate(dice, "---\n".join(dice.sample(TEMPLATES, dice.randint(1, 2)))) for _ in range(count)]
    given = b"".join(struct.pack("<I", len(data)) + data for data in (text.encode() for text in texts))
    lines = subprocess.run([tool], input=given, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    assert len(lines) == len(texts), f"{len(lines)} answers to {len(texts)} texts"
    differences, disputed, objects_seen, wrong_seen = 0, 0, 0, 0
    for text, line in zip(texts, lines):
        answer = json.loads(line)
        objects, wrong = expected(text)
        objects_seen += len(objects)
        wrong_seen += len(wrong)
        if (json.dumps(answer["objects"], sort_keys=True) != json.dumps(objects, sort_keys=True)
                or len(answer["errors"]) != len(wrong)):
            if is_disputed(answer["errors"], wrong):
                disputed += 1
                continue
            differences += 1
            if differences <= 5:
                show(text, answer, objects, wrong)
    print(f"{count} files of seed {seed}: {objects_seen} objects, {wrong_seen} errors, {disputed} disputed, {differences} differ")
    assert disputed < count / 50, "too much is left out of the comparison"
    assert objects_seen > count and wrong_seen > count / 10, "the mutations leave too little to compare"
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
