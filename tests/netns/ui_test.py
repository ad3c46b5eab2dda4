# SPDX-License-Identifier: Apache-2.0
"""What `sluice run` serves for its web page, and to whom."""

import http.client
import json
import os
import socket
import subprocess
import urllib.parse

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for

_POLICY = cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                              "toPorts": ports("80/TCP")}])
PORT = 8080
TRAFFIC = "x/b > x/a tcp/80 A 4, x/c > x/a tcp/80 D 4"


class Page(suite.Case):
    """A test with an instance that serves the page."""

    options = ("--ui", str(PORT))

    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _POLICY)
        self.before()
        self.sluice.start()

    def before(self):
        """Changes the manifests before the program reads them."""

    def request(self, path, method="GET", host="localhost"):
        """(status, headers, body)"""
        with self.node.ns.entered():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
            connection.connect()
        connection.putrequest(method, path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        result = response.status, response.headers, response.read().decode()
        connection.close()
        return result

    def get(self, path, *arguments):
        query = urllib.parse.urlencode(arguments)
        status, _, body = self.request(f"/api/{path}?{query}")
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def edges(self, *arguments, count=2):
        """The edges to pod x/a at port 80 as the pod decided, when there are as many."""
        def seen():
            answer = self.get("edges", ("to-pod", "x/a"), ("to-port", "80"), ("traffic-direction", "ingress"), *arguments)
            for edge in answer["edges"]:
                edge["from"], edge["to"] = answer["ends"][edge["from"]], answer["ends"][edge["to"]]
            return answer if len(answer["edges"]) >= count else None
        return wait_for(seen, "edges")


class Server(Page):
    def test_flows_are_those_of_sluice_observe(self):
        self.check(TRAFFIC)
        query = [("to-pod", "x/a"), ("to-port", "80"), ("not", ""), ("verdict", "dropped"), ("last", "50")]
        flows = wait_for(lambda: self.get("flows", *query)["flows"], "a flow")
        stem = os.path.splitext(self.sluice.socket)[0]
        done = self.node.ns.popen(os.environ["SLUICE"], "observe", "--server", f"unix:{stem}-hubble.sock", "-o", "jsonpb",
                                  "--to-pod", "x/a", "--to-port", "80", "--not", "--verdict", "dropped", "--last", "50",
                                  stdout=subprocess.PIPE, text=True)
        text = done.communicate(timeout=30)[0]
        self.assertEqual([json.loads(line)["flow"] for line in text.splitlines()][:len(flows)], flows)
        self.assertEqual({f["source"]["pod_name"] for f in flows}, {"b"})

    def test_edges_are_flows_of_the_same_ends_port_verdict_and_policy(self):
        self.check(TRAFFIC)
        answer = self.edges()
        self.assertTrue(answer["reset"])
        self.assertEqual(answer["lost"], 0)
        edges = {edge["verdict"]: edge for edge in answer["edges"]}
        self.assertEqual(edges["FORWARDED"]["from"], {"type": "workload", "namespace": "x", "kind": "Pod", "name": "b"})
        self.assertEqual(edges["DROPPED"]["from"]["name"], "c")
        for edge in edges.values():
            self.assertEqual(edge["to"]["name"], "a")
            self.assertEqual((edge["protocol"], edge["port"]), ("TCP", 80))
            self.assertEqual(edge["policies"], ["CiliumNetworkPolicy/x/p"])
            self.assertEqual(edge["destination"], "x/a")
        self.assertEqual(edges["DROPPED"]["reason"], "POLICY_DENIED")

        # Only what has changed, to those who know the rest.
        place = ("view", answer["view"]), ("after", answer["after"])
        self.check("x/b > x/a tcp/80 A 4")
        after = self.edges(*place, count=1)
        self.assertFalse(after["reset"])
        self.assertEqual([edge["id"] for edge in after["edges"]], [edges["FORWARDED"]["id"]])
        self.assertGreater(after["edges"][0]["flows"], edges["FORWARDED"]["flows"])
        self.assertTrue(self.edges(("view", "1"), place[1])["reset"])

    def test_policies_say_what_they_select(self):
        policy = next(p for p in self.get("policies")["policies"] if p["name"] == "p")
        self.assertEqual(policy["kind"], "CiliumNetworkPolicy")
        self.assertTrue(policy["valid"] and policy["in_force"])
        self.assertEqual(policy["subjects"], [{"namespace": "x", "kind": "Pod", "name": "a"}])
        self.assertEqual((policy["nodes"], policy["nodes_in_all"], policy["nodes_in_force"]),
                         ([{"node": "node1", "problem": ""}], 1, 1))
        self.assertEqual(self.get("namespaces")["namespaces"], ["x", "y", "z"])

    def test_explain(self):
        answer = self.get("explain", ("from", "x/c"), ("to", "x/a"), ("port", "80/TCP"))
        self.assertFalse(answer["allowed"])
        denied = [side for side in answer["sides"] if not side["allowed"]]
        self.assertEqual({side["endpoint"] for side in denied}, {"x/a"})
        self.assertEqual(denied[0]["isolating"], ["CiliumNetworkPolicy/x/p"])
        self.assertTrue(denied[0]["near_misses"])
        status, _, body = self.request("/api/explain?from=x/nobody&to=x/a&port=80")
        self.assertEqual(status, 422)
        self.assertIn("x/nobody", json.loads(body)["error"])

    def test_reach_is_what_the_rules_say(self):
        answer = self.get("reach", ("namespace", "x"), ("port", "80/TCP"), ("port", "81/TCP"))
        names = [workload["name"] for workload in answer["workloads"]]
        self.assertEqual(names, ["a", "b", "c"])
        self.assertEqual(answer["ports"], ["80/TCP", "81/TCP"])
        self.assertEqual([row[0] for row in answer["allowed"]][1:], [1, 0])  # of b and c to a
        self.assertEqual(answer["allowed"][0], [answer["allowed"][0][0], 3, 3])
        self.assertEqual(self.request("/api/reach?namespace=x&port=http")[0], 422)

    def test_every_answer_says_what_a_browser_may_do_with_it(self):
        for path, status, kind in (("/", 200, "text/html"), ("/main.js", 200, "text/javascript"),
                                   ("/style.css", 200, "text/css"), ("/icon.svg", 200, "image/svg+xml"),
                                   ("/api/edges", 200, "application/json"), ("/nothing", 404, "application/json"),
                                   ("/../style.css", 404, "application/json"), ("/api/nothing", 404, "application/json")):
            with self.subTest(path):
                got, headers, _ = self.request(path)
                self.assertEqual(got, status)
                self.assertTrue(headers["Content-Type"].startswith(kind), headers["Content-Type"])
                policy = headers["Content-Security-Policy"]
                for directive in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
                                  "img-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
                    self.assertIn(directive, policy)
                self.assertNotIn("unsafe", policy)
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertEqual(headers["Referrer-Policy"], "no-referrer")

    def test_other_hosts_names_are_refused(self):
        for host in ("evil.example", "localhost.evil.example:8080", "203.0.113.7", ""):
            for path in ("/", "/api/flows"):
                status, headers, body = self.request(path, host=host)
                self.assertEqual(status, 403, host)
                self.assertNotIn("flows", body)
                self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        for host in ("localhost", "127.0.0.1:8080", "[::1]:9", "LOCALHOST:8080"):
            self.assertEqual(self.request("/", host=host)[0], 200, host)

    def test_only_gets(self):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            self.assertEqual(self.request("/api/flows", method=method)[0], 405, method)

    def test_bad_queries_are_named(self):
        for query, error in (("flows?colour=red", "colour"), ("flows?last=9999999", "last"), ("flows?follow=1", "follow"),
                             ("flows?verdict=maybe", "maybe"), ("edges?label=app+in", "label"), ("edges?last=3", "last"),
                             ("flows?not", "not"), ("edges?" + "&".join(["port=1"] * 200), "arguments")):
            status, _, body = self.request(f"/api/{query}")
            self.assertEqual(status, 400, query)
            self.assertIn(error, json.loads(body)["error"])

    def test_it_is_for_this_host_alone(self):
        with self.node.ns.entered():
            for address in (self.node.ipv4, self.node.ipv6):
                connection = http.client.HTTPConnection(address, PORT, timeout=5)
                with self.assertRaises(ConnectionRefusedError):
                    connection.connect()


class Off(suite.Case):
    def test_nothing_is_served_without_the_option(self):
        self.sluice.start()
        with self.node.ns.entered():
            with self.assertRaises(ConnectionRefusedError):
                http.client.HTTPConnection("127.0.0.1", PORT, timeout=5).connect()


    def test_a_port_that_is_taken_ends_the_program(self):
        with self.node.ns.entered():
            listener = socket.create_server(("127.0.0.1", PORT))
        self.addCleanup(listener.close)
        self.sluice.options = ["--ui", str(PORT)]
        self.sluice.spawn()
        self.assertEqual(self.sluice.process.wait(60), 2)
        self.assertIn(f"--ui: 127.0.0.1:{PORT}", self.sluice.log())

    def test_an_address_that_is_none_is_refused(self):
        for text in ("localhost", "127.0.0.1", "70000", "x:1"):
            self.sluice.options = ["--ui", text]
            self.sluice.spawn()
            self.assertNotEqual(self.sluice.process.wait(60), 0)
            self.assertIn("neither a port nor an address", self.sluice.log())
