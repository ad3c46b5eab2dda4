# SPDX-License-Identifier: Apache-2.0
"""Packets that are not common ones, and whose source the node has replaced by its own address: ICMP, SCTP,
fragments. Who is behind that address is not looked for, so they get in by rules for any peer alone, and never
because the node may always reach its pods."""

import glob
import json
import os
import socket

from tests.netns import lab, live
from tests.netns.node_lab import NAMESPACE, on_both
from tests.netns.sluice import network_policy
from tests.netns.traffic import ALLOWED, DENIED

_PORT, _NODE_PORT = 8080, 31080
_FAMILIES = {4: "ip", 6: "ip6"}


def _blocks(addresses):
    return [{"ipBlock": {"cidr": f"{a}/{128 if ':' in a else 32}"}} for a in addresses.values()]


class _Masqueraded:
    """What goes to the pod `srv` gets the node's address as its source, whoever sends it."""

    def setUp(self):
        super().setUp()
        self.srv, self.other = self.lab.pod("srv", 2), self.lab.pod("other", 3)
        self.lab.serve(self.srv, _PORT)
        for table in _FAMILIES.values():
            to = self.srv.address(6 if table == "ip6" else 4)
            self.lab.rules(f"table {table} everything {{\nchain postrouting {{\n"
                           "type nat hook postrouting priority 90\n"
                           f"{table} daddr {to} {table} saddr != {to} masquerade\n}}\n}}\n")
        for protocol in ("udp", "sctp"):
            self.lab.node_port(_NODE_PORT, self.srv, _PORT, protocol)
        self.lab.node_port(_NODE_PORT + 1, self.srv, _PORT + 1, "udp")

    def check_all(self, common, uncommon):
        """What others get in by packets whose source is found, and by the rest. The node gets in always."""
        expected = []
        for client, verdicts in ((self.lab.out, (common, uncommon)), (self.other, (common, uncommon)),
                                 (self.lab.node, (ALLOWED, ALLOWED))):
            expected += [(client, self.srv, f"ask-udp/{_PORT}", verdicts[0]),
                         (client, self.lab.node, f"ask-udp/{_NODE_PORT}", verdicts[0])]
            expected += [(client, self.srv, what, verdicts[1])
                         for what in ("ping", f"sctp-init/{_PORT}", f"ask-large-udp/{_PORT}")]
            expected += [(client, self.lab.node, f"ask-large-udp/{_NODE_PORT}", verdicts[1])]
        self.check(*expected)

    def allow(self, *rules):
        self.sluice.apply("isolate", network_policy(NAMESPACE, "isolate", {"matchLabels": {"app": "srv"}},
                                                    policyTypes=["Ingress"], ingress=list(rules)))

    def test_by_policy(self):
        self.start()
        self.check_all(ALLOWED, ALLOWED)
        for name, rules, verdicts in (
                ("nobody", [], (DENIED, DENIED)),
                ("the node", [{"from": _blocks(self.lab.node.addresses)}], (DENIED, DENIED)),
                ("the clients", [{"from": [*_blocks(self.lab.out.addresses), *_blocks(self.other.addresses)]}],
                 (ALLOWED, DENIED)),
                ("everybody", [{}], (ALLOWED, ALLOWED))):
            with self.subTest(allowed=name):
                self.allow(*rules)
                self.check_all(*verdicts)

    def test_fragments_of_a_flow_whose_source_was_found(self):
        """Conntrack knows it by its first small datagram."""
        self.start()
        self.allow({"from": _blocks(self.lab.out.addresses)})
        for family, address in self.lab.node.addresses.items():
            with self.lab.out.ns.entered():
                client = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(client.close)
            client.settimeout(5)
            client.connect((address, _NODE_PORT))
            for text in (b"small", b"large" + bytes(4000), b"small again"):
                client.send(text)
                self.assertEqual(client.recv(8192), text, f"IPv{family}")

    def test_flow_whose_origin_was_forgotten(self):
        """Conntrack keeps it in a map of its own, which may be full. When policy changes, the kernel is asked again;
        it tells of packets to the pod only, so until the caller speaks nobody knows who that is."""
        self.start()
        self.allow({"from": _blocks(self.lab.out.addresses)})
        flows = [live.udp(self.lab.out, self.srv, _NODE_PORT + 1, family, 1, address, _PORT + 1)[0]
                 for family, address in self.lab.node.addresses.items()]
        for flow in flows:
            self.addCleanup(flow.close)
        self.assertEqual(live.unheard(live.speak(flows, "opened"), 5), [])
        self.forget_origins()
        self.allow({"from": [*_blocks(self.lab.out.addresses), *_blocks(self.other.addresses)]})
        self.assertEqual(live.unheard(live.speak(flows, "opened"), 0.3), flows)
        self.assertEqual(live.unheard(live.speak(flows, "opener"), 5), [])
        self.assertEqual(live.unheard(live.speak(flows, "opened"), 5), [])
        self.allow({"from": _blocks(self.other.addresses)})
        self.assertEqual(live.unheard(live.speak(flows, "opener"), 0.3), flows)
        self.allow({})
        self.assertEqual(live.unheard(live.speak(flows, "opened"), 5), [])

    def forget_origins(self):
        forgotten = 0
        for name in ("origins4", "origins6"):
            [path] = glob.glob(os.path.join(self.sluice.pin_dir, "v*", name))
            for entry in json.loads(lab.run("bpftool", "-j", "map", "dump", "pinned", path)):
                lab.run("bpftool", "map", "delete", "pinned", path, "key", *entry["key"])
                forgotten += 1
        self.assertGreater(forgotten, 1)


for _cases in (_Masqueraded,):
    globals().update(on_both(_cases))
del _cases
