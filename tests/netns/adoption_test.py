# SPDX-License-Identifier: Apache-2.0
"""Enforcement that begins under live traffic: what policy allows goes on, whoever speaks next; what it
forbids ends with its next packet."""

import resource
import select
import socket
import struct

from tests.netns import live
from tests.netns.frames import checksum
from tests.netns.node_lab import on_both

_MANY, _FEW = 100, 10
_IN, _OUT, _NOT_IN, _NOT_OUT = 7001, 7002, 7003, 7004
_SERVICE = {4: "10.96.0.10", 6: "fd96::10"}
# How long what may not arrive gets to do so after all.
_DENIED_SECONDS, _ALLOWED_SECONDS = 0.5, 5


def setUpModule():
    """Every flow has two sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))


class _Live:
    """Tests with the pod `app`, which may be called at one port and may call one, and a friend."""

    def setUp(self):
        super().setUp()
        self.app, self.friend = self.lab.pod("app", 2), self.lab.pod("friend", 3)
        self.flows = []
        self.addCleanup(lambda: [f.close() for f in self.flows])

    def open(self, kind, *arguments, **options):
        made = kind(*arguments, **options)
        self.flows += made
        return made

    def restrict_app(self):
        def only(port):
            return [{"ports": [{"port": port, "protocol": p} for p in ("TCP", "UDP")]}]
        self.isolate(self.app, "Ingress", "Egress", ingress=only(_IN), egress=only(_OUT))

    def check_heard(self, pairs):
        lost = live.unheard(pairs, _ALLOWED_SECONDS)
        self.assertEqual(len(lost), 0, f"cut: {', '.join(map(str, lost[:5]))}")

    def check_unheard(self, pairs):
        pairs = list(pairs)
        cut = {id(f) for f in live.unheard(pairs, _DENIED_SECONDS)}
        on = [f for f, _, _ in pairs if id(f) not in cut]
        self.assertEqual(len(on), 0, f"go on: {', '.join(map(str, on[:5]))}")

    def both_ways(self, kind, peer, count, inward, outward):
        return [f for family in (4, 6)
                for f in self.open(kind, peer, self.app, inward, family, count)
                + self.open(kind, self.app, peer, outward, family, count)]


class _Install(_Live):
    def check_allowed(self, kind, peer, count):
        self.restrict_app()
        flows = self.both_ways(kind, peer, count, _IN, _OUT)
        self.start()
        # A third each: only the one that opened the flow speaks, only the other, neither yet.
        first, second, idle = (flows[n::3] for n in range(3))
        for _ in range(3):
            self.check_heard(live.speak(first, "opener") + live.speak(second, "opened"))
        self.check_heard(live.speak(idle, "opened"))
        self.check_heard(live.speak(flows, "opener"))

    def test_connections_go_on(self):
        self.check_allowed(live.tcp, self.lab.out, _MANY)

    def test_connections_between_pods_go_on(self):
        self.check_allowed(live.tcp, self.friend, _FEW)

    def test_connections_with_the_node_go_on(self):
        self.check_allowed(live.tcp, self.lab.node, _FEW)

    def test_datagrams_go_on(self):
        self.check_allowed(live.udp, self.lab.out, _MANY)

    def check_forbidden(self, kind, peer, count):
        self.restrict_app()
        flows = self.both_ways(kind, peer, count, _NOT_IN, _NOT_OUT)
        self.start()
        first, second = flows[0::2], flows[1::2]
        self.check_unheard(live.speak(first, "opener") + live.speak(second, "opened"))
        self.check_unheard(live.speak(flows, "opened"))

    def test_forbidden_connections_end(self):
        self.check_forbidden(live.tcp, self.lab.out, _FEW)

    def test_forbidden_connections_between_pods_end(self):
        self.check_forbidden(live.tcp, self.friend, _FEW)

    def test_forbidden_datagrams_end(self):
        self.check_forbidden(live.udp, self.lab.out, _FEW)

    def test_pod_that_speaks_first_does_not_make_the_connection_its_own(self):
        """It may call everybody, and nobody may call it."""
        self.isolate(self.app, "Ingress")
        flows = [f for kind in (live.tcp, live.udp) for family in (4, 6)
                 for f in self.open(kind, self.lab.out, self.app, _IN, family, _FEW)]
        self.start()
        for _ in range(3):
            self.check_unheard(live.speak(flows, "opened"))

    def test_policies_that_continue_flows_do_not_continue_these(self):
        self.isolate(self.app, "Ingress")
        flows = self.open(live.tcp, self.lab.out, self.app, _IN, 4, _FEW)
        self.sluice.options = ["--on-policy-change=continue"]
        self.start()
        self.check_unheard(live.speak(flows, "opened"))

    def test_pod_that_is_found_late(self):
        """Its first flows are as old as the pod, and Sluice is there already."""
        self.isolate(self.app, "Ingress")
        late = self.lab.pods.pop("app")
        self.start()
        asked = self.open(live.tcp, late, self.lab.out, _OUT, 4, _FEW)
        called = self.open(live.tcp, self.lab.out, late, _IN, 4, _FEW)
        self.lab.pods["app"] = late
        self.sluice.apply("cluster", *self.lab.objects())
        self.check_heard(live.speak(asked, "opened"))
        self.check_unheard(live.speak(called, "opened"))

    def test_restarted_agent_leaves_what_conntrack_knows(self):
        self.restrict_app()
        flows = self.open(live.tcp, self.app, self.lab.out, _OUT, 4, 1)
        self.start()
        self.check_heard(live.speak(flows, "opener"))
        def packets():
            listed = self.sluice.query("conntrack", "list")
            text = str(listed)
            self.assertIn(str(_OUT), text)
            return text
        before = packets()
        self.sluice.kill()
        self.sluice.start()
        self.assertEqual(packets(), before)


class _Translated(_Live):
    def setUp(self):
        super().setUp()
        self.other = self.lab.pod("other", 4)

    def test_through_a_services_address(self):
        """The pod's veth sees the Service's address, the backend's its own."""
        self.isolate(self.friend, "Ingress")
        self.isolate(self.app, "Ingress",
                     ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}])
        flows, forbidden = [], []
        for kind, protocol in ((live.tcp, "tcp"), (live.udp, "udp")):
            self.lab.cluster_ip(_SERVICE, 80, self.app, 8080, protocol)
            for family, address in _SERVICE.items():
                flows += self.open(kind, self.friend, self.app, 80, family, _FEW, address, 8080)
                forbidden += self.open(kind, self.other, self.app, 80, family, _FEW, address, 8080)
        self.start()
        self.check_heard(live.speak(flows, "opened"))
        self.check_heard(live.speak(flows, "opener"))
        self.check_unheard(live.speak(forbidden, "opened"))

    def test_through_a_masqueraded_node_port(self):
        """Policy knows the caller behind the node's address."""
        cidrs = [f"{self.lab.out.address(4)}/32", f"{self.lab.out.address(6)}/128"]
        self.isolate(self.app, "Ingress", ingress=[{"from": [{"ipBlock": {"cidr": c}} for c in cidrs]}])
        flows, forbidden = [], []
        for kind, protocol in ((live.tcp, "tcp"), (live.udp, "udp")):
            self.lab.node_port(31080, self.app, 8080, protocol)
            for family, address in self.lab.node.addresses.items():
                flows += self.open(kind, self.lab.out, self.app, 31080, family, _FEW, address, 8080)
                forbidden += self.open(kind, self.other, self.app, 31080, family, _FEW, address, 8080)
        self.start()
        self.check_heard(live.speak(flows, "opened"))
        self.check_heard(live.speak(flows, "opener"))
        self.check_unheard(live.speak(forbidden, "opened"))
        self.check_unheard(live.speak(forbidden, "opener"))

    def test_of_a_pod_with_itself(self):
        self.isolate(self.app, "Ingress")
        self.lab.cluster_ip(_SERVICE, 80, self.app, 8080)
        flows = [f for family, address in _SERVICE.items()
                 for f in self.open(live.tcp, self.app, self.app, 80, family, _FEW, address, 8080)]
        self.start()
        self.check_heard(live.speak(flows, "opened"))
        self.check_heard(live.speak(flows, "opener"))


