# SPDX-License-Identifier: Apache-2.0
"""The first process of a node: makes the node's root in namespaces of its own, says "ready", and then
waits for the node's orphans. The node goes with it.

  node_init.py JSON      "name", "disk" (folder), "packages", "shared" ({path in the node: folder}),
                         "cgroups" ([[name, type, options]])
"""

import json
import os
import signal
import subprocess
import sys


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def make_root(spec):
    disk = spec["disk"]
    root = os.path.join(disk, "root")
    mount("--make-rprivate", "/")
    mount("-t", "overlay", "-o", f"lowerdir={spec['packages']}:/,upperdir={disk}/upper,workdir={disk}/work",
          "node", root)
    mount("-t", "proc", "proc", root + "/proc")
    mount("-t", "sysfs", "sysfs", root + "/sys")
    mount("--rbind", "/dev", root + "/dev")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root + "/run")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root + "/tmp")
    # An overlay cannot be the upper part of another one.
    binds = {f"/var/lib/{name}": os.path.join(disk, name) for name in ("containerd", "kubelet")}
    for path, folder in {**binds, **spec["shared"]}.items():
        os.makedirs(root + path, exist_ok=True)
        mount("--bind", folder, root + path)
    make_sys(root + "/sys/fs", spec["cgroups"])
    # What kubelet would set for the whole machine, it finds set already.
    for path, value in (("vm/overcommit_memory", 1), ("kernel/panic", 10), ("kernel/panic_on_oops", 1)):
        fake = os.path.join(root, "run", path.replace("/", "-"))
        with open(fake, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
        mount("--bind", fake, f"{root}/proc/sys/{path}")
    return root


def make_sys(root, cgroups):
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root + "/cgroup")
    for name, kind, options in cgroups:
        os.makedirs(f"{root}/cgroup/{name}")
        mount("-t", kind, *(["-o", options] if options else []), "cgroup", f"{root}/cgroup/{name}")
    mount("-t", "bpf", "-o", "mode=700", "bpf", root + "/bpf")


def main():
    spec = json.loads(sys.argv[1])
    root = make_root(spec)
    os.chdir(root)
    os.makedirs(".old", exist_ok=True)
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/.old"], check=True)
    mount("--make-rshared", "/")
    subprocess.run(["hostname", spec["name"]], check=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    print("ready", flush=True)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait([signal.SIGCHLD])


if __name__ == "__main__":
    main()
