# SPDX-License-Identifier: Apache-2.0
"""The control groups of the lab's nodes: all that a lab makes which the kernel does not take away
with the lab's processes. A janitor outside does it, also when the lab is killed.

  python3 -m tests.real.cgroups NAME      the janitor of the lab of that name
"""

import os
import subprocess
import sys
import time

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_PREFIX = "sluice-real-"
# What the kernel may need to end a lab's processes.
_PATIENCE_SECONDS = 60


class Hierarchy:
    """One tree of control groups, and where in it this process is."""

    def __init__(self, name, options, kind, own):
        self.name, self.options, self.kind, self.own = name, options, kind, own

    def mount(self, folder):
        path = os.path.join(folder, self.name)
        os.makedirs(path)
        options = ["-o", self.options] if self.options else []
        subprocess.run(["mount", "-t", self.kind, *options, "cgroup", path], check=True)
        return path


def hierarchies():
    """All that the kernel has. A kubelet as old as the lab's wants those of version 1."""
    found = []
    with open("/proc/self/cgroup", encoding="ascii") as file:
        for line in file:
            number, controllers, own = line.rstrip("\n").split(":", 2)
            if number == "0":
                found.append(Hierarchy("unified", "", "cgroup2", own))
            elif controllers.startswith("name="):
                found.append(Hierarchy(controllers[5:], "none," + controllers, "cgroup", own))
            else:
                found.append(Hierarchy(controllers, controllers, "cgroup", own))
    controllers = {c for h in found for c in h.name.split(",")}
    if missing := {"cpu", "cpuacct", "cpuset", "memory", "pids"} - controllers:
        raise RuntimeError("the lab needs control groups of version 1; this machine has none for "
                           + ", ".join(sorted(missing)))
    return found


class Groups:
    """The control groups of one lab, below the one in which this process is."""

    def __init__(self, folder, name):
        self._trees = [(h, os.path.join(h.mount(folder), h.own.lstrip("/"))) for h in hierarchies()]
        self._name = name
        self._make(name)

    def make(self, node):
        """Makes a node's group in every tree; the folders."""
        return self._make(os.path.join(self._name, node))

    def _make(self, name):
        made = []
        for hierarchy, top in self._trees:
            path = os.path.join(top, name)
            os.makedirs(path, exist_ok=True)
            if "cpuset" in hierarchy.name.split(","):
                for what in ("cpuset.cpus", "cpuset.mems"):
                    with open(os.path.join(os.path.dirname(path), what), encoding="ascii") as file:
                        value = file.read()
                    with open(os.path.join(path, what), "w", encoding="ascii") as file:
                        file.write(value)
            made.append(path)
        return made


def join(folders):
    """Moves this process; for what runs between fork and exec."""
    for folder in folders:
        with open(os.path.join(folder, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write("0")


def clear(folders):
    """Removes what is below, once nothing runs there any more."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for folder in folders:
        while not _remove_tree(folder, itself=False):
            if time.monotonic() > deadline:
                raise TimeoutError(f"something still runs in {folder}")
            time.sleep(0.02)


def _remove_tree(top, itself=True):
    for folder, _, _ in os.walk(top, topdown=False):
        if folder != top or itself:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                return False
    return True


# ---- the janitor ---------------------------------------------------------------------


def _own_names():
    """How the names of labs begin that processes of this process namespace run."""
    return f"{_PREFIX}{os.stat('/proc/self/ns/pid').st_ino}-"


def start_janitor():
    """Starts the janitor of this process's lab; the lab's name. The janitor notices the end of this
    process by the pipe that it reads: no other process has the end that writes."""
    # The end that writes is nobody's: it closes with this process.
    reads, _ = os.pipe()
    name = f"{_own_names()}{os.getpid()}"
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.real.cgroups", name]
    subprocess.Popen(command, stdin=reads, stdout=subprocess.DEVNULL,  # pylint: disable=R1732
                     stderr=subprocess.DEVNULL, cwd=_ROOT, start_new_session=True)
    os.close(reads)
    return name


def _dead(name):
    """Was it a lab of this process namespace, and does nobody run it any more?"""
    return name.startswith(_own_names()) and not os.path.exists("/proc/" + name.removeprefix(_own_names()))


def main():
    own = sys.argv[1]
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
    tops = [os.path.join(h.mount("/mnt"), h.own.lstrip("/")) for h in hierarchies()]
    # Those of labs whose janitor was killed, too.
    left = [os.path.join(t, n) for t in tops for n in os.listdir(t) if _dead(n)]
    for path in left:
        _remove_tree(path)
    sys.stdin.read()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    left = [os.path.join(top, own) for top in tops]
    while left and time.monotonic() < deadline:
        left = [path for path in left if os.path.exists(path) and not _remove_tree(path)]
        time.sleep(0.05)


if __name__ == "__main__":
    main()
