# SPDX-License-Identifier: Apache-2.0
"""Policies by DNS name, with real resolvers and clients: what a pod has resolved it reaches, nothing else."""

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
import time

from tests.netns import dns, live
from tests.netns.dns import AAAA, Records, ask
from tests.netns.lab import run
from tests.netns.names_lab import API, OTHER, SERVICE, Case, dns_servers, fqdns, policy, service_objects
from tests.netns.sluice import Monitor, cluster_policy, wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe

_EXPLAIN = ("explain", "--from", "x/a", "--port", "443", "-o", "json", "--to")


class Names(Case):
    def test_a_name_opens_its_addresses_and_another_does_not(self):
        self.start(dns_servers("*"), fqdns("api.example.com"))
        self.reach(DENIED, *API, *OTHER)
        for kind in (dns.A, AAAA):
            self.resolve("api.example.com", kind)
            self.resolve("other.example.com", kind)
        self.reach(ALLOWED, *API)
        self.reach(DENIED, *OTHER)
        self.reach(DENIED, *API, what="tcp/80")

    def test_over_tcp_and_ipv6(self):
        self.start(dns_servers("*"), fqdns("api.example.com", "b.example.com"))
        self.names["b.example.com"] = Records(("198.18.0.3", "2001:db8:18::3"))
        self.assertEqual(self.resolve("api.example.com", stream=True), [API[0]])
        self.assertEqual(self.resolve("api.example.com", AAAA, stream=True, family=6), [API[1]])
        self.assertEqual(self.resolve("b.example.com", AAAA, family=6), ["2001:db8:18::3"])
        self.reach(ALLOWED, *API, "2001:db8:18::3")
        self.reach(DENIED, "198.18.0.3")

    def test_patterns(self):
        self.start(dns_servers("*"), fqdns("*.example.com", "**.example.net", "a*.org"))
        open_, shut = [], []
        for number, (name, is_open) in enumerate((
                ("a.example.com", True), ("a-b_c.example.com", True), ("example.com", False),
                ("a.b.example.com", False), ("a.example.net", True), ("a.b.example.net", True),
                ("example.net", False), ("abc.org", True), ("x.abc.org", False), ("xabc.org", False))):
            address = f"198.18.2.{number}"
            self.names[name] = Records((address,))
            self.resolve(name)
            (open_ if is_open else shut).append(address)
        self.reach(ALLOWED, *open_)
        self.reach(DENIED, *shut)

    def test_case_does_not_count(self):
        self.start(dns_servers("*"), fqdns("API.example.com"))
        self.assertEqual(self.resolve("aPi.EXAMPLE.cOm"), [API[0]])
        self.reach(ALLOWED, API[0])

    def test_every_name_of_a_chain_counts(self):
        """Ten CNAMEs; rules for the first, one inside and the last."""
        chain = tuple(f"c{i}.example.net" for i in range(10))
        for number, (question, rule) in enumerate((("first.example.com", "first.example.com"),
                                                   ("inside.example.com", "c4.example.net"),
                                                   ("last.example.com", "c9.example.net"))):
            with self.subTest(rule=rule):
                address = f"198.18.3.{number}"
                records = Records((address,), chain=chain)
                self.names[question] = records
                for i, link in enumerate(chain):
                    self.names[link] = Records((address,), chain=chain[i + 1:])
                if number == 0:
                    self.start(dns_servers("*"), fqdns(rule))
                else:
                    self.sluice.apply("names", policy(dns_servers("*"), fqdns(rule)))
                self.assertEqual(self.resolve(question), [address])
                self.reach(ALLOWED, address)

    def test_an_answer_to_a_search_domain_names_what_it_stands_for(self):
        """As CoreDNS' autopath answers."""
        self.start(dns_servers("*"), fqdns("api.example.com"))
        self.names["api.example.com.x.svc.cluster.local"] = Records(API, chain=("api.example.com",))
        self.assertEqual(self.resolve("api.example.com.x.svc.cluster.local"), [API[0]])
        self.reach(ALLOWED, API[0])

    def test_pools_of_addresses(self):
        """1,000 addresses under a name, eight in an answer, TTL 5: each is open when the pod hears of it."""
        pool = [f"198.18.{8 + i // 250}.{i % 250}" for i in range(1000)]
        turns = iter(range(1000))

        def some():
            at = next(turns) * 8 % len(pool)
            return Records(tuple(pool[at:at + 8]), ttl=5)
        self.names["pool.example.com"] = some
        self.start(dns_servers("*"), fqdns("pool.example.com"))
        seen = set()
        for _ in range(125):
            addresses = self.resolve("pool.example.com")
            self.assertEqual(len(addresses), 8)
            self.reach(ALLOWED, *addresses)
            seen.update(addresses)
        self.assertEqual(len(seen), 1000)
        self.reach(DENIED, "198.18.12.1")

    def test_large_answers(self):
        """64 addresses over UDP, 85 in one datagram of more than 1,232 bytes; 100 truncated, then over TCP."""
        self.start(dns_servers("*"), fqdns("*.example.com"))
        for size, how in ((64, {}), (85, {}), (100, {"stream": True})):
            with self.subTest(addresses=size):
                pool = tuple(f"198.18.{20 + size // 20}.{i}" for i in range(size))
                self.names[f"n{size}.example.com"] = Records(pool, truncated=size > 85)
                if size > 85:
                    self.assertTrue(ask(self.client, SERVICE[4], f"n{size}.example.com").truncated)
                self.assertEqual(sorted(self.resolve(f"n{size}.example.com", **how)), sorted(pool))
                self.reach(ALLOWED, *pool)

    def test_two_names_on_one_address(self):
        """The known limit: what is open by one name is open by all. `explain` says by which one."""
        self.start(dns_servers("*"), fqdns("a.test", "api.*.com"))
        self.names["twin.example.com"] = Records((API[0],))
        self.resolve("twin.example.com")
        self.reach(DENIED, API[0])
        self.assertEqual(self.explain(API[0])["names"], ["twin.example.com"])
        self.resolve("api.example.com")
        self.reach(ALLOWED, API[0])
        side = self.explain(API[0])
        self.assertEqual(set(side["names"]), {"api.example.com", "twin.example.com"})
        self.assertEqual((side["allowed"], side["policy"], side["path"], side["pattern"], side["matched"]),
                         (True, "CiliumNetworkPolicy/x/names", "spec.egress[1]", "api.*.com", ["api.example.com"]))
        self.assertIn("for api.*.com, which matches api.example.com\n",
                      self.sluice.command("explain", "--from", "x/a", "--port", "443", "--to", API[0]))

    def test_a_name_inside_the_cluster_is_no_name(self):
        """toFQDNs are for addresses outside; domainNames, of ClusterNetworkPolicy, for pods too."""
        pod = self.host("y/c")
        self.names["pod.example.com"] = Records((pod.ipv4, pod.ipv6))
        self.start(dns_servers("*"), fqdns("pod.example.com"))
        self.resolve("pod.example.com")
        self.check({Probe(self.client, pod, "tcp/443", 4): DENIED})
        self.sluice.remove("names")
        self.sluice.apply("admin", cluster_policy(
            "admin", "Admin", 5, {"pods": {"namespaceSelector": {"matchLabels": {"ns": "x"}},
                                           "podSelector": {"matchLabels": {"pod": "a"}}}},
            egress=[{"name": "dns", "action": "Accept",
                     "to": [{"pods": {"namespaceSelector": {"matchLabels": {"ns": "z"}}, "podSelector": {}}}]},
                    {"name": "names", "action": "Accept", "to": [{"domainNames": ["pod.example.com"]}]},
                    {"name": "rest", "action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}]))
        self.check({Probe(self.client, pod, "tcp/443", 6): DENIED})
        self.resolve("pod.example.com")
        self.resolve("pod.example.com", AAAA)
        self.check({Probe(self.client, pod, "tcp/443", f): ALLOWED for f in (4, 6)})

    def test_a_name_of_a_node_or_a_service_is_no_name(self):
        """Of addresses that everybody reaches without the policy."""
        pod, service = self.host("y/c"), {4: "10.96.0.20", 6: "fd00:96::14"}
        self.translate(pod, service, 443, "web")
        self.manifests.put("web", *service_objects("y", "web", service, pod, 443))
        probes = [Probe(self.client, pod, "tcp/443", f, service[f]) for f in (4, 6)]
        probes += [Probe(self.client, self.host(n), "tcp/443", f) for n in ("node1", "node2") for f in (4, 6)]
        self.names["here.example.com"] = Records(tuple(p.address or p.destination.address(p.family) for p in probes))
        self.start()
        self.check({p: ALLOWED for p in probes})
        self.sluice.apply("names", policy(dns_servers("*"), fqdns("*")))
        for kind in (dns.A, AAAA):
            self.assertEqual(len(self.resolve("here.example.com", kind)), 3)
            self.resolve("api.example.com", kind)
        self.check({p: DENIED for p in probes})
        self.reach(ALLOWED, *API)

    def test_isolation(self):
        """What one pod resolves opens nothing for another with the same policy."""
        self.manifests.put("other", policy(dns_servers("*"), fqdns("api.example.com"), pod="b", name="other"))
        self.start(dns_servers("*"), fqdns("api.example.com"))
        self.resolve("api.example.com")
        self.reach(ALLOWED, API[0])
        self.reach(DENIED, API[0], pod=self.host("x/b"))
        self.resolve("api.example.com", pod=self.host("x/b"))
        self.reach(ALLOWED, API[0], pod=self.host("x/b"))

    def test_list(self):
        self.start(dns_servers("*"), fqdns("api.example.com"))
        self.resolve("api.example.com")

        def row():
            rows = self.sluice.query("fqdn", "list")["names"]
            return next((r for r in rows if r["name"] == "api.example.com" and r["endpoint"] == "x/a"
                         and r["address"] == API[0]), None)
        found = wait_for(row, lambda: f"a row, in {self.sluice.command('fqdn', 'list')}")
        self.assertEqual(found["selectors"], ["api.example.com"])
        self.assertEqual(found["policies"], ["CiliumNetworkPolicy/x/names"])
        self.assertTrue(0 < found["expires_in"] <= 60, found)

    def test_names_in_answers(self):
        """explain, conntrack and events name addresses as the pod has resolved them."""
        self.start(dns_servers("*"), fqdns("api.example.com"))
        for name in ("api.example.com", "other.example.com"):
            self.resolve(name)
        self.reach(ALLOWED, API[0])
        for to, name, allowed in (("api.example.com", "api.example.com", True), (API[0], "api.example.com", True),
                                  ("other.example.com", "other.example.com", False)):
            side = self.explain(to)
            self.assertEqual((side["allowed"], side["names"]), (allowed, [name]), side)
        with self.assertRaisesRegex(AssertionError, "2: .*x/a has not resolved never.example.com"):
            self.sluice.command(*_EXPLAIN, "never.example.com")
        flows = self.sluice.query("conntrack", "list", "--remote", "api.example.com")["entries"]
        self.assertEqual({f["remote"] for f in flows}, {API[0]})
        monitor = Monitor(self.node, self.sluice.socket)
        self.addCleanup(monitor.end)
        for address, name, verdict in ((API[0], "api.example.com", ALLOWED), (OTHER[0], "other.example.com", DENIED)):
            event = monitor.event(lambda e, a=address: e["direction"] == "egress" and e["to"] == a,
                                  lambda a=address, v=verdict: self.reach(v, a))
            self.assertEqual((event["to_name"], event["verdict"]), (name, verdict))

    def explain(self, to):
        """The egress side of the answer for x/a."""
        view = json.loads(self.sluice.command(*_EXPLAIN, to, check=False))
        return next(s for s in view["sides"] if s["direction"] == "egress")


class Clients(Case):
    """Programs that people run, by whatever resolver is in their C library."""

    def setUp(self):
        super().setUp()
        with self.outside.ns.entered():
            self.listener = socket.create_server(("0.0.0.0", 443), backlog=1024)
        self.addCleanup(self.listener.close)

    def run_in(self, *command, **how):
        return dns.run_in_pod(self.client, SERVICE[4], *command, **how)

    def test_getent_with_search_domains(self):
        self.start(dns_servers("*"), fqdns("api.example.com"))
        text, code = self.run_in("getent", "ahosts", "api.example.com", options="ndots:5",
                                 search="x.svc.cluster.local svc.cluster.local cluster.local")
        self.assertEqual(code, 0, text)
        for address in API:
            self.assertIn(address, text)
        self.assertIn("api.example.com.x.svc.cluster.local", self.upstream.heard)
        self.reach(ALLOWED, *API)

    def test_getent_when_search_domains_may_not_be_asked_for(self):
        """The names with search domains are refused, and the one that is meant is asked for all the same."""
        self.start(dns_servers("api.example.com"), fqdns("api.example.com"))
        text, code = self.run_in("getent", "ahosts", "api.example.com", options="ndots:5",
                                 search="x.svc.cluster.local svc.cluster.local cluster.local")
        self.assertEqual(code, 0, text)
        self.assertNotIn("api.example.com.x.svc.cluster.local", self.upstream.heard)
        self.reach(ALLOWED, *API)

    def test_getent_of_a_truncated_answer(self):
        """It asks again over TCP, for A and AAAA in one segment."""
        pool = tuple(f"198.18.30.{i}" for i in range(100)) + tuple(f"2001:db8:18::30:{i}" for i in range(20))
        self.names["pool.example.com"] = Records(pool, truncated=True)
        self.start(dns_servers("*"), fqdns("pool.example.com"))
        text, code = self.run_in("getent", "ahosts", "pool.example.com")
        self.assertEqual((text.count("STREAM"), code), (120, 0), text)
        self.reach(ALLOWED, *pool)

    def test_dig(self):
        self.start(dns_servers("*"), fqdns("api.example.com"))
        for options in (["+notcp"], ["+tcp"], ["+noedns"], ["+bufsize=4096"]):
            with self.subTest(options=options):
                text, code = self.run_in("dig", "+short", "+tries=1", "+time=10", *options, "API.example.com")
                self.assertEqual((text.strip(), code), (API[0], 0))
        self.reach(ALLOWED, API[0])

    def serve_http(self):
        """Answers every request; the names asked for."""
        heard = []

        def serve():
            with contextlib.suppress(OSError):  # the listener is closed
                while True:
                    with self.listener.accept()[0] as connection:
                        request = connection.recv(4096).decode()
                        heard.append(re.search(r"^Host: ([^:\s]*)", request, re.M).group(1))
                        connection.sendall(b"HTTP/1.0 204 No Content\r\n\r\n")
        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.listener.shutdown, socket.SHUT_RDWR)
        return heard

    def test_curl_connects_at_once(self):
        """The first connection, over and over, to names and addresses that the node has not met."""
        self.start(dns_servers("*"), fqdns("*.example.com"))
        heard = self.serve_http()
        names = [f"n{number}.example.com" for number in range(20)]
        for number, name in enumerate(names):
            self.names[name] = Records((f"198.18.40.{number}",))
            text, code = self.run_in("curl", "--silent", "--show-error", "--max-time", "60", f"http://{name}:443/")
            self.assertEqual(code, 0, text)
        self.assertEqual(heard, names)

    def test_musl(self):
        """musl asks for A and AAAA at once, from one port, and takes every server's first answer."""
        with tempfile.TemporaryDirectory(dir="/run") as folder:
            source = os.path.join(folder, "main.c")
            with open(source, "w", encoding="ascii") as file:
                file.write("#include <netdb.h>\n#include <sys/socket.h>\n#include <unistd.h>\n"
                           "int main(int n, char **a) {\n"
                           " struct addrinfo *r, h = {.ai_socktype = SOCK_STREAM};\n"
                           " if (n < 3 || getaddrinfo(a[1], a[2], &h, &r)) return 1;\n"
                           " for (; r; r = r->ai_next) {\n"
                           "  int s = socket(r->ai_family, r->ai_socktype, 0);\n"
                           "  if (connect(s, r->ai_addr, r->ai_addrlen) == 0) return 0;\n"
                           "  close(s);\n }\n return 2;\n}\n")
            program = os.path.join(folder, "connect")
            run("musl-gcc", "-static", "-o", program, source)
            self.start(dns_servers("*"), fqdns("*.example.com"))
            for number in range(20):
                self.names[f"m{number}.example.com"] = Records((f"198.18.41.{number}",))
                text, code = self.run_in(program, f"m{number}.example.com", "443", options="ndots:5",
                                         search="x.svc.cluster.local")
                self.assertEqual(code, 0, text)


class Unbound(Case):
    program = "unbound"

    def test_a_chain_by_another_resolver(self):
        chain = tuple(f"c{i}.example.net" for i in range(8))
        for i, link in enumerate(("www.example.com",) + chain):
            self.names[link] = Records(("198.18.3.9",), chain=chain[i:i + 1])
        self.start(dns_servers("*"), fqdns("c7.example.net"))
        for stream in (False, True):
            self.assertEqual(self.resolve("www.example.com", stream=stream), ["198.18.3.9"])
            self.reach(ALLOWED, "198.18.3.9")


class Time(Case):
    options = ("--fqdn-min-ttl", "0", "--fqdn-grace", "1")

    def test_ttl_zero(self):
        """Open for the grace time: the client connects after it has the answer."""
        self.names["zero.example.com"] = lambda: Records((API[0],), ttl=0)
        self.start(dns_servers("*"), fqdns("zero.example.com"))
        self.resolve("zero.example.com")
        self.reach(ALLOWED, API[0])
        self.wait_denied(API[0])
        self.resolve("zero.example.com")
        self.reach(ALLOWED, API[0])

    def test_a_flow_outlives_its_name(self):
        self.names["short.example.com"] = Records(API, ttl=1)
        self.start(dns_servers("*"), fqdns("short.example.com"))
        flows = []
        for family in (4, 6):
            address = self.resolve("short.example.com", dns.A if family == 4 else AAAA)[0]
            flows += live.tcp(self.client, self.outside, 443, family, address=address)
        self.addCleanup(lambda: [f.close() for f in flows])
        for address in API:
            self.wait_denied(address)
        self.lives(flows)
        with self.subTest("after another change of policy"):
            self.sluice.apply("names", policy(dns_servers("*"), fqdns("short.example.com", "more.example.com")))
            self.lives(flows)
        with self.subTest("after a restart"):
            self.sluice.kill()
            self.lives(flows)
            self.sluice.start()
            self.lives(flows)
        self.reach(DENIED, *API)
        with self.subTest("without the rule"):
            self.sluice.apply("names", policy(dns_servers("*"), fqdns("more.example.com")))
            self.assertEqual(len(live.unheard(live.speak(flows, "opener"), 1)), len(flows))

    def lives(self, flows):
        for who in ("opener", "opened"):
            self.assertEqual([str(f) for f in live.unheard(live.speak(flows, who), 10)], [])


class Cache(Case):
    options = ("--fqdn-min-ttl", "3600")

    def test_a_program_that_keeps_addresses(self):
        """As some Java programs do; --fqdn-min-ttl is as long as they live."""
        self.names["kept.example.com"] = Records((API[0],), ttl=0)
        self.start(dns_servers("*"), fqdns("kept.example.com"))
        self.resolve("kept.example.com")
        time.sleep(2)
        self.reach(ALLOWED, API[0])
        rows = self.sluice.query("fqdn", "list", "--name", "kept.example.com")["names"]
        self.assertGreater(rows[0]["expires_in"], 3000)


class NodeCache(Case):
    """A DNS server that is no Service's, like NodeLocal DNSCache."""

    def test_answers_of_servers_that_an_option_names(self):
        cidrs = {"toCIDR": [f"{self.outside.ipv4}/32", f"{self.outside.ipv6}/128"]}
        self.manifests.put("names", policy(dns_servers(to=cidrs), fqdns("api.example.com")))
        for named, verdict in ((False, DENIED), (True, ALLOWED)):
            with self.subTest(named=named):
                resolvers = ["--fqdn-resolvers", f"{self.outside.ipv4},[{self.outside.ipv6}]:53"]
                self.sluice.options = resolvers if named else []
                self.sluice.start()
                for stream, server, kind in ((False, self.outside.ipv4, dns.A), (True, self.outside.ipv6, AAAA)):
                    ask(self.client, server, "api.example.com", kind, stream=stream)
                self.reach(verdict, *API)
                self.sluice.kill()
