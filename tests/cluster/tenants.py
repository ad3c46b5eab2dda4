# SPDX-License-Identifier: Apache-2.0
"""Twenty tenants of one cluster, one of which does what it can to slow down the others.

A tenant is a namespace with a pod and a policy that allows one of two ports. The test changes these policies, one
after the other, and packets show when the change is in force. Between the answer of the API server to a change and
the first packet that passes lies what Sluice does: the watch, the operator, the wire and the agent.

The hostile tenant writes as fast as it is let, in processes of its own. The same processes can write as much that
concerns nobody: what the others lose by that they lose to the API server and the processors.
"""

import contextlib
import itertools
import multiprocessing
import random
import select
import socket
import time

from tests.cluster.api import Api, ApiError
from tests.netns.sluice import cnp, ports

_fork = multiprocessing.get_context("fork")
_PORTS = (7001, 7002)
_SUBNET = 20
_GIVE_UP_SECONDS = 60
# What a change takes is not known better than this: packets are sent a millisecond apart, if this process runs.
RESOLUTION_SECONDS = 0.003
HOSTILE = "t-hostile"


class Tenant:
    """The one with this number. Its pods get addresses that begin at `number` in a subnet of the tenants'."""

    def __init__(self, cluster, number, node):
        self.api, self.namespace, self.open = cluster.api, f"t{number}", 0
        cluster.plane.ensure_namespace(self.namespace, {"kubernetes.io/metadata.name": self.namespace})
        self.pod = cluster.add_pod(f"{self.namespace}/server", node, _SUBNET, number + 1, labels={"app": "server"},
                                   ports={})
        self.sockets = []
        with self.pod.ns.entered():
            for port in _PORTS:
                receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                receiver.bind((self.pod.ipv4, port))
                receiver.setblocking(False)
                self.sockets.append(receiver)
        self.api.create(cnp(self.namespace, "one-port", {"app": "server"}, ingress=self.rules()))

    def rules(self):
        return [{"fromCIDR": ["0.0.0.0/0"], "toPorts": ports(f"{_PORTS[self.open]}/UDP")},
                {"fromEntities": ["all"], "toPorts": ports(f"{_PORTS[self.open]}/UDP")}]

    def drain(self):
        for receiver in self.sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    receiver.recv(16)

    def arrived(self, sender):
        """Sends a packet to the port that should be open, and says whether one has come within a millisecond."""
        receiver = self.sockets[self.open]
        sender.sendto(b"x", (self.pod.ipv4, _PORTS[self.open]))
        if not select.select([receiver], [], [], 0.001)[0]:
            return False
        receiver.recv(16)
        return True

    def is_open(self, sender, which):
        """Whether packets to a port pass now. For ends of tests: it waits for what may be on its way."""
        receiver = self.sockets[which]
        sender.sendto(b"x", (self.pod.ipv4, _PORTS[which]))
        return bool(select.select([receiver], [], [], 0.3)[0])

    def change(self, sender):
        """Allows the other port instead: seconds from the API server's answer until packets pass."""
        self.drain()
        self.open = 1 - self.open
        self.api.patch("CiliumNetworkPolicy", self.namespace, "one-port", {"spec": {"ingress": self.rules()}})
        answered = time.monotonic()
        while not self.arrived(sender):
            if time.monotonic() > answered + _GIVE_UP_SECONDS:
                raise AssertionError(f"{self.namespace}: not in force after {_GIVE_UP_SECONDS} s")
        return time.monotonic() - answered

    def close(self):
        for receiver in self.sockets:
            receiver.close()


# ---- the hostile one ------------------------------------------------------------------------------------------------


