# SPDX-License-Identifier: Apache-2.0
"""A cluster of three nodes on this machine: real packets, a real API server, the
real programs under the rights that deploy/ gives them.

A node is a network namespace with a bpffs of its own and an agent, a pod a
namespace that hangs on its node's by a veth. The lab plays what else a cluster
has: kubelet (a pod gets its address and goes on running; tokens), the
controllers (default service accounts, endpoints) and kube-proxy (the operator's
Service is rewritten to the replicas in every node).
"""

import dataclasses
import os
import re
import signal
import subprocess

from tests.cluster import services, suite
from tests.netns import lab as netlab
from tests.netns import traffic
from tests.netns.sluice import wait_for

_BUILD = os.environ.get("SLUICE_BUILD", "build/release")
_NODES = ("node1", "node2", "node3")
_AUDIENCE = "sluice-operator"
_GRPC = 9443


def program(name):
    """Path of a program under test."""
    folder = {"sluice": "cli", "sluice-operator": "operator/program", "sluice-agent": "agent/program"}[name]
    return os.path.join(_BUILD, folder, name)


class Process:
    """One run of a program at a time, with its log."""

    def __init__(self, name, ns, command):
        self.name, self.ns, self.command = name, ns, command
        self.log_path = f"/run/{name}.log"
        self.process = None

    def start(self, *options):
        with open(self.log_path, "ab") as log:
            self.process = self.ns.popen(*self.command, *options, stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=subprocess.STDOUT)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def memory_peak(self):
        """Bytes that it had in memory at most."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))

    def kill(self):
        self.process.kill()
        self.process.wait(15)

    def stop(self):
        """As kubelet ends a container; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def log(self, size=3000):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()[-size:]
        except FileNotFoundError:
            return ""


@dataclasses.dataclass
class Own:
    """The sandbox's own network namespace, in which the operators are."""

    @staticmethod
    def popen(*command, **options):
        from tests.netns import sandbox  # pylint: disable=C0415
        return subprocess.Popen(command, preexec_fn=sandbox.die_with_parent,  # pylint: disable=R1732,W1509
                                **options)


