# SPDX-License-Identifier: Apache-2.0
"""The stages of scripts/test: runs them, counts their tests, sums up."""

import argparse
import contextlib
import dataclasses
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

from scripts.checks import counts as counting
from scripts.checks.counts import Counts

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_LOGS = os.path.join(_ROOT, "build", "logs")
_RELEASE = os.path.join(_ROOT, "build", "release")
_ASAN = os.path.join(_ROOT, "build", "asan")
_SLUICE = os.path.join(_RELEASE, "cli", "sluice")
_PEERS = os.environ.get("SLUICE_PEER_VECTORS", os.path.join(_ROOT, "..", "shared", "vectors-peers"))
_FUZZ_SECONDS = os.environ.get("SLUICE_FUZZ_SECONDS", "10")


class Failed(Exception):
    """A step that others build on did not work."""


# Process groups of the commands that run now, of all lanes. To be ended with this process.
_groups = set()


# Seconds for a command, for one that runs a whole stage in real networks or guests, and for one test. In the
# background, much of that passes while others compute.
_COMMAND_SECONDS, _LONG_COMMAND_SECONDS, _TEST_SECONDS, _BACKGROUND_SECONDS = 1800, 3600, 600, 5000


def end_commands():
    for group in list(_groups):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def _step_back():
    """Leaves the processors to the stages that measure time. Where the kernel groups processes by session,
    niceness counts within a session only, and the session has one of its own (sched(7))."""
    os.nice(_BACKGROUND_NICE)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write(str(_BACKGROUND_NICE))


class Runner:
    """Runs commands of one stage, with their output in its log."""

    def __init__(self, stage):
        os.makedirs(_LOGS, exist_ok=True)
        background = stage in BACKGROUND
        self._prepare = _step_back if background else None
        self._timeout = _BACKGROUND_SECONDS if background else _COMMAND_SECONDS
        self._test_timeout = _BACKGROUND_SECONDS if background else _TEST_SECONDS
        self.log_path = os.path.join(_LOGS, stage + ".log")
        self._log = open(self.log_path, "w", encoding="utf-8")
        self.counts = Counts()

    def run(self, *command, timeout=None, environment=None):
        """(ok, output)"""
        timeout = timeout or self._timeout
        self._log.write(f"$ {' '.join(command)}\n")
        self._log.flush()
        start = self._log.tell()
        with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=self._log,  # pylint: disable=W1509
                              stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=self._prepare,
                              env={**os.environ, **(environment or {})}) as process:
            _groups.add(process.pid)
            try:
                code = process.wait(timeout)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                self._log.write(f"\nkilled after {timeout} s\n")
                code = -1
            finally:
                _groups.discard(process.pid)
        self._log.flush()
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            return code == 0, file.read()

    def must(self, *command, **options):
        ok, _ = self.run(*command, **options)
        if not ok:
            raise Failed(" ".join(command))

    def test(self, name, *command, **options):
        """A command that is one test or sums up several."""
        ok, output = self.run(*command, **options)
        self.counts.add(counting.from_output(output, ok, name))

    def ctest(self, build, *selection, timeout=None, environment=None):
        report = os.path.join(build, "ctest.xml")
        if os.path.exists(report):
            os.unlink(report)
        ok, _ = self.run("ctest", "--test-dir", build, "-j", "2", "--timeout", str(self._test_timeout),
                         "--output-on-failure", "--output-junit", report,
                         "--test-output-size-passed", "100000000",
                         "--test-output-size-failed", "100000000", *selection,
                         timeout=timeout, environment=environment)
        found = counting.from_ctest(report) if os.path.exists(report) else Counts()
        if not ok and found.failed == 0:
            found.add(Counts(failed=1, names=["FAILED ctest " + " ".join(selection)]))
        if found.passed + found.failed + found.skipped == 0:
            found.add(Counts(failed=1, names=["FAILED no test was found"]))
        self.counts.add(found)

    def close(self):
        self._log.close()


def _configure(runner, build, preset, *options):
    runner.must("cmake", "--preset", preset, "-B", build, *options)


# ---- stages ------------------------------------------------------------------


