# SPDX-License-Identifier: Apache-2.0
"""The world of the tests of names: clients, the cluster's DNS, and addresses outside."""

import socket

from tests.netns import dns, suite
from tests.netns.agent_program_test import Agent, Operator
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


def _kube_dns(pod):
    """The Service of the cluster's DNS, whose pod is this one."""
    ports = [{"name": f"dns-{p.lower()}", "protocol": p, "port": 53} for p in ("TCP", "UDP")]
    meta = {"namespace": "kube-system", "name": "kube-dns", "labels": {"k8s-app": "kube-dns"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta,
               "spec": {"clusterIP": SERVICE[4], "clusterIPs": list(SERVICE.values()),
                        "ports": [{**p, "targetPort": 53} for p in ports]}}
    return [service, *({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                        "metadata": {"namespace": "kube-system", "name": f"kube-dns-{family}",
                                     "labels": {"kubernetes.io/service-name": "kube-dns"}},
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
        self.translate(resolver)
        self.manifests.put("kube-dns", *_kube_dns(resolver))
        self.upstream = dns.Server(self.outside)
        self.addCleanup(self.upstream.close)
        self.names = self.upstream.names
        self.names["api.example.com"] = Records(API)
        self.names["other.example.com"] = Records(OTHER)
        self.resolver = dns.Resolver(resolver, self.outside.ipv4, self.program)
        self.addCleanup(self.resolver.close)

    def translate(self, resolver):
        """What kube-proxy does on the clients' node."""
        nft = ("ip", "netns", "exec", "node1", "nft")
        for family, table in ((4, "ip"), (6, "ip6")):
            to = f"[{resolver.ipv6}]" if family == 6 else resolver.ipv4
            run(*nft, "-f", "-", stdin=f"table {table} kubedns {{ chain pre {{"
                " type nat hook prerouting priority dstnat; "
                + " ".join(f"{table} daddr {SERVICE[family]} {p} dport 53 dnat to {to}:53;" for p in ("udp", "tcp"))
                + " }\n}\n")
            self.addCleanup(run, *nft, "delete", "table", table, "kubedns")

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

    def listen(self):
        """Listens for TCP in place of the cluster's DNS."""
        self.resolver.close()
        server = self.host("z/a")
        with server.ns.entered():
            listener = socket.create_server((server.ipv4, 53))
        self.addCleanup(listener.close)
        listener.settimeout(10)
        return listener

    def connect(self, server):
        """A connection of the client to a DNS server. What is written at once is one segment."""
        with self.client.ns.entered():
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(made.close)
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
