# SPDX-License-Identifier: Apache-2.0
"""A whole node: what its own stack does to packets between the wire and its pods' veths.

Pods are ports of a bridge or routed, one device to the outside has an outsider behind it, the kernel
tracks connections, and rules like kube-proxy's translate addresses. The Node object names the outer
device's addresses only, as kubelet writes it; the pods' gateway is an address of the node as well.
"""

import itertools
import selectors
import socket
import threading
import unittest

from tests.netns import lab
from tests.netns.sluice import Manifests, Sluice, network_policy
from tests.netns.traffic import Probe, verdicts

NAMESPACE = "a"
_GATEWAY = {4: "10.9.0.1", 6: "fd09::1"}
_OUTER = {4: "10.8.0.1", 6: "fd08::1"}
_OUTSIDER = {4: "10.8.0.2", 6: "fd08::2"}
_TABLES = {4: "ip", 6: "ip6"}
_numbers = itertools.count(1)


class Member:
    """A namespace of the lab, with the addresses under which others know it."""

    def __init__(self, name, number, addresses):
        self.name, self.addresses = name, addresses
        self.ns = lab.Netns(f"lab{number}-{name.replace('/', '-')}")
        self.ns.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)

    def address(self, family):
        return self.addresses[family]

    def mac(self, device):
        text = lab.run("ip", "-n", self.ns.name, "-o", "link", "show", "dev", device)
        return text.split("link/ether ")[1].split()[0]

    def inject(self, frames, device="eth0"):
        """Puts frames on a device as they are."""
        with self.ns.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((device, 0))
            for frame in frames:
                raw.send(frame)


