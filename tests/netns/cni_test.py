# SPDX-License-Identifier: Apache-2.0
"""sluice-cni behind the real bridge and ptp plugins: no pod has a moment without its policies."""

import concurrent.futures
import itertools
import json
import os
import random
import select
import shutil
import socket
import subprocess
import threading
import unittest

from tests.netns import suite
from tests.netns.agent_lab import Agent, Operator
from tests.netns.cni import CniError, CniPod, call, conflist, route, sluice_cni
from tests.netns.sluice import Manifests, cnp, ports, wait_for
from tests.netns.traffic import Stream

_SUBNETS = {"bridge": ("10.0.77.0/24", "fd00:0:0:4d::/64"), "ptp": ("10.0.78.0/24", "fd00:0:0:4e::/64")}
_OPEN, _SHUT = 8080, 8081  # of E: what policy allows, and what it does not
_ETH_P_ALL = 3
_names = itertools.count(1)
# Before a first segment that was lost is sent again.
_AT_ONCE = 0.9


class Outside:
    """The host E: takes connections to both ports, and counts all packets for the one that is shut."""

    def __init__(self, host):
        self.host, self.forbidden, self._ending = host, 0, threading.Event()
        with host.ns.entered():
            self._sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            self._listeners = []
            for port in (_OPEN, _SHUT):
                listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=256,
                                                dualstack_ipv6=True)
                self._listeners.append(listener)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        sockets = [self._sniffer, *self._listeners]
        while not self._ending.is_set():
            for ready in select.select(sockets, [], [], 0.1)[0]:
                if ready is self._sniffer:
                    self.forbidden += _port_of(self._sniffer.recv(256)) == _SHUT
                else:
                    ready.accept()[0].close()

    def end(self):
        self._ending.set()
        self._thread.join(10)
        for each in (self._sniffer, *self._listeners):
            each.close()


