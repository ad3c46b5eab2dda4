# SPDX-License-Identifier: Apache-2.0
"""What listens on the node in the place of pods: NodeLocal DNSCache, which takes the address of the DNS Service, and
host ports, which lead to pods."""

from tests.netns.node_lab import NAMESPACE, on_both
from tests.netns.sluice import network_policy
from tests.netns.traffic import ALLOWED, DENIED

_DNS = "10.96.0.10"
_LINK_LOCAL = "169.254.20.10"
_ASKS = ("ask-tcp/53", "ask-udp/53")


def _service():
    """The DNS Service and its slice."""
    ports = [{"name": p.lower(), "protocol": p, "port": 53} for p in ("TCP", "UDP")]
    return [{"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NAMESPACE, "name": "kube-dns"},
             "spec": {"clusterIP": _DNS, "clusterIPs": [_DNS], "selector": {"app": "dns"}, "ports": ports}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
             "metadata": {"namespace": NAMESPACE, "name": "kube-dns-1",
                          "labels": {"kubernetes.io/service-name": "kube-dns"}},
             "addressType": "IPv4", "ports": ports,
             "endpoints": [{"addresses": ["10.9.0.5"], "nodeName": "node"}]}]


def _ports(number):
    return [{"protocol": protocol, "port": number} for protocol in ("TCP", "UDP")]


def _only(*rules):
    """The client may do this and nothing else."""
    return network_policy(NAMESPACE, "isolate", {"matchLabels": {"app": "client"}}, policyTypes=["Egress"],
                          egress=list(rules))


class _NodeLocalDns:
    """The cache listens on both addresses of a device of the node; its packets are not tracked."""

    def setUp(self):
        super().setUp()
        self.client, self.dns = self.lab.pod("client", 2), self.lab.pod("dns", 5)
        self.lab.node.ns.ip("link add nodelocaldns type bridge", "link set nodelocaldns up",
                            f"addr add {_DNS}/32 dev nodelocaldns", f"addr add {_LINK_LOCAL}/32 dev nodelocaldns")
        for address in (_DNS, _LINK_LOCAL):
            self.lab.serve(self.lab.node, 53, address=f"::ffff:{address}")
        cache = f"{{ {_DNS}, {_LINK_LOCAL} }}"
        self.lab.rules("table ip nodelocaldns {\n" + "".join(
            f"chain {hook} {{ type filter hook {hook} priority raw; ip daddr {cache} notrack; ip saddr {cache} notrack; }}\n"
            for hook in ("prerouting", "output")) + "}\n")
        self.manifests.put("dns", *_service())

    def check_dns(self, service, link_local):
        self.check(*((self.client, self.lab.node, what, verdict, {4: address})
                     for address, verdict in ((_DNS, service), (_LINK_LOCAL, link_local)) for what in _ASKS))

    def test_rules_for_the_cache(self):
        self.start()
        self.check_dns(ALLOWED, ALLOWED)
        pods = {"to": [{"podSelector": {"matchLabels": {"app": "dns"}}}], "ports": _ports(53)}
        link_local = {"to": [{"ipBlock": {"cidr": f"{_LINK_LOCAL}/32"}}], "ports": _ports(53)}
        service = {"to": [{"ipBlock": {"cidr": f"{_DNS}/32"}}], "ports": _ports(53)}
        for name, rules, verdicts in (("nothing", [], (DENIED, DENIED)),
                                      ("the pods of the Service", [pods], (ALLOWED, DENIED)),
                                      ("the link-local address", [link_local], (DENIED, ALLOWED)),
                                      ("the Service's address", [service], (DENIED, DENIED)),
                                      ("both, as documented", [pods, link_local], (ALLOWED, ALLOWED))):
            with self.subTest(allowed=name):
                self.sluice.apply("isolate", _only(*rules))
                self.check_dns(*verdicts)


class _HostPort:
    """The pod `srv` has a port of the node."""

    def setUp(self):
        super().setUp()
        self.client, self.srv = self.lab.pod("client", 2), self.lab.pod("srv", 3)
        self.lab.serve(self.srv, 8080)
        self.srv.ports = [{"containerPort": 8080, "hostPort": 7080, "protocol": p} for p in ("TCP", "UDP")]
        for protocol in ("tcp", "udp"):
            self.lab.node_port(7080, self.srv, 8080, protocol, masquerade=False)

    def check_port(self, verdict):
        self.check(*((self.client, self.srv, f"ask-{protocol}/7080", verdict, self.lab.node.addresses)
                     for protocol in ("tcp", "udp")))

    def test_policy_is_about_the_pod(self):
        self.start()
        self.check_port(ALLOWED)
        node = [{"ipBlock": {"cidr": f"{a}/{128 if ':' in a else 32}"}} for a in self.lab.node.addresses.values()]
        pod = [{"podSelector": {"matchLabels": {"app": "srv"}}}]
        for name, peers, number, verdict in (("the node", node, 7080, DENIED), ("the pod", pod, 8080, ALLOWED),
                                             ("the pod, at the node's port", pod, 7080, DENIED)):
            with self.subTest(allowed=name):
                self.sluice.apply("isolate", _only({"to": peers, "ports": _ports(number)}))
                self.check_port(verdict)


for _cases in (_NodeLocalDns, _HostPort):
    globals().update(on_both(_cases))
del _cases
