# SPDX-License-Identifier: Apache-2.0
"""DNS in the lab: a server that answers as a test tells it, a real resolver in front of it, and clients."""

import contextlib
import dataclasses
import ipaddress
import itertools
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading

from tests.netns.sluice import wait_for

A, CNAME, TXT, AAAA = 1, 5, 16, 28
REFUSED, NXDOMAIN = 5, 3
_ids = itertools.count(1)


@dataclasses.dataclass
class Records:
    """What a name has: addresses of both families at the end of a chain of CNAMEs."""
    addresses: tuple = ()
    ttl: int = 30
    chain: tuple = ()
    truncated: bool = False  # over UDP

    def of_type(self, kind):
        return [a for a in self.addresses if kind == (AAAA if ":" in a else A)]


@dataclasses.dataclass
class Reply:
    code: int
    addresses: list
    truncated: bool = False


def wire_name(name):
    labels = [label.encode() for label in name.strip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read_name(message, at):
    """The name's text in lower case, and the offset behind it."""
    labels, end = [], None
    while message[at]:
        if message[at] >= 0xC0:
            end = end or at + 2
            at = (message[at] & 0x3F) << 8 | message[at + 1]
            continue
        labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
        at += 1 + message[at]
    return ".".join(labels), end or at + 1


def question(name, kind=A, number=None, flags=0x0100):
    number = next(_ids) & 0xFFFF if number is None else number
    return struct.pack("!6H", number, flags, 1, 0, 0, 0) + wire_name(name) + struct.pack("!HH", kind, 1)


def framed(message):
    """As it stands in a TCP stream."""
    return len(message).to_bytes(2, "big") + message


def answer(asked, records, code=0, truncated=False):
    """A response to the message `asked`, whose question it repeats as it is."""
    _, end = read_name(asked, 12)
    kind = struct.unpack("!H", asked[end:end + 2])[0]
    rows, owner = [], b"\xc0\x0c"
    if not truncated:
        for target in records.chain:
            data = wire_name(target)
            rows.append(owner + struct.pack("!HHIH", CNAME, 1, records.ttl, len(data)) + data)
            owner = data
        for address in records.of_type(kind):
            data = ipaddress.ip_address(address).packed
            rows.append(owner + struct.pack("!HHIH", kind, 1, records.ttl, len(data)) + data)
    flags = 0x8180 | code | (0x0200 if truncated else 0)
    return asked[:2] + struct.pack("!5H", flags, 1, len(rows), 0, 0) + asked[12:end + 4] + b"".join(rows)


def read_reply(message):
    flags, _, rows = struct.unpack("!HHH", message[2:8])
    at = read_name(message, 12)[1] + 4
    addresses = []
    for _ in range(rows):
        at = read_name(message, at)[1]
        kind, _, _, size = struct.unpack("!HHIH", message[at:at + 10])
        if kind in (A, AAAA):
            addresses.append(str(ipaddress.ip_address(message[at + 10:at + 10 + size])))
        at += 10 + size
    return Reply(flags & 15, addresses, bool(flags & 0x0200))


class Server:
    """On port 53 of a host, UDP and TCP, both families. `names`: {name: Records, or a function that gives
    them}; other names do not exist. `heard`: the names asked for, in order. `pieces`: sizes of the first
    segments of an answer over TCP."""

    def __init__(self, host):
        self.host, self.names, self.heard, self.pieces = host, {}, [], ()
        self._sockets, self._listeners = [], []
        with host.ns.entered():
            for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    made = socket.socket(family, kind)
                    if family == socket.AF_INET6:
                        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    made.bind((any_address, 53))
                    if kind == socket.SOCK_STREAM:
                        made.listen(64)
                    (self._listeners if kind == socket.SOCK_STREAM else self._sockets).append(made)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._ending.set()
        self._thread.join()
        for each in self._sockets + self._listeners:
            each.close()

    def reply(self, asked, stream=False):
        name, end = read_name(asked, 12)
        self.heard.append(name)
        found = self.names.get(name)
        records = found() if callable(found) else found
        if isinstance(records, bytes):  # behind id, flags and question: the test's own words
            return asked[:2] + records[2:12] + asked[12:end + 4] + records[12:]
        if records is None:
            return answer(asked, Records(), NXDOMAIN)
        return answer(asked, records, truncated=records.truncated and not stream)

    def _run(self):
        connections = {}
        while not self._ending.is_set():
            waiting = [*self._sockets, *self._listeners, *connections]
            for ready in select.select(waiting, [], [], 0.1)[0]:
                if ready in self._listeners:
                    connections[ready.accept()[0]] = b""
                elif ready in connections:
                    self._serve_stream(ready, connections)
                else:
                    message, sender = ready.recvfrom(4096)
                    ready.sendto(self.reply(message), sender)
        for each in connections:
            each.close()

    def _send(self, connection, data):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for size in self.pieces:
            connection.sendall(data[:size])
            data = data[size:]
        connection.sendall(data)

    def _serve_stream(self, connection, connections):
        with contextlib.suppress(ConnectionError):
            if more := connection.recv(65536):
                data = connections[connection] + more
                while len(data) > 2 and len(data) >= 2 + (size := int.from_bytes(data[:2], "big")):
                    message = self.reply(data[2:2 + size], stream=True)
                    self._send(connection, framed(message))
                    data = data[2 + size:]
                connections[connection] = data
                return
        del connections[connection]
        connection.close()


class Resolver:
    """dnsmasq or unbound on port 53 of a host, without a cache, which asks `upstream`."""

    def __init__(self, host, upstream, program="dnsmasq"):
        self.host = host
        arguments = {"dnsmasq": self._dnsmasq, "unbound": self._unbound}[program](upstream)
        self._log = tempfile.NamedTemporaryFile(prefix=program, dir="/run")  # pylint: disable=R1732
        # dnsmasq serves each TCP connection by a process of its own.
        self._process = host.ns.popen(*arguments, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
        wait_for(self._answers, lambda: f"{program} answers: {self._said()}")

    def _said(self):
        with open(self._log.name, encoding="utf-8") as file:
            return file.read()

    def _answers(self):
        assert self._process.poll() is None, self._said()
        try:
            return ask(self.host, self.host.ipv4, "ready.test", seconds=0.5)
        except ConnectionRefusedError:
            return None

    @staticmethod
    def _dnsmasq(upstream):
        return ["/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                "--cache-size=0", "--user=root", "--pid-file=", "--log-facility=-", "--no-negcache",
                "--dns-forward-max=2000", f"--server={upstream}"]

    @staticmethod
    def _unbound(upstream):
        path = "/run/unbound.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write("server:\n"
                       " interface: 0.0.0.0\n interface: ::0\n access-control: 0.0.0.0/0 allow\n"
                       " access-control: ::0/0 allow\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n"
                       " directory: \"/run\"\n pidfile: \"\"\n use-syslog: no\n module-config: \"iterator\"\n"
                       " cache-max-ttl: 0\n msg-cache-size: 0\n rrset-cache-size: 0\n"
                       "remote-control:\n control-enable: no\n"
                       f"forward-zone:\n name: \".\"\n forward-addr: {upstream}\n")
        return ["/usr/sbin/unbound", "-c", path, "-d"]

    def close(self):
        with contextlib.suppress(ProcessLookupError):  # it has been closed
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._log.close()


def ask(host, server, name, kind=A, stream=False, seconds=10, message=None, first=0):
    """The Reply to a question from a host, None if there is none. `first`: bytes that come in a segment of their
    own, over TCP."""
    message = message or question(name, kind)
    with host.ns.entered():
        made = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET,
                             socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    with made:
        made.settimeout(seconds)
        try:
            made.connect((server, 53))
            if not stream:
                made.send(message)
                return read_reply(made.recv(65536))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            whole = framed(message)
            for part in filter(None, (whole[:first], whole[first:])):
                made.sendall(part)
            data = b""
            while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
                more = made.recv(65536)
                if not more:
                    return None
                data += more
            return read_reply(data[2:])
        except TimeoutError:
            return None


def run_in_pod(pod, server, *command, search="", options="", seconds=60):
    """Output and status of a program whose /etc/resolv.conf names this server."""
    with tempfile.NamedTemporaryFile("w", dir="/run", encoding="ascii") as file:
        file.write(f"nameserver {server}\n" + (f"search {search}\n" if search else "")
                   + (f"options {options}\n" if options else ""))
        file.flush()
        os.chmod(file.name, 0o644)
        done = pod.ns.popen("unshare", "--mount", "sh", "-c",
                            'mount --bind "$0" /etc/resolv.conf && exec "$@"', file.name, *command,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=seconds)[0]
        return text, done.returncode
