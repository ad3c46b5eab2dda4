# SPDX-License-Identifier: Apache-2.0
"""Learning while the agent is killed and comes back, and while a client is as fast as it can be."""

import ipaddress
import multiprocessing
import os
import random
import select
import socket
import time

from tests.netns import dns, live
from tests.netns.dns import AAAA, Records, ask
from tests.netns.lookups import Lookups
from tests.netns.names_lab import API, OTHER, SERVICE, Case, dns_servers, fqdns, policy
from tests.netns.sluice import wait_for
from tests.netns.traffic import ALLOWED, DENIED

_RACES = int(os.environ.get("SLUICE_TEST_RACES", "3000"))
_fork = multiprocessing.get_context("fork")
_KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "100")) // 10


class Agent(Case):
    """What happens while the agent is away, and when it comes back."""

    def test_names_known_before(self):
        self.start(dns_servers("*"), fqdns("api.example.com", "more.example.com"))
        self.resolve("api.example.com")
        self.sluice.kill()
        self.reach(ALLOWED, API[0])
        # A name that the node knows gets new addresses; one that it does not know gets an answer.
        self.names["api.example.com"] = Records(("198.18.50.1",))
        self.resolve("api.example.com")
        self.reach(ALLOWED, "198.18.50.1")
        self.names["more.example.com"] = Records(("198.18.50.2",))
        self.assertEqual(self.resolve("more.example.com"), ["198.18.50.2"])
        self.reach(DENIED, "198.18.50.2", OTHER[0])
        self.sluice.start()
        self.reach(ALLOWED, API[0], "198.18.50.1")
        self.resolve("more.example.com")
        self.reach(ALLOWED, "198.18.50.2")
        self.reach(DENIED, OTHER[0])

    def test_no_lookup_is_lost(self):
        """The agent is killed again and again: every lookup is answered, if need be when it is repeated, and
        what is forbidden stays so."""
        self.start(dns_servers("*"), fqdns("*.allowed.test"))
        at = random.Random(1)
        for kill in range(_KILLS):
            deadline = time.monotonic() + at.uniform(0, 0.3)
            number = 0
            while number == 0 or time.monotonic() < deadline:
                number += 1
                name, address = f"n{kill}-{number}", f"198.19.{kill}.{number % 250}"
                for suffix in ("allowed.test", "forbidden.test"):
                    self.names[f"{name}.{suffix}"] = Records((address if suffix[0] == "a" else OTHER[0],))
                    wait_for(lambda n=f"{name}.{suffix}": ask(self.client, SERVICE[4], n, seconds=2),
                             f"an answer about {name}.{suffix}")
            self.sluice.kill()
            self.sluice.spawn()
        self.sluice.wait_enforced()
        self.reach(DENIED, OTHER[0])

    def check_lookups(self, lookups):
        """Ends them. Each was answered, and opened what it should and nothing else."""
        lookups.stop()
        self.assertGreater(lookups.answered, 1000)
        self.assertLessEqual(lookups.most_tries, 3)
        self.assertEqual((lookups.denied, lookups.passed), (set(), set()))

    def test_a_thousand_lookups_a_second(self):
        """The agent is killed again and again. Every lookup is answered, asked again at most twice; names known before
        open their new addresses at once, and forbidden ones never do."""
        server = self.outside.ipv4
        self.start(dns_servers("*", to={"toCIDR": [f"{server}/32"]}), fqdns("*.allowed.test"))
        lookups = Lookups(self.client, self.outside, self.names)
        self.addCleanup(lookups.stop)
        for _ in range(2 * _KILLS):
            lookups.run(0.5)
            self.sluice.kill()
            lookups.run(0.5)
            self.sluice.spawn()
        self.check_lookups(lookups)

    def test_agent_and_operator_are_killed(self):
        """As above, with the two programs of a cluster."""
        self.manifests.put("names", policy(dns_servers("*", to={"toCIDR": [f"{self.outside.ipv4}/32"]}),
                                           fqdns("*.allowed.test")))
        operator, agent = self.start_programs()
        lookups = Lookups(self.client, self.outside, self.names)
        self.addCleanup(lookups.stop)
        for number in range(_KILLS):
            lookups.run(0.5)
            agent.kill()
            if number % 2:
                operator.kill()
                operator.start()
            lookups.run(0.5)
            agent.start()
        operator.wait_acknowledged("node1")
        self.check_lookups(lookups)

    def test_a_policy_comes_to_a_pod_that_has_resolved(self):
        """Flows to what it has resolved continue, new ones to the same addresses work."""
        self.start()
        for kind in (dns.A, AAAA):
            self.resolve("api.example.com", kind)
            self.resolve("other.example.com", kind)
        flows = [f for a, family in zip(API, (4, 6))
                 for f in live.tcp(self.client, self.outside, 443, family, address=a)]
        cut = live.tcp(self.client, self.outside, 443, 4, address=OTHER[0])
        self.addCleanup(lambda: [f.close() for f in flows + cut])
        self.sluice.apply("names", policy(dns_servers("*"), fqdns("api.example.com")))
        self.assertEqual(live.unheard(live.speak(flows, "opener"), 10), [])
        self.reach(ALLOWED, *API)
        self.reach(DENIED, *OTHER)
        self.assertEqual(len(live.unheard(live.speak(cut, "opener"), 1)), 1)