class _Questions(_Live):
    """A question before Sluice is there, its answer afterwards."""

    def raw(self, member, family, protocol):
        with member.ns.entered():
            made = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_RAW,
                                 protocol)
        self.addCleanup(made.close)
        return made

    def check_answers(self, asker, answerer, protocol, question, answer, arrives):
        """`protocol`, `question` and `answer`: by family."""
        pairs = []
        for family in (4, 6):
            ends = [self.raw(m, family, protocol[family]) for m in (asker, answerer)]
            ends[0].sendto(question[family], (answerer.address(family), 0))
            self.assertTrue(self.received(ends[1], question[family], 5), "the question arrives")
            pairs.append((family, *ends))
        self.start()
        for family, asking, answering in pairs:
            answering.sendto(answer[family], (asker.address(family), 0))
            self.assertEqual(self.received(asking, answer[family], 3 if arrives else _DENIED_SECONDS),
                             arrives, f"IPv{family}")

    @staticmethod
    def received(made, data, seconds):
        while select.select([made], [], [], seconds)[0]:
            # Checksums of IPv6's ICMP are the kernel's affair.
            if made.recv(2048).endswith(data[4:]):
                return True
        return False

    def check_echo(self, asker, answerer, arrives):
        for member in (asker, answerer):
            member.ns.sysctl(ipv4__icmp_echo_ignore_all=1, ipv6__icmp__echo_ignore_all=1)
        def echo(kinds):
            body = struct.pack("!HH", 0x4711, 1) + kinds[2]
            sum_ = checksum(struct.pack("!BBH", kinds[0], 0, 0) + body)
            return {4: struct.pack("!BBH", kinds[0], 0, sum_) + body,
                    6: struct.pack("!BBH", kinds[1], 0, 0) + body}
        self.check_answers(asker, answerer, {4: 1, 6: 58}, echo((8, 128, b"question")),
                           echo((0, 129, b"the reply")), arrives)

    def test_echo_that_the_pod_asked_for(self):
        self.isolate(self.app, "Ingress")
        self.check_echo(self.app, self.lab.out, True)

    def test_echo_that_nobody_may_ask_the_pod_for(self):
        self.isolate(self.app, "Ingress")
        self.check_echo(self.lab.out, self.app, False)


class _Untracked(_Live):
    """The kernel tracks nothing: for a limited time, the policy of the other direction tells."""

    tracking = False

    def test_connections_go_on(self):
        self.restrict_app()
        flows = self.both_ways(live.tcp, self.lab.out, _FEW, _IN, _OUT)
        self.start()
        self.check_heard(live.speak(flows, "opened"))
        self.check_heard(live.speak(flows, "opener"))
        self.assertIn("tracks no connection", self.sluice.log())

    def test_forbidden_connections_end(self):
        self.restrict_app()
        flows = self.both_ways(live.tcp, self.lab.out, _FEW, _NOT_IN, _NOT_OUT)
        self.start()
        self.check_unheard(live.speak(flows, "opened"))
        self.check_unheard(live.speak(flows, "opener"))


for _cases in (_Install, _Translated, _Questions, _Untracked):
    globals().update(on_both(_cases))
del _cases
