# SPDX-License-Identifier: Apache-2.0
"""A client that resolves names all the time, and sends a datagram to each address when it has it."""

import ipaddress
import itertools
import select
import socket
import threading
import time

from tests.netns import dns
from tests.netns.dns import Records

_AGAIN = 0.3  # seconds, after which a question is asked again
_INTERVAL = 0.001
_KNOWN = 50  # names that are resolved before all others


class Lookups:
    """From `client`, of names of `server`, whose table is `names`: in turn one that is known, one that is new and one
    that is forbidden. `denied`: numbers of lookups of known names whose datagrams did not arrive; `passed`: those of
    forbidden names whose did. All are known after stop()."""

    def __init__(self, client, server, names):
        self.answered, self.most_tries, self.denied, self.passed = 0, 1, set(), set()
        self._names, self._numbers = names, itertools.count()
        self._addresses = itertools.count(int(ipaddress.ip_address("198.18.0.1")))
        self._open = {}  # id: [name, tries, time of the last one]
        self._running, self._ending = threading.Event(), threading.Event()
        with server.ns.entered():
            self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._sink.bind(("0.0.0.0", 443))
        self._sink.setblocking(False)
        with client.ns.entered():
            self._asking, self._sending = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._asking.connect((server.ipv4, 53))
        self._asking.setblocking(False)
        for number in range(_KNOWN):
            self._ask(number, f"known{number}.allowed.test")
        self._finish()
        self.denied.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def run(self, seconds):
        """Returns after this time; lookups go on."""
        self._running.set()
        time.sleep(seconds)

    def stop(self):
        if self._thread.is_alive():
            self._ending.set()
            self._thread.join()
            for each in (self._sink, self._asking, self._sending):
                each.close()

    def _run(self):
        self._running.wait()
        for number in itertools.count(_KNOWN):
            if self._ending.wait(_INTERVAL):
                break
            kind = number % 3
            name = (f"known{number % _KNOWN}.allowed.test", f"new{number}.allowed.test",
                    f"new{number}.forbidden.test")[kind]
            self._ask(number, name)
            self._hear()
        self._finish()

    def _finish(self):
        """Every answer, and the datagrams that follow."""
        while self._open:
            select.select([self._asking], [], [], 0.05)
            self._hear()
        while select.select([self._sink], [], [], 1)[0]:
            self._drain()

    def _ask(self, number, name):
        self._names[name] = Records((str(ipaddress.ip_address(next(self._addresses))),))
        self._open[number & 0xffff] = [name, 1, time.monotonic()]
        self._asking.send(dns.question(name, number=number & 0xffff))

    def _hear(self):
        now = time.monotonic()
        for number, element in self._open.items():
            if now - element[2] > _AGAIN:
                element[1:] = element[1] + 1, now
                self._asking.send(dns.question(element[0], number=number))
        try:
            while True:
                self._take(self._asking.recv(4096))
        except BlockingIOError:
            pass
        self._drain()

    def _take(self, message):
        number = int.from_bytes(message[:2], "big")
        element = self._open.pop(number, None)
        if element is None:
            return  # answered before
        name, tries, _ = element
        self.answered += 1
        self.most_tries = max(self.most_tries, tries)
        if name.startswith("known"):
            self.denied.add(number)
        kind = b"f" if name.endswith("forbidden.test") else b"a"
        self._sending.sendto(kind + message[:2], (dns.read_reply(message).addresses[0], 443))

    def _drain(self):
        try:
            while True:
                data = self._sink.recv(16)
                number = int.from_bytes(data[1:], "big")
                if data[:1] == b"f":
                    self.passed.add(number)
                self.denied.discard(number)
        except BlockingIOError:
            pass