def check_format(runner):
    """clang-format on every source"""
    ok, output = runner.run("scripts/format", "--check")
    bad = {line.split(":")[0] for line in output.splitlines() if ": error:" in line}
    total = len(subprocess.run(["git", "ls-files", "*.h", "*.cpp", "*.c"], check=True, text=True,
                               cwd=_ROOT, stdout=subprocess.PIPE).stdout.split())
    runner.counts.add(Counts(max(0, total - len(bad)), len(bad) or int(not ok), 0,
                             [f"FAILED format of {f}" for f in sorted(bad)]))


def check_includes(runner):
    """modules include only what ARCHITECTURE.md allows"""
    runner.test("includes", "scripts/checks/includes.py")


def check_abi(runner):
    """abi.h: same layout for every compiler, equal to the recorded one"""
    runner.test("abi", "scripts/checks/abi.py")


def check_manifests(runner):
    """deploy/*.yaml are what the Helm chart says with its default values; each alert fires where it must"""
    runner.test("manifests", "scripts/checks/manifests.py", "--check")
    # The distribution's interpreter, to which its python3-yaml belongs.
    runner.test("alerts", "/usr/bin/python3", "-m", "tests.alerts.alerts_test")


def build(runner):
    """release build"""
    _configure(runner, _RELEASE, "release")
    runner.test("build", "cmake", "--build", _RELEASE)
    if runner.counts.failed:
        raise Failed("the build")


def unit(runner):
    """unit tests"""
    runner.ctest(_RELEASE, "-LE", "netns|datapath|vectors|kernel")


def datapath(runner):
    """BPF programs, built by clang 19 and by clang 14, on this kernel, packet by packet"""
    runner.ctest(_RELEASE, "-L", "datapath")


def vectors(runner):
    """recorded scenarios: in the model and through the loaded programs"""
    runner.ctest(_RELEASE, "-L", "vectors|kernel")
    peers = sorted(glob.glob(os.path.join(_PEERS, "*.jsonl.gz")))
    if peers:
        runner.test("peers' vectors in the model", _SLUICE, "test", *peers)
        runner.test("peers' vectors in the kernel", _SLUICE, "test", "--kernel", *peers)
    else:
        runner.counts.add(Counts(skipped=1, names=["SKIPPED peers' vectors: not on this machine"]))


def netns(runner):
    """real packets through network namespaces"""
    runner.ctest(_RELEASE, "-L", "netns", timeout=_LONG_COMMAND_SECONDS)


def cluster(runner):
    """operators and agents with a real kube-apiserver: policies by kubectl's way, packets between nodes"""
    # The first run on a machine builds Kubernetes' programs.
    runner.test("cluster", "tests/cluster/run", timeout=_LONG_COMMAND_SECONDS)


def real(runner):
    """nodes of real parts: kubelet, containerd, CNI plugins, kube-proxy; Sluice from its images by deploy/"""
    runner.test("real", "tests/real/run", timeout=_LONG_COMMAND_SECONDS)


def tidy(runner):
    """clang-tidy on lib, agent, operator, cli, bench and tests, where something changed since it was clean"""
    runner.test("tidy", "scripts/checks/tidy.py", "--build", _RELEASE,
                "lib/", "agent/", "operator/", "cli/", "bench/", "tests/")


def asan(runner):
    """all user-space tests under AddressSanitizer and UBSan"""
    _configure(runner, _ASAN, "asan")
    runner.must("cmake", "--build", _ASAN)
    runner.ctest(_ASAN, "-LE", "netns|slow|kernel",
                 environment={"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
                              "UBSAN_OPTIONS": "print_stacktrace=1"})


def fuzz(runner):
    """a short run of every fuzz target"""
    runner.test("fuzz", "tests/fuzz/run", _FUZZ_SECONDS)


def kernels(runner):
    """Debian's kernels 5.10, 6.1 and 6.12 under QEMU"""
    runner.test("kernels", "scripts/test-kernels", "--build", _RELEASE, timeout=_LONG_COMMAND_SECONDS)


# In the order in which they run; what fails fast comes first.
STAGES = {"format": check_format, "includes": check_includes, "abi": check_abi, "manifests": check_manifests,
          "build": build, "unit": unit, "datapath": datapath, "vectors": vectors, "netns": netns,
          "cluster": cluster, "real": real, "kernels": kernels, "tidy": tidy, "asan": asan, "fuzz": fuzz}
