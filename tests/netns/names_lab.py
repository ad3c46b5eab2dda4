# SPDX-License-Identifier: Apache-2.0
"""The world of the tests of names: clients, the cluster's DNS, and addresses outside."""

import socket

from tests.netns import dns, suite
from tests.netns.agent_lab import Agent, Operator
from tests.netns.dns import Records, ask
from tests.netns.lab import run
from tests.netns.sluice import cnp, wait_for
from tests.netns.traffic import DENIED, Probe, verdicts

SERVICE = {4: "10.96.0.10", 6: "fd00:96::a"}
# All addresses of these are E's.
_OUTSIDE = ("198.18.0.0/15", "2001:db8:18::/48")
API = ("198.18.0.1", "2001:db8:18::1")
OTHER = ("198.18.0.2", "2001:db8:18::2")


def fqdns(*patterns, port=443, protocol="ANY"):
    """An egress rule for names; those with a star are patterns."""
    return {"toFQDNs": [{"matchPattern" if "*" in p else "matchName": p} for p in patterns],
            "toPorts": [{"ports": [{"port": str(port), "protocol": protocol}]}]}


def dns_servers(*patterns, to=None):
    """An egress rule for the cluster's DNS, with the names that may be asked for."""
    peers = to or {"toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "z", "pod": "a"}}]}
    rules = {"dns": [{"matchPattern" if "*" in p else "matchName": p} for p in patterns]}
    return {**peers, "toPorts": [{"ports": [{"port": "53", "protocol": "ANY"}],
                                  **({"rules": rules} if patterns else {})}]}


def policy(*egress, pod="a", name="names"):
    return cnp("x", name, {"pod": pod}, egress=list(egress))


def service_objects(namespace, name, addresses, pod, port, **labels):
    """A Service with these addresses, for TCP and UDP at this port, whose pod is this one."""
    ports = [{"name": p.lower(), "protocol": p, "port": port} for p in ("TCP", "UDP")]
    service = {"apiVersion": "v1", "kind": "Service",
               "metadata": {"namespace": namespace, "name": name, "labels": labels},
               "spec": {"clusterIP": addresses[4], "clusterIPs": list(addresses.values()),
                        "ports": [{**p, "targetPort": port} for p in ports]}}
    return [service, *({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                        "metadata": {"namespace": namespace, "name": f"{name}-{family}",
                                     "labels": {"kubernetes.io/service-name": name}},
                        "addressType": f"IPv{family}", "ports": ports,
                        "endpoints": [{"addresses": [pod.address(family)], "nodeName": pod.node.name,
                                       "conditions": {"ready": True}}]} for family in (4, 6))]


class Case(suite.Case):
    """x/a and x/b are clients on node1. z/a on node2 is the cluster's DNS, which asks E; E also has all
    addresses outside."""

    program = "dnsmasq"

    def setUp(self):
        super().setUp()
        self.client, self.outside = self.host("x/a"), self.host("E")
        resolver = self.host("z/a")
        for prefix in _OUTSIDE:
            via = self.outside.address(6 if ":" in prefix else 4)
            run("ip", "route", "replace", prefix, "via", via, "dev", self.outside.link, "onlink")
            run("ip", "-n", "E", "route", "replace", "local", prefix, "dev", "lo")
        self.translate(resolver, SERVICE, 53, "kubedns")
        self.manifests.put("kube-dns", *service_objects("kube-system", "kube-dns", SERVICE, resolver, 53,
                                                        **{"k8s-app": "kube-dns"}))
        self.upstream = dns.Server(self.outside)
        self.addCleanup(self.upstream.close)
        self.names = self.upstream.names
        self.names["api.example.com"] = Records(API)
        self.names["other.example.com"] = Records(OTHER)
        self.resolver = dns.Resolver(resolver, self.outside.ipv4, self.program)
        self.addCleanup(self.resolver.close)

    def translate(self, pod, addresses, port, name):
        """What kube-proxy does on the clients' node for a Service with these addresses and this pod."""
        nft = ("ip", "netns", "exec", "node1", "nft")
        for family, table in ((4, "ip"), (6, "ip6")):
            to = f"[{pod.ipv6}]" if family == 6 else pod.ipv4
            run(*nft, "-f", "-", stdin=f"table {table} {name} {{ chain pre {{"
                " type nat hook prerouting priority dstnat; "
                + " ".join(f"{table} daddr {addresses[family]} {p} dport {port} dnat to {to}:{port};"
                           for p in ("udp", "tcp"))
                + " }\n}\n")
            self.addCleanup(run, *nft, "delete", "table", table, name)

    def start(self, *egress):
        if egress:
            self.manifests.put("names", policy(*egress))
        self.sluice.start()
        invalid = [p for p in self.sluice.query("policy", "list")["policies"] if not p["in_force"]]
        self.assertFalse(invalid, self.sluice.log())

    def start_programs(self, *options):
        """Instead of `sluice run`, the two programs of a cluster: (operator, agent). `options`: the agent's."""
        operator = Operator(self.manifests)
        operator.start()
        self.addCleanup(operator.kill)
        agent = Agent(self.node, operator, *options)
        self.addCleanup(agent.cleanup)
        agent.start()
        self.addCleanup(agent.kill)
        operator.wait_acknowledged("node1")
        return operator, agent

    def listen(self, kind=socket.SOCK_STREAM):
        """Listens in place of the cluster's DNS, over TCP unless `kind` is SOCK_DGRAM."""
        self.resolver.close()
        server = self.host("z/a")
        with server.ns.entered():
            listener = socket.socket(socket.AF_INET, kind)
        self.addCleanup(listener.close)
        listener.settimeout(10)
        if kind == socket.SOCK_STREAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.ipv4, 53))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        return listener

    def connect(self, server, kind=socket.SOCK_STREAM):
        """The client's end to a DNS server, over TCP unless `kind` is SOCK_DGRAM. What is written at once over
        TCP is one segment."""
        with self.client.ns.entered():
            made = socket.socket(socket.AF_INET, kind)
        self.addCleanup(made.close)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(10)
        made.connect((server, 53))
        return made

    def resolve(self, name, kind=dns.A, pod=None, family=4, **how):
        """The addresses that the cluster's DNS gives to a pod."""
        reply = ask(pod or self.client, SERVICE[family], name, kind, **how)
        self.assertIsNotNone(reply, f"no answer about {name}; {self.sluice.log()}")
        return reply.addresses

    def reach(self, verdict, *addresses, what="tcp/443", pod=None):
        """All of them, at once."""
        self.check({Probe(pod or self.client, self.outside, what, 6 if ":" in a else 4, a): verdict
                    for a in addresses})

    def wait_denied(self, address):
        def denied():
            probe = Probe(self.client, self.outside, "tcp/443", 6 if ":" in address else 4, address)
            return verdicts({probe: DENIED})[probe] == DENIED
        wait_for(denied, f"{address} is denied")
