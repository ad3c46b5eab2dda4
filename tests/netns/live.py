# SPDX-License-Identifier: Apache-2.0
"""Flows that live on: both ends are sockets of this process, each in its namespace."""

import itertools
import select
import socket
import threading
import time

_tokens = itertools.count(1)


class End:
    """One end of a flow, at the host `owner`. `peer`: where an unconnected socket sends."""

    def __init__(self, made, owner=None, peer=None):
        self.socket, self.owner, self.peer, self.heard = made, owner, peer, b""
        made.setblocking(False)

    def send(self, data):
        if self.peer:
            self.socket.sendto(data, self.peer)
        else:
            self.socket.send(data)

    def listen(self):
        """Takes in what has come. A flow that was reset hears nothing more."""
        try:
            while data := self.socket.recv(65536):
                self.heard += data
        except (BlockingIOError, ConnectionError):
            pass


class Flow:
    """`opener` has spoken first, `opened` has heard it."""

    def __init__(self, name, opener, opened):
        self.name, self.opener, self.opened = name, opener, opened

    def __str__(self):
        return self.name

    def close(self):
        self.opener.socket.close()
        self.opened.socket.close()


def _open(member, family, kind):
    with member.ns.entered():
        made = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind)
    made.settimeout(5)
    return made


def tcp(source, destination, port, family, count=1, address=None, target=None):
    """Connections to `address` (one of the destination's by default), where the destination listens
    at `target`, if that is another port."""
    with destination.ns.entered():
        listener = socket.create_server(("", target or port), backlog=count + 1,
                                        family=socket.AF_INET6 if family == 6 else socket.AF_INET)
    listener.settimeout(5)
    flows = []
    with listener:
        for number in range(count):
            client = _open(source, family, socket.SOCK_STREAM)
            client.connect((address or destination.address(family), port))
            flows.append(Flow(f"TCP/IPv{family} {number} {source.name} -> {destination.name}:{port}",
                              End(client, source.name), End(listener.accept()[0], destination.name)))
    return flows


def udp(source, destination, port, family, count=1, address=None, target=None):
    """The same; the destination has heard each one's first datagram, and has not answered."""
    flows = []
    for number in range(count):
        server = _open(destination, family, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((destination.address(family), target or port))
        client = _open(source, family, socket.SOCK_DGRAM)
        client.connect((address or destination.address(family), port))
        client.send(b"first")
        # From now on only this flow comes to this socket.
        server.connect(server.recvfrom(100)[1])
        flows.append(Flow(f"UDP/IPv{family} {number} {source.name} -> {destination.name}:{port}",
                          End(client, source.name), End(server, destination.name)))
    return flows


def unheard(pairs, seconds):
    """Each (flow, speaker, hearer) speaks once; those that are not heard in time."""
    waiting = {}
    for flow, speaker, hearer in pairs:
        token = f"<{next(_tokens)}>".encode()
        try:
            speaker.send(token)
        except ConnectionError:
            pass
        waiting[hearer] = flow, token
    poll = select.poll()
    for hearer in waiting:
        poll.register(hearer.socket, select.POLLIN)
    deadline = time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        poll.poll(20)
        for hearer, (_, token) in list(waiting.items()):
            hearer.listen()
            if token in hearer.heard:
                del waiting[hearer]
                poll.unregister(hearer.socket)
    return [flow for flow, _ in waiting.values()]


def speak(flows, who):
    """Pairs for unheard(): `who` is "opener" or "opened"."""
    return [(f, f.opener, f.opened) if who == "opener" else (f, f.opened, f.opener) for f in flows]


class Talk:
    """Flows in which, several times a second, one end speaks, from a thread of its own.

    Of datagrams each one counts; of streams it counts that all arrives in the end.
    """

    def __init__(self, pairs, interval):
        """`pairs`: as for unheard()."""
        self._lines = [Line(*pair) for pair in pairs]
        self._interval, self._ending = interval, threading.Event()
        self.rounds = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ending.wait(self._interval):
            for line in self._lines:
                line.speak()
                line.hear()
            self.rounds += 1

    def stop(self, seconds):
        """Ends it. Returns each Line of which not everything that was said is heard in time."""
        self._ending.set()
        self._thread.join()
        deadline = time.monotonic() + seconds
        while any(line.lacks() for line in self._lines) and time.monotonic() < deadline:
            for line in self._lines:
                line.hear()
            select.select([], [], [], 0.02)
        return [line for line in self._lines if line.lacks()]


class Line:
    """One end of a flow, which speaks in words of one length: their numbers, counted from 0."""
    _LENGTH = 8

    def __init__(self, flow, speaker, hearer):
        self.flow, self._speaker, self.hearer = flow, speaker, hearer
        self._said, self._before = [], len(hearer.heard)  # when each word was said

    def speak(self):
        word = f"{len(self._said):{self._LENGTH}}".encode()
        self._said.append(time.time())
        try:
            self._speaker.send(word)
        except (BlockingIOError, ConnectionError):
            pass  # is not heard, therefore

    def hear(self):
        self.hearer.listen()

    def lacks(self):
        return len(self._said) - (len(self.hearer.heard) - self._before) // self._LENGTH

    def __str__(self):
        """How many words were not heard, and when the first of these was said (UTC)."""
        heard = self.hearer.heard[self._before:]
        numbers = {heard[n:n + self._LENGTH] for n in range(0, len(heard), self._LENGTH)}
        first = next((when for n, when in enumerate(self._said)
                      if f"{n:{self._LENGTH}}".encode() not in numbers), 0)
        clock = time.strftime("%H:%M:%S", time.gmtime(first)) + f"{first % 1:.3f}"[1:]
        return f"{self.flow}: {self.lacks()} of {len(self._said)} not heard, the first of {clock}"
