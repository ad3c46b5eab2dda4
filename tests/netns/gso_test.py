# SPDX-License-Identifier: Apache-2.0
"""Packets larger than 64 KiB, whose IP headers have no room for their length."""

import socket
import struct
import threading

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_PORT = 5201
_BYTES = 32 << 20
_USUAL, _BIG = 65536, 180000
_MSG_TRUNC = 0x20
_SO_RCVBUFFORCE = 33
# linux/if_link.h
_SIZES = {"IFLA_GSO_MAX_SIZE": 41, "IFLA_GRO_MAX_SIZE": 58,
          "IFLA_GSO_IPV4_MAX_SIZE": 63, "IFLA_GRO_IPV4_MAX_SIZE": 64}


def _ingress(port):
    return cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                                 "toPorts": ports(f"{port}/TCP")}])


def _egress(port):
    return cnp("x", "p", {"pod": "a"}, egress=[{"toEntities": ["host"],
                                                "toPorts": ports(f"{port}/TCP")}])


def _set_sizes(namespace, link, size):
    """Largest packets of an interface; Debian 12's `ip` does not know all of them."""
    with namespace.entered():
        index = socket.if_nametoindex(link)
        attributes = b"".join(struct.pack("=HHI", 8, kind, size) for kind in _SIZES.values())
        body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attributes
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            # RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK
            netlink.send(struct.pack("=IHHII", 16 + len(body), 16, 5, 1, 0) + body)
            error = struct.unpack("=i", netlink.recv(4096)[16:20])[0]
            if error:
                raise OSError(-error, f"sizes of {link}")


class _Largest:
    """The largest packet that an interface sends or gets."""

    def __init__(self, namespace, link):
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.bind((link, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.setblocking(False)

    def read(self):
        largest, start = 0, bytearray(64)
        try:
            while True:
                largest = max(largest, self._socket.recv_into(start, 64, _MSG_TRUNC))
        except BlockingIOError:
            return largest

    def close(self):
        self._socket.close()


class Gso(suite.Case):
    def setUp(self):
        super().setUp()
        self.sluice.start()
        self.ends = [end for name in ("x/a", "x/b") for host in [self.host(name)]
                     for end in ((host.ns, "eth0"), (self.node.ns, host.link))]
        for end in self.ends:
            self.addCleanup(_set_sizes, *end, _USUAL)
            _set_sizes(*end, _BIG)

    def connect(self, family, source, destination):
        """(client at source, connection at destination)"""
        server, client = self.host(destination), self.host(source)
        with server.ns.entered():
            listener = socket.create_server((server.address(family), _PORT),
                                            family=_FAMILIES[family])
        self.addCleanup(listener.close)
        with client.ns.entered():
            sender = socket.socket(_FAMILIES[family])
        self.addCleanup(sender.close)
        sender.settimeout(10)
        sender.connect((server.address(family), _PORT))
        receiver = listener.accept()[0]
        self.addCleanup(receiver.close)
        return sender, receiver

    def reasons(self):
        return {(r["reason"], r["direction"]): r for r in self.sluice.query("status")["reasons"]}

    def check_transfer(self, sender, receiver):
        largest = _Largest(self.node.ns, self.host("x/a").link)
        self.addCleanup(largest.close)
        seen, received = [], 0

        def send():
            block = bytes(1 << 20)
            for _ in range(_BYTES >> 20):
                sender.sendall(block)
                seen.append(largest.read())
        thread = threading.Thread(target=send)
        thread.start()
        receiver.settimeout(30)
        while received < _BYTES:
            received += len(receiver.recv(1 << 20))
        thread.join()
        self.assertGreater(max(seen), 65536 + 14, "no packet was larger than 64 KiB")
        for (reason, _), count in self.reasons().items():
            if reason in ("truncated packet", "malformed header", "too many extension headers",
                          "not parsed, not isolated"):
                self.fail(f"{reason}: {count}")

    def check_denied(self, sender, receiver, policy, *reason):
        """The same connection, once the policy is another."""
        self.sluice.apply("policy", policy)
        before = self.reasons().get(reason, {"packets": 0, "bytes": 0})
        sender.setblocking(False)
        sender.send(bytes(_BIG))

        def dropped():
            now = self.reasons().get(reason, before)
            return (now if now["bytes"] - before["bytes"] > _USUAL else None)
        wait_for(dropped, "drops of large packets are counted by what they carry")
        receiver.setblocking(False)
        self.assertRaises(BlockingIOError, receiver.recv, 1)

    def test_ipv4(self):
        self.sluice.apply("policy", _ingress(_PORT))
        ends = self.connect(4, "x/b", "x/a")
        self.check_transfer(*ends)
        self.check_denied(*ends, _ingress(_PORT + 1), "default deny", "ingress")

    # Linux does not forward such IPv6 packets: the option in which their length stands makes
    # their segments eight bytes too long for the way out. So the other end is the node.

    def test_ipv6_to_the_pod(self):
        self.sluice.apply("policy", _ingress(_PORT))
        ends = self.connect(6, "node1", "x/a")
        self.check_transfer(*ends)
        self.check_denied(*ends, cnp("x", "p", {"pod": "a"}, ingressDeny=[
            {"fromEntities": ["host"]}]), "policy deny", "ingress")

    def test_ipv6_from_the_pod(self):
        self.sluice.apply("policy", _egress(_PORT))
        ends = self.connect(6, "x/a", "node1")
        self.check_transfer(*ends)
        self.check_denied(*ends, _egress(_PORT + 1), "default deny", "egress")