def _port_of(frame):
    """The TCP destination port, or None."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:
        at = 14 + (frame[14] & 15) * 4
    elif kind == b"\x86\xdd" and frame[20] == socket.IPPROTO_TCP:
        at = 54
    else:
        return None
    return int.from_bytes(frame[at + 2:at + 4], "big")


def first_actions(pod, outside):
    """What a pod does first: a forbidden connection, and at once an allowed one. True if that one
    is made without a second try, in both families."""
    made = True
    for family, address in ((socket.AF_INET, outside.host.ipv4), (socket.AF_INET6, outside.host.ipv6)):
        with pod.ns.entered():
            shut = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            allowed = socket.socket(family, socket.SOCK_STREAM)
        with shut, allowed:
            shut.connect_ex((address, _SHUT))
            allowed.settimeout(_AT_ONCE)
            made = made and allowed.connect_ex((address, _OPEN)) == 0
    return made


class Cni(unittest.TestCase):
    def setUp(self):
        self.lab = suite.world()
        self.node = self.lab.host("node1")
        self.manifests = Manifests()
        self.manifests.put("cluster", *self.lab.objects())
        self.manifests.put("policy", cnp("x", "started", {"started": "yes"}, egress=[
            {"toCIDR": ["203.0.113.0/24", "2001:db8:113::/48"], "toPorts": ports(f"{_OPEN}/TCP", f"{_OPEN}/UDP")}]))
        for subnets in _SUBNETS.values():
            route(self.node, *subnets)
        self.operator = Operator(self.manifests)
        self.agent = None
        self.pods = []
        self.addCleanup(self._end)
        self.outside = Outside(self.lab.host("E"))
        self.addCleanup(self.outside.end)

    def _end(self):
        for pod in self.pods:
            pod.ns.remove()
        for kind in _SUBNETS:
            shutil.rmtree(f"/run/ipam-{kind}", ignore_errors=True)
        if self.agent:
            if self.agent.process.poll() is None:
                self.agent.kill()
            self.agent.cleanup()
        if self.operator.process and self.operator.process.poll() is None:
            self.operator.kill()

    def begin(self, *options):
        self.operator.start()
        self.agent = Agent(self.node, self.operator, "--pod-interfaces", "nothing", *options)
        self.agent.start()
        self.operator.wait_acknowledged("node1")

    def network(self, kind="bridge", **options):
        options.setdefault("socket", self.agent.socket if self.agent else "/run/nobody.sock")
        return conflist(kind, *_SUBNETS[kind], **options)

    def new_pod(self, network, known=True, name=None):
        """A pod; the operator knows it, but no address of it."""
        pod = CniPod(self.node, f"x/{name or f'new{next(_names)}'}", network, {"started": "yes"})
        self.pods.append(pod)
        if known:
            self.manifests.put(pod.full_name.replace("/", "-"), pod.object())
        return pod

    def attached(self, pod):
        found = [e for e in self.agent.query("endpoint", "list")["endpoints"] if e["name"] == pod.full_name]
        return bool(found) and found[0]["attached"]

    def check_one(self, kind):
        self.begin()
        pod = self.new_pod(self.network(kind))
        pod.make_interface()
        self.assertEqual(pod.announce(), pod.result.strip(), "the result is passed on as it is")
        self.assertTrue(self.attached(pod))
        self.assertTrue(first_actions(pod, self.outside), "the allowed connection was not made at once")
        self.assertEqual(self.outside.forbidden, 0)
        self.assertEqual(pod.announce("CHECK"), "")
        # Kubelet writes the status; nothing changes.
        epoch = self.agent.query("status")["epoch"]
        self.manifests.put(pod.full_name.replace("/", "-"), pod.object(with_status=True))
        self.assertTrue(first_actions(pod, self.outside))
        self.assertEqual(self.agent.query("status")["epoch"], epoch)
        # Again, as after a restart of the runtime.
        pod.announce()
        self.assertTrue(first_actions(pod, self.outside))
        self.assertEqual(self.outside.forbidden, 0)

    def test_bridge(self):
        self.check_one("bridge")

    def test_ptp(self):
        self.check_one("ptp")

    def start_many(self, kind, count, disturb=None):
        network = self.network(kind, timeoutSeconds=60)
        pods = [self.new_pod(network) for _ in range(count)]

        def start(pod):
            pod.make_interface()
            if kind == "ptp":
                pod.set_neighbours()
            pod.announce()
            return first_actions(pod, self.outside)
        ending = threading.Event()
        disturber = threading.Thread(target=disturb, args=(ending,)) if disturb else None
        if disturber:
            disturber.start()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            made = list(pool.map(start, pods))
        ending.set()
        if disturber:
            disturber.join(60)
        times = sorted(pod.seconds * 1000 for pod in pods)
        print(f"\n  sluice-cni ADD, {count} pods behind {kind}, ten at a time"
              f"{', agent killed' if disturb else ''}: p50 {times[count // 2]:.0f} ms, "
              f"p99 {times[count * 99 // 100]:.0f} ms", flush=True)
        self.assertEqual(self.outside.forbidden, 0, "forbidden packets passed")
        self.assertEqual(made.count(False), 0, "allowed connections were not made at once")

    def test_hundred_pods(self):
        self.begin()
        self.start_many("bridge", 100)

    def test_hundred_pods_while_the_agent_is_killed(self):
        self.begin()

        def kill(ending):
            numbers = random.Random(7)
            while not ending.wait(numbers.uniform(0.2, 1.5)):
                self.agent.kill()
                self.agent.start()
        self.start_many("ptp", 100, kill)

    def test_what_was_announced_outlives_agent_and_operator(self):
        """Both start anew before the pod's status has its addresses."""
        self.begin()
        pod = self.new_pod(self.network())
        pod.add()
        stream = Stream(pod, self.outside.host, [(self.outside.host.ipv4, _OPEN)], 500)
        self.operator.kill()
        self.agent.kill()
        self.assertTrue(first_actions(pod, self.outside))
        self.agent.start()
        self.assertTrue(first_actions(pod, self.outside))
        for _ in range(3):
            # Each new operator hears of the pod from the agent alone, before it says anything of it.
            self.operator.forget("node1")
            self.operator.start()
            self.operator.wait_acknowledged("node1")
            self.assertTrue(self.attached(pod))
            self.assertTrue(first_actions(pod, self.outside))
            self.operator.kill()
        stream.wait_sent(100)
        sent, arrived = stream.stop()
        self.assertEqual(len(arrived), sent, "packets of a pod that was enforced all the time")
        self.assertEqual(self.outside.forbidden, 0)

    def test_without_an_operator_the_configuration_says_what_becomes_of_a_pod(self):
        self.begin()
        self.operator.kill()
        failing = self.new_pod(self.network(timeoutSeconds=0.5))
        with self.assertRaises(CniError) as caught:
            failing.add()
        self.assertEqual((caught.exception.code, caught.exception.exit_code), (11, 1))
        self.assertIn("no operator can be reached", str(caught.exception))
        self.assertGreater(failing.seconds, 0.4)
        closed = self.new_pod(self.network(timeoutSeconds=0.5, onTimeout="closed"))
        closed.add()
        self.assertFalse(first_actions(closed, self.outside))
        self.assertEqual(self.outside.forbidden, 0)
        opened = self.new_pod(self.network(timeoutSeconds=0.5, onTimeout="open"))
        opened.add()
        self.assertTrue(first_actions(opened, self.outside))
        wait_for(lambda: self.outside.forbidden > 0, "it is open")
        # All get their policies once there is somebody to say them.
        self.operator.forget("node1")
        self.operator.start()
        self.operator.wait_acknowledged("node1")
        for pod in (failing, closed, opened):
            wait_for(lambda p=pod: self.attached(p), "its policies are in force")
            before = self.outside.forbidden
            self.assertTrue(first_actions(pod, self.outside))
            self.assertEqual(self.outside.forbidden, before)

    def test_without_an_operator_a_pod_gets_its_siblings_policies(self):
        """Those of a pod of the same Deployment; and keeps them when the agent starts anew."""
        self.begin()
        self.new_pod(self.network(), name="web-5d4c9b7d6f-2xk9p").add()
        self.operator.kill()
        wait_for(lambda: "sluice_agent_operator_connected 0" in self.agent.http("/metrics")[1], "no operator")
        with self.assertRaises(CniError):
            self.new_pod(self.network(timeoutSeconds=1.5), name="web-0").add()
        first, second = (self.new_pod(self.network(), name=f"web-5d4c9b7d6f-{end}") for end in ("bcdfg", "bcdfh"))
        for pod in (first, second):
            pod.add()
            self.assertTrue(self.attached(pod))
            self.assertTrue(first_actions(pod, self.outside))
        self.agent.kill()
        self.assertTrue(first_actions(first, self.outside))
        self.agent.start()
        self.assertTrue(first_actions(first, self.outside))
        self.assertEqual(self.outside.forbidden, 0)
        second.delete()
        self.pods.remove(second)
        wait_for(lambda: not self.attached(second), "the pod that is gone is no endpoint")
        self.assertTrue(first_actions(first, self.outside))
        # An operator's word counts, whatever the siblings have.
        first.labels = {}
        self.manifests.put(first.full_name.replace("/", "-"), first.object())
        self.operator.forget("node1")
        self.operator.start()
        self.operator.wait_acknowledged("node1")
        self.assertEqual(self.outside.forbidden, 0)
        wait_for(lambda: first_actions(first, self.outside) and self.outside.forbidden > 0,
                 "it is a pod without policies")

    def test_pod_that_the_operator_does_not_know_of_yet(self):
        """Its object comes while the plugin waits."""
        self.begin()
        pod = self.new_pod(self.network(), known=False)
        pod.make_interface()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(pod.announce)
            wait_for(lambda: "sluice_agent_unclaimed_denied 1" in self.agent.http("/metrics")[1], "cut off")
            self.assertFalse(first_actions(pod, self.outside))
            self.assertFalse(answer.done())
            self.manifests.put("late", pod.object())
            answer.result(20)
        # What it asked its neighbours for while it was cut off, it asks for again in a second.
        wait_for(lambda: first_actions(pod, self.outside), "it gets what is allowed")
        self.assertEqual(self.outside.forbidden, 0)

    def test_agent_that_is_not_there(self):
        network = self.network(timeoutSeconds=0.5)
        pod = self.new_pod(network)
        pod.make_interface()
        with self.assertRaises(CniError) as caught:
            pod.announce()
        self.assertEqual(caught.exception.code, 11)
        self.assertIn("agent is not running", str(caught.exception))
        status = pod.conf({**network["plugins"][-1]}).replace("1.0.0", "1.1.0")
        with self.assertRaises(CniError) as caught:
            call(self.node, "sluice-cni", "STATUS", status, {})
        self.assertEqual(caught.exception.code, 50)
        network["plugins"][-1]["onTimeout"] = "open"
        self.assertEqual(pod.announce(), pod.result.strip())
        # As after a start of the machine: the plugin waits for the agent.
        network["plugins"][-1] |= {"onTimeout": "fail", "timeoutSeconds": 30}
        self.operator.start()
        self.agent = Agent(self.node, self.operator, "--pod-interfaces", "nothing")
        network["plugins"][-1]["socket"] = self.agent.socket
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(pod.announce)
            self.agent.start()
            answer.result(60)
        self.assertTrue(first_actions(pod, self.outside))
        self.assertEqual(self.outside.forbidden, 0)
        self.assertEqual(call(self.node, "sluice-cni", "STATUS",
                              pod.conf(network["plugins"][-1]).replace("1.0.0", "1.1.0"), {}), "")

    def test_pod_that_goes(self):
        self.begin()
        pod, other = self.new_pod(self.network()), self.new_pod(self.network())
        pod.add()
        other.add()
        path = os.path.splitext(self.agent.socket)[0] + ".pods.json"

        def kept():
            with open(path, encoding="utf-8") as file:
                return {p["pod"] for p in json.load(file)["pods"]}
        self.assertEqual(kept(), {p.full_name.split("/")[1] for p in (pod, other)})
        self.pods.remove(pod)
        pod.delete()
        # Without a word to the agent, as after a crash of the runtime.
        self.pods.remove(other)
        other.ns.remove()
        wait_for(lambda: not kept(), "forgotten")
        wait_for(lambda: not any(self.attached(p) for p in (pod, other)), "not enforced any more")
        self.assertEqual(pod.announce("DEL"), "", "what is gone is no error")

    def test_bad_input_is_told_and_changes_nothing(self):
        self.begin()
        pod = self.new_pod(self.network())
        pod.make_interface()
        good = pod.conf(pod.network["plugins"][-1], pod.result)
        no_prev = pod.conf(pod.network["plugins"][-1])
        env = pod.environment
        for what, command, conf, environment, code in (
                ("nonsense", "ADD", "nonsense", env, 6),
                ("nothing", "ADD", "", env, 6),
                ("a list", "ADD", "[]", env, 6),
                ("no prevResult", "ADD", no_prev, env, 7),
                ("prevResult is no object", "ADD", no_prev[:-1] + ', "prevResult": 7}', env, 7),
                ("no address", "ADD", no_prev[:-1] + ', "prevResult": {"ips": []}}', env, 7),
                ("address", "ADD", no_prev[:-1] + ', "prevResult": {"ips": [{"address": "x"}]}}', env, 7),
                ("no such interface", "ADD", good, {**env, "CNI_IFNAME": "eth9"}, 100),
                ("a long name", "ADD", good, {**env, "CNI_IFNAME": "e" * 300}, 100),
                ("no veth", "ADD", good, {**env, "CNI_IFNAME": "lo"}, 100),
                ("no such namespace", "ADD", good, {**env, "CNI_NETNS": "/run/netns/none"}, 3),
                ("no pod", "ADD", good, {**env, "CNI_ARGS": "K8S_POD_NAME=x"}, 4),
                ("no container", "ADD", good, {**env, "CNI_CONTAINERID": ""}, 4),
                ("no command", "", good, env, 4),
                ("another command", "UPDATE", good, env, 4),
                ("version", "ADD", good.replace('"1.0.0"', '"0.2.0"', 1), env, 1),
                ("option", "ADD", good.replace('"socket"', '"onTimeout": "x", "socket"'), env, 7),
                ("time", "ADD", good.replace('"socket"', '"timeoutSeconds": -1, "socket"'), env, 7)):
            with self.subTest(what), self.assertRaises(CniError) as caught:
                call(self.node, "sluice-cni", command, conf, environment)
            self.assertEqual((caught.exception.code, caught.exception.exit_code), (code, 1), what)
            self.assertRegex(str(caught.exception), r"\w.*\.", what)
        self.assertFalse(self.attached(pod))
        versions = json.loads(call(self.node, "sluice-cni", "VERSION", '{"cniVersion": "1.1.0"}', {}))
        self.assertEqual(versions["supportedVersions"], ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])


