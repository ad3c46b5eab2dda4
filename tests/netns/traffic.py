# SPDX-License-Identifier: Apache-2.0
"""Packets: one-off probes, and streams in which not one may be lost or let through."""

import array
import contextlib
import dataclasses
import errno
import multiprocessing
import os
import select
import socket
import struct
import time

from tests.netns.frames import checksum
from tests.netns.sluice import wait_for

ALLOWED, DENIED = "allowed", "denied"
# How long a packet that should be dropped gets to arrive after all, and one
# that should pass, on a busy machine. Between namespaces it takes microseconds.
_DENIED_SECONDS = 0.3
_ALLOWED_SECONDS = 3.0
_SO_RCVBUFFORCE = 33
_fork = multiprocessing.get_context("fork")


def wait_ready(readable, seconds, writable=()):
    """Those of these sockets and pipes that are ready, when one is or the time is over. Unlike
    select(), for any number of open files."""
    known = {r.fileno(): r for r in (*readable, *writable)}
    waiting = select.poll()
    for kind, things in ((select.POLLIN, readable), (select.POLLOUT, writable)):
        for thing in things:
            waiting.register(thing, kind)
    return [known[fd] for fd, _ in waiting.poll(None if seconds is None else 1000 * seconds)]


def has_sctp():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
        return True
    except OSError:
        return False


@dataclasses.dataclass(frozen=True)
class Probe:
    """One packet or connection. `what`: "tcp/80", "udp/53", "sctp/80", "sctp-init/80" (the
    first packet only, which needs no SCTP in the kernel), "ping", "ip/47" (a bare packet of
    that protocol), "ask-udp/53" and "ask-tcp/53" (whoever is there sends back what it was sent),
    "ask-large-udp/53" (in fragments).
    `address`: another one of the destination's."""
    source: object
    destination: object
    what: str
    family: int = 4
    address: str = None

    def __str__(self):
        return (f"{self.source.name} -> {self.address or self.destination.name} {self.what}"
                f" IPv{self.family}")


def verdicts(expected):
    """Sends all probes of {Probe: verdict} at once; {Probe: verdict} as seen."""
    attempts = {}
    for number, (probe, want) in enumerate(expected.items()):
        attempt = _KINDS[probe.what.split("/")[0]](probe, number)
        attempt.deadline = time.monotonic() + (
            _ALLOWED_SECONDS if want == ALLOWED else _DENIED_SECONDS)
        attempts[probe] = attempt
    waiting = dict(attempts)
    while waiting:
        now = time.monotonic()
        for probe, attempt in list(waiting.items()):
            if attempt.arrived() or now >= attempt.deadline:
                del waiting[probe]
        if waiting:
            wait_ready([a.readable for a in waiting.values() if a.readable], 0.02,
                       [a.writable for a in waiting.values() if a.writable])
    seen = {p: ALLOWED if a.arrived() else DENIED for p, a in attempts.items()}
    for attempt in attempts.values():
        attempt.close()
    return seen


def wait_for_table(expected, seconds, logs):
    """Returns when the wire agrees with {Probe: verdict}, twice in a row. `logs()`: what else a failure shows."""
    right, wrong = 0, []

    def agree():
        nonlocal right, wrong
        try:
            seen = verdicts(expected)
        except OSError as error:
            # kube-proxy refuses for a Service of whose pods it has not heard yet.
            right, wrong = 0, [str(error)]
            return False
        wrong = [f"{p}: {seen[p]}, not {v}" for p, v in expected.items() if seen[p] != v]
        right = 0 if wrong else right + 1
        return right == 2
    try:
        wait_for(agree, "the table", seconds)
    except AssertionError:
        raise AssertionError(f"after {seconds} s, {len(wrong)} of {len(expected)}:\n" + "\n".join(wrong[:40])
                             + "\n" + logs()) from None


class _Attempt:
    """`arrived()` turns true when the other end was reached and may answer."""

    def __init__(self):
        self.sockets, self.deadline = [], 0.0
        self.readable = self.writable = None
        self._arrived = False

    def open(self, host, family, kind, protocol=0):
        with host.ns.entered():
            made = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind, protocol)
        made.setblocking(False)
        self.sockets.append(made)
        return made

    def arrived(self):
        self._arrived = self._arrived or self.look()
        return self._arrived

    def look(self):
        raise NotImplementedError

    def close(self):
        for each in self.sockets:
            each.close()


def _target(probe):
    return probe.address or probe.destination.address(probe.family)