class Race(Case):
    """A datagram that leaves in the same microsecond in which the answer arrives, while others compute."""

    def setUp(self):
        super().setUp()
        for _ in range(2 * os.cpu_count()):
            spinning = _fork.Process(target=_spin, daemon=True)
            spinning.start()
            self.addCleanup(spinning.join)
            self.addCleanup(spinning.kill)

    def test_not_one_is_denied(self):
        """Nor does one arrive of those to a name that the policy does not allow, every tenth."""
        first = ipaddress.ip_address("198.18.0.0")

        def addresses(offset):
            return {_race(i): Records((str(first + (i + offset) % 131072),)) for i in range(_RACES)}
        self.names.update(addresses(0))
        # The server itself, so that the resolver's time does not count.
        server = self.outside.ipv4
        self.start(dns_servers("*", to={"toCIDR": [f"{server}/32"]}), fqdns("*.race.test"))
        with self.outside.ns.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sink:
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sink.bind(("0.0.0.0", 443))
            sink.setblocking(False)
            for what in ("unknown", "known"):
                with self.subTest(names=what):
                    heard = self.send_all(server, sink)
                    allowed = {i for i in range(_RACES) if not _is_forbidden(i)}
                    self.assertFalse(allowed - heard, f"{len(allowed - heard)} of {_RACES} were not heard")
                    self.assertFalse(heard - allowed, f"{len(heard - allowed)} of {_RACES} were heard")
                self.names.update(addresses(5000))

    def send_all(self, server, sink):
        """The numbers of names of which the datagram was heard."""
        heard = set()
        with self.client.ns.entered():
            asking, sending = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with asking, sending:
            asking.connect((server, 53))
            asking.settimeout(60)
            for number in range(_RACES):
                asking.send(dns.question(_race(number)))
                message = asking.recv(4096)
                sending.sendto(number.to_bytes(4, "big"), (socket.inet_ntoa(message[-4:]), 443))
                if number % 100 == 0:
                    _drain(sink, heard)
        while select.select([sink], [], [], 1)[0]:
            _drain(sink, heard)
        return heard


def _is_forbidden(number):
    return number % 10 == 9


def _race(number):
    return f"n{number}.{'forbidden' if _is_forbidden(number) else 'race'}.test"


def _spin():
    while True:
        pass


def _drain(sink, heard):
    try:
        while True:
            heard.add(int.from_bytes(sink.recv(16), "big"))
    except BlockingIOError:
        pass