class Install(unittest.TestCase):
    """An agent keeps the plugin in the node's network configuration."""

    def setUp(self):
        self.lab = suite.world()
        self.node = self.lab.host("node1")
        self.manifests = Manifests()
        self.operator = Operator(self.manifests)
        number = next(_names)
        self.conf, self.bin = f"/run/net.d-{number}", f"/run/cni-bin-{number}"
        os.mkdir(self.conf)
        os.mkdir(self.bin)
        self.operator.start()
        self.agent = Agent(self.node, self.operator, "--cni-conf-dir", self.conf, "--cni-bin-dir", self.bin,
                           "--cni-program", sluice_cni())
        self.addCleanup(self._end)

    def _end(self):
        if self.agent.process and self.agent.process.poll() is None:
            self.agent.kill()
        self.agent.cleanup()
        self.operator.kill()

    def write(self, name, text, whole=True):
        path = os.path.join(self.conf, name)
        target = path + ".tmp" if whole else path
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)
        if whole:
            os.rename(target, path)

    def read(self, name):
        try:
            with open(os.path.join(self.conf, name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_chained(self, name):
        wait_for(lambda: '"sluice-cni"' in self.read(name), f"chained: {self.read(name)}")
        return json.loads(self.read(name))

    def cleanup(self):
        done = self.node.ns.popen(
            os.environ["SLUICE"], "cleanup", "--pin-dir", self.agent.pin_dir, "--socket", self.agent.socket,
            "--cni-conf-dir", self.conf, "--cni-bin-dir", self.bin, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=15)[0]
        self.assertEqual(done.returncode, 0, text)

    def test_list_is_chained_kept_and_restored(self):
        text = json.dumps(conflist("bridge", *_SUBNETS["bridge"]) | {"plugins": [{"type": "bridge"}]}, indent=3)
        self.write("10-main.conflist", text)
        self.write("20-other.conflist", text)
        self.agent.start()
        plugins = self.wait_chained("10-main.conflist")["plugins"]
        self.assertEqual([p["type"] for p in plugins], ["bridge", "sluice-cni"])
        self.assertEqual(plugins[-1]["socket"], self.agent.socket)
        self.assertEqual(self.read("20-other.conflist"), text, "runtimes do not take it")
        with open(sluice_cni(), "rb") as built, open(os.path.join(self.bin, "sluice-cni"), "rb") as file:
            self.assertEqual(built.read(), file.read())
        self.assertTrue(os.access(os.path.join(self.bin, "sluice-cni"), os.X_OK))
        # The main plugin writes it anew, in both ways that there are; and never is it not valid.
        newer = text.replace("bridge-net", "other-net")
        for whole in (True, False):
            self.write("10-main.conflist", newer, whole)
            wait_for(lambda: "other-net" in self.read("10-main.conflist")
                     and "sluice-cni" in self.read("10-main.conflist"), "put back")
        self.agent.stop()
        self.assertIn("sluice-cni", self.read("10-main.conflist"), "pods that start now wait for the next agent")
        self.cleanup()
        self.assertEqual(self.read("10-main.conflist"), newer)
        self.assertEqual(os.listdir(self.bin), [])

    def test_single_plugin_becomes_a_list_before_it(self):
        self.agent.start()
        text = '{"cniVersion": "0.3.1", "name": "one", "type": "ptp", "mtu": 1400}\n'
        self.write("10-one.conf", text)
        made = self.wait_chained("00-sluice.conflist")
        self.assertEqual((made["cniVersion"], made["name"]), ("0.3.1", "one"))
        self.assertEqual([p["type"] for p in made["plugins"]], ["ptp", "sluice-cni"])
        self.write("10-one.conf", text.replace("1400", "1300"))
        wait_for(lambda: "1300" in self.read("00-sluice.conflist"), "follows it")
        self.write("05-list.conflist", json.dumps({"cniVersion": "1.0.0", "name": "l",
                                                   "plugins": [{"type": "bridge"}]}))
        self.wait_chained("05-list.conflist")
        wait_for(lambda: not self.read("00-sluice.conflist"), "the list is taken before it")
        os.unlink(os.path.join(self.conf, "05-list.conflist"))
        self.wait_chained("00-sluice.conflist")
        self.agent.stop()
        self.cleanup()
        self.assertEqual(sorted(os.listdir(self.conf)), ["10-one.conf"])
        self.assertEqual(self.read("10-one.conf"), text.replace("1400", "1300"))

    def test_there_is_a_valid_list_at_every_moment(self):
        text = json.dumps({"cniVersion": "1.0.0", "name": "main", "plugins": [{"type": "bridge"}]})
        self.write("10-main.conflist", text)
        wrong, ending = [], threading.Event()

        def look():
            while not ending.is_set():
                with open(os.path.join(self.conf, "10-main.conflist"), encoding="utf-8") as file:
                    now = file.read()
                try:
                    json.loads(now)
                except ValueError:
                    wrong.append(now)
        reader = threading.Thread(target=look)
        reader.start()
        self.agent.start()
        for number in range(30):
            self.write("10-main.conflist", text.replace("main", f"main{number}"))
            wait_for(lambda n=number: f"main{n}" in self.read("10-main.conflist")
                     and "sluice-cni" in self.read("10-main.conflist"), "put back")
        ending.set()
        reader.join(10)
        self.assertEqual(wrong, [])

    def test_what_cannot_be_chained_is_left_alone_and_told(self):
        old = json.dumps({"cniVersion": "0.2.0", "name": "old", "plugins": [{"type": "bridge"}]})
        self.write("10-old.conflist", old)
        self.agent.start()
        wait_for(lambda: 'cniVersion \\"0.2.0\\"' in self.agent.log() or 'cniVersion "0.2.0"' in self.agent.log(),
                 "told")
        self.assertEqual(self.read("10-old.conflist"), old)

    def test_off_takes_it_out(self):
        text = json.dumps({"cniVersion": "1.0.0", "name": "main", "plugins": [{"type": "bridge"}]})
        self.write("10-main.conflist", text)
        self.agent.start()
        self.wait_chained("10-main.conflist")
        self.agent.stop()
        self.agent.options += ["--cni", "off"]
        self.agent.start()
        self.assertEqual(self.read("10-main.conflist"), text)
