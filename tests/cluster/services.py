# SPDX-License-Identifier: Apache-2.0
"""What endpoint controller and kube-proxy do for the lab's Services.

A Service gets its EndpointSlices, and in every node's namespace nftables rules
that send what goes to its addresses to its ready backends in turn. A thread of
the test's own answers on the backends' ports.
"""

import dataclasses
import itertools
import selectors
import socket
import threading

_MARK = "0x4000"


@dataclasses.dataclass(frozen=True)
class Front:
    """Destination of a probe: one of a Service's addresses."""
    name: str


@dataclasses.dataclass
class Backend:
    """A pod, or with `addresses` a host that Kubernetes knows nothing of."""
    pod: object = None
    ready: bool = True
    addresses: tuple = ()  # (IPv4, IPv6)

    def address(self, family):
        return self.pod.address(family) if self.pod else self.addresses[0 if family == 4 else 1]

    def port(self, port):
        """Where a Service's port leads to; None if the pod has no port of that name."""
        target = port.get("targetPort", port["port"])
        if isinstance(target, int):
            return target
        number, protocol = self.pod.ports.get(target, (None, None))
        return number if protocol == port.get("protocol", "TCP") else None


class Services:
    """All Services that the lab looks after. What is put replaces what was there."""

    def __init__(self, cluster):
        self._cluster, self._api = cluster, cluster.api
        self._services = {}  # "namespace/name" -> (object, backends)

    def put(self, full_name, ports, backends=(), selector=None, status=None, **spec):
        """Creates or changes a Service of both families; its object."""
        namespace, name = full_name.split("/")
        thing = {"apiVersion": "v1", "kind": "Service", "metadata": {
            "namespace": namespace, "name": name, "labels": spec.pop("labels", {})},
                 "spec": {"ports": ports, "ipFamilyPolicy": "RequireDualStack",
                          **({"selector": selector} if selector else {}), **spec}}
        if full_name in self._services:
            made = self._api.patch("Service", namespace, name, {"spec": {
                "ports": ports, "selector": selector, **spec}})
        else:
            made = self._api.create(thing)
        if status:
            made = self._api.patch("Service", namespace, name, {"status": status}, subresource="status")
        self._services[full_name] = (made, list(backends))
        self._write_slices(full_name)
        self._rewrite()
        return made

    def set_backends(self, full_name, *backends):
        self._services[full_name] = (self._services[full_name][0], list(backends))
        self._write_slices(full_name)
        self._rewrite()

    def drop_pod(self, full_name):
        """Takes a pod that goes out of all Services."""
        for name, (_, backends) in list(self._services.items()):
            left = [b for b in backends if not b.pod or b.pod.full_name != full_name]
            if len(left) < len(backends):
                self.set_backends(name, *left)

    def remove(self, full_name):
        if self._services.pop(full_name, None):
            namespace, name = full_name.split("/")
            self._api.delete("Service", namespace, name)
            for thing in self._slices(namespace, name):
                self._api.delete("EndpointSlice", namespace, thing["metadata"]["name"])
            self._rewrite()

    def clear(self):
        for name in list(self._services):
            self.remove(name)

    def address(self, full_name, family, what="cluster"):
        """One of the addresses: "cluster", "external" or "balancer"."""
        thing = self._services[full_name][0]
        addresses = {"cluster": thing["spec"].get("clusterIPs", []),
                     "external": thing["spec"].get("externalIPs", []),
                     "balancer": [i["ip"] for i in thing["status"]["loadBalancer"].get("ingress", [])],
                     }[what]
        return next(a for a in addresses if (":" in a) == (family == 6))

    def names(self):
        return list(self._services)

    # ---- the endpoint controller -----------------------------------------------------

    def _slices(self, namespace, name):
        return [s for s in self._api.get("EndpointSlice", namespace)["items"]
                if s["metadata"].get("labels", {}).get("kubernetes.io/service-name") == name]

    def _write_slices(self, full_name):
        """One slice per family and set of port numbers, as the controller makes them."""
        namespace, name = full_name.split("/")
        thing, backends = self._services[full_name]
        wanted = {}
        for family in (4, 6):
            groups = {(): []}  # there is a slice even where there is no backend
            for backend in backends:
                numbers = tuple(backend.port(p) for p in thing["spec"]["ports"])
                groups.setdefault(numbers, []).append(backend)
            if len(groups) > 1:
                del groups[()]
            for number, (numbers, members) in enumerate(sorted(groups.items(), key=str)):
                wanted[f"{name}-v{family}-{number}"] = self._slice(thing, family, numbers, members)
        for old in self._slices(namespace, name):
            if old["metadata"]["name"] not in wanted:
                self._api.delete("EndpointSlice", namespace, old["metadata"]["name"])
        for slice_name, body in wanted.items():
            self._put_slice(namespace, slice_name, name, body)

    def _put_slice(self, namespace, slice_name, name, body):
        found = self._api.find("EndpointSlice", namespace, slice_name)
        if found:
            self._api.patch("EndpointSlice", namespace, slice_name, body)
            return
        self._api.create({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice",
                          "metadata": {"namespace": namespace, "name": slice_name,
                                       "labels": {"kubernetes.io/service-name": name}}, **body})

    @staticmethod
    def _slice(thing, family, numbers, members):
        ports = [{"name": p.get("name", ""), "protocol": p.get("protocol", "TCP"), "port": n}
                 for p, n in zip(thing["spec"]["ports"], numbers) if n]
        endpoints = []
        for backend in members:
            endpoint = {"addresses": [backend.address(family)], "conditions": {"ready": backend.ready}}
            if backend.pod:
                namespace, name = backend.pod.full_name.split("/")
                endpoint["targetRef"] = {"kind": "Pod", "namespace": namespace, "name": name}
                endpoint["topology"] = {"kubernetes.io/hostname": backend.pod.node.name}
            endpoints.append(endpoint)
        return {"addressType": f"IPv{family}", "endpoints": endpoints, "ports": ports}

    # ---- kube-proxy ------------------------------------------------------------------

    def _rewrite(self):
        for node in self._cluster.net.nodes.values():
            self.rewrite_node(node)

    def rewrite_node(self, node):
        text = "".join(self._table(node, family) for family in (4, 6))
        self._cluster.nft(node, text)

    def _table(self, node, family):
        ip = "ip" if family == 4 else "ip6"
        chains, jumps, drops = [], [], []
        number = itertools.count()
        for thing, backends in self._services.values():
            for port in thing["spec"]["ports"]:
                protocol = port.get("protocol", "TCP").lower()
                targets = [(b.address(family), b.port(port)) for b in backends if b.ready and b.port(port)]
                for match, marked in _fronts(thing, port, node, family):
                    if not targets:
                        drops.append(f"{match} drop")
                        continue
                    names = []
                    for address, target in targets:
                        names.append(f"b{next(number)}")
                        shown = f"[{address}]" if family == 6 else address
                        chains.append(f"chain {names[-1]} {{\n {ip} saddr {address} meta mark set {_MARK}\n"
                                      f" meta l4proto {protocol} dnat to {shown}:{target}\n}}")
                    choices = ", ".join(f"{n} : goto {c}" for n, c in enumerate(names))
                    mark = f"meta mark set {_MARK} " if marked else ""
                    jumps.append(f"{match} {mark}numgen inc mod {len(names)} vmap {{ {choices} }}")
        own = node.address(family)
        return "\n".join([
            f"table {ip} services", f"delete table {ip} services", f"table {ip} services {{", *chains,
            "chain services {", *jumps, "}",
            "chain none {", "type filter hook prerouting priority -150", *drops, "}",
            "chain prerouting {", "type nat hook prerouting priority -100", "jump services", "}",
            "chain output {", "type nat hook output priority -100", "jump services", "}",
            # What came in at a node's port must come back this way, and a pod
            # that calls itself would drop its own address.
            "chain postrouting {", "type nat hook postrouting priority 100",
            f"meta mark {_MARK} snat to {own}", "}", "}", ""])