# Those that take much computing and no time by the clock. They run beside the others, once the build is done,
# and get what these leave of the processors.
BACKGROUND = ("tidy", "asan", "fuzz")
_BACKGROUND_NICE = 10
_NEED_BUILD = {"unit", "datapath", "vectors", "netns", "cluster", "real", "kernels", "tidy"}
_NEED_ROOT = {"unit", "datapath", "vectors", "netns", "cluster", "real", "asan"}


@dataclasses.dataclass
class Outcome:
    counts: Counts
    seconds: float


_printing = threading.Lock()


def run_stage(name):
    with _printing:
        print(f"== {name}: {STAGES[name].__doc__}", flush=True)
    runner, start = Runner(name), time.monotonic()
    try:
        STAGES[name](runner)
    except Failed as error:
        if not runner.counts.failed:
            runner.counts.add(Counts(failed=1, names=[f"FAILED {error}"]))
    finally:
        runner.close()
    outcome = Outcome(runner.counts, time.monotonic() - start)
    with _printing:
        print(f"   {name}: {outcome.counts}  ({outcome.seconds:.0f} s)", flush=True)
        if outcome.counts.failed:
            for line in outcome.counts.names:
                if line.startswith("FAILED"):
                    print(f"   {line}")
            show_log(runner.log_path)
    return outcome


def show_log(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    print(f"   last lines of {os.path.relpath(path, _ROOT)}:")
    for line in lines[-60:]:
        print(f"   | {line[:300]}")
    sys.stdout.flush()


def run_in_turn(names, outcomes):
    for name in names:
        built = outcomes.get("build")
        if built and built.counts.failed and name in _NEED_BUILD:
            outcomes[name] = Outcome(Counts(failed=1, names=[f"FAILED {name}: nothing built"]), 0)
        else:
            outcomes[name] = run_stage(name)


def run_stages(chosen):
    """The outcome of each, in the order of STAGES."""
    outcomes = {}
    last = chosen.index("build") + 1 if "build" in chosen else 0
    run_in_turn(chosen[:last], outcomes)
    rest = chosen[last:]
    background = [s for s in rest if s in BACKGROUND]
    lane = threading.Thread(target=run_in_turn, args=(background, outcomes), daemon=True)
    lane.start()
    run_in_turn([s for s in rest if s not in BACKGROUND], outcomes)
    lane.join()
    for name in chosen:
        # An error in this program ends its lane.
        outcomes.setdefault(name, Outcome(Counts(failed=1, names=[f"FAILED {name}: not run"]), 0))
    return {name: outcomes[name] for name in chosen}


def prepare_cache():
    """Compiler results and kernels live outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.environ.setdefault("CCACHE_DIR", os.path.join(base, "sluice", "ccache"))
    os.environ.setdefault("CCACHE_BASEDIR", _ROOT)
    os.environ.setdefault("CCACHE_NOHASHDIR", "1")
    os.environ.setdefault("CCACHE_MAXSIZE", "2G")
    os.environ["GTEST_COLOR"] = "no"


def choose(names):
    chosen = [s for s in STAGES if not names or s in names]
    if _NEED_BUILD & set(chosen) and "build" not in chosen:
        chosen = [s for s in STAGES if s in chosen or s == "build"]
    return chosen


def main():
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="stage", help=", ".join(STAGES))
    parser.add_argument("--list", action="store_true", help="list the stages")
    arguments = parser.parse_args()
    if arguments.list:
        for name, function in STAGES.items():
            print(f"{name:<10} {function.__doc__}")
        return 0
    if unknown := set(arguments.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    chosen = choose(arguments.stages)
    if os.geteuid() != 0 and _NEED_ROOT & set(chosen):
        parser.error("BPF and network namespaces need root: sudo scripts/test")
    prepare_cache()
    start = time.monotonic()
    return sum_up(run_stages(chosen), time.monotonic() - start)


def sum_up(outcomes, seconds):
    total = Counts()
    width = shutil.get_terminal_size((80, 20)).columns
    print("\n" + "=" * min(width, 60))
    for name, outcome in outcomes.items():
        total.add(outcome.counts)
        print(f"{name:<10} {outcome.counts}  ({outcome.seconds:.0f} s)")
    for line in total.names:
        print(line)
    print(f"{seconds:.0f} s in all")
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        end_commands()
