# SPDX-License-Identifier: Apache-2.0
"""The images' contents, run as deploy/ says: nothing else in the root, which is read-only, and
no right that the manifest does not give. What only a container runtime could tell is left out."""

import ctypes
import os
import re
import subprocess
import tempfile
import unittest

from tests.netns import sandbox, suite
from tests.netns.sluice import wait_for

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CAPABILITIES = {"NET_ADMIN": 12, "PERFMON": 38, "BPF": 39}
_VARIABLES = {"NODE_NAME": "node1", "SLUICE_OPERATOR_SERVICE_HOST": "fd00::9",
              "SLUICE_OPERATOR_SERVICE_PORT": "9443"}
_libc = ctypes.CDLL(None, use_errno=True)


def _read(*path):
    with open(os.path.join(_ROOT, *path), encoding="utf-8") as file:
        return file.read()


def _programs_in(image):
    """Paths in the checkout of the programs that the Dockerfile puts into an image."""
    line = re.search(rf"deploy/images/closure /{image} (.*?)( \\)?$", _read("deploy", "images", "Dockerfile"),
                     re.M).group(1)
    build = os.path.abspath(os.path.join(os.path.dirname(os.environ["SLUICE"]), ".."))
    return [path.replace("build/release", build, 1) for path in line.split()]


def _make_image(image):
    folder = tempfile.mkdtemp(prefix="image-", dir="/run")
    subprocess.run([os.path.join(_ROOT, "deploy", "images", "closure"), folder, *_programs_in(image)],
                   check=True)
    return folder


def _manifest(path):
    """The arguments, mounts ({volume: path}), capabilities and variables of the one container of ours."""
    text = _read("deploy", path)
    arguments = [re.sub(r"\$\((\w+)\)", lambda m: _VARIABLES[m.group(1)], each)
                 for each in re.findall(r"^        - (--\S+)$", text, re.M)]
    mounts = dict(re.findall(r"^        - name: (\S+)\n          mountPath: (\S+)$", text, re.M))
    added = re.search(r"^            add: \[(.*)\]$", text, re.M).group(1)
    variables = dict(re.findall(r"^        - name: (SLUICE_\w+)\n          value: (\S+)$", text, re.M))
    return arguments, mounts, [name.strip() for name in added.split(",")], variables


class Images(unittest.TestCase):

    def setUp(self):
        self.node = suite.world().host("node1")

    def mount(self, folder, mounts):
        """The root, which cannot be written, and in it what kubelet mounts."""
        os.makedirs(folder + "/proc")
        for arguments, path in (
                (["--bind", folder], ""), (["-o", "remount,bind,ro"], ""), (["-t", "proc", "proc"], "/proc"),
                (["-t", "bpf", "bpf"], mounts["bpffs"]), (["-t", "tmpfs", "run"], mounts["run"])):
            self.assertTrue(os.path.isdir(folder + path), f"{path} is in the image")
            subprocess.run(["mount", *arguments, folder + path], check=True)
            if "-o" not in arguments:
                self.addCleanup(subprocess.run, ["umount", "-l", folder + path], check=True)

    def start(self, folder, capabilities, *command, variables=None):
        keep = {_CAPABILITIES[name] for name in capabilities}

        def confine():
            sandbox.set_network_namespace(self.node.ns.fd)
            sandbox.die_with_parent()
            os.chroot(folder)
            os.chdir("/")
            for number in range(64):
                if number not in keep:
                    _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
            _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return subprocess.Popen(command, preexec_fn=confine, env=variables or {}, text=True,  # pylint: disable=R1732,W1509
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def run_in(self, folder, capabilities, *command, variables=None):
        done = self.start(folder, capabilities, *command, variables=variables)
        return done.communicate(timeout=30)[0], done.returncode

    def test_agent(self):
        arguments, mounts, capabilities, variables = _manifest("agent.yaml")
        folder = _make_image("agent")
        self.mount(folder, mounts)
        agent = self.start(folder, capabilities, "/usr/bin/sluice-agent", *arguments, variables=variables)
        self.addCleanup(agent.communicate)
        self.addCleanup(agent.kill)
        # As by kubectl exec: with the container's variables and no options.
        status = wait_for(lambda: agent.poll() is not None
                          or (lambda answer: answer[1] == 0 and answer[0])(
                              self.run_in(folder, capabilities, "/usr/bin/sluice", "status",
                                          variables=variables)), "an answer")
        self.assertIsNone(agent.poll(), agent.stdout.read() if agent.poll() is not None else "")
        self.assertRegex(status, r"operator \[fd00::9\]:9443")
        for question in (("peer", "list"), ("policy", "dump"), ("endpoint", "list"), ("conntrack", "list")):
            text, code = self.run_in(folder, capabilities, "/usr/bin/sluice", *question, variables=variables)
            self.assertEqual(code, 0, f"{question}: {text}")
        agent.terminate()
        self.assertEqual(agent.wait(15), 0)
        self.assertTrue(os.path.exists(folder + "/bpf/sluice"))
        # And what takes it away again.
        text = _read("deploy", "cleanup", "cleanup.yaml")
        command = re.search(r"^        command: \[(.*)\]$", text, re.M).group(1).split(", ")
        _, mounts_of_cleanup, capabilities, _ = _manifest("cleanup/cleanup.yaml")
        self.assertEqual(mounts_of_cleanup, {name: mounts[name] for name in ("bpffs", "run", "cni-conf", "cni-bin")})
        self.assertEqual(self.run_in(folder, capabilities, *command), ("", 0))
        self.assertFalse(os.path.exists(folder + "/bpf/sluice"))

    def test_there_is_nothing_else_in_them(self):
        for image, programs in (("agent", ["sluice", "sluice-agent", "sluice-cni"]), ("operator", ["sluice-operator"])):
            folder = _make_image(image)
            executables = [name for top, _, names in os.walk(folder) for name in names
                           if os.access(os.path.join(top, name), os.X_OK) and ".so" not in name]
            self.assertEqual(sorted(executables), programs)
            self.assertTrue(os.path.getsize(folder + "/etc/ssl/certs/ca-certificates.crt"))
            for program in programs:
                text, code = self.run_in(folder, [], "/usr/bin/" + program, "--version")
                self.assertEqual(code, 0, text)
                self.assertRegex(text, r"\d+\.\d+\.\d+")

    def test_a_program_that_lacks_a_library_makes_no_image(self):
        folder = tempfile.mkdtemp(prefix="image-", dir="/run")
        broken = os.path.join(folder, "broken")
        with open(os.environ["SLUICE"], "rb") as file:
            data = file.read()
        with open(broken, "wb") as file:
            file.write(data.replace(b"libbpf.so.1\0", b"libbpf.so.X\0"))
        os.chmod(broken, 0o755)
        done = subprocess.run([os.path.join(_ROOT, "deploy", "images", "closure"), folder + "/root", broken],
                              check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 1)
        self.assertIn("libbpf.so.X => not found", done.stdout)
