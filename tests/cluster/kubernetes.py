# SPDX-License-Identifier: Apache-2.0
"""The programs of Kubernetes 1.20.2, built from Debian 12's source package.

Nothing is installed: the source is unpacked and built in a temporary folder,
and the programs appear in the cache under their names when all are complete.
One process builds, others wait for it. The build itself needs no network:
everything it uses is in the package.

  python3 -m tests.cluster.kubernetes     builds what the cache lacks, prints where it is
"""

import glob
import os
import shutil
import sys

from tests.cluster import debian

_GO = "/usr/lib/go-1.19/bin"
_PROGRAMS = ("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet",
             "kube-proxy")
# Raised when the way of building changes what comes out.
_RECIPE = "1.20.2-5"
# The programs could not be made; says which step failed and how.
NotBuilt = debian.Failed


def binaries(progress=None):
    """The folder with the programs. Builds them (minutes) where they are missing;
    `progress` is called with a line of text before each long step."""
    tell = progress or (lambda line: None)
    return debian.cached(debian.cache_folder("kubernetes"), _RECIPE, _complete,
                         lambda work: _build(work, tell))


def _complete(folder):
    return all(os.access(os.path.join(folder, p), os.X_OK) for p in _PROGRAMS)


def _build(work, progress):
    progress("fetching the source package of kubernetes")
    source = _fetch(work)
    progress("building kube-apiserver, kubelet and what belongs to them (many minutes)")
    made = _make(work, source)
    ready = os.path.join(work, "ready")
    os.makedirs(ready)
    for program in _PROGRAMS:
        shutil.move(os.path.join(made, program), ready)
    return ready


def _fetch(work):
    """The unpacked source."""
    archive = debian.Archive(work, "deb-src")
    kubernetes = archive.source("kubernetes")
    # kube-apiserver 1.20 brings a release of reflect2 that crashes where Go is newer
    # than 1.17, at the first custom resource; Debian's own is newer.
    fixed = archive.source("golang-github-modern-go-reflect2")
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
    debian.run(["make", "WHAT=" + " ".join("cmd/" + p for p in _PROGRAMS)], link, environment)
    made = os.path.join(source, "_output", "bin")
    missing = [p for p in _PROGRAMS if not os.access(os.path.join(made, p), os.X_OK)]
    if missing:
        raise NotBuilt(f"make ended well without making {', '.join(missing)}")
    return made


def main():
    try:
        print(binaries(lambda line: print(line, file=sys.stderr, flush=True)))
    except NotBuilt as error:
        sys.exit(f"kubernetes: {error}")


if __name__ == "__main__":
    main()
