# SPDX-License-Identifier: Apache-2.0
"""`sluice-agent` on a node, and an operator for it that serves a folder of manifests."""

import itertools
import json
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

from tests.netns.sluice import wait_for

TOKEN = "the-node's-token"
PORT = 9443
_GATEWAY = "169.254.1.1"  # the router's, where the operator is
_numbers = itertools.count(1)


def binary(*parts):
    """A program of the build to which `sluice` belongs."""
    build = os.path.join(os.path.dirname(os.environ["SLUICE"]), "..")
    return os.path.abspath(os.path.join(build, *parts))


class Operator:
    """Serves a folder of manifests to agents."""

    def __init__(self, manifests):
        self.manifests = manifests
        self.out = tempfile.mkdtemp(prefix="operator-", dir="/run")
        self.process = None

    def start(self, port_number=PORT):
        port = os.path.join(self.out, "port")
        if os.path.exists(port):
            os.unlink(port)
        with open(os.path.join(self.out, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [binary("tests", "netns", "fake_operator"), self.manifests.path,
                 f"0.0.0.0:{port_number}", self.out, TOKEN],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_for(lambda: os.path.exists(port) or self.process.poll() is not None, "operator listens")
        assert self.process.poll() is None, "the operator ended"

    def kill(self):
        self.process.kill()
        self.process.wait(15)

    def acknowledged(self, node):
        """None before the first time."""
        try:
            with open(os.path.join(self.out, node + ".json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def forget(self, node):
        path = os.path.join(self.out, node + ".json")
        if os.path.exists(path):
            os.unlink(path)

    def wait_acknowledged(self, node, since=None):
        """The last acknowledgement, newer than `since`, with nothing left to do."""
        def done():
            ack = self.acknowledged(node)
            return ack if (ack and ack != since and ack["applied"] == ack["received"]
                           and not ack["failures"]) else None
        return wait_for(done, f"acknowledged: {self.acknowledged(node)}")


class Agent:
    """`sluice-agent` on a node, and the command `sluice` that asks it."""

    def __init__(self, node, operator, *options):
        number = next(_numbers)
        self.node, self.operator, self.options = node, operator, list(options)
        self.pin_dir = f"/sys/fs/bpf/agent-{number}"
        self.socket = f"/run/agent-{number}/sluice.sock"
        self.log_path = f"/run/agent-{number}.log"
        self.token = f"/run/agent-{number}.token"
        self.process = None
        self.ca_file = os.path.join(operator.out, "ca.crt")
        os.makedirs(os.path.dirname(self.socket), exist_ok=True)
        self.set_token(TOKEN)

    def set_token(self, token):
        with open(self.token, "w", encoding="ascii") as file:
            file.write(token)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = self.node.ns.popen(
                binary("agent", "program", "sluice-agent"), "--node", self.node.name,
                "--operator", f"{_GATEWAY}:{PORT}", "--operator-name", "operator.test",
                "--ca-file", self.ca_file, "--token-file", self.token,
                "--pin-dir", self.pin_dir, "--socket", self.socket, "--health", "127.0.0.1:9965",
                *self.options, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        # A socket that was killed with its owner is there until the next one has it.
        wait_for(lambda: self.process.poll() is not None or self.command("status")[0] == 0,
                 "the agent answers")
        assert self.process.poll() is None, self.log()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(15)
        assert code == 0, f"sluice-agent ended with {code}: {self.log()}"

    def kill(self):
        self.process.kill()
        self.process.wait(15)

    def cleanup(self):
        done = self.node.ns.popen(
            binary("agent", "program", "sluice-agent"), "--cleanup", "--pin-dir", self.pin_dir,
            "--socket", self.socket, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=15)[0]
        assert done.returncode == 0, text

    def command(self, *arguments):
        done = self.node.ns.popen(os.environ["SLUICE"], *arguments, "--socket", self.socket,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = done.communicate(timeout=15)
        return done.returncode, out, err

    def query(self, *arguments):
        code, out, err = self.command(*arguments, "-o", "json")
        assert code == 0, err
        return json.loads(out)

    def http(self, path):
        """Status and text."""
        with self.node.ns.entered():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:9965{path}", timeout=10) as reply:
                    return reply.status, reply.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-3000:]
