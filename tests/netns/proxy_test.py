# SPDX-License-Identifier: Apache-2.0
"""kube-proxy's nftables mode, and the addresses that its ipvs mode puts on the node: whoever comes by whatever
way to a pod of the node, policy knows who it is."""

from tests.netns import kube_proxy
from tests.netns.node_lab import NAMESPACE, on_both
from tests.netns.sluice import network_policy
from tests.netns.traffic import ALLOWED, DENIED

_PODS = {4: "10.9.0.0/24", 6: "fd09::/64"}
_TARGET, _PORT, _NODE_PORT, _LOCAL_PORT = 8080, 80, 31080, 31081


class _Proxied:
    """The pod `srv` behind a Service, and its clients."""

    ipvs = False

    def setUp(self):
        super().setUp()
        self.srv, self.other = self.lab.pod("srv", 2), self.lab.pod("other", 3)
        self.lab.serve(self.srv, _TARGET)
        self.service = kube_proxy.Service(
            self.srv, _TARGET, _PORT, {4: "10.96.0.10", 6: "fd96::10"}, {4: "198.51.100.1", 6: "2001:db8:51::1"},
            _NODE_PORT, _LOCAL_PORT)
        for family, pods in _PODS.items():
            self.lab.rules(kube_proxy.nftables(self.service, family, pods, self.lab.node.address(family)))
        # Without one the node itself would not even try to reach a Service's address.
        self.lab.node.ns.ip(*(f"route add default via {a}" for a in self.lab.out.addresses.values()))
        if self.ipvs:
            self.lab.node.ns.ip(*kube_proxy.ipvs_device(self.service))
        self.ways = {"pod": (self.srv.addresses, _TARGET), "cluster": (self.service.cluster, _PORT),
                     "balanced": (self.service.balanced, _PORT), "node port": (self.lab.node.addresses, _NODE_PORT),
                     "local node port": (self.lab.node.addresses, _LOCAL_PORT)}

    def check_all(self, **verdicts):
        """By every way, what a client may do; the node and the pod itself get in always."""
        clients = {"node": self.lab.node, "srv": self.srv, "out": self.lab.out, "other": self.other}
        self.check(*((client, self.srv, f"ask-{proto}/{port}", verdicts.get(name, ALLOWED), addresses)
                     for name, client in clients.items() for addresses, port in self.ways.values()
                     for proto in ("tcp", "udp")))

    def test_policy_knows_who_comes(self):
        self.start()
        self.check_all(out=ALLOWED, other=ALLOWED)
        others = [{"podSelector": {"matchLabels": {"app": "other"}}}]
        # Also where the node has them as its own, the Service's addresses are nobody.
        service = _blocks(*self.service.cluster.values(), *self.service.balanced.values())
        for name, peers, verdicts in (("nobody", None, {"out": DENIED, "other": DENIED}),
                                      ("the client outside", _blocks(*self.lab.out.addresses.values()),
                                       {"out": ALLOWED, "other": DENIED}),
                                      ("the other pod", others, {"out": DENIED, "other": ALLOWED}),
                                      ("the Service", service, {"out": DENIED, "other": DENIED})):
            with self.subTest(allowed=name):
                rules = {"ingress": [{"from": peers}]} if peers else {}
                self.sluice.apply("isolate", network_policy(NAMESPACE, "isolate", {"matchLabels": {"app": "srv"}},
                                                            policyTypes=["Ingress"], **rules))
                self.check_all(**verdicts)


def _blocks(*addresses):
    return [{"ipBlock": {"cidr": f"{a}/{128 if ':' in a else 32}"}} for a in addresses]


class _Nftables(_Proxied):
    pass


class _Ipvs(_Proxied):
    ipvs = True


for _cases in (_Nftables, _Ipvs):
    globals().update(on_both(_cases))
del _cases
