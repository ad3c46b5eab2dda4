# SPDX-License-Identifier: Apache-2.0
"""Pods whose first action is a connection: one that policy forbids never gets a packet through, one that
it allows never fails. 100 pods, ten at a time, with one container for each."""

import collections
import json
import math
import os
import random
import re
import signal
import subprocess
import threading
import urllib.request

from tests.netns.sluice import wait_for
from tests.real import images, suite
from tests.real.lab import SYSTEM

_PODS, _AT_ONCE = 100, 10
_MILLISECONDS = 1500
# For how long a connection is waited for. TCP sends what is dropped again after a second, so that an allowed one
# which takes less was late and not denied.
_WAITS = {"friend": 900, "forbidden": 50}
_CONFIGURATIONS = "/etc/cni/net.d"
_BUCKET = re.compile(r'^sluice_agent_pod_start_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.M)


def _dialling(name, address):
    return {"name": name, "image": images.PEER, "imagePullPolicy": "Never",
            "args": ["dial", address, str(suite.PORT), str(_MILLISECONDS), str(_WAITS[name])],
            "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}}}


class Start(suite.Case):
    namespace = "start"

    @classmethod
    def make(cls):
        cls.apply(suite.daemon_set("friend"), suite.daemon_set("forbidden"),
                  {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "starters"},
                   "spec": {"podSelector": {"matchLabels": {"app": "starter"}}, "policyTypes": ["Egress"],
                            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}]}})
        cls.wait_ready("DaemonSet/friend", "DaemonSet/forbidden")
        cls.servers = {app: [cls.lab.peer(p) for p in cls.lab.pods(cls.namespace, app=app)]
                       for app in ("friend", "forbidden")}
        for server in cls.servers["forbidden"]:
            cls.nft(server, "table inet seen { chain input { type filter hook input priority -300;\n"
                    f"tcp dport {suite.PORT} counter\n}}\n}}\n")

    @staticmethod
    def nft(peer, text):
        done = peer.ns.popen("nft", "-f", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        out = done.communicate(text, timeout=15)[0]
        assert done.returncode == 0, out

    def packets_seen(self):
        """Packets that have reached the forbidden servers."""
        total = 0
        for server in self.servers["forbidden"]:
            listing = server.ns.popen("nft", "-j", "list", "table", "inet", "seen", stdout=subprocess.PIPE)
            text = listing.communicate(timeout=15)[0]
            for thing in json.loads(text)["nftables"]:
                for each in thing.get("rule", {}).get("expr", []):
                    total += each.get("counter", {}).get("packets", 0)
        return total

    def finished(self, names):
        pods = {p["metadata"]["name"]: p for p in self.lab.pods(self.namespace, app="starter")}
        return all(pods[n]["status"].get("phase") in ("Succeeded", "Failed") for n in names)

    def said(self, name, container):
        return self.api.request(
            "GET", f"/api/v1/namespaces/{self.namespace}/pods/{name}/log?container={container}")

    def run_pods(self, names, node, family):
        """Runs pods that dial, to their end, and removes them."""
        for number, name in enumerate(names):
            self.apply(suite.pod(name, labels={"app": "starter"}, restartPolicy="Never", nodeName=node, *[
                _dialling(app, servers[number % len(servers)].address(family))
                for app, servers in self.servers.items()]))
        wait_for(lambda: self.finished(names), lambda: self.lab.describe(self.namespace), 180)
        wrong = []
        for name in names:
            allowed, forbidden = self.said(name, "friend"), self.said(name, "forbidden")
            if not allowed["first"] or allowed["failed"] or forbidden["made"]:
                wrong.append(f"{name}: allowed {allowed}, forbidden {forbidden}")
            # Not by force: kubelet might make such a pod's sandbox again, for nobody.
            self.api.delete("Pod", self.namespace, name, 1)
        self.assertEqual(wrong, [])
        self.assertEqual(self.packets_seen(), 0, "packets that reached a server they must not reach")

    def waits(self):
        """For how long the plugin has kept pods from starting: {upper bound in seconds: number}, all nodes."""
        found = collections.Counter()
        for node in self.lab.nodes.values():
            with urllib.request.urlopen(f"http://{node.ipv4}:9965/metrics", timeout=10) as answer:
                for bound, number in _BUCKET.findall(answer.read().decode()):
                    found[float(bound)] += int(float(number))
        return found

    def test_the_first_packet_of_a_pod_is_judged(self):
        nodes, before = list(self.lab.nodes), self.waits()
        for turn in range(_PODS // _AT_ONCE):
            names = [f"starter-{turn * _AT_ONCE + n}" for n in range(_AT_ONCE)]
            self.run_pods(names, nodes[turn % 2], 4 if turn % 4 < 2 else 6)
        times = self.waits()
        times.subtract(before)
        # Kubelet may make the sandbox of a pod again that has just ended.
        self.assertGreaterEqual(times[math.inf], _PODS, "pods that the agents were told of")
        print(f"\n  {_PODS} pods, {_AT_ONCE} at a time, waited {times[math.inf]} times for their verdicts: "
              f"p50 {_quantile(times, 0.5):.0f} ms, p99 {_quantile(times, 0.99):.0f} ms", flush=True)

    def test_it_is_judged_while_sluices_programs_are_killed(self):
        ending = threading.Event()

        def kill():
            # Kubelet starts each of them again at once, the first time.
            programs = self.lab.pods(SYSTEM)
            random.Random(7).shuffle(programs)
            for pod in programs:
                os.kill(self.lab.process_of(pod), signal.SIGKILL)
                ending.wait(2)
        killer = threading.Thread(target=kill)
        killer.start()
        self.addCleanup(self.lab.wait_sluice)
        self.addCleanup(killer.join)
        self.addCleanup(ending.set)
        for turn, node in enumerate(self.lab.nodes):
            self.run_pods([f"disturbed-{turn * _AT_ONCE + n}" for n in range(_AT_ONCE)], node, 4)

    def plugins(self, node, name):
        return [p["type"] for p in json.loads(node.read(f"{_CONFIGURATIONS}/{name}"))["plugins"]]

    def wait_chained(self, node, name, main):
        wait_for(lambda: self.plugins(node, name) == [main, "portmap", "sluice-cni"],
                 lambda: f"{node.name}: {self.plugins(node, name)} in {name}", 30)

    def test_the_main_plugin_rewrites_its_configuration(self):
        """As flannel's or Cilium's agents do when they start: with Sluice's agent there, or not; or under another
        name, which comes before."""
        for number, node in enumerate(self.lab.nodes.values()):
            node.write(f"{_CONFIGURATIONS}/10-lab.conflist", node.conflist())
            self.wait_chained(node, "10-lab.conflist", node.plugin)
            self.run_pods([f"rewritten-{number}"], node.name, 4)
        node.write(f"{_CONFIGURATIONS}/05-lab.conflist", node.conflist())
        self.addCleanup(node.run, "rm", "-f", f"{_CONFIGURATIONS}/05-lab.conflist")
        self.wait_chained(node, "05-lab.conflist", node.plugin)
        self.run_pods(["renamed"], node.name, 6)

    def test_it_is_rewritten_while_the_agent_is_away(self):
        """A pod may start open until the agent is there; the next one does not."""
        node = self.lab.nodes["node1"]
        agent = next(p for p in self.lab.pods(SYSTEM, **{"app.kubernetes.io/name": "sluice-agent"})
                     if p["spec"]["nodeName"] == node.name)
        node.stop_service("kubelet")
        os.kill(self.lab.process_of(agent), signal.SIGKILL)
        node.write(f"{_CONFIGURATIONS}/10-lab.conflist", node.conflist())
        node.start_service("kubelet")
        self.wait_chained(node, "10-lab.conflist", node.plugin)
        self.lab.wait_sluice()
        self.run_pods(["later"], node.name, 4)


def _quantile(times, share):
    """In milliseconds, as Prometheus reckons it."""
    wanted, below, lower = share * times[math.inf], 0, 0.0
    for bound, number in sorted(times.items()):
        if number >= wanted:
            upper = lower if bound == math.inf else bound
            return 1000 * (lower + (upper - lower) * (wanted - below) / max(number - below, 1))
        below, lower = number, bound
    return math.nan