class NodeLab:
    """The node `node`, the outsider `out` and the pods that pod() adds. `tracking`: whether the
    kernel tracks the node's connections."""

    def __init__(self, bridged, tracking=True):
        self._number = next(_numbers)
        self.bridged, self.pods, self._echoes = bridged, {}, []
        self.node = Member("node", self._number, _OUTER)
        self.out = Member("out", self._number, _OUTSIDER)
        node, out = self.node.ns, self.out.ns
        node.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1,
                    ipv4__conf__all__rp_filter=0, ipv4__conf__default__rp_filter=0)
        if bridged:
            # What is switched is tracked and translated as well: Kubernetes demands it.
            node.sysctl(**{"bridge/bridge-nf-call-iptables": 1, "bridge/bridge-nf-call-ip6tables": 1})
            node.ip("link add br0 type bridge", f"addr add {_GATEWAY[4]}/24 dev br0",
                    f"addr add {_GATEWAY[6]}/64 dev br0 nodad", "link set br0 up")
        node.ip(f"link add up0 type veth peer name eth0 netns {out.name}",
                f"addr add {_OUTER[4]}/24 dev up0", f"addr add {_OUTER[6]}/64 dev up0 nodad",
                "link set up0 up")
        out.ip(f"addr add {_OUTSIDER[4]}/24 dev eth0", f"addr add {_OUTSIDER[6]}/64 dev eth0 nodad",
               "link set eth0 up", f"route add default via {_OUTER[4]}",
               f"route add default via {_OUTER[6]}")
        if tracking:
            self.rules("table inet track {\nchain forward {\n type filter hook forward priority 0;\n"
                       " ct state invalid counter\n}\n}\n")

    def pod(self, name, number, **labels):
        """A running pod `a/NAME`; the host side of its veth is v_NAME."""
        pod = Member(f"{NAMESPACE}/{name}", self._number, {4: f"10.9.0.{number}", 6: f"fd09::{number}"})
        pod.link, pod.labels, pod.ports = f"v_{name}", {"app": name, **labels}, []
        self.pods[name] = pod
        node, (v4, v6) = self.node.ns, pod.addresses.values()
        node.ip(f"link add {pod.link} type veth peer name eth0 netns {pod.ns.name}")
        if self.bridged:
            node.ip(f"link set {pod.link} master br0", f"link set {pod.link} up",
                    f"link set {pod.link} type bridge_slave hairpin on")
            pod.ns.ip(f"addr add {v4}/24 dev eth0", f"addr add {v6}/64 dev eth0 nodad",
                      "link set eth0 up")
        else:
            node.ip(f"link set {pod.link} up", f"addr add {_GATEWAY[4]}/32 dev {pod.link}",
                    f"addr add {_GATEWAY[6]}/128 dev {pod.link} nodad",
                    f"route add {v4}/32 dev {pod.link}", f"route add {v6}/128 dev {pod.link}")
            pod.ns.ip(f"addr add {v4}/32 dev eth0", f"addr add {v6}/128 dev eth0 nodad",
                      "link set eth0 up", f"route add {_GATEWAY[4]} dev eth0",
                      f"route add {_GATEWAY[6]} dev eth0")
        pod.ns.ip(f"route add default via {_GATEWAY[4]}", f"route add default via {_GATEWAY[6]}")
        return pod

    def gateway_mac(self, pod):
        """Where a pod sends what is not on its link."""
        return self.node.mac("br0" if self.bridged else pod.link)

    def rules(self, text):
        """Adds nftables rules to the node."""
        lab.run("ip", "netns", "exec", self.node.ns.name, "nft", "-f", "-", stdin=text)

    def node_port(self, port, pod, target, protocol="tcp", masquerade=True):
        """On every address of the node, as kube-proxy makes it for externalTrafficPolicy Cluster;
        without `masquerade`, Local."""
        self._translate(f"np_{protocol}_{port}", {f: "fib daddr type local" for f in _TABLES}, port,
                        pod, target, protocol, "masquerade" if masquerade else "accept")

    def cluster_ip(self, addresses, port, pod, target, protocol="tcp"):
        """A Service's address, for pods and for the node; a pod that reaches itself is masqueraded."""
        self._translate(f"svc_{protocol}_{port}", {f: f"{_TABLES[f]} daddr {a}" for f, a in addresses.items()},
                        port, pod, target, protocol, None)

    def _translate(self, name, matches, port, pod, target, protocol, after):
        for family, match in matches.items():
            table, to = _TABLES[family], pod.address(family)
            backend = f"[{to}]:{target}" if family == 6 else f"{to}:{target}"
            rule = f"{match} {protocol} dport {port} dnat to {backend}"
            post = (f"{table} daddr {to} ct status dnat {after}" if after else
                    f"{table} saddr {to} {table} daddr {to} masquerade")
            chains = (("prerouting", -100, rule), ("output", -100, rule), ("postrouting", 100, post))
            self.rules(f"table {table} {name} {{\n" + "".join(
                f"chain {hook} {{ type nat hook {hook} priority {priority}; {what}; }}\n"
                for hook, priority, what in chains) + "}\n")

    def serve(self, member, *ports, address="::"):
        """Sends back what comes, by TCP and UDP, until close()."""
        self._echoes.append(_Echo(member, ports, address))

    def objects(self):
        """What Kubernetes knows."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
                "status": {"addresses": [{"type": "InternalIP", "address": a} for a in _OUTER.values()]}}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        return [node, namespace, *(self._object(p) for p in self.pods.values())]

    @staticmethod
    def _object(pod):
        return {"apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": NAMESPACE, "name": pod.name.split("/")[1], "labels": pod.labels},
                "spec": {"nodeName": "node", "containers": [{"name": "main", "ports": pod.ports}]},
                "status": {"phase": "Running", "podIP": pod.address(4),
                           "podIPs": [{"ip": a} for a in pod.addresses.values()]}}

    def close(self):
        for echo in self._echoes:
            echo.close()
        for member in (self.node, self.out, *self.pods.values()):
            member.ns.remove()


class _Echo:
    def __init__(self, member, ports, address):
        self._selector = selectors.DefaultSelector()
        self._sockets = []
        for port in ports:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with member.ns.entered():
                    made = socket.socket(socket.AF_INET6, kind)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    made.listen(64)
                self._add(made, self._accept if kind == socket.SOCK_STREAM else self._answer)
        self._wake, wake = socket.socketpair()
        self._add(wake, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _add(self, made, handler):
        made.setblocking(False)
        self._sockets.append(made)
        self._selector.register(made, selectors.EVENT_READ, handler)

    def _accept(self, listener):
        self._add(listener.accept()[0], self._return)

    @staticmethod
    def _answer(datagrams):
        datagrams.sendto(*datagrams.recvfrom(65536))

    def _return(self, stream):
        data = stream.recv(2048)
        if data:
            stream.send(data)
        else:
            self._selector.unregister(stream)

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                try:
                    key.data(key.fileobj)
                except OSError:
                    self._selector.unregister(key.fileobj)

    def close(self):
        self._wake.send(b"x")
        self._thread.join(10)
        for made in (*self._sockets, self._wake):
            made.close()


class NodeCase(unittest.TestCase):
    """A test with a node of its own. Subclasses say what the node is like."""

    bridged = tracking = True

    def setUp(self):
        self.lab = NodeLab(self.bridged, self.tracking)
        self.addCleanup(self.lab.close)
        self.manifests = Manifests()
        self.sluice = Sluice(self.lab.node, self.manifests)

    def start(self):
        """Returns when what the objects say is enforced."""
        self.manifests.put("cluster", *self.lab.objects())
        self.addCleanup(self._end)
        self.sluice.start()

    def _end(self):
        if self.sluice.process.poll() is None:
            self.sluice.kill()
        self.sluice.cleanup()

    def isolate(self, pod, *types, **rules):
        """A NetworkPolicy on one pod."""
        name = pod.name.split("/")[1]
        self.manifests.put(f"isolate-{name}", network_policy(
            NAMESPACE, f"isolate-{name}", {"matchLabels": {"app": name}}, policyTypes=list(types), **rules))

    def check(self, *expected):
        """Each: (source, destination, what, verdict) as in traffic.Probe, in both families; then, if
        the destination is asked under others, its addresses by family."""
        probes = {}
        for source, destination, what, verdict, *addresses in expected:
            asked = addresses[0] if addresses else destination.addresses
            for family, address in asked.items():
                probes[Probe(source, destination, what, family, address)] = verdict
        seen = verdicts(probes)
        wrong = [f"{p}: {seen[p]}, not {v}" for p, v in probes.items() if seen[p] != v]
        self.assertFalse(wrong, "\n" + "\n".join(wrong))


def on_both(cases):
    """Makes the tests of a class run on bridged and on routed pods. Put it on a mixin: it gives
    {name: class} for the module's globals."""
    return {f"{cases.__name__[1:]}{kind}": type(f"{cases.__name__[1:]}{kind}", (cases, NodeCase),
                                            {"bridged": bridged, "__module__": cases.__module__})
            for kind, bridged in (("Bridged", True), ("Routed", False))}