def nested(count, first_port):
    """Rules for CIDRs of which each is inside the one before, each with a port of its own."""
    rules = []
    for number in range(count):
        length = 8 + number % 24
        address = (10 << 24) | ((number // 24) << 16) | 0xffff
        address &= ~((1 << (32 - length)) - 1)
        text = ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
        rules.append({"fromCIDR": [f"{text}/{length}"], "toPorts": ports(f"{first_port + number}/TCP")})
    return rules


def _policies(api, numbers, _random, useless):
    """Large policies: within the bound, and far beyond it."""
    number = next(numbers)
    name = f"huge-{number % 4}"
    rules = nested(40 if number % 8 else 400, 1000 + number % 3)
    if useless:
        _write(api, cnp(HOSTILE + "-idle", name, {"app": "nobody"}, ingress=rules))
    else:
        _write(api, cnp(HOSTILE, name, {"app": "hostile"}, ingress=rules))


def _labels(api, numbers, dice, useless):
    number = next(numbers)
    _patch(api, "ConfigMap" if useless else "Pod", f"extra-{number % 40}",
           {"metadata": {"labels": {"app": dice.choice(("hostile", "other", "third")), "n": str(number)}}})


def _slices(api, numbers, dice, useless):
    number = next(numbers)
    if useless:
        _patch(api, "ConfigMap", f"svc-{number % 10}", {"data": {"endpoints": repr([dice.random() for _ in range(60)])}})
    elif number % 5 == 0:
        _patch(api, "Service", f"svc-{number % 10}", {"spec": {"ports": [
            {"port": 80 + number % 7, "targetPort": 1000 + number % 11}]}})
    else:
        chosen = dice.sample(range(1, 200), 50)
        _patch(api, "EndpointSlice", f"svc-{number % 10}", {"endpoints": [
            {"addresses": [f"10.0.{_SUBNET + 1}.{n}"], "conditions": {"ready": True}} for n in chosen]})


def _annotations(api, numbers, dice, useless):
    """Claims to interfaces of others, and what a namespace says of unknown pods."""
    number = next(numbers)
    if number % 2:
        change = {"metadata": {"annotations": {"sluice.io/on-unknown": dice.choice(("deny", "allow", "?" * 1000)),
                                               "sluice.io/permit": dice.choice(("tunnels", "vxlan", ",,,"))}}}
        api.patch("Namespace", None, HOSTILE + ("-idle" if useless else ""), change)
    else:
        _patch(api, "ConfigMap" if useless else "Pod", f"extra-{number % 40}",
               {"metadata": {"annotations": {"sluice.io/interface": dice.choice(("lo", "eth0", "vt1server", "*"))}}})


WAYS = {"policies": (_policies, 0.2), "labels": (_labels, 0.005), "slices": (_slices, 0.01),
        "annotations": (_annotations, 0.02)}


def _write(api, thing):
    meta = thing["metadata"]
    change = {key: thing[key] for key in thing.keys() & {"spec", "data"}}
    try:
        api.patch(thing["kind"], meta["namespace"], meta["name"], change)
    except ApiError as error:
        if error.status != 404:
            raise
        api.create(thing)


def _patch(api, kind, name, change):
    api.patch(kind, HOSTILE, name, change)


def _attack(api, way, pause, mode, counts, index):
    """Until it is killed; `mode`: 0 rest, 1 what concerns nobody, 2 the attack."""
    api = Api(api.server, api.ca_file, api.token)
    numbers, dice = itertools.count(1), random.Random(index)
    while True:
        begun, now = time.monotonic(), mode.value
        if now:
            try:
                way(api, numbers, dice, now == 1)
                counts[2 * index + now - 1] += 1
            except (ApiError, OSError):
                counts[-1] += 1
        select.select([], [], [], max(0.0, pause - (time.monotonic() - begun)) if now else 0.01)


class Hostile:
    """Its namespace, its objects, and a process for each of its ways."""

    def __init__(self, cluster, first_number, nodes):
        self.cluster, api = cluster, cluster.api
        for namespace in (HOSTILE, HOSTILE + "-idle"):
            cluster.plane.ensure_namespace(namespace, {"kubernetes.io/metadata.name": namespace})
        self.pods = []
        for at, node in enumerate(nodes):
            self.pods.append(cluster.add_pod(f"{HOSTILE}/real-{at}", node, _SUBNET, first_number + at,
                                             labels={"app": "hostile"}, ports={}))
        for number in range(40):
            self._idle_pod(api, f"extra-{number}", nodes[number % len(nodes)], f"10.0.{_SUBNET + 1}.{number + 1}")
            api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": HOSTILE, "name": f"extra-{number}"}})
        for number in range(10):
            self._service(api, f"svc-{number}")
        self.mode = _fork.Value("i", 0)
        self.counts = _fork.Array("q", 2 * len(WAYS) + 1)
        self.processes = [_fork.Process(target=_attack, args=(api, way, pause, self.mode, self.counts, index), daemon=True)
                          for index, (way, pause) in enumerate(WAYS.values())]
        for process in self.processes:
            process.start()

    @staticmethod
    def _idle_pod(api, name, node, address):
        """A pod that only its object makes one."""
        api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "namespace": HOSTILE, "name": name, "labels": {"app": "other"}}, "spec": {
                "nodeName": node, "automountServiceAccountToken": False, "containers": [{"name": "c", "image": "none"}]}})
        api.patch("Pod", HOSTILE, name, {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}},
                  subresource="status")

    @staticmethod
    def _service(api, name):
        api.create({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": HOSTILE, "name": name},
                    "spec": {"ports": [{"port": 80}]}})
        api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": HOSTILE, "name": name}})
        api.create({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "addressType": "IPv4",
                    "metadata": {"namespace": HOSTILE, "name": name, "labels": {"kubernetes.io/service-name": name}},
                    "endpoints": [], "ports": [{"port": 80, "protocol": "TCP"}]})

    def seconds_to_end_large_policies(self, sender):
        """Lets each of its large policies open one port instead: seconds until packets pass to all these ports."""
        begun, numbers, pod = time.monotonic(), range(4), self.pods[0]
        for number in numbers:
            _write(self.cluster.api, cnp(HOSTILE, f"huge-{number}", {"app": "hostile"}, ingress=[
                {"fromEntities": ["all"], "toPorts": ports(f"{2000 + number}/UDP")}]))
        for number in numbers:
            with pod.ns.entered():
                receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with receiver:
                receiver.bind((pod.ipv4, 2000 + number))
                while not select.select([receiver], [], [], 0.01)[0]:
                    if time.monotonic() > begun + _GIVE_UP_SECONDS:
                        raise AssertionError(f"huge-{number}: not in force after {_GIVE_UP_SECONDS} s")
                    sender.sendto(b"x", (pod.ipv4, 2000 + number))
        return time.monotonic() - begun

    def set_mode(self, mode):
        self.mode.value = mode

    def written(self, mode):
        """Objects written in a mode, by way."""
        return {name: self.counts[2 * index + mode - 1] for index, name in enumerate(WAYS)}

    @property
    def refused(self):
        return self.counts[-1]

    def end(self):
        for process in self.processes:
            process.terminate()
            process.join(15)


def percentile(samples, part):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
