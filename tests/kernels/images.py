# SPDX-License-Identifier: Apache-2.0
"""Debian kernel images: found and fetched through apt, unpacked into the cache.

Nothing is installed. apt gets its own configuration (sources, lists, status)
in a temporary folder, so the machine's own is neither used nor changed.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import tempfile
import time

# Series and the suites that carry it.
SERIES = {
    "5.10": ("bullseye", "bullseye-security"),
    "6.1": ("bookworm", "bookworm-security"),
    "6.12": ("bookworm-backports",),
}
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# A resolved version is good for this long; then apt is asked again.
_FRESH_SECONDS = 7 * 24 * 3600


class NotFound(Exception):
    """No image of a series in its suites."""


@dataclasses.dataclass
class Kernel:
    release: str  # "6.1.0-56-cloud-amd64"
    folder: str   # unpacked package: boot/vmlinuz-RELEASE, lib/modules/RELEASE

    @property
    def image(self):
        return os.path.join(self.folder, "boot", "vmlinuz-" + self.release)

    @property
    def modules(self):
        for top in ("lib", "usr/lib"):
            path = os.path.join(self.folder, top, "modules", self.release)
            if os.path.isdir(path):
                return path
        raise NotFound(f"{self.release} has no modules")


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "sluice", "kernels")


def fetch(series):
    """{series: Kernel}; downloads what the cache lacks. Without a network, an
    image that was fetched before is good enough whatever its age."""
    result = {s: k for s in series if (k := _cached(s, _FRESH_SECONDS))}
    lacking = [s for s in series if s not in result]
    if not lacking:
        return result
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-apt-") as folder:
            apt = _Apt(folder, lacking)
            for s in lacking:
                result[s] = _install(apt, s)
    except NotFound:
        for s in lacking:
            result[s] = result.get(s) or _cached(s, float("inf"))
            if result[s] is None:
                raise
    return result


def _cached(series, max_age_seconds):
    """The image fetched last; None if there is none or it is older than that."""
    mark = os.path.join(cache_folder(), series)
    try:
        fetched = os.path.getmtime(mark)
        with open(mark, encoding="ascii") as file:
            release = file.read().strip()
    except OSError:
        return None
    kernel = Kernel(release, os.path.join(cache_folder(), release))
    if not os.path.exists(kernel.image):
        return None
    return kernel if time.time() - fetched < max_age_seconds else None


def _install(apt, series):
    release = apt.newest(series)
    kernel = Kernel(release, os.path.join(cache_folder(), release))
    if not os.path.exists(kernel.image):
        with tempfile.TemporaryDirectory(prefix="sluice-kernel-") as folder:
            package = apt.download("linux-image-" + release, folder)
            _unpack(package, kernel)
    with open(os.path.join(cache_folder(), series), "w", encoding="ascii") as file:
        file.write(release + "\n")
    return kernel


def _unpack(package, kernel):
    """All or nothing: the folder appears under its name when it is complete."""
    os.makedirs(cache_folder(), exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=cache_folder()) as folder:
        target = os.path.join(folder, "root")
        subprocess.run(["dpkg-deb", "-x", package, target], check=True)
        # dpkg runs depmod at installation; this package is only unpacked.
        base = target if os.path.isdir(os.path.join(target, "lib")) else os.path.join(target, "usr")
        subprocess.run(["depmod", "-b", base, kernel.release], check=True)
        shutil.rmtree(kernel.folder, ignore_errors=True)
        os.rename(target, kernel.folder)


class _Apt:
    def __init__(self, folder, series):
        self._folder = folder
        for sub in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(folder, sub))
        open(os.path.join(folder, "status"), "w", encoding="ascii").close()
        with open(os.path.join(folder, "sources.list"), "w", encoding="ascii") as file:
            for s in series:
                for suite in SERIES[s]:
                    archive = "debian-security" if suite.endswith("-security") else "debian"
                    file.write(f"deb [signed-by={_KEYRING} arch=amd64] "
                               f"http://deb.debian.org/{archive} {suite} main\n")
        self._run(["apt-get", "-qq", "update"])

    def newest(self, series):
        pattern = re.compile(rf"linux-image-({re.escape(series)}\.[0-9][^ ]*-cloud-amd64)$")
        names = self._run(["apt-cache", "pkgnames", f"linux-image-{series}."]).split()
        releases = [m.group(1) for n in names if (m := pattern.match(n)) and ".deb11" not in n]
        if not releases:
            raise NotFound(f"no image of {series} in {', '.join(SERIES[series])}")
        return max(releases, key=lambda r: [int(x) for x in re.findall(r"\d+", r)])

    def download(self, package, folder):
        self._run(["apt-get", "-qq", "download", package], cwd=folder)
        return os.path.join(folder, os.listdir(folder)[0])

    def _run(self, command, cwd=None):
        options = {
            "Dir::Etc::SourceList": os.path.join(self._folder, "sources.list"),
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::lists": os.path.join(self._folder, "lists"),
            "Dir::State::status": os.path.join(self._folder, "status"),
            "Dir::Cache": os.path.join(self._folder, "cache"),
            "APT::Sandbox::User": "root",
            "Acquire::Retries": "3",
            "Acquire::Check-Valid-Until": "false",
        }
        flags = [x for key, value in options.items() for x in ("-o", f"{key}={value}")]
        done = subprocess.run(command[:1] + flags + command[1:], cwd=cwd, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise NotFound(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
        return done.stdout
