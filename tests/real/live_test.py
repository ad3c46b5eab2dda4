# SPDX-License-Identifier: Apache-2.0
"""Sluice comes, changes and goes under live connections: on each node 200 into its pod and 200 out of it. What
policy allows goes on, with every datagram of it; what it forbids ends with its next packet once it is enforced."""

import json
import resource
import subprocess

from tests.netns import live, traffic
from tests.real import suite
from tests.real.lab import SYSTEM

_IN, _OUT, _NOT_IN, _NOT_OUT = 7001, 7002, 7003, 7004
_KINDS = {"tcp": live.tcp, "udp": live.udp}
# Of each kind and family, by each of five ways: 200 each way.
_MANY, _FEW = 10, 2
_INTERVAL = 0.25
_ALLOWED_SECONDS, _DENIED_SECONDS = 10, 0.5
_STREAM_RATE = 200
_PROGRAMS = {"daemonset/sluice-agent": "agent", "deployment/sluice-operator": "operator"}


def setUpModule():
    """Every flow has two sockets."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, hard), hard))


def _only(*ports):
    return [{"ports": [{"port": port, "protocol": kind.upper()} for port in ports for kind in _KINDS]}]


class Live(suite.Case):
    namespace = "live"

    @classmethod
    def make(cls):
        """On each node the pod `app`, which may be called at one port and may call one, and a friend of it."""
        for node in cls.lab.nodes:
            for name in (f"app-{node}", f"friend-{node}"):
                cls.apply(suite.pod(name, labels={"role": name.split("-")[0]}, nodeName=node),
                          suite.service(name, name, [suite.PORT, _IN, _OUT, _NOT_IN, _NOT_OUT], type="NodePort"))
        cls.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "app"},
                   "spec": {"podSelector": {"matchLabels": {"role": "app"}}, "policyTypes": ["Ingress", "Egress"],
                            "ingress": _only(suite.PORT, _IN), "egress": _only(suite.PORT, _OUT)}})
        cls.lab.wait_pods(cls.namespace)
        cls.pods = {name: cls.lab.pod(cls.namespace, name)
                    for node in cls.lab.nodes for name in (f"app-{node}", f"friend-{node}")}
        cls.links = {name: json.loads(pod.ns.popen("ip", "-j", "link", "show", "eth0", stdout=subprocess.PIPE)
                                      .communicate(timeout=15)[0])[0]["link_index"]
                     for name, pod in cls.pods.items()}
        cls.services = {name: cls.api.get("Service", cls.namespace, name)["spec"] for name in cls.pods}

    def setUp(self):
        self.flows = []
        self.addCleanup(lambda: [f.close() for f in self.flows])
        # Every Service leads somewhere, and policy is in force.
        self.lab.wait_for_table({
            **{suite.probe(s, d, port, family, address): traffic.ALLOWED for family in (4, 6)
               for s, d, port, address in self.calls("tcp", family, suite.PORT, suite.PORT) if d.name in self.pods},
            **self.forbidden(traffic.DENIED)}, 60)

    # ---- who calls whom ------------------------------------------------------------------

    def calls(self, kind, family, inward, outward):
        """(caller, called, port, address) of every way into and out of the pods."""
        outside, nodes = self.lab.outsider, list(self.lab.nodes.values())
        for node, other in (nodes, nodes[::-1]):
            app, near, far = (self.pods[n] for n in (f"app-{node.name}", f"friend-{node.name}",
                                                     f"friend-{other.name}"))
            for peer in (near, far, outside):
                yield peer, app, inward, None
                yield app, peer, outward, None
            yield far, app, inward, self.cluster_address(app, family)
            yield app, far, outward, self.cluster_address(far, family)
            yield outside, app, self.node_port(app, kind, inward), node.address(family)
            yield app, other, outward, None

    def cluster_address(self, pod, family):
        return next(a for a in self.services[pod.name]["clusterIPs"] if (":" in a) == (family == 6))

    def node_port(self, pod, kind, port):
        return next(p["nodePort"] for p in self.services[pod.name]["ports"] if p["name"] == f"{kind}-{port}")

    def open(self, kind, inward, outward, count):
        """Flows by every way."""
        made = []
        for family in (4, 6):
            for caller, called, port, address in self.calls(kind, family, inward, outward):
                target = inward if called.name.startswith("app") else outward
                made += _KINDS[kind](caller, called, port, family, count, address, target)
        self.flows += made
        return made

    def forbidden(self, wanted):
        return {traffic.Probe(source, destination, f"tcp/{port}", family): wanted
                for node in self.lab.nodes for family in (4, 6)
                for source, destination, port in (
                    (self.lab.outsider, self.pods[f"app-{node}"], _NOT_IN),
                    (self.pods[f"app-{node}"], self.lab.outsider, _NOT_OUT))}

    # ---- what is said ----------------------------------------------------------------------

    def open_allowed(self):
        """Of the connections in a third each one end speaks: the one that opened it, the other one (as in the answer
        to a request that takes long), or neither. Of what datagrams go to, one of the ends."""
        streams = self.open("tcp", _IN, _OUT, _MANY)
        datagrams = self.open("udp", _IN, _OUT, _MANY)
        self.assertEqual(len(streams) + len(datagrams), 2 * 200 * len(self.lab.nodes))
        self.talking = (live.speak(streams[0::3] + datagrams[0::2], "opener")
                        + live.speak(streams[1::3] + datagrams[1::2], "opened"))
        self.idle = streams[2::3]

    def go_on_through(self, change):
        """No flow is lost by the change, and no datagram, but for those that the kernel drops by itself: while it adds
        clsact to an interface or removes it, and with it whatever else is to be sent there (qdisc_graft() of
        net/sched/sch_api.c deactivates the interface's queues). It counts them."""
        before = self.dropped()
        talk = live.Talk(self.talking, _INTERVAL)
        try:
            change()
        finally:
            lost = talk.stop(_ALLOWED_SECONDS)
        after = self.dropped()
        self.assertGreater(talk.rounds, 10)
        for name in self.pods:
            datagrams = [line for line in lost if line.hearer.owner == name and line.flow.name.startswith("UDP")]
            if sum(line.lacks() for line in datagrams) <= after[name] - before[name]:
                lost = [line for line in lost if line not in datagrams]
        self.assertEqual([str(line) for line in lost], [], f"dropped by the kernel: {before}, then {after}")
        self.hear(live.speak(self.idle, "opened"))
        self.hear(live.speak(self.idle, "opener"))

    def dropped(self):
        """{pod: packets that the kernel has dropped instead of sending them by its interface}"""
        counts = {}
        for node in self.lab.nodes.values():
            links = {link["ifindex"]: link["stats64"]["tx"]["dropped"]
                     for link in json.loads(node.run("ip", "-j", "-s", "link", "show"))}
            counts.update({name: links[index] for name, index in self.links.items() if name.endswith(node.name)})
        return counts

    def hear(self, pairs):
        lost = [str(f) for f in live.unheard(pairs, _ALLOWED_SECONDS)]
        self.assertEqual(lost, [])

    def end(self, flows):
        """Whoever of a flow speaks, nothing is heard."""
        for who in ("opened", "opener"):
            cut = set(map(id, live.unheard(live.speak(flows, who), _DENIED_SECONDS)))
            self.assertEqual([str(f) for f in flows if id(f) not in cut], [], f"go on when the {who} speaks")

    # ---- the tests -------------------------------------------------------------------------

    def test_removed_and_installed(self):
        self.open_allowed()
        self.go_on_through(self.remove)
        self.lab.wait_for_table(self.forbidden(traffic.ALLOWED), 30)
        adopted = [f for kind in _KINDS for f in self.open(kind, _NOT_IN, _NOT_OUT, _FEW)]
        talk = live.Talk(live.speak(adopted[0::4], "opener") + live.speak(adopted[1::4], "opened"), _INTERVAL)
        self.addCleanup(talk.stop, 0)
        self.go_on_through(self.install)
        talk.stop(0)
        self.end(adopted)

    def remove(self):
        """As docs/operations.md says."""
        kubectl = self.plane.kubectl
        self.addCleanup(self.lab.install)
        kubectl("-n", SYSTEM, "delete", *_PROGRAMS)
        kubectl("apply", "-k", "deploy/cleanup")
        self.lab.wait_rollout("DaemonSet", SYSTEM, "sluice-cleanup")
        kubectl("delete", "-k", "deploy/cleanup")
        kubectl("delete", "--ignore-not-found", "-k", "deploy/")
        for node in self.lab.nodes.values():
            self.assertNotIn("sluice", node.run("sh", "-c", "cat /etc/cni/net.d/*; ls /opt/cni/bin /sys/fs/bpf"))

    def install(self):
        self.lab.install()
        self.lab.wait_for_table(self.forbidden(traffic.DENIED), 30)

    def test_upgraded_and_rolled_back(self):
        self.open_allowed()
        streams = [traffic.Stream(s, d, [(d.ipv4, port)], _STREAM_RATE) for node in self.lab.nodes
                   for s, d, port in ((self.lab.outsider, self.pods[f"app-{node}"], _NOT_IN),
                                      (self.pods[f"app-{node}"], self.pods[f"friend-{node}"], _NOT_OUT))]
        self.go_on_through(self.upgrade)
        self.go_on_through(self.roll_back)
        for stream in streams:
            sent, arrived = stream.stop()
            self.assertGreater(sent, _STREAM_RATE)
            self.assertEqual(len(arrived), 0, f"of {sent} forbidden packets arrived")

    def upgrade(self):
        """Other images, and options with which the agents load other programs."""
        for node in self.lab.nodes.values():
            for name in _PROGRAMS.values():
                image = f"docker.io/library/sluice-{name}"
                node.run("ctr", "-n", "k8s.io", "images", "tag", "--force", f"{image}:latest", f"{image}:next")
        container = "/spec/template/spec/containers/0"
        for program, name in _PROGRAMS.items():
            patch = [{"op": "replace", "path": container + "/image", "value": f"sluice-{name}:next"}]
            if name == "agent":
                patch.append({"op": "add", "path": container + "/args/-", "value": "--on-policy-change=reset"})
            self.plane.kubectl("-n", SYSTEM, "patch", program, "--type=json", "-p", json.dumps(patch))
        self.addCleanup(self.lab.install)
        self.lab.wait_sluice()
        self.assertEqual(self.images(), {"sluice-agent:next", "sluice-operator:next"})

    def roll_back(self):
        for program in _PROGRAMS:
            self.plane.kubectl("-n", SYSTEM, "rollout", "undo", program)
        self.lab.wait_sluice()
        self.assertEqual(self.images(), {"sluice-agent:latest", "sluice-operator:latest"})

    def images(self):
        return {p["spec"]["containers"][0]["image"] for p in self.lab.pods(SYSTEM)}