class Cluster:
    """Namespaces x, y, z with pods a, b, c each, one of each letter per node."""

    def __init__(self, plane):
        self.plane, self.api = plane, plane.api
        self.net = netlab.Lab()
        self.services = services.Services(self)
        self.operators, self.agents = [], {}
        self.service = self.api.get("Service", suite.SYSTEM, "sluice-operator")["spec"]["clusterIP"]
        for name in _NODES:
            self.add_node(name)
        self.populate()

    def populate(self):
        for subnet, namespace in enumerate("xyz"):
            self.plane.ensure_namespace(namespace, {"ns": namespace, "kubernetes.io/metadata.name": namespace})
            for number, name in enumerate("abc"):
                self.add_pod(f"{namespace}/{name}", _NODES[(subnet + number) % 3], subnet, 11 + number)

    # ---- nodes and pods ------------------------------------------------------------

    def add_node(self, name):
        node = self.net.node(name, len(self.net.nodes) + 1)
        bpffs = f"/run/bpf/{name}"
        os.makedirs(bpffs)
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        self.put_node(node)
        return node

    def put_node(self, node):
        """The object, with the addresses that the node has now."""
        self.api.ensure({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}})
        self.api.patch("Node", None, node.name, {"status": {"addresses": [
            {"type": "InternalIP", "address": node.ipv4},
            {"type": "InternalIP", "address": node.ipv6}]}}, subresource="status")

    def remove_node(self, name):
        """One without pods."""
        if agent := self.agents.pop(name, None):
            agent.kill()
        self.api.delete("Pod", suite.SYSTEM, f"sluice-agent-{name}", 0)
        if self.api.find("Node", None, name):
            self.api.delete("Node", None, name)
        node = self.net.nodes.pop(name)
        node.unplug()
        subprocess.run(["umount", f"/run/bpf/{name}"], check=True)
        os.rmdir(f"/run/bpf/{name}")
        node.ns.remove()

    def add_pod(self, full_name, node, subnet, number, address=True, **options):
        """A pod on its way to running: interface, object, then its address in the object's
        status (unless `address` is false)."""
        ports = {f"serve-{port}-{proto.lower()}": (port, proto)
                 for port in (80, 81) for proto in ("TCP", "UDP", "SCTP")}
        ports.update(options.pop("ports", {}))
        pod = self.net.pod(self.net.nodes[node], full_name, subnet, number, ports=ports, **options)
        self.create_pod(pod, address)
        return pod

    def create_pod(self, pod, address=True):
        thing = pod.object()
        status = thing.pop("status")
        thing["spec"]["automountServiceAccountToken"] = False
        thing["spec"]["containers"][0]["image"] = "none"
        self.api.create(thing)
        if address:
            self.set_status(pod, status)

    def set_status(self, pod, status):
        namespace, name = pod.full_name.split("/")
        self.api.patch("Pod", namespace, name, {"status": status}, subresource="status")

    def delete_pod(self, full_name):
        """The object and the interface; the addresses may be given to another pod."""
        namespace, name = full_name.split("/")
        self.api.delete("Pod", namespace, name, 0)
        self.net.pods[full_name].unplug()
        self.forget_pod(full_name)

    def forget_pod(self, full_name):
        """The rest of a pod whose interface is gone already."""
        namespace, name = full_name.split("/")
        self.api.delete("Pod", namespace, name, 0)
        self.net.pods.pop(full_name).ns.remove()

    def pods(self):
        return self.net.pods

    def outside(self):
        """A host outside the cluster, "E"."""
        return self.net.outside.get("E") or self.net.external("E", "203.0.113.7", "2001:db8:113::7")

    # ---- programs ------------------------------------------------------------------

    def start_operators(self, count=2):
        for _ in range(count):
            self.add_operator()
        self.balance()

    def add_operator(self):
        """One more replica, with its own address and the real service account. No agent connects
        to it before balance()."""
        number = len(self.operators)
        address = f"10.0.254.{number + 1}"
        netlab.run("ip", "addr", "replace", address + "/32", "dev", "lo")
        identity = f"sluice-operator-{number}"
        kubeconfig = self.plane.kubeconfig_of(suite.SYSTEM, "sluice-operator")
        operator = Process(f"operator-{number}", Own, operator_command(identity, address, kubeconfig))
        operator.identity, operator.address = identity, address
        self.operators.append(operator)
        operator.start()
        return operator

    def remove_operator(self, operator):
        """The one that was added last."""
        operator.kill()
        assert self.operators.pop() is operator
        self.balance()

    def leader(self):
        """The operator that writes status, as soon as one of those that run does."""
        def found():
            lease = self.api.find("Lease", suite.SYSTEM, "sluice-operator") or {"spec": {}}
            # "NAME@ADDRESS:PORT"
            holder = (lease["spec"].get("holderIdentity") or "").split("@")[0]
            return next((o for o in self.operators if o.running() and o.identity == holder), None)
        return wait_for(found, f"an operator leads; {self.logs()}", 60)

    def balance(self, operators=None):
        """Rewrites the operator's Service to the replicas given, or to all that run."""
        addresses = [o.address for o in (operators if operators is not None else self.operators)
                     if o.running()]
        for node in self.net.nodes.values():
            self._rewrite(node, addresses)

    def _rewrite(self, node, addresses):
        lines = ["table ip operator {}", "delete table ip operator"]
        if addresses:
            targets = ", ".join(f"{n} : {a}" for n, a in enumerate(addresses))
            lines += ["table ip operator {", "chain output {", "type nat hook output priority -100",
                      f"ip daddr {self.service} tcp dport {_GRPC}"
                      f" dnat to numgen random mod {len(addresses)} map {{ {targets} }}", "}", "}"]
        self.nft(node, "\n".join(lines) + "\n")

    def start_agents(self):
        for name in self.net.nodes:
            self.start_agent(name)

    def agents_pod(self, name):
        """The object of the agent's pod on a node."""
        return self.api.ensure({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": suite.SYSTEM, "name": f"sluice-agent-{name}",
                         "labels": {"app.kubernetes.io/name": "sluice-agent"}},
            "spec": {"nodeName": name, "serviceAccountName": "sluice-agent", "hostNetwork": True,
                     "automountServiceAccountToken": False,
                     "containers": [{"name": "agent", "image": "none"}]}})

    def start_agent(self, name, *options):
        """With a token that is bound to the agent's pod on that node. `options` hold for this
        start alone."""
        pod = self.agents_pod(name)
        token = self.plane.token_file_of(suite.SYSTEM, "sluice-agent", (_AUDIENCE,), pod=pod,
                                         name=f"agent-{name}.token")
        agent = self.agents.get(name)
        if agent is None:
            agent = Process(f"agent-{name}", self.net.nodes[name].ns,
                            agent_command(self, name, token))
            self.agents[name] = agent
        agent.start(*options)
        return agent

    def cut_off(self, name):
        """Drops every packet between a node and the operators, both ways."""
        self.nft(self.net.nodes[name], "table ip cut {}\ndelete table ip cut\ntable ip cut {\n"
                  "chain out {\ntype filter hook output priority 0\n"
                  f"ip daddr 10.0.254.0/24 drop\nip daddr {self.service} drop\n}}\n"
                  "chain in {\ntype filter hook input priority 0\nip saddr 10.0.254.0/24 drop\n}\n}")

    def rejoin(self, name):
        self.nft(self.net.nodes[name], "table ip cut {}\ndelete table ip cut\n")

    @staticmethod
    def nft(node, text):
        done = node.ns.popen("nft", "-f", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        out = done.communicate(text, timeout=15)[0]
        assert done.returncode == 0, f"{out}\n{text}"

    def ca_file(self):
        """The CA that the operator published, as kubelet would mount it."""
        def published():
            found = self.api.find("ConfigMap", suite.SYSTEM, "sluice-operator-ca") or {}
            return found.get("data", {}).get("ca.crt")
        text = wait_for(published, f"the operator publishes its CA; {self.operators[0].log()}", 30)
        path = "/run/operator-ca.crt"
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def logs(self):
        return "\n".join(f"== {p.name}\n{p.log(1500)}"
                         for p in (*self.operators, *self.agents.values()))

    # ---- policies and packets --------------------------------------------------------

    def wait_for_table(self, expected, seconds=20):
        """Returns when the wire agrees with {Probe: verdict}."""
        traffic.wait_for_table(expected, seconds, self.logs)

    def clear_policies(self):
        for kind in ("NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"):
            for thing in self.api.get(kind)["items"]:
                meta = thing["metadata"]
                self.api.delete(kind, meta.get("namespace"), meta["name"])

    def condition(self, kind, namespace, name, what):
        """A condition as it stands, {} if nobody has written it; with "current": is it about the
        object's latest version."""
        thing = self.api.get(kind, namespace, name)
        for condition in thing.get("status", {}).get("conditions", []):
            if condition["type"] == what:
                return {**condition, "current": condition.get("observedGeneration")
                        == thing["metadata"]["generation"]}
        return {}

    def wait_condition(self, kind, namespace, name, what, status, contains="", seconds=60):
        """The condition, once it has this status for the object's latest version, and a reason
        or message that contains the text."""
        seen = {}

        def reached():
            nonlocal seen
            seen = self.condition(kind, namespace, name, what)
            return (seen.get("status") == status and seen["current"]
                    and contains in f"{seen.get('reason')} {seen.get('message')}" and seen)
        try:
            return wait_for(reached, what, seconds)
        except AssertionError:
            raise AssertionError(f"{kind}/{name} {what} is not {status} {contains!r} but {seen}\n"
                                 + self.logs()) from None


# ---- command lines ------------------------------------------------------------------


def confined(command, manifest="agent.yaml"):
    """The command with the capabilities that a manifest of deploy/ gives, and no others."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", manifest)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    added = re.findall(r"^ +add: \[([A-Z_, ]+)\]$", text, re.M)
    assert len(added) == 1 and "drop: [ALL]" in text, f"capabilities of {manifest}"
    bounds = ",".join(["-all"] + ["+" + name.strip().lower() for name in added[0].split(",")])
    return ["setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", "--no-new-privs", *command]


def operator_command(identity, address, kubeconfig):
    return [program("sluice-operator"), "--kubeconfig", kubeconfig, "--listen", f"{address}:{_GRPC}",
            "--health", f"{address}:9964", "--explain", f"{address}:9966", "--namespace", suite.SYSTEM,
            "--observer", f"{address}:4245", "--observer-socket", f"/run/{identity}.observer.sock",
            "--identity", identity]


def agent_command(cluster, name, token, ca_file=None):
    return confined([
        program("sluice-agent"), "--node", name, "--operator", f"{cluster.service}:{_GRPC}",
        "--operator-name", f"sluice-operator.{suite.SYSTEM}.svc",
        "--ca-file", ca_file or cluster.ca_file(), "--token-file", token,
        "--pin-dir", f"/run/bpf/{name}/sluice", "--socket", f"/run/{name}.sock",
        "--health", "[::]:9965",
        # As the lab names them.
        "--pod-interfaces", "v*"])
