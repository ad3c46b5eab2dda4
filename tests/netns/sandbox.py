# SPDX-License-Identifier: Apache-2.0
"""Namespaces of our own, so that nothing is left behind by any way to end.

After enter() the process is in new mount, process and network namespaces with
an empty /run, its own /sys and an empty bpffs on /sys/fs/bpf. Interfaces,
network namespaces, mounts and pins made from then on are gone, by the
kernel's hand, when the last process inside has ended; and all of them are
killed when the first one ends, be it by SIGKILL.
"""

import ctypes
import os
import signal
import subprocess
import sys

_MARK = "SLUICE_SANDBOX"
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def entered():
    """Is this process the one inside, from its first line on?"""
    return os.environ.get(_MARK) is not None and os.getpid() == 1


def enter():
    """Returns inside the sandbox. The process that calls it only waits for the
    one inside, ends with its status and takes it along when it is ended."""
    if not entered():
        sys.exit(_start_over())
    for arguments in (["-t", "tmpfs", "run", "/run"], ["-t", "sysfs", "sysfs", "/sys"],
                      ["-t", "bpf", "bpf", "/sys/fs/bpf"]):
        subprocess.run(["mount", *arguments], check=True)
    os.makedirs("/run/netns")


def _start_over():
    if os.geteuid() != 0:
        sys.exit("needs root: network namespaces, BPF")
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork",
               "--kill-child", "--mount-proc", "--net", sys.executable, *sys.argv]
    ended_by = []
    # No signal may come between the start and the handlers that pass it on.
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    inside = subprocess.Popen(command, env={**os.environ, _MARK: "1"}, preexec_fn=_prepare)

    def end(number, _frame):
        ended_by.append(number)
        inside.kill()
    for number in signals:
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    code = inside.wait()
    if ended_by:
        return 128 + ended_by[0]
    return code if code >= 0 else 128 - code


def _prepare():
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def set_network_namespace(fd):
    """Moves the calling thread."""
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
