# SPDX-License-Identifier: Apache-2.0
"""Debian 12's packages without installing them: apt with a configuration and a
folder of its own, which verifies signatures and checksums as always."""

import contextlib
import fcntl
import glob
import os
import shutil
import subprocess
import tempfile

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MIRROR = os.environ.get("SLUICE_DEBIAN_MIRROR", "http://deb.debian.org")


class Failed(Exception):
    """Something could not be fetched or made; says which step failed and how."""


def cache_folder(name):
    """Where what takes long to make is kept, outside the checkout."""
    base = os.environ.get("SLUICE_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sluice")
    return os.path.join(base, name)


def cached(cache, recipe, complete, make):
    """The folder `recipe` in `cache`. Unless `complete(folder)`, `make(work)` is called with an empty
    folder and gives one inside it, which takes the place in one step. One process makes, others wait."""
    folder = os.path.join(cache, recipe)
    if complete(folder):
        return folder
    os.makedirs(cache, exist_ok=True)
    with _locked(os.path.join(cache, ".lock")):
        if not complete(folder):
            _make(cache, folder, make)
    return folder


@contextlib.contextmanager
def _locked(path):
    """The kernel lets go of it with the process, however that one ends."""
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(cache, folder, make):
    # What makers that were killed left; none is at work while the lock is ours.
    for left in glob.glob(os.path.join(cache, ".build-*")):
        _remove(left)
    work = tempfile.mkdtemp(prefix=".build-", dir=cache)
    try:
        ready = make(work)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(ready, folder)
    finally:
        _remove(work)


def _remove(folder):
    """Go writes its module cache read-only."""
    subprocess.run(["chmod", "-R", "u+w", folder], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)


def run(command, cwd, environment=None):
    try:
        done = subprocess.run(command, cwd=cwd, check=False, text=True, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}; scripts/install-deps installs it") from error
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stdout.strip()[-2000:]}")
    return done.stdout


class Archive:
    """Debian 12 with its security updates, as it is now; works in a folder. `kind`: "deb" or "deb-src"."""

    def __init__(self, work, kind):
        self._work = work
        for sub in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(work, "apt", sub))
        open(os.path.join(work, "apt", "status"), "w", encoding="ascii").close()
        with open(os.path.join(work, "apt", "sources.list"), "w", encoding="ascii") as file:
            for archive, suite in (("debian", "bookworm"), ("debian-security", "bookworm-security")):
                file.write(f"{kind} [signed-by={_KEYRING}] {_MIRROR}/{archive} {suite} main\n")
        options = {
            "Dir::Etc::SourceList": "sources.list", "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::lists": "lists", "Dir::State::status": "status", "Dir::Cache": "cache",
            "APT::Sandbox::User": "root", "Acquire::Retries": "3", "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none",
        }
        self._flags = []
        for key, value in options.items():
            path = value if not key.startswith("Dir::") or value.startswith("/") \
                else os.path.join(work, "apt", value)
            self._flags += ["-o", f"{key}={path}"]
        run(["apt-get", "-qq", *self._flags, "update"], work)

    def source(self, package):
        """The folder that a source package is unpacked to."""
        run(["apt-get", "-qq", *self._flags, "source", package], self._work)
        found = [p for p in glob.glob(os.path.join(self._work, package + "-*")) if os.path.isdir(p)]
        if len(found) != 1:
            raise Failed(f"{package} unpacked to {found or 'nothing'}")
        return found[0]

    def packages(self, names):
        """The files of packages."""
        folder = os.path.join(self._work, "packages")
        os.makedirs(folder)
        run(["apt-get", "-qq", *self._flags, "download", *names], folder)
        found = sorted(glob.glob(os.path.join(folder, "*.deb")))
        if len(found) != len(names):
            raise Failed(f"{len(found)} of {len(names)} packages came")
        return found
