# SPDX-License-Identifier: Apache-2.0
"""One kernel under QEMU: initramfs, boot, programs, what the console said."""

import dataclasses
import glob
import lzma
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

# Seconds for one program: one that hangs is named, and those after it run.
_PATIENCE = 900

# What the tests need and Debian builds as modules; what the kernel has built
# in or does not know is passed over (the tests say what they miss).
_MODULES = ("veth", "cls_bpf", "sch_ingress", "bridge", "tun", "af_packet", "sctp", "dummy")
_TOOLS = ("/usr/bin/busybox", "/usr/bin/ip", "/usr/sbin/tc", "/usr/sbin/bridge")
_HERE = os.path.dirname(os.path.abspath(__file__))


@dataclasses.dataclass
class Program:
    """Something to run in the guest; prints GoogleTest's summary or ours."""
    name: str
    path: str
    arguments: str = ""


@dataclasses.dataclass
class Result:
    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list = dataclasses.field(default_factory=list)
    failures: dict = dataclasses.field(default_factory=dict)  # by test: what it printed

    @property
    def ok(self):
        return self.failed == 0 and self.passed > 0


@dataclasses.dataclass
class Outcome:
    programs: list
    problems: list
    console: str
    seconds: float

    @property
    def ok(self):
        return not self.problems and all(p.ok for p in self.programs)


def find_programs(build):
    """The datapath, the applier, real traffic, and scenarios of policies.

    Not in the guests yet: agent_netns_test. It runs commands by the shell, and busybox's takes its
    own `ip` for the one that the test needs; another /bin/sh in the initramfs would do.
    """
    # Left out: timing, which emulation says nothing about, most seeds of random tests
    # and the second map of a kind, which take minutes under it, most of them in the
    # verifier; what differs by kernel shows with any seed, and with one hash and one trie.
    seeds = ":".join(f"*Random*/{n}" for n in range(3, 100))
    alike = "*KernelFull*/peers6:*KernelFull*/prefixes?"
    chosen = f"--gtest_filter=-*Benchmark*:*Slow*:*Performance*:{alike}:{seeds}"
    agent = sorted(glob.glob(os.path.join(build, "tests/unit/agent_*_test")))
    return [Program("datapath", os.path.join(build, "tests/datapath/sluice_datapath_test"), chosen),
            Program("dns_message", os.path.join(build, "tests/datapath/sluice_dns_message_test"), chosen),
            *(Program(os.path.basename(path), path, chosen) for path in agent),
            Program("traffic", os.path.join(_HERE, "traffic.sh")),
            Program("scenarios", os.path.join(_HERE, "scenarios.sh"))]


def run(kernel, programs, build, timeout, show=False):
    """Boots `kernel`, runs `programs` in it, never longer than `timeout` seconds."""
    with tempfile.TemporaryDirectory(prefix="sluice-guest-") as folder:
        initramfs = os.path.join(folder, "initramfs")
        _make_initramfs(kernel, programs, build, os.path.join(folder, "root"), initramfs)
        start = time.monotonic()
        console, ended = _boot(kernel, initramfs, timeout, show)
    results, problems = _read_console(console, programs)
    if not ended:
        problems.append(f"not finished after {timeout} s")
    return Outcome(results, problems, console, time.monotonic() - start)


# ---- initramfs ---------------------------------------------------------------


def _make_initramfs(kernel, programs, build, root, target):
    for folder in ("bin", "dev", "proc", "sys", "tmp", "run", "modules", "programs", "etc"):
        os.makedirs(os.path.join(root, folder))
    shutil.copytree(os.path.join(_HERE, "..", "..", "docs", "examples"), os.path.join(root, "scenarios"))
    binaries = [*_TOOLS, *(p.path for p in programs)]
    for tool in ("cli/sluice", "tests/kernels/sctp_probe", "tests/kernels/dns_probe"):
        path = os.path.join(build, tool)
        if os.path.exists(path):
            binaries.append(path)
    for path in binaries:
        _add_binary(root, path)
    for number, path in enumerate(_module_files(kernel)):
        name = os.path.basename(path).split(".")[0]
        with open(os.path.join(root, "modules", f"{number:02}-{name}.ko"), "wb") as file:
            file.write(_read_module(path))
    with open(os.path.join(root, "init"), "w", encoding="ascii") as file:
        file.write(_init_script(programs))
    os.chmod(os.path.join(root, "init"), 0o755)
    # Uncompressed: unpacking a compressed one costs seconds under emulation.
    with open(target, "wb") as file:
        names = subprocess.run(["find", ".", "-print0"], cwd=root, check=True,
                               stdout=subprocess.PIPE).stdout
        subprocess.run(["cpio", "--null", "-o", "-H", "newc", "--quiet"], cwd=root,
                       check=True, input=names, stdout=file)


