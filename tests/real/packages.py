# SPDX-License-Identifier: Apache-2.0
"""What a node of the lab has installed: Debian 12's packages, unpacked into the cache.

They are not installed on this machine: containerd would take the place of a
developer's Docker. A node of the lab has the folder under its root instead.

  python3 -m tests.real.packages     fetches what the cache lacks, prints where it is
"""

import glob
import os
import shutil
import sys

from tests.cluster import debian

_PACKAGES = ("containerd", "runc", "containernetworking-plugins", "iptables", "ipset", "conntrack",
             # What they load.
             "libseccomp2", "libxtables12", "libip4tc2", "libip6tc2", "libnftnl11", "libmnl0", "libipset13",
             "libnetfilter-conntrack3", "libnfnetlink0")
_PROGRAMS = ("usr/bin/containerd", "usr/bin/ctr", "usr/sbin/runc", "usr/sbin/xtables-nft-multi",
             "usr/sbin/ipset", "usr/sbin/conntrack", "usr/lib/cni/bridge", "usr/lib/cni/ptp",
             "usr/lib/cni/portmap")
# Raised when the lists above or the way of unpacking change.
_RECIPE = "bookworm-1"


def folder(progress=None):
    """The root folder of the unpacked packages; fetched (seconds) where it is missing."""
    tell = progress or (lambda line: None)
    return debian.cached(debian.cache_folder("node"), _RECIPE, _complete, lambda work: _unpack(work, tell))


def _complete(root):
    return all(os.access(os.path.join(root, p), os.X_OK) for p in _PROGRAMS)


def _unpack(work, progress):
    progress("fetching containerd, runc and the CNI plugins")
    root = os.path.join(work, "root")
    for package in debian.Archive(work, "deb").packages(_PACKAGES):
        debian.run(["dpkg-deb", "-x", package, root], work)
    # The root that it is laid over has links there.
    for name in ("bin", "sbin", "lib"):
        if os.path.isdir(os.path.join(root, name)):
            shutil.copytree(os.path.join(root, name), os.path.join(root, "usr", name), symlinks=True,
                            dirs_exist_ok=True)
            shutil.rmtree(os.path.join(root, name))
    # Debian's alternatives, as they are without a choice.
    for name in ("iptables", "ip6tables"):
        for what in ("", "-save", "-restore"):
            os.symlink("xtables-nft-multi", os.path.join(root, "usr/sbin", name + what))
    _check_libraries(root)
    return root


def _check_libraries(root):
    """A library that is not found must fail here, not at the first start."""
    libraries = ":".join(glob.glob(os.path.join(root, "usr/lib/*-linux-gnu")))
    for program in _PROGRAMS:
        path = os.path.join(root, program)
        if not os.access(path, os.X_OK):
            raise debian.Failed(f"{program} is in none of the packages")
        output = debian.run(["sh", "-c", 'LD_LIBRARY_PATH="$1" ldd "$2" 2>&1 || true', "sh", libraries, path],
                            root)
        if "not found" in output:
            raise debian.Failed(f"{program} lacks a library: {output}")


def main():
    try:
        print(folder(lambda line: print(line, file=sys.stderr, flush=True)))
    except debian.Failed as error:
        sys.exit(f"packages: {error}")


if __name__ == "__main__":
    main()
