# SPDX-License-Identifier: Apache-2.0
"""What a translation that begins with nothing makes of the API server's objects,
and what nodes have in their kernels: two answers that must be the same."""

import json
import os
import subprocess
import tempfile

from tests.cluster import lab
from tests.cluster.api import KINDS, ApiError

_FOLLOWED = ("Namespace", "Node", "Pod", "Service", "EndpointSlice", "NetworkPolicy",
             "CiliumCIDRGroup", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
_ENTRY = ("prefixlen", "policy_id", "cidr_id", "direction", "protocol", "port",
          "verdict", "flags", "jump", "rule")


def objects(api):
    """Everything that verdicts depend on, as one List."""
    things = []
    for kind in _FOLLOWED:
        for thing in api.get(kind)["items"]:
            for field in ("managedFields", "resourceVersion"):
                thing["metadata"].pop(field, None)
            version = KINDS[kind][0].removeprefix("apis/").removeprefix("api/")
            things.append({**thing, "apiVersion": version, "kind": kind})
    return {"apiVersion": "v1", "kind": "List", "items": things}


def _sluice(*arguments):
    done = subprocess.run([lab.program("sluice"), *arguments, "-o", "json"], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"sluice {' '.join(arguments)}: {done.returncode}: {done.stderr}") from None


def _entries(view):
    """Without the lowest bit of policy ids, the generation, which is the applier's own."""
    return {tuple(e[f] & ~1 if f == "policy_id" else e[f] for f in _ENTRY) for e in view["entries"]}


def _peers(view):
    return {(p["prefix"], p["cidr_id"]) for p in view["peers"]}


def _of_operator(view):
    """Without what the node's agent has laid beside it: its own addresses that nobody else knows."""
    entries, peers = view
    number = _ENTRY.index("cidr_id")
    return ({e for e in entries if e[number] >> 30 != 2}, {p for p in peers if p[1] >> 30 != 2})


class Folder:
    """The objects of one moment, for `sluice` commands that work on files."""

    def __init__(self, api):
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir="/run", delete=False,
                                         encoding="utf-8") as file:
            json.dump(objects(api), file)
        self.path = file.name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.unlink(self.path)

    def wanted(self, node):
        """(entries, peers) that the node should have."""
        return (_entries(_sluice("policy", "dump", self.path, "--node", node)),
                _peers(_sluice("peer", "list", self.path, "--node", node)))

    def explain(self, source, destination, port):
        """{family: may it pass}, by the rules themselves."""
        view = _sluice("explain", "--from", source, "--to", destination, "--port", port, self.path)
        result = {}
        for side in view["sides"]:
            family = 6 if ":" in side["peer"] else 4
            result[family] = result.get(family, True) and side["allowed"]
        return result


def in_kernel(node):
    """(entries, peers) that the node has."""
    return (_entries(_sluice("policy", "dump", "--socket", f"/run/{node}.sock", "--pin-dir",
                             f"/run/bpf/{node}/sluice")),
            _peers(_sluice("peer", "list", "--pin-dir", f"/run/bpf/{node}/sluice")))


def differences(api, nodes):
    """Lines that say what is missing on nodes and what is too much; none if all is well."""
    lines = []
    try:
        with Folder(api) as folder:
            for node in nodes:
                for what, wanted, found in zip(("entry", "peer"), folder.wanted(node),
                                               _of_operator(in_kernel(node))):
                    lines += [f"{node} lacks {what} {w}" for w in sorted(wanted - found)]
                    lines += [f"{node} has {what} {f}" for f in sorted(found - wanted)]
    except (RuntimeError, OSError, ApiError) as error:
        lines.append(str(error))
    return lines
