# SPDX-License-Identifier: Apache-2.0
"""`sluice run` on a node of the lab, and the directory of manifests it follows."""

import itertools
import json
import os
import select
import signal
import subprocess
import tempfile
import time

_numbers = itertools.count(1)


def wait_for(condition, what, seconds=60):
    """Returns the condition's first true value. `what`: a text, or a function that gives it in the end."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        select.select([], [], [], 0.01)


class Manifests:
    """A directory of manifests. Files appear whole, as editors and kubelet write them."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="manifests-", dir="/run")

    def put(self, name, *objects):
        self.put_text(name + ".json", json.dumps({"apiVersion": "v1", "kind": "List",
                                                   "items": list(objects)}))

    def put_text(self, name, text):
        hidden = os.path.join(self.path, ".new-" + name)
        with open(hidden, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(hidden, os.path.join(self.path, name))

    def remove(self, name):
        os.unlink(os.path.join(self.path, name + ".json"))


class Sluice:
    """One instance. `start()` returns when what is in the directory is enforced."""

    def __init__(self, node, manifests, *options):
        number = next(_numbers)
        self.node, self.manifests, self.options = node, manifests, list(options)
        self.pin_dir = f"/sys/fs/bpf/sluice-{number}"
        self.socket = f"/run/sluice-{number}/sluice.sock"
        self.log_path = f"/run/sluice-{number}.log"
        self.process = None
        os.makedirs(os.path.dirname(self.socket), exist_ok=True)

    def spawn(self, names_node=True, wrapper=()):
        """Starts the process and waits for nothing. `wrapper`: a command that runs it."""
        node = ["--node", self.node.name] if names_node else []
        with open(self.log_path, "ab") as log:
            self.process = self.node.ns.popen(
                *wrapper, os.environ["SLUICE"], "run", self.manifests.path, *node,
                "--pin-dir", self.pin_dir, "--socket", self.socket, *self.options,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def start(self, **how):
        self.spawn(**how)
        self.wait_enforced()
        return self

    def wait_enforced(self):
        def enforced():
            if self.process.poll() is not None:
                raise AssertionError(f"sluice run ended: {self.log()}")
            status = self.status()
            return status and status["enforced"]
        wait_for(enforced, f"enforced; {self.log()}")

    def stop(self):
        """A clean stop; enforcement stays."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(15)
        assert code == 0, f"sluice run ended with {code}: {self.log()}"

    def kill(self):
        self.process.kill()
        self.process.wait(15)

    def cleanup(self):
        done = self.node.ns.popen(os.environ["SLUICE"], "cleanup", "--pin-dir", self.pin_dir,
                                  "--socket", self.socket, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=15)[0]
        assert done.returncode == 0, text

    def command(self, *arguments, check=True):
        """Output of a sluice command that asks this instance."""
        done = self.node.ns.popen(os.environ["SLUICE"], *arguments, "--socket", self.socket,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = done.communicate(timeout=15)
        if check and done.returncode != 0:
            raise AssertionError(f"sluice {' '.join(arguments)}: {done.returncode}: {err}")
        return out

    def query(self, *arguments):
        return json.loads(self.command(*arguments, "-o", "json"))

    def status(self):
        """None while nobody answers."""
        text = self.command("status", "-o", "json", check=False)
        return json.loads(text) if text.strip() else None

    def apply(self, name, *objects, enforced=True):
        """Writes a file and returns when the kernel follows it."""
        self.manifests.put(name, *objects)
        self.settle(enforced)

    def remove(self, name):
        self.manifests.remove(name)
        self.settle()

    def settle(self, enforced=True):
        """Returns when all files written so far have been acted upon. Files are
        read in the order they were written in, and a change is in the kernel
        before the next question is answered: so once the marker is known, all is."""
        marker = f"marker-{next(_numbers)}"
        self.manifests.put("marker", network_policy("marker", marker, {"matchLabels": {"no": "pod"}}))
        wait_for(lambda: any(p["name"] == marker and p["in_force"]
                             for p in self.query("policy", "list")["policies"]),
                 f"the marker is read; {self.log()}")
        if enforced:
            status = self.query("status")
            assert status["enforced"], f"not enforced: {status['problem']}"

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]


# ---- objects -------------------------------------------------------------------------


def cnp(namespace, name, selector, **sections):
    """CiliumNetworkPolicy; `selector` is matchLabels."""
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"endpointSelector": {"matchLabels": selector}, **sections}}


def ccnp(name, selector, **sections):
    """CiliumClusterwideNetworkPolicy."""
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"endpointSelector": {"matchLabels": selector}, **sections}}


def network_policy(namespace, name, selector, **sections):
    """NetworkPolicy; `selector` is a whole label selector."""
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"podSelector": selector, **sections}}


def cluster_policy(name, tier, priority, subject, **sections):
    """ClusterNetworkPolicy; `subject` is a pods or namespaces element."""
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"tier": tier, "priority": priority, "subject": subject, **sections}}


def ports(*what):
    """toPorts of "80/TCP", "8000-8080/UDP", "http"."""
    listed = []
    for each in what:
        port, _, protocol = each.partition("/")
        first, _, last = port.partition("-")
        element = {"port": first}
        if last:
            element["endPort"] = int(last)
        if protocol:
            element["protocol"] = protocol
        listed.append(element)
    return [{"ports": listed}]


class Monitor:
    """`sluice monitor` of a socket."""

    def __init__(self, node, path, *options):
        self._process = node.ns.popen(os.environ["SLUICE"], "monitor", "-o", "json", "--socket", path,
                                      *options, stdout=subprocess.PIPE)
        self._text = b""

    def event(self, wanted, cause):
        """Causes packets until an event is as wanted."""
        def seen():
            cause()
            while select.select([self._process.stdout], [], [], 0)[0]:
                more = os.read(self._process.stdout.fileno(), 65536)
                assert more, "monitor ended"
                self._text += more
            lines = [json.loads(line) for line in self._text.split(b"\n")[:-1]]
            return next((e for e in lines if wanted(e)), None)
        return wait_for(seen, "an event", seconds=30)

    def end(self):
        self._process.kill()
        self._process.wait(10)
        self._process.stdout.close()
