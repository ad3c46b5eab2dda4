# SPDX-License-Identifier: Apache-2.0
"""A small cluster of network namespaces: nodes, pods, hosts outside.

Every host hangs on its parent by a routed veth, the way most CNI plugins wire
pods: the sandbox's own namespace routes between nodes and outside hosts, a
node's namespace between its pods. Both address families everywhere.
"""

import contextlib
import os
import subprocess

from tests.netns import sandbox

# Link-local addresses under which every parent answers its children.
_GATEWAY4 = "169.254.1.1"
_GATEWAY6 = "fe80::1"


def run(*command, check=True, timeout=30, stdin=None):
    done = subprocess.run(command, check=False, text=True, input=stdin, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Netns:
    """A network namespace that lives as long as the sandbox, or until remove()."""

    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)
        self.fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self.ip("link set lo up")

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is inside; sockets opened here stay inside."""
        with _open_own() as own:
            sandbox.set_network_namespace(self.fd)
            try:
                yield
            finally:
                sandbox.set_network_namespace(own.fileno())

    def ip(self, *commands):
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(commands) + "\n")

    def sysctl(self, **values):
        with self.entered():
            for key, value in values.items():
                with open("/proc/sys/net/" + key.replace("__", "/"), "w", encoding="ascii") as file:
                    file.write(str(value))

    def popen(self, *command, **options):
        """A process inside; killed with the process that started it."""
        def prepare():
            sandbox.set_network_namespace(self.fd)
            sandbox.die_with_parent()
        # The hook only makes system calls, and no thread of ours holds a lock.
        return subprocess.Popen(command, preexec_fn=prepare, **options)  # pylint: disable=R1732,W1509

    def remove(self):
        os.close(self.fd)
        run("ip", "netns", "del", self.name)


def _open_own():
    return open("/proc/thread-self/ns/net", "rb")


class Host:
    """A namespace with one address of each family, wired to its parent's."""

    def __init__(self, parent, name, ipv4, ipv6, link, wire=True):
        self.parent, self.name, self.ipv4, self.ipv6, self.link = parent, name, ipv4, ipv6, link
        self.ns = Netns(name)
        self.ns.sysctl(ipv6__conf__all__forwarding=1, ipv4__ip_forward=1,
                       ipv6__conf__default__accept_dad=0)
        if wire:
            self.plug()

    def plug(self):
        """Makes the veth, its addresses and the routes of both ends."""
        host_mac, own_mac = "02:00:00:00:00:01", "02:00:00:00:00:02"
        parent = self.parent.name if self.parent else None
        _ip(parent, f"link add {self.link} address {host_mac} type veth"
                    f" peer name eth0 netns {self.ns.name} address {own_mac}",
            f"addr add {_GATEWAY6}/128 dev {self.link} nodad",
            f"link set {self.link} up",
            f"route replace {self.ipv4}/32 dev {self.link} scope link",
            f"route replace {self.ipv6}/128 dev {self.link}")
        self.ns.ip(f"addr add {self.ipv4}/32 dev eth0",
                   f"addr add {self.ipv6}/128 dev eth0 nodad", "link set eth0 up",
                   f"route add {_GATEWAY4} dev eth0 scope link",
                   f"neigh replace {_GATEWAY4} lladdr {host_mac} dev eth0 nud permanent",
                   f"route add default via {_GATEWAY4} dev eth0",
                   f"neigh replace {_GATEWAY6} lladdr {host_mac} dev eth0 nud permanent",
                   f"route add default via {_GATEWAY6} dev eth0")

    def unplug(self):
        _ip(self.parent.name if self.parent else None, f"link del {self.link}")

    def address(self, family):
        return self.ipv4 if family == 4 else self.ipv6

    def add_address(self, address):
        """Another address of an outside host."""
        bits = 128 if ":" in address else 32
        self.ns.ip(f"addr add {address}/{bits} dev eth0" + (" nodad" if bits == 128 else ""))
        _ip(self.parent.name if self.parent else None,
            f"route replace {address}/{bits} dev {self.link}")

    def readdress(self, ipv4, ipv6):
        """Another address of each family in the place of those it has."""
        for new, old in ((ipv4, self.ipv4), (ipv6, self.ipv6)):
            bits = 128 if ":" in new else 32
            self.add_address(new)
            self.ns.ip(f"addr del {old}/{bits} dev eth0")
            _ip(self.parent.name if self.parent else None, f"route del {old}/{bits} dev {self.link}")
        self.ipv4, self.ipv6 = ipv4, ipv6

    @property
    def ifindex(self):
        parent = ["-n", self.parent.name] if self.parent else []
        return int(run("ip", *parent, "-o", "link", "show", "dev", self.link).split(":")[0])


