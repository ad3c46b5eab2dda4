# SPDX-License-Identifier: Apache-2.0
"""cmake --install and the Debian package, made from what the build folder holds."""

import glob
import gzip
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from tests.package import programs
from tests.package.man_page_test import commands

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.abspath(os.path.join(_HERE, "..", ".."))
_PROGRAMS = ("sluice", "sluice-agent", "sluice-cni", "sluice-operator")


def _output(*command, **options):
    done = subprocess.run(command, check=False, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stdout}")
    return done.stdout


def _files(folder):
    return sorted(os.path.relpath(os.path.join(top, name), folder) for top, _, names in os.walk(folder) for name in names)


class Made(unittest.TestCase):
    def folder(self):
        path = tempfile.mkdtemp(prefix="package-")
        self.addCleanup(shutil.rmtree, path)
        return path


class Install(Made):
    def install(self, *options, **environment):
        _output("cmake", "--install", os.environ["SLUICE_BUILD"], *options, env={**os.environ, **environment})

    def test_everything_is_below_the_prefix_and_the_unit_names_it(self):
        prefix = self.folder()
        self.install("--prefix", prefix)
        for name in _PROGRAMS:
            self.assertEqual(_output(os.path.join(prefix, "bin", name), "--version"), programs.run(name, "--version"))
        with open(os.path.join(prefix, "lib", "systemd", "system", "sluice.service"), encoding="utf-8") as file:
            unit = file.read()
        self.assertIn(f"ExecStart={prefix}/bin/sluice run", unit)
        self.assertIn(f"EnvironmentFile=-{prefix}/etc/default/sluice", unit)
        self.assertNotIn("/usr/bin/sluice", unit)

    def test_destdir_is_before_the_prefix_and_settings_stay_as_they_were_changed(self):
        top = self.folder()
        for _ in range(2):
            self.install("--prefix", "/usr", DESTDIR=top)
            for path in ("usr/bin/sluice", "etc/default/sluice", "usr/share/doc/sluice/LICENSES/Apache-2.0.txt"):
                self.assertIn(path, _files(top))
            with open(top + "/etc/default/sluice", "a", encoding="utf-8") as file:
                file.write("SLUICE_OPTIONS=--flows=1\n")
        with open(top + "/etc/default/sluice", encoding="utf-8") as file:
            self.assertEqual(file.read().count("SLUICE_OPTIONS=--flows=1"), 2)


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="package-")
        cls.addClassCleanup(shutil.rmtree, cls.top)
        _output("cpack", "-G", "DEB", "-B", cls.top, "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=none",
                cwd=os.environ["SLUICE_BUILD"])
        (cls.deb,) = glob.glob(cls.top + "/sluice_*.deb")
        cls.root, cls.control = cls.top + "/root", cls.top + "/control"
        _output("dpkg-deb", "-x", cls.deb, cls.root)
        _output("dpkg-deb", "-e", cls.deb, cls.control)

    def field(self, name):
        return _output("dpkg-deb", "-f", self.deb, name).strip()

    def test_it_has_programs_pages_completions_unit_documents_and_licences(self):
        files = _files(self.root)
        expected = ["usr/bin/" + name for name in _PROGRAMS]
        for program, section in (("sluice", 1), ("sluice-agent", 8), ("sluice-operator", 8)):
            expected += [f"usr/share/man/man{section}/{'-'.join((program, *path))}.{section}.gz"
                         for path in commands(program)]
        expected += ["usr/share/man/man8/sluice-cni.8.gz", "usr/bin/kubectl-sluice", "usr/share/man/man1/kubectl-sluice.1.gz", "usr/share/bash-completion/completions/sluice",
                     "usr/share/fish/vendor_completions.d/sluice.fish", "usr/share/zsh/vendor-completions/_sluice",
                     "lib/systemd/system/sluice.service", "etc/default/sluice", "usr/share/doc/sluice/copyright",
                     "usr/share/doc/sluice/changelog.gz", "usr/share/doc/sluice/README.md",
                     "usr/share/doc/sluice/docs/operations.md", "usr/share/doc/sluice/LICENSE"]
        self.assertEqual([path for path in expected if path not in files], [])
        places = re.compile(r"(usr/(bin|share/(man|doc/sluice|bash-completion|fish|zsh|lintian))|lib/systemd|etc)/")
        self.assertEqual([path for path in files if not places.match(path)], [])

    def test_settings_are_the_only_conffiles_and_the_changelog_has_the_version(self):
        with open(self.control + "/conffiles", encoding="ascii") as file:
            self.assertEqual(file.read().split(), ["/etc/default/sluice"])
        self.assertEqual([path for path in _files(self.root) if path.startswith("etc/")], ["etc/default/sluice"])
        with gzip.open(self.root + "/usr/share/doc/sluice/changelog.gz", "rt") as file:
            self.assertEqual(file.readline().split(" (")[0], "sluice")
            file.seek(0)
            self.assertIn(f"({self.field('Version')})", file.readline())

    def test_it_depends_on_the_packages_of_all_libraries_that_the_programs_load(self):
        depends = {item.split(" ")[0] for item in self.field("Depends").split(", ")}
        needed = set()
        for name in _PROGRAMS:
            needed |= set(re.findall(r"NEEDED\).*\[(.*)\]", _output("readelf", "-d", f"{self.root}/usr/bin/{name}")))
        self.assertIn("libbpf.so.1", needed)
        for library in needed:
            owners = {line.split(":")[0] for line in _output("dpkg", "-S", "*/" + library).splitlines()}
            provided = set(re.findall(r"[^\s,()]+", _output("dpkg-query", "-W", "-f", "${Package} ${Provides} ", *owners)))
            self.assertTrue(provided & depends, f"{library} of {owners}")

    def test_it_installs_runs_and_leaves_nothing_behind_when_it_is_purged(self):
        folder = tempfile.mkdtemp(prefix="package-mounts-")
        self.addCleanup(os.rmdir, folder)
        script = f"""
            list() {{ find /etc /usr /lib /var/lib /run /opt -not -path '/var/lib/dpkg/*' -not -path '/run/systemd*' | sort; }}
            list > /tmp/before
            dpkg -i {self.deb}
            for program in {' '.join(_PROGRAMS)}; do $program --version; done
            dpkg --verify sluice
            systemd-analyze verify /lib/systemd/system/sluice.service
            systemctl enable sluice.service
            sluice test /usr/share/doc/sluice/docs/examples
            dpkg --purge sluice
            list > /tmp/after
            diff /tmp/before /tmp/after && echo nothing is left"""
        text = _output("unshare", "-m", os.path.join(_HERE, "in_overlay"), folder, script, self.top)
        self.assertIn("nothing is left", text)
        self.assertRegex(text, r"\d+ scenarios, \d+ probes, 0 failed")
        self.assertIn(programs.run("sluice", "--version"), text)

    def test_the_unit_may_do_what_enforcement_needs_and_little_else(self):
        with open(self.root + "/lib/systemd/system/sluice.service", encoding="utf-8") as file:
            unit = dict(re.findall(r"^(\w+)=(.*)$", file.read(), re.M))
        self.assertEqual(unit["CapabilityBoundingSet"].split(), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON",
                                                                  "CAP_SYS_RESOURCE"])
        self.assertIn("/sys/fs/bpf", unit["ReadWritePaths"])
        exposure = _output("systemd-analyze", "security", "--offline=true",
                           self.root + "/lib/systemd/system/sluice.service")
        self.assertLess(float(re.search(r"Overall exposure level.*: ([\d.]+)", exposure).group(1)), 4)
