# SPDX-License-Identifier: Apache-2.0
"""Servers that answer with fifty megabytes of something else."""

import os
import select
import socket
import ssl
import struct
import threading

SIZE = 50 << 20
_CHUNK = 1 << 16
_NOISE = os.urandom(_CHUNK)


class Server:
    """Listens until close(). `answer(connection, write)` is run for every connection, in a thread
    of its own; `write` ends it with an OSError when the client has gone."""

    def __init__(self, listener, answer, context=None):
        self._listener, self._answer, self._context = listener, answer, context
        self.sent = self.answered = 0
        self._lock = threading.Lock()
        self._closed = False
        listener.listen(64)
        self.port = listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._closed = True
        # Wakes the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(20)

        def write(data):
            if self._closed:
                raise OSError("closed")
            connection.sendall(data)
            with self._lock:
                self.sent += len(data)
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            self._answer(connection, write)
        except OSError:
            pass  # the client has seen enough
        finally:
            connection.close()
            with self._lock:
                self.answered += 1


def tls(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def noise(_connection, write):
    """No protocol at all."""
    for _ in range(SIZE // _CHUNK):
        write(_NOISE)


# ---- a Kubernetes API ------------------------------------------------------------------


def _request(connection):
    """(path and query) of a request that has no body worth reading."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise OSError("closed")
        data += more
    return data.split(b" ")[1].decode()


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


def body(text):
    """An answer to whatever was asked: `text` again and again, without an end of line."""
    def answer(connection, write):
        _request(connection)
        write(_HEAD)
        block = text * (_CHUNK // len(text))
        for _ in range(SIZE // len(block)):
            write(block)
    return answer


def long_events(connection, write):
    """Lists that are empty, then one event without an end."""
    if "watch=" in _request(connection):
        write(_HEAD + b'{"type":"ADDED","object":{"metadata":{"name":"')
        for _ in range(SIZE // _CHUNK):
            write(b"a" * _CHUNK)
        return
    write(_HEAD + b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}')


def strange_objects(connection, write):
    """JSON of the right shape, with everything in the wrong place."""
    item = (b'{"metadata":{"name":7,"namespace":[],"labels":{"a":{}},"resourceVersion":{}},"spec":"",'
            b'"status":{"podIPs":[[],{"ip":"nowhere"}],"conditions":3}}')
    if "watch=" in _request(connection):
        write(_HEAD)
        event = b'{"type":"MODIFIED","object":' + item + b"}\n"
        for _ in range(SIZE // (len(event) * 256)):
            write(event * 256)
        return
    write(_HEAD + b'{"kind":"List","metadata":{"resourceVersion":"1"},"items":[' + item)
    for _ in range(2000):
        write((b"," + item) * 4)
    write(b"]}")


# ---- gRPC ------------------------------------------------------------------------------


def grpc(message_size, size=SIZE):
    """Streams of messages with nothing but noise in them."""
    def answer(connection, write):
        stream = _Http2(connection, write)
        stream.begin()
        for _ in range(max(1, size // message_size)):
            stream.send(b"\0" + struct.pack(">I", message_size))
            left = message_size
            while left:
                part = _NOISE[:min(left, 16384)]
                stream.send(part)
                left -= len(part)
    return answer


def _varint(number):
    result = b""
    while number > 127:
        result += bytes((number & 127 | 128,))
        number >>= 7
    return result + bytes((number,))


def _field(number, content):
    """Of a protobuf message, with a length."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


# FromOperator of lib/wire/wire.proto: a Welcome of major version 1.
_WELCOME = _field(1, _field(1, b"\x08\x01"))


def welcome_and(message):
    """A server that begins as an operator does; then come 50 MB of messages, of which
    `message(n)` gives the n-th."""
    def answer(connection, write):
        stream = _Http2(connection, write)
        stream.begin()
        sent = 0
        for number in range(SIZE):
            data = _WELCOME if number == 0 else message(number - 1)
            data = b"\0" + struct.pack(">I", len(data)) + data
            for at in range(0, len(data), 16384):
                stream.send(data[at:at + 16384])
            sent += len(data)
            if sent > SIZE:
                return
    return answer


def unknown_field(_number):
    return _field(1000, _NOISE * 8)


def chunk_of_no_end(number):
    """Of a snapshot that never comes to its last chunk."""
    head = b"\x08\x01\x11" + b"\1" * 8 + b"\x18\x01\x20" + _varint(number)
    return _field(2, head + _field(10, _NOISE[:1000]) * 800)


def chunk_of_small_things(number):
    """A snapshot of very many objects that mean nothing."""
    head = b"\x08\x01\x11" + b"\1" * 8 + b"\x18\x01\x20" + _varint(number)
    return _field(2, head + _field(11, b"") * 200_000)


class _Http2:
    """As much of a server as answers one call."""

    _DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 4, 6, 7, 8

    def __init__(self, connection, write):
        self._connection, self._write = connection, write
        self._data, self._stream = b"", None
        self._windows = {0: 65535, 1: 65535}  # 1: the one stream's
        self._initial = 65535

    def _frame(self, kind, flags, stream, payload=b""):
        self._write(struct.pack(">I", len(payload))[1:] + bytes((kind, flags))
                    + struct.pack(">I", stream) + payload)

    def _read(self, size):
        while len(self._data) < size:
            more = self._connection.recv(65536)
            if not more:
                raise OSError("closed")
            self._data += more
        data, self._data = self._data[:size], self._data[size:]
        return data

    def begin(self):
        """Returns when the call's headers have come and were answered."""
        self._read(24)  # the preface
        self._frame(self._SETTINGS, 0, 0)
        while self._stream is None:
            self._take()
        # ":status: 200", "content-type: application/grpc"
        self._frame(self._HEADERS, 4, self._stream,
                    b"\x88\x00\x0ccontent-type\x10application/grpc")

    def _take(self):
        head = self._read(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        payload = self._read(length)
        if kind == self._SETTINGS and not flags & 1:
            for at in range(0, length, 6):
                name, value = struct.unpack(">HI", payload[at:at + 6])
                if name == 4:
                    self._windows[1] += value - self._initial
                    self._initial = value
            self._frame(self._SETTINGS, 1, 0)
        elif kind == self._PING and not flags & 1:
            self._frame(self._PING, 1, 0, payload)
        elif kind == self._WINDOW:
            self._windows[1 if stream else 0] += int.from_bytes(payload, "big") & 0x7FFFFFFF
        elif kind == self._HEADERS and self._stream is None:
            self._stream = stream
        elif kind in (3, self._GOAWAY):
            raise OSError("the client ends it")

    def send(self, part):
        while min(self._windows.values()) < len(part) or self._waiting():
            self._take()
        for each in self._windows:
            self._windows[each] -= len(part)
        self._frame(self._DATA, 0, self._stream, part)

    def _waiting(self):
        return self._data or select.select([self._connection], [], [], 0)[0]