def _ip(netns, *commands):
    where = ["-n", netns] if netns else []
    run("ip", *where, "-batch", "-", stdin="\n".join(commands) + "\n")


class Pod(Host):
    """`name` is "namespace/pod"."""

    def __init__(self, node, name, ipv4, ipv6, labels=None, ports=None, annotations=None, wire=True):
        self.full_name, self.node = name, node
        self.labels = labels if labels is not None else {"pod": name.split("/")[1]}
        self.ports, self.annotations = ports or {}, annotations or {}
        flat = name.replace("/", "-")
        super().__init__(node, "pod-" + flat, ipv4, ipv6, "v" + flat[:14], wire)

    def object(self):
        """The Kubernetes object."""
        namespace, name = self.full_name.split("/")
        ports = [{"name": n, "containerPort": p, "protocol": proto}
                 for n, (p, proto) in self.ports.items()]
        return {"apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "labels": self.labels,
                             "annotations": self.annotations},
                "spec": {"nodeName": self.node.name,
                         "containers": [{"name": "main", "ports": ports}]},
                "status": {"phase": "Running", "podIP": self.ipv4,
                           "podIPs": [{"ip": self.ipv4}, {"ip": self.ipv6}]}}


class Lab:
    """The cluster. One per test class; there is nothing to clean up."""

    def __init__(self):
        self.nodes, self.pods, self.outside = {}, {}, {}
        # The router's own address, for ARP requests and ICMP errors.
        _ip(None, "link set lo up", f"addr replace {_GATEWAY4}/32 dev lo")
        for path, value in (("ipv4/ip_forward", 1), ("ipv6/conf/all/forwarding", 1),
                            ("ipv6/conf/default/accept_dad", 0)):
            with open("/proc/sys/net/" + path, "w", encoding="ascii") as file:
                file.write(str(value))

    def node(self, name, number):
        host = Host(None, name, f"10.0.255.{number}", f"fd00:0:0:ff::{number}", "n" + name[:14])
        self.nodes[name] = host
        return host

    def external(self, name, ipv4, ipv6):
        host = Host(None, name, ipv4, ipv6, "e" + name[:14])
        self.outside[name] = host
        return host

    def pod(self, node, name, subnet, number, **options):
        host = Pod(node, name, f"10.0.{subnet}.{number}", f"fd00:0:0:{subnet:x}::{number}", **options)
        self.pods[name] = host
        _ip(None, f"route replace {host.ipv4}/32 via {node.ipv4} dev {node.link} onlink",
            f"route replace {host.ipv6}/128 via {node.ipv6} dev {node.link} onlink")
        return host

    def host(self, name):
        return self.pods.get(name) or self.nodes.get(name) or self.outside[name]

    def objects(self):
        """Namespaces, Nodes and Pods as Kubernetes knows them."""
        names = sorted({n.split("/")[0] for n in self.pods})
        result = [{"apiVersion": "v1", "kind": "Namespace",
                   "metadata": {"name": n, "labels": {"kubernetes.io/metadata.name": n, "ns": n}}}
                  for n in names]
        result += [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": n.name},
                    "status": {"addresses": [{"type": "InternalIP", "address": n.ipv4},
                                             {"type": "InternalIP", "address": n.ipv6}]}}
                   for n in self.nodes.values()]
        return result + [p.object() for p in self.pods.values()]


def standard():
    """The world of the policy tests: pods a and b of three namespaces on node1
    (only x/a is a subject), c on node2, and E outside."""
    lab = Lab()
    node1, node2 = lab.node("node1", 1), lab.node("node2", 2)
    lab.external("E", "203.0.113.7", "2001:db8:113::7")
    for subnet, namespace in enumerate("xyz"):
        for number, name in enumerate("abc"):
            node = node2 if name == "c" or namespace == "z" else node1
            lab.pod(node, f"{namespace}/{name}", subnet, 11 + number)
    return lab