class _Connect(_Attempt):
    """Refused is as good as accepted: the SYN went there and the RST came back."""

    def __init__(self, probe, _number, protocol=0):
        super().__init__()
        self.name = str(probe)
        self.socket = self.open(probe.source, probe.family, socket.SOCK_STREAM, protocol)
        self.error = self.socket.connect_ex((_target(probe), int(probe.what.split("/")[1])))
        self.writable = self.socket

    def look(self):
        if self.error == errno.EINPROGRESS and wait_ready([], 0, [self.socket]):
            self.error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self.error in (0, errno.ECONNREFUSED):
            return True
        if self.error not in (errno.EINPROGRESS, errno.ETIMEDOUT):
            raise OSError(self.error, f"the lab is broken: {self.name}: {os.strerror(self.error)}")
        return False


class _Sctp(_Connect):
    def __init__(self, probe, number):
        super().__init__(probe, number, 132)


class _Datagram(_Attempt):
    def __init__(self, probe, number):
        super().__init__()
        port = int(probe.what.split("/")[1])
        self.text = f"probe {number}".encode()
        self.receiver = self.open(probe.destination, probe.family, socket.SOCK_DGRAM)
        # Several probes may go to one port: all of them listen, each for its own text.
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.receiver.bind((_target(probe), port))
        self.readable = self.receiver
        sender = self.open(probe.source, probe.family, socket.SOCK_DGRAM)
        sender.sendto(self.text, (_target(probe), port))

    def look(self):
        try:
            return self.receiver.recv(2048) == self.text
        except BlockingIOError:
            return False


class _AskDatagram(_Attempt):
    padding = b""

    def __init__(self, probe, number):
        super().__init__()
        self.text = f"question {number}".encode() + self.padding
        self.socket = self.open(probe.source, probe.family, socket.SOCK_DGRAM)
        self.readable = self.socket
        self.socket.connect((_target(probe), int(probe.what.split("/")[1])))
        with contextlib.suppress(PermissionError):  # dropped by rules of the sender's own namespace
            self.socket.send(self.text)

    def look(self):
        try:
            return self.socket.recv(8192) == self.text
        except BlockingIOError:
            return False


class _AskLargeDatagram(_AskDatagram):
    """In several fragments, both ways."""
    padding = bytes(4000)


class _AskStream(_Connect):
    def __init__(self, probe, number):
        super().__init__(probe, number)
        self.text, self.asked = f"question {number}".encode(), False

    def look(self):
        if not self.asked and super().look():
            if self.error:
                raise OSError(self.error, f"the lab is broken: {self.name}: {os.strerror(self.error)}")
            self.socket.send(self.text)
            self.asked = True
            self.readable, self.writable = self.socket, None
        if not self.asked:
            return False
        try:
            return self.socket.recv(2048) == self.text
        except BlockingIOError:
            return False


class _Ping(_Attempt):
    def __init__(self, probe, number):
        super().__init__()
        self.family = probe.family
        six = probe.family == 6
        self.echo = struct.pack("!BBHHH", 128 if six else 8, 0, 0, os.getpid() & 0xFFFF, number + 1)
        self.socket = self.open(probe.source, probe.family, socket.SOCK_RAW, 58 if six else 1)
        self.readable = self.socket
        echo = self.echo
        if not six:
            echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
        self.socket.sendto(echo, (_target(probe), 0))

    def look(self):
        try:
            while True:
                data = self.socket.recv(2048)
                if self.family == 4:
                    data = data[(data[0] & 15) * 4:]
                reply = 129 if self.family == 6 else 0
                if data[0] == reply and data[4:8] == self.echo[4:8]:
                    return True
        except BlockingIOError:
            return False


class _Bare(_Attempt):
    def __init__(self, probe, number):
        super().__init__()
        protocol = int(probe.what.split("/")[1])
        self.text = f"bare packet {number:08}".encode()
        self.receiver = self.open(probe.destination, probe.family, socket.SOCK_RAW, protocol)
        self.readable = self.receiver
        sender = self.open(probe.source, probe.family, socket.SOCK_RAW, protocol)
        sender.sendto(self.text, (_target(probe), 0))

    def look(self):
        try:
            while True:
                if self.receiver.recv(2048).endswith(self.text):
                    return True
        except BlockingIOError:
            return False


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class _SctpInit(_Attempt):
    """An INIT chunk, with a checksum, without which it is not rewritten on its way."""

    def __init__(self, probe, number):
        super().__init__()
        port = int(probe.what.split("/")[1])
        tag = os.getpid() << 16 & 0xFFFF0000 | number
        self.chunk = struct.pack("!BBHIIHHI", 1, 0, 20, tag, 65536, 1, 1, tag)
        ports = struct.pack("!HHI", 30000 + number % 30000, port, 0)
        sum_ = struct.pack("<I", crc32c(ports + bytes(4) + self.chunk))
        self.receiver = self.open(probe.destination, probe.family, socket.SOCK_RAW, 132)
        self.readable = self.receiver
        sender = self.open(probe.source, probe.family, socket.SOCK_RAW, 132)
        sender.sendto(ports + sum_ + self.chunk, (_target(probe), 0))

    def look(self):
        try:
            while True:
                if self.receiver.recv(2048).endswith(self.chunk):
                    return True
        except BlockingIOError:
            return False