def _fronts(thing, port, node, family):
    """(match, is it a node's port) of everything that leads to a Service's port on a node."""
    spec, protocol = thing["spec"], port.get("protocol", "TCP").lower()
    addresses = [a for a in spec.get("clusterIPs", []) if a != "None"] + spec.get("externalIPs", [])
    addresses += [i["ip"] for i in thing.get("status", {}).get("loadBalancer", {}).get("ingress", [])]
    ip = "ip" if family == 4 else "ip6"
    for address in addresses:
        if (":" in address) == (family == 6):
            yield f"{ip} daddr {address} {protocol} dport {port['port']}", False
    if port.get("nodePort"):
        yield f"{ip} daddr {node.address(family)} {protocol} dport {port['nodePort']}", True


class Responder:
    """Answers on UDP and TCP ports of pods with what it was sent, until close()."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._wake, self._end = socket.socketpair()
        self._selector.register(self._end, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def serve(self, host, *ports):
        with host.ns.entered():
            for port in ports:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    made = socket.socket(socket.AF_INET6, kind)
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    made.bind(("::", port))
                    made.setblocking(False)
                    if kind == socket.SOCK_STREAM:
                        made.listen(64)
                    with self._lock:
                        self._selector.register(made, selectors.EVENT_READ, kind)

    def close(self):
        self._wake.close()
        self._thread.join(10)

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._end:
                    self._close_all()
                    return
                self._answer(key.fileobj, key.data)

    def _answer(self, sock, kind):
        try:
            if kind == socket.SOCK_DGRAM:
                data, peer = sock.recvfrom(2048)
                sock.sendto(data, peer)
            elif kind == socket.SOCK_STREAM:
                accepted, _ = sock.accept()
                accepted.setblocking(False)
                self._selector.register(accepted, selectors.EVENT_READ, "connection")
            elif data := sock.recv(2048):
                sock.send(data)
            else:
                self._selector.unregister(sock)
                sock.close()
        except BlockingIOError:
            pass
        except OSError:  # the peer went away, or its answer is not let out
            if kind == "connection":
                self._selector.unregister(sock)
                sock.close()

    def _close_all(self):
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