def _add_binary(root, path):
    target = os.path.join(root, "bin", os.path.basename(path))
    shutil.copy(os.path.realpath(path), target)
    os.chmod(target, 0o755)
    listed = subprocess.run(["ldd", path], check=False, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        place = root + library
        if not os.path.exists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copy(os.path.realpath(library), place)


def _module_files(kernel):
    """Paths of the modules, every one after those it depends on."""
    depends = {}
    with open(os.path.join(kernel.modules, "modules.dep"), encoding="ascii") as file:
        for line in file:
            path, _, rest = line.partition(":")
            depends[path] = rest.split()
    by_name = {os.path.basename(p).split(".")[0]: p for p in depends}
    order = []
    for name in _MODULES:
        path = by_name.get(name)
        if path is None:
            continue
        # modules.dep lists dependencies with the outermost first.
        for needed in [*reversed(depends[path]), path]:
            if needed not in order:
                order.append(needed)
    return [os.path.join(kernel.modules, p) for p in order]


def _read_module(path):
    with open(path, "rb") as file:
        data = file.read()
    return lzma.decompress(data) if path.endswith(".xz") else data


def _init_script(programs):
    lines = [
        "#!/bin/busybox sh",
        "export PATH=/bin:/sbin HOME=/tmp GTEST_COLOR=no TERM=dumb",
        "/bin/busybox --install -s /bin 2>/dev/null",
        "mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev",
        "mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /run; mount -t bpf bpf /sys/fs/bpf",
        'for m in /modules/*.ko; do insmod "$m" || echo "SLUICE-PROBLEM cannot load $m"; done',
        "ip link set lo up; ulimit -l unlimited; hostname guest",
        'echo "SLUICE-KERNEL $(uname -r)"',
    ]
    for program in programs:
        base = os.path.basename(program.path)
        lines += [f'echo "SLUICE-BEGIN {program.name}"',
                  f"( cd /tmp && timeout -s KILL {_PATIENCE} /bin/{base} {program.arguments} ) 2>&1",
                  f'echo "SLUICE-END {program.name} $?"']
    lines += ["dmesg | grep -E 'BUG:|WARNING: CPU|Oops|general protection|refcount_t'"
              " | sed 's/^/SLUICE-PROBLEM kernel: /'",
              "echo SLUICE-DONE", "poweroff -f"]
    return "\n".join(lines) + "\n"


# ---- QEMU ----------------------------------------------------------------------


def _boot(kernel, initramfs, timeout, show):
    # QEMU 7.2 now and then leaves garbage in the flags after CMPXCHG16B, of which the kernel's
    # allocator dies ("double fault" in kmem_cache_alloc); without it the kernel has another way.
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max,-cx16", "-smp", "2",
               "-m", "1536", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
               "-serial", "stdio", "-kernel", kernel.image, "-initrd", initramfs, "-append",
               "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off tsc=unstable"
               " nowatchdog rcupdate.rcu_cpu_stall_suppress=1"]
    deadline = time.monotonic() + timeout
    console = bytearray()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as qemu:
        try:
            while (left := deadline - time.monotonic()) > 0:
                if not select.select([qemu.stdout], [], [], min(left, 5))[0]:
                    continue
                piece = os.read(qemu.stdout.fileno(), 65536)
                if not piece:
                    break
                console += piece
                if show:
                    sys.stdout.buffer.write(piece)
                    sys.stdout.flush()
        finally:
            qemu.kill()
    text = console.decode("utf-8", "replace").replace("\r", "")
    return text, "SLUICE-DONE" in text


# ---- the console -----------------------------------------------------------------


def _read_console(console, programs):
    problems = re.findall(r"SLUICE-PROBLEM (.*)", console)
    if "Kernel panic" in console:
        problems.append("kernel panic")
    results = []
    for program in programs:
        name = re.escape(program.name)
        match = re.search(rf"SLUICE-BEGIN {name}\n(.*?)SLUICE-END {name} (\d+)\n", console, re.S)
        result = Result(program.name)
        results.append(result)
        if match is None:
            problems.append(f"{program.name} did not run to its end")
            continue
        _count(result, match.group(1))
        if int(match.group(2)) != 0 and result.failed == 0:
            problems.append(f"{program.name} ended with status {match.group(2)}")
        elif result.passed == 0:
            problems.append(f"{program.name} ran no test")
    return results, problems


def _count(result, text):
    """GoogleTest's summary, or a last line 'N passed, N failed, N skipped'."""
    for field, pattern in (("passed", r"\[  PASSED  \] (\d+) test"),
                           ("failed", r"\[  FAILED  \] (\d+) test"),
                           ("skipped", r"\[  SKIPPED \] (\d+) test")):
        if found := re.findall(pattern, text):
            setattr(result, field, int(found[-1]))
    if found := re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", text, re.M):
        result.passed, result.failed, result.skipped = map(int, found[-1])
    result.notes = sorted(set(re.findall(r"\[  (?:FAILED|SKIPPED)\s*\] [A-Za-z]\S*", text)
                              + re.findall(r"^(?:FAILED|SKIPPED) .*", text, re.M)))
    tests = re.findall(r"^\[ RUN      \] (\S+)\n(.*?)^\[  FAILED  \] \1", text, re.M | re.S)
    result.failures = dict(tests) or ({"": text} if result.failed else {})