_KINDS = {"tcp": _Connect, "udp": _Datagram, "sctp": _Sctp, "sctp-init": _SctpInit, "ping": _Ping,
          "ip": _Bare, "ask-udp": _AskDatagram, "ask-large-udp": _AskLargeDatagram, "ask-tcp": _AskStream}


# ---- streams ---------------------------------------------------------------------


class Stream:
    """Numbered UDP packets, round robin over `targets` ((address, port) of
    `destination`), at `rate` per second, from `sources` source ports.

    stop() tells how many were sent and the numbers of those that arrived, in
    order of arrival; packet n went to targets[n % len(targets)].
    """

    def __init__(self, source, destination, targets, rate, sources=1):
        self._receiver = _Worker(_receive, destination.ns, targets)
        self._receiver.wait_ready()
        self._sender = _Worker(_send, source.ns, targets, rate, sources)
        self._sender.wait_ready()

    def sent(self):
        """Packets sent so far."""
        return self._sender.ask("count")

    def wait_sent(self, more, seconds=10):
        """Returns when `more` packets have been sent since the call."""
        goal = self.sent() + more
        deadline = time.monotonic() + seconds
        while self.sent() < goal:
            if time.monotonic() > deadline:
                raise TimeoutError("the stream does not move")
            select.select([], [], [], 0.002)

    def stop(self):
        sent = self._sender.end()
        return sent, self._receiver.end()


class _Worker:
    """A process with a pipe. Answers "count", ends on "end" with its result."""

    def __init__(self, function, ns, *arguments):
        self._pipe, other = _fork.Pipe()
        self._process = _fork.Process(target=_in_namespace, args=(ns, function, other, *arguments),
                                      daemon=True)
        self._process.start()
        other.close()

    def wait_ready(self):
        assert self._pipe.recv() == "ready"

    def ask(self, question):
        self._pipe.send(question)
        return self._pipe.recv()

    def end(self):
        result = self.ask("end")
        self._process.join(10)
        return result


def _in_namespace(ns, function, pipe, *arguments):
    with ns.entered():
        function(pipe, *arguments)


def _send(pipe, targets, rate, sources):
    family = socket.AF_INET6 if ":" in targets[0][0] else socket.AF_INET
    senders = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(sources)]
    for each in senders:
        each.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE
    count, kinds = 0, len(targets)
    pipe.send("ready")
    start = time.monotonic()
    while True:
        due = int((time.monotonic() - start) * rate)
        while count < due:
            # All targets from one source port, then all from the next.
            sender = senders[count // kinds % sources]
            sender.sendto(count.to_bytes(8, "big"), targets[count % kinds])
            count += 1
            if count % 64 == 0:
                break
        if pipe.poll(0 if count < due else 0.001):
            if pipe.recv() == "end":
                pipe.send(count)
                return
            pipe.send(count)


def _receive(pipe, targets):
    family = socket.AF_INET6 if ":" in targets[0][0] else socket.AF_INET
    sockets = []
    for target in sorted(set(targets)):
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        made.bind(target)
        made.setblocking(False)
        sockets.append(made)
    numbers = array.array("Q")
    pipe.send("ready")
    ending = False
    while True:
        got = 0
        for each in sockets:
            got += _drain(each, numbers)
        if got:
            continue
        if ending:
            pipe.send(numbers)
            return
        ready = wait_ready([*sockets, pipe], None)
        if pipe in ready:
            pipe.recv()
            # What is on its way arrives within this; then one last look.
            select.select([], [], [], 0.2)
            ending = True


def _drain(sock, numbers):
    count = 0
    try:
        while count < 1000:
            numbers.append(int.from_bytes(sock.recv(64), "big"))
            count += 1
    except BlockingIOError:
        pass
    return count
