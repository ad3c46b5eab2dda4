# SPDX-License-Identifier: Apache-2.0
"""kube-apiserver and kubectl 1.20.2, built from Debian 12's source package.

Nothing is installed: apt gets its own configuration in a temporary folder, the
source is unpacked and built there, and the two programs appear in the cache
under their names when both are complete. One process builds, others wait for
it. The build itself needs no network: everything it uses is in the package.

  python3 -m tests.cluster.kubernetes     builds what the cache lacks, prints where it is
"""

import contextlib
import fcntl
import glob
import os
import shutil
import subprocess
import sys
import tempfile

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MIRROR = os.environ.get("SLUICE_DEBIAN_MIRROR", "http://deb.debian.org")
_GO = "/usr/lib/go-1.19/bin"
_PROGRAMS = ("kube-apiserver", "kubectl")
# Raised when the way of building changes what comes out.
_RECIPE = "1.20.2-4"


class NotBuilt(Exception):
    """The programs could not be made; says which step failed and how."""


def cache_folder():
    base = os.environ.get("SLUICE_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sluice")
    return os.path.join(base, "kubernetes")


def binaries(progress=None):
    """The folder with the programs. Builds them (minutes) where they are missing;
    `progress` is called with a line of text before each long step."""
    folder = os.path.join(cache_folder(), _RECIPE)
    if not _complete(folder):
        os.makedirs(cache_folder(), exist_ok=True)
        with _locked(os.path.join(cache_folder(), ".lock")):
            if not _complete(folder):
                _build(folder, progress or (lambda line: None))
    return folder


def _complete(folder):
    return all(os.access(os.path.join(folder, p), os.X_OK) for p in _PROGRAMS)


@contextlib.contextmanager
def _locked(path):
    """The kernel lets go of it with the process, however that one ends."""
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder, progress):
    # What builders that were killed left; none is at work while the lock is ours.
    for left in glob.glob(os.path.join(cache_folder(), ".build-*")):
        _remove(left)
    work = tempfile.mkdtemp(prefix=".build-", dir=cache_folder())
    try:
        progress("fetching the source package of kubernetes")
        source = _fetch(work)
        progress("building kube-apiserver and kubectl (some minutes)")
        made = _make(work, source)
        ready = os.path.join(work, "ready")
        os.makedirs(ready)
        for program in _PROGRAMS:
            shutil.move(os.path.join(made, program), ready)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(ready, folder)
    finally:
        _remove(work)


def _remove(folder):
    """Go writes its module cache read-only."""
    subprocess.run(["chmod", "-R", "u+w", folder], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)


def _fetch(work):
    """The unpacked source. apt verifies signatures and checksums."""
    for sub in ("lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(work, "apt", sub))
    open(os.path.join(work, "apt", "status"), "w", encoding="ascii").close()
    with open(os.path.join(work, "apt", "sources.list"), "w", encoding="ascii") as file:
        for archive, suite in (("debian", "bookworm"), ("debian-security", "bookworm-security")):
            file.write(f"deb-src [signed-by={_KEYRING}] {_MIRROR}/{archive} {suite} main\n")
    options = {
        "Dir::Etc::SourceList": "sources.list", "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::lists": "lists", "Dir::State::status": "status", "Dir::Cache": "cache",
        "APT::Sandbox::User": "root", "Acquire::Retries": "3", "Acquire::Check-Valid-Until": "false",
    }
    flags = []
    for key, value in options.items():
        path = value if not key.startswith("Dir::") or value.startswith("/") \
            else os.path.join(work, "apt", value)
        flags += ["-o", f"{key}={path}"]
    _run(["apt-get", "-qq", *flags, "update"], work)
    kubernetes = _source(work, flags, "kubernetes")
    # kube-apiserver 1.20 brings a release of reflect2 that crashes where Go is newer
    # than 1.17, at the first custom resource; Debian's own is newer.
    fixed = _source(work, flags, "golang-github-modern-go-reflect2")
    vendored = os.path.join(kubernetes, "vendor", "github.com", "modern-go", "reflect2")
    shutil.rmtree(vendored)
    os.makedirs(vendored)
    for path in glob.glob(os.path.join(fixed, "*.go")) + glob.glob(os.path.join(fixed, "*.s")):
        shutil.copy(path, vendored)
    # Built with such a Go, it would also take an empty string for null: the comparison is of
    # pointers, which used to be different.
    _replace(os.path.join(kubernetes, "vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go"),
             "data == nil || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data))",
             "data == nil")
    return kubernetes


def _replace(path, old, new):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count(old) != 1:
        raise NotBuilt(f"{path} is not as it was when this was written")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))


def _source(work, flags, package):
    """The folder that apt unpacks a source package to."""
    _run(["apt-get", "-qq", *flags, "source", package], work)
    found = [p for p in glob.glob(os.path.join(work, package + "-*")) if os.path.isdir(p)]
    if len(found) != 1:
        raise NotBuilt(f"{package} unpacked to {found or 'nothing'}")
    return found[0]


def _make(work, source):
    """The folder with what was built."""
    path = os.path.join(work, "go", "src", "k8s.io")
    os.makedirs(path)
    link = os.path.join(path, "kubernetes")
    os.symlink(source, link)
    environment = {
        "PATH": f"{_GO}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": work, "GOPATH": os.path.join(work, "go"), "GOCACHE": os.path.join(work, "gocache"),
        "TMPDIR": work, "GO111MODULE": "off", "GOPROXY": "off", "CGO_ENABLED": "0", "LC_ALL": "C",
    }
    _run(["make", "WHAT=" + " ".join("cmd/" + p for p in _PROGRAMS)], link, environment)
    made = os.path.join(source, "_output", "bin")
    missing = [p for p in _PROGRAMS if not os.access(os.path.join(made, p), os.X_OK)]
    if missing:
        raise NotBuilt(f"make ended well without making {', '.join(missing)}")
    return made


def _run(command, cwd, environment=None):
    try:
        done = subprocess.run(command, cwd=cwd, check=False, text=True, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise NotBuilt(f"{command[0]}: {error.strerror}; scripts/install-deps installs it") from error
    if done.returncode != 0:
        raise NotBuilt(f"{' '.join(command)}: {done.stdout.strip()[-2000:]}")


def main():
    try:
        print(binaries(lambda line: print(line, file=sys.stderr, flush=True)))
    except NotBuilt as error:
        sys.exit(f"kubernetes: {error}")


if __name__ == "__main__":
    main()
