# SPDX-License-Identifier: Apache-2.0
"""DNS messages on their way: questions that are refused, answers in many packets, answers that nobody may believe."""

import ipaddress
import socket
import struct
import threading

from tests.netns import dns, frames
from tests.netns.dns import AAAA, Records, ask
from tests.netns.names_lab import API, OTHER, SERVICE, Case, dns_servers, fqdns, policy
from tests.netns.sluice import cluster_policy, wait_for
from tests.netns.traffic import ALLOWED, DENIED


class Parts(Case):
    """Answers that are not in one packet, or larger than the programs read."""

    def setUp(self):
        super().setUp()
        self.resolver.close()
        self.server = dns.Server(self.host("z/a"))
        self.addCleanup(self.server.close)
        self.start(dns_servers("*"), fqdns("*.example.com"))

    def pool(self, name, size, family=4, **more):
        """A name with that many addresses, allowed and unknown to the node."""
        first = int(ipaddress.ip_address("198.18.64.0" if family == 4 else "2001:db8:18::1:0"))
        pool = tuple(str(ipaddress.ip_address(first + i)) for i in range(size))
        self.server.names[name] = Records(pool, **more)
        return pool

    def check_pool(self, name, pool, **how):
        kind = AAAA if ":" in pool[0] else dns.A
        for turn in ("unknown", "known"):
            with self.subTest(turn):
                self.assertEqual(ask(self.client, self.server.host.ipv4, name, kind, **how).addresses, list(pool))
                self.reach(ALLOWED, *pool[:3], *pool[len(pool) // 2:][:3], *pool[-3:])

    def test_fragments(self):
        for size, family in ((100, 4), (250, 4), (150, 6)):
            with self.subTest(size=size, family=family):
                name = f"f{size}.example.com"
                self.check_pool(name, self.pool(name, size, family))

    def test_segments(self):
        for number, pieces in enumerate(((1,), (2,), (1, 1, 10), (500,), (2, 700, 700))):
            with self.subTest(pieces=pieces):
                self.server.pieces = pieces
                name = f"s{number}.example.com"
                self.check_pool(name, self.pool(name, 100), stream=True)

    def test_many_records_over_tcp(self):
        """From one packet with more records than the programs read to many packets."""
        for size in (130, 250, 1000, 1800):
            with self.subTest(size=size):
                name = f"t{size}.example.com"
                self.check_pool(name, self.pool(name, size), stream=True)

    def test_the_largest_message(self):
        """64 KB arrive, whatever is learned of them, and the next answer counts."""
        pool = self.pool("huge.example.com", 4000)
        for turn in ("unknown", "known"):
            with self.subTest(turn):
                self.assertEqual(ask(self.client, self.server.host.ipv4, "huge.example.com", stream=True).addresses,
                                 list(pool))
        small = self.pool("small.example.com", 3)
        self.check_pool("small.example.com", small, stream=True)

    def test_many_connections(self):
        """More than the questions that may be open: each ends with its answer."""
        pool = self.pool("c.example.com", 3)
        for _ in range(1500):
            self.assertEqual(ask(self.client, self.server.host.ipv4, "c.example.com", stream=True).addresses,
                             list(pool))
        last = self.pool("last.example.com", 1)
        self.check_pool("last.example.com", last, stream=True)

    def test_without_the_agent(self):
        """They arrive."""
        pools = [(self.pool("f.example.com", 200), {}), (self.pool("t.example.com", 1000), {"stream": True})]
        self.sluice.kill()
        for (pool, how), name in zip(pools, ("f.example.com", "t.example.com")):
            self.assertEqual(ask(self.client, self.server.host.ipv4, name, **how).addresses, list(pool))

    def test_an_answer_without_a_question(self):
        """In fragments, to the port of a question about another name."""
        pool = self.pool("forged.example.com", 100)
        self.server.names["asked.example.com"] = Records(("198.18.70.1",))
        made = self.connect(self.server.host.ipv4, socket.SOCK_DGRAM)
        made.send(dns.question("asked.example.com", number=0x1111))
        self.assertEqual(dns.read_reply(made.recv(4096)).addresses, ["198.18.70.1"])
        message = dns.answer(dns.question("forged.example.com", number=0x1111), Records(pool))
        header = struct.pack("!4H", 53, made.getsockname()[1], 8 + len(message), 0)
        with self.server.host.ns.entered(), \
                socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            raw.sendto(header + message, (self.client.ipv4, 0))
        self.assertEqual(len(made.recv(65536)), len(message))
        self.reach(DENIED, pool[0], pool[-1])


class NameErrors(Case):
    """--fqdn-reject name-error"""
    options = ("--fqdn-reject", "name-error")

    def test_others_do_not_exist(self):
        self.start(dns_servers("api.example.com"), fqdns("*"))
        for family in (4, 6):
            with self.subTest(family=family):
                self.assertEqual(self.resolve("api.example.com", family=family), [API[0]])
                reply = ask(self.client, SERVICE[family], "other.example.com")
                self.assertEqual((reply.code, reply.addresses), (dns.NXDOMAIN, []))
                with self.assertRaises(ConnectionResetError):
                    ask(self.client, SERVICE[family], "other.example.com", stream=True)
        self.assertNotIn("other.example.com", self.upstream.heard)


class Dropped(Case):
    """--fqdn-reject drop"""
    options = ("--fqdn-reject", "drop")

    def test_others_get_no_answer(self):
        self.start(dns_servers("api.example.com"), fqdns("*"))
        for stream in (False, True):
            for family in (4, 6):
                with self.subTest(stream=stream, family=family):
                    self.assertEqual(self.resolve("api.example.com", stream=stream, family=family), [API[0]])
                    self.assertIsNone(ask(self.client, SERVICE[family], "other.example.com", stream=stream,
                                          seconds=1))
        self.assertNotIn("other.example.com", self.upstream.heard)


class Questions(Case):
    """rules.dns restricts what may be asked for."""

    def test_others_are_refused(self):
        self.start(dns_servers("api.example.com", "*.ok.test"), fqdns("*"))
        self.names["a.ok.test"] = Records(("198.18.51.1",))
        for stream in (False, True):
            for family in (4, 6):
                with self.subTest(stream=stream, family=family):
                    how = {"stream": stream, "family": family}
                    self.assertEqual(self.resolve("api.example.com", **how), [API[0]])
                    self.assertEqual(self.resolve("A.OK.test", **how), ["198.18.51.1"])
                    if stream:
                        with self.assertRaises(ConnectionResetError):
                            ask(self.client, SERVICE[family], "other.example.com", stream=True)
                    else:
                        self.assertEqual(ask(self.client, SERVICE[family], "other.example.com").code, dns.REFUSED)
        self.assertNotIn("other.example.com", self.upstream.heard)
        self.reach(ALLOWED, API[0], "198.18.51.1")
        self.reach(DENIED, OTHER[0])

    def test_without_the_agent(self):
        """Known names are asked for and refused as before."""
        self.start(dns_servers("api.example.com"), fqdns("*"))
        self.resolve("api.example.com")
        self.assertEqual(ask(self.client, SERVICE[4], "other.example.com").code, dns.REFUSED)
        self.sluice.kill()
        self.assertEqual(self.resolve("api.example.com"), [API[0]])
        self.assertEqual(ask(self.client, SERVICE[4], "other.example.com").code, dns.REFUSED)
        self.assertNotIn("other.example.com", self.upstream.heard)


    def test_a_length_in_a_segment_of_its_own(self):
        """Many clients write it so; the name may be known or unknown to the node."""
        self.start(dns_servers("*.example.com"), fqdns("*"))
        for family in (4, 6):
            for turn in ("unknown", "known"):
                with self.subTest(family=family, turn=turn):
                    how = {"stream": True, "first": 2, "family": family}
                    self.assertEqual(self.resolve("api.example.com", **how), [API[0]])
                    with self.assertRaises(ConnectionResetError):
                        ask(self.client, SERVICE[family], "other.example.net", stream=True, first=2)
        self.reach(ALLOWED, API[0])
        # In other parts it is not read.
        with self.assertRaises(ConnectionResetError):
            ask(self.client, SERVICE[4], "api.example.com", stream=True, first=5)
        self.sluice.apply("names", policy(dns_servers("*"), fqdns("*")))
        self.names["new.example.com"] = Records(OTHER)
        self.assertEqual(self.resolve("new.example.com", stream=True, first=2), [OTHER[0]])
        self.reach(ALLOWED, OTHER[0])

    def test_several_questions_of_a_connection(self):
        """One after the other, whole and in parts."""
        self.start(dns_servers("*.example.com"), fqdns("*"))
        connection = self.connect(SERVICE[4])
        for number, parted in enumerate((False, True, True, False, True)):
            asked = dns.question("api.example.com", number=number)
            whole = dns.framed(asked)
            for part in (whole[:2], whole[2:]) if parted else (whole,):
                connection.sendall(part)
            data = connection.recv(4096)
            self.assertEqual(dns.read_reply(data[2:]).addresses, [API[0]])

    def test_a_question_inside_a_question(self):
        """A segment overlaps what the server has: the rest of it would be a question that may not be asked. So
        would what follows a SYN in the middle of a connection."""
        listener = self.listen()
        hidden = dns.framed(dns.question("other.example.net"))
        option = struct.pack("!HH", 12, len(hidden)) + hidden  # padding (RFC 7830)
        asked = dns.question("api.example.com")
        asked = asked[:10] + b"\0\1" + asked[12:] + b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(option)) + option
        asked = dns.framed(asked)
        before = len(asked) - len(hidden)
        self.start(dns_servers("*"), fqdns("*"))
        for rules, syn, arrives in ((("*",), False, True), (("api.example.com",), False, False),
                                    (("api.example.com",), True, False)):
            with self.subTest(rules=rules, syn=syn):
                self.sluice.apply("names", policy(dns_servers(*rules), fqdns("*")))
                made = self.connect(self.host("z/a").ipv4)
                connection, _ = listener.accept()
                self.addCleanup(connection.close)
                first = dns.framed(dns.question("api.example.com"))
                for _ in range(-(-before // len(first))):
                    made.sendall(first)
                    self.assertEqual(connection.recv(4096), first)
                sequence, acknowledged = self.numbers(made)
                if syn:
                    self.send_segment(made, sequence - before - 1, acknowledged, 0x02, b"")
                self.send_segment(made, sequence - before, acknowledged, 0x18, asked)
                connection.settimeout(10 if arrives else 0.5)
                if arrives:
                    self.assertEqual(connection.recv(4096), hidden)
                else:
                    with self.assertRaises(TimeoutError):
                        connection.recv(4096)

    @staticmethod
    def numbers(made):
        """Of the next byte that a connection sends, and receives (TCP_REPAIR)."""
        repair, queue, number = 19, 20, 21
        made.setsockopt(socket.IPPROTO_TCP, repair, 1)
        numbers = []
        for which in (2, 1):
            made.setsockopt(socket.IPPROTO_TCP, queue, which)
            numbers.append(made.getsockopt(socket.IPPROTO_TCP, number) & 0xFFFFFFFF)
        made.setsockopt(socket.IPPROTO_TCP, repair, -1)  # and no window probe
        return numbers

    def send_segment(self, made, sequence, acknowledged, flags, payload):
        """A segment of the connection that its kernel does not know of."""
        (own, port), (peer, to) = made.getsockname(), made.getpeername()
        packet = frames.tcp(own, peer, port, to, flags, sequence & 0xFFFFFFFF, acknowledged, payload)
        with self.client.ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(packet, (peer, 0))


class Hostile(Case):
    """Nothing is learned from whom nobody has asked."""

    def setUp(self):
        super().setUp()
        # E may be asked, but no rule says that it is a DNS server.
        cidrs = {"toCIDR": [f"{self.outside.ipv4}/32", f"{self.outside.ipv6}/128"]}
        self.start(dns_servers("*"), dns_servers(to=cidrs), fqdns("*"))
        self.reach(DENIED, *API)

    def send_from_dns(self, message, port, source=53):
        """Datagrams of the DNS server that are no answers of the resolver's."""
        with self.host("z/a").ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            raw.sendto(struct.pack("!4H", source, port, 8 + len(message), 0) + message, (self.client.ipv4, 0))

    def test_a_server_that_no_rule_names(self):
        for stream in (False, True):
            self.assertEqual(ask(self.client, self.outside.ipv4, "api.example.com", stream=stream).addresses,
                             [API[0]])
        self.reach(DENIED, API[0])

    def test_a_tenants_server_does_not_name_addresses_for_administrators(self):
        """A policy of the namespace lets the pod ask E. What E says counts for that policy, and not for names in
        the administrator's."""
        cidrs = {"toCIDR": [f"{self.outside.ipv4}/32", f"{self.outside.ipv6}/128"]}
        self.sluice.apply("names", policy(dns_servers("*", to=cidrs), fqdns("other.example.com")))
        self.sluice.apply("admin", cluster_policy(
            "admin", "Admin", 5, {"pods": {"namespaceSelector": {"matchLabels": {"ns": "x"}},
                                           "podSelector": {"matchLabels": {"pod": "a"}}}},
            egress=[{"name": "dns", "action": "Accept",
                     "to": [{"pods": {"namespaceSelector": {"matchLabels": {"ns": "z"}}, "podSelector": {}}}]},
                    {"name": "names", "action": "Accept", "to": [{"domainNames": ["api.example.com"]}]},
                    {"name": "rest", "action": "Deny", "to": [{"networks": [f"{API[0]}/32", f"{API[1]}/128"]}]}]))
        for name, address in (("api.example.com", API[0]), ("other.example.com", OTHER[0])):
            self.assertEqual(ask(self.client, self.outside.ipv4, name).addresses, [address])
        self.reach(DENIED, API[0])
        self.reach(ALLOWED, OTHER[0])
        self.resolve("api.example.com")
        self.reach(ALLOWED, API[0])

    def test_a_flood_of_questions(self):
        """More than the node notes; the answer to what another pod has asked before counts still."""
        server, deaf = self.host("z/a"), self.listen(socket.SOCK_DGRAM)
        self.sluice.apply("flood", policy(dns_servers("*"), fqdns("*"), pod="b", name="flood"))
        made = self.connect(server.ipv4, socket.SOCK_DGRAM)
        made.send(dns.question("api.example.com"))
        asked, client = deaf.recvfrom(4096)
        tail = dns.question("x.example.net")[2:]
        for _ in range(3):
            with self.host("x/b").ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
                flood.connect((server.ipv4, 53))
                for number in range(30000):
                    flood.send(number.to_bytes(2, "big") + tail)
        deaf.sendto(dns.answer(asked, Records(API)), client)
        self.assertEqual(dns.read_reply(made.recv(4096)).addresses, [API[0]])
        self.reach(ALLOWED, API[0])

    def test_a_flood_of_names(self):
        """A pod resolves names as fast as it can, all new to the node; another one learns on."""
        self.resolver.close()
        server = dns.Server(self.host("z/a"))
        self.addCleanup(server.close)
        self.sluice.apply("flood", policy(dns_servers("*"), fqdns("*"), pod="b", name="flood"))
        ending = threading.Event()
        sent = []

        def flood():
            with self.host("x/b").ns.entered():
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with made:
                made.connect((server.host.ipv4, 53))
                while not ending.is_set():
                    sent.append(f"f{len(sent)}.example.net")
                    server.names[sent[-1]] = Records(("198.19.9.9",))
                    made.send(dns.question(sent[-1]))
        thread = threading.Thread(target=flood)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(ending.set)
        for number in range(100):
            name, address = f"a{number}.example.com", f"198.18.60.{number}"
            server.names[name] = Records((address,))
            got = wait_for(lambda n=name: ask(self.client, server.host.ipv4, n, seconds=1), f"an answer about {name}")
            self.assertEqual(got.addresses, [address])
            self.reach(ALLOWED, address)
        self.assertGreater(len(sent), 1000)

    def test_an_answer_without_a_question(self):
        """Right server and port, other id or name, also after the right one; or from or to another port."""
        server = self.host("z/a").ipv4
        made = self.connect(server, socket.SOCK_DGRAM)
        asked = dns.question("other.example.com", number=0x1111)
        made.send(asked)
        self.assertEqual(dns.read_reply(made.recv(4096)).addresses, [OTHER[0]])
        port = made.getsockname()[1]
        for name, number in (("other.example.com", 0x2222), ("api.example.com", 0x1111)):
            forged = dns.question(name, number=number)
            self.send_from_dns(dns.answer(forged, Records(API)), port)
            # It arrives, and nothing comes of it.
            self.assertEqual(dns.read_reply(made.recv(4096)).addresses, [API[0]])
            self.reach(DENIED, API[0])
        other = self.connect(server, socket.SOCK_DGRAM)
        other.send(dns.question("other.example.com", number=0x3333))
        self.assertEqual(dns.read_reply(other.recv(4096)).addresses, [OTHER[0]])
        # From now on the server says nothing by itself, and questions stay open.
        self.listen(socket.SOCK_DGRAM)
        made.send(dns.question("api.example.com", number=0x4444))
        forged = dns.answer(dns.question("api.example.com", number=0x4444), Records(API))
        self.send_from_dns(forged, other.getsockname()[1])
        self.assertEqual(dns.read_reply(other.recv(4096)).addresses, [API[0]])
        self.reach(DENIED, API[0])
        self.send_from_dns(forged, port, source=5353)
        self.reach(DENIED, API[0])
        # The right one still counts.
        self.send_from_dns(forged, port)
        self.assertEqual(dns.read_reply(made.recv(4096)).addresses, [API[0]])
        self.reach(ALLOWED, API[0])

    def test_damaged_answers(self):
        """Loops of pointers, counts that are too large, records that break off: they arrive, and open nothing."""
        row = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 30, 4) + socket.inet_aton(API[0])
        head = struct.pack("!5H", 0x8180, 1, 1, 0, 0)
        server = self.host("z/a").ipv4
        self.resolver.close()
        raw = dns.Server(self.host("z/a"))
        self.addCleanup(raw.close)
        for number, message in enumerate((
                bytes(2) + struct.pack("!5H", 0x8180, 1, 2, 0, 0) + row,
                bytes(2) + head + row[:-1],
                bytes(2) + head + b"\xc0\xff" + row[2:],
                bytes(2) + struct.pack("!5H", 0x8180, 1, 0xffff, 0, 0) + row,
                bytes(2) + struct.pack("!5H", 0x8180, 1, 2, 0, 0) + row + b"\x3f" + bytes(10))):
            with self.subTest(number=number):
                raw.names["api.example.com"] = message
                with self.client.ns.entered():
                    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                with made:
                    made.settimeout(10)
                    made.connect((server, 53))
                    made.send(dns.question("api.example.com"))
                    self.assertGreater(len(made.recv(4096)), 12)
                self.reach(DENIED, API[0])
        raw.names["api.example.com"] = Records(API)
        self.assertEqual(ask(self.client, server, "api.example.com").addresses, [API[0]])
        self.reach(ALLOWED, API[0])

    def test_an_answer_inside_an_answer(self):
        """Over TCP, text about a name begins where a segment begins, and looks like an answer about another."""
        listener = self.listen()
        made = self.connect(self.host("z/a").ipv4)
        connection, _ = listener.accept()
        self.addCleanup(connection.close)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The pod has asked for this name as well, on the same flow.
        for asked in (dns.question("api.example.com", number=7), dns.question("evil.test", dns.TXT, number=8)):
            made.sendall(dns.framed(asked))
        inner = dns.framed(dns.answer(dns.question("api.example.com", number=7), Records(API)))
        outer = dns.question("evil.test", dns.TXT, number=8, flags=0x8180)
        outer = outer[:6] + b"\0\1" + outer[8:] + b"\xc0\x0c" + struct.pack("!HHIH", dns.TXT, 1, 30, len(inner))
        connection.sendall((len(outer) + len(inner)).to_bytes(2, "big") + outer)
        got = made.recv(4096)  # one segment
        connection.sendall(inner)
        while len(got) < 2 + len(outer) + len(inner):
            got += made.recv(4096)
        self.reach(DENIED, API[0])
