#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/*.yaml, for kubectl apply -k, are what the Helm chart in deploy/helm/sluice says with its default values.

  scripts/checks/manifests.py            writes them
  scripts/checks/manifests.py --check    fails if what is there differs, or if the chart's folder of
                                         definitions is not that of deploy/crds

The chart is rendered by scripts/checks/chart/render.go, which is made of Helm's libraries.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_DEPLOY = os.path.join(_ROOT, "deploy")
_CHART = os.path.join(_DEPLOY, "helm", "sluice")
_RENDER = os.path.join(_ROOT, "scripts", "checks", "chart", "render.go")
_GO = "/usr/lib/go-1.19/bin/go"
_LIBRARIES = "/usr/share/gocode"
_NAMESPACE = "sluice-system"
_NEW, _OLD = ("policy/v1",), ()
# File of deploy/: its template, and the versions that the server has.
_FILES = {"namespace.yaml": ("namespace.yaml", _NEW), "rbac.yaml": ("rbac.yaml", _NEW),
          "operator.yaml": ("operator.yaml", _NEW), "agent.yaml": ("agent.yaml", _NEW),
          "pdb/pdb.yaml": ("poddisruptionbudget.yaml", _NEW),
          "pdb/v1beta1/pdb.yaml": ("poddisruptionbudget.yaml", _OLD)}
_HEADER = "# Written by scripts/checks/manifests.py from helm/sluice/templates/{}, which is to be changed instead.\n"
_LICENCE = "# SPDX-License-Identifier: Apache-2.0\n"


class NotRendered(Exception):
    """The chart or its values are not valid, or the renderer cannot be built; says why."""


def _renderer():
    """Path of the renderer, built where the cache has none of this source."""
    with open(_RENDER, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:16]
    base = os.environ.get("SLUICE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sluice")
    folder = os.path.join(base, "chart")
    program = os.path.join(folder, "render-" + digest)
    if os.access(program, os.X_OK):
        return program
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as work:
        made = os.path.join(work, "render")
        _run([_GO, "build", "-o", made, _RENDER],
             {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": work, "GOPATH": _LIBRARIES,
              "GOCACHE": os.path.join(work, "cache"), "GO111MODULE": "off", "CGO_ENABLED": "0"})
        os.rename(made, program)
    return program


def _run(command, environment=None):
    try:
        done = subprocess.run(command, check=False, text=True, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise NotRendered(f"{command[0]}: {error.strerror}; scripts/install-deps installs it") from error
    if done.returncode != 0:
        raise NotRendered(done.stderr.strip())
    return done.stdout


def render(values=None, api_versions=_NEW, namespace=_NAMESPACE):
    """{template: text} of the chart with these values over its own."""
    request = {"values": values or {}, "namespace": namespace, "apiVersions": list(api_versions)}
    return json.loads(_run([_renderer(), _CHART, json.dumps(request)]))


def manifests():
    """{file of deploy/: text}"""
    texts = {versions: render({"namespace": {"create": True}}, versions) for versions in (_NEW, _OLD)}
    result = {}
    for file, (template, versions) in _FILES.items():
        text = texts[versions][template]
        if not text.startswith(_LICENCE):
            raise NotRendered(f"{template}: the first line is not {_LICENCE.strip()!r}")
        result[file] = _LICENCE + _HEADER.format(template) + text.removeprefix(_LICENCE)
    return result


def _definitions():
    """What is wrong with the chart's folder of definitions."""
    names = {name for name in os.listdir(os.path.join(_DEPLOY, "crds"))
             if name.endswith(".yaml") and name != "kustomization.yaml"}
    theirs = set(os.listdir(os.path.join(_CHART, "crds")))
    problems = [f"{name} is in one of deploy/crds and deploy/helm/sluice/crds only" for name in sorted(names ^ theirs)]
    for name in sorted(names & theirs):
        if not os.path.samefile(os.path.join(_DEPLOY, "crds", name), os.path.join(_CHART, "crds", name)):
            problems.append(f"deploy/helm/sluice/crds/{name} is no link to deploy/crds/{name}")
    return problems


def _check():
    problems = _definitions()
    for file, text in manifests().items():
        try:
            with open(os.path.join(_DEPLOY, file), encoding="utf-8") as there:
                same = there.read() == text
        except FileNotFoundError:
            same = False
        if not same:
            problems.append(f"deploy/{file} is not what the chart says: scripts/checks/manifests.py writes it")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            problems = _check()
            for problem in problems:
                print(problem)
            return 1 if problems else 0
        for file, text in manifests().items():
            with open(os.path.join(_DEPLOY, file), "w", encoding="utf-8") as there:
                there.write(text)
    except NotRendered as error:
        print(f"manifests: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
