# SPDX-License-Identifier: Apache-2.0
"""`--on-policy-change reset`: both ends of a connection that a change ends are told."""

import socket

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for

_PORT = 8080
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def _ingress(*port):
    return cnp("x", "p", {"pod": "a"}, ingress=[{"toPorts": ports(*port)}])


def _egress(*port):
    return cnp("x", "p", {"pod": "a"}, egress=[{"toPorts": ports(*port)}])


class Reset(suite.Case):
    options = ("--on-policy-change", "reset")

    def setUp(self):
        super().setUp()
        self.sluice.start()

    def test_client_beside_the_pod(self):
        self.check_both("x/b", "x/a", _ingress)

    def test_client_on_another_node(self):
        self.check_both("x/c", "x/a", _ingress)

    def test_client_outside(self):
        self.check_both("E", "x/a", _ingress)

    def test_pod_is_the_client(self):
        self.check_both("x/a", "E", _egress)

    def test_pod_is_the_client_of_one_beside_it(self):
        self.check_both("x/a", "x/b", _egress)

    def test_large_segments(self):
        """More than a packet holds, so that the kernel leaves the cutting to the interface."""
        self.check_both("x/b", "x/a", _ingress, b"forbidden" * 20000)
        self.check_both("x/a", "x/b", _egress, b"forbidden" * 20000)

    def test_new_connections_are_dropped_without_an_answer(self):
        self.sluice.apply("policy", _ingress("9000/TCP"))
        self.check("x/b > x/a tcp/8080 D, E > x/a tcp/8080 D")

    def test_connections_that_stay_allowed_go_on(self):
        server, client, peer = self.connect("x/b", "x/a", 4)
        with server, client, peer:
            self.sluice.apply("policy", _ingress(f"{_PORT}/TCP"))
            for _ in range(3):
                self.exchange(client, peer)

    # ---- helpers

    def check_both(self, source, destination, policy, data=b"forbidden"):
        """Whichever end speaks first after the change."""
        for family in _FAMILIES:
            for speaker in ("client", "server"):
                with self.subTest(family=family, speaker=speaker, bytes=len(data)):
                    self.check_reset(source, destination, policy, family, speaker, data)

    def check_reset(self, source, destination, policy, family, speaker, data):
        self.sluice.apply("policy", policy(f"{_PORT}/TCP"))
        server, client, peer = self.connect(source, destination, family)
        with server, client, peer:
            self.exchange(client, peer)
            self.sluice.apply("policy", policy("9000/TCP"))
            first, other = (client, peer) if speaker == "client" else (peer, client)
            self.send_and_fail(first, data)
            other.setblocking(False)
            self.assertRaises(BlockingIOError, other.recv, 1)
            self.send_and_fail(other, data)

    def send_and_fail(self, sender, data):
        sender.setblocking(False)
        sender.send(data)

        def told():
            try:
                self.fail(f"got {sender.recv(100)!r}")
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
        wait_for(told, "the connection is reset", 5)

    def connect(self, source, destination, family):
        target = self.host(destination)
        address = (target.address(family), _PORT)
        with target.ns.entered():
            server = socket.create_server(address, family=_FAMILIES[family])
        with self.host(source).ns.entered():
            client = socket.create_connection(address, timeout=5)
        return server, client, server.accept()[0]

    def exchange(self, client, peer):
        for sender, receiver in ((client, peer), (peer, client)):
            sender.sendall(b"allowed")
            receiver.settimeout(5)
            self.assertEqual(receiver.recv(100), b"allowed")
