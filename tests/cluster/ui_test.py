# SPDX-License-Identifier: Apache-2.0
"""The web page of a cluster: `sluice ui` serves it, and has everything from the operator, through the API server."""

import http.client
import json
import os
import ssl
import subprocess
import unittest
import urllib.parse

from tests.cluster import lab, people, suite
from tests.cluster.people import sluice
from tests.netns import browser
from tests.netns.sluice import cnp, wait_for

_POLICY = ("CiliumNetworkPolicy", "x", "p")
_FROM_B = [{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
            "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]}]
_TO_C = [("to-pod", "x/c"), ("to-port", "80")]
_AWAY = "its agent is not connected"


class Page:
    """A run of `sluice ui`."""

    def __init__(self, case, kubeconfig, *options, port=0):
        stem = f"/run/{case.id()}.ui"
        self.out, self.err = stem + ".out", stem + ".err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = lab.Own.popen(lab.program("sluice"), "ui", "--kubeconfig", kubeconfig, "--port", str(port),
                                         *options, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        case.addCleanup(self.end)
        line = wait_for(lambda: self.read(self.out) or self.process.poll() is not None and "ended",
                        lambda: f"the address of the page, not {self.read(self.err)}", 60)
        case.assertRegex(line, r"^page of the cluster at http://127\.0\.0\.1:\d+/\n$", self.read(self.err))
        self.url = line.split()[-1]
        self.port = int(self.url.rstrip("/").rsplit(":", 1)[1])

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8") as file:
            return file.read()

    def notes(self):
        return self.read(self.err)

    def end(self):
        """The exit status."""
        self.process.terminate()
        return self.process.wait(10)

    def request(self, path, host="localhost", method="GET"):
        """(status, headers, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        result = response.status, response.headers, response.read().decode()
        connection.close()
        return result

    def get(self, path, arguments=()):
        """(status, answer)"""
        status, _, body = self.request(f"/api/{path}?{urllib.parse.urlencode(arguments)}")
        return status, json.loads(body)


class Case(people.Case):
    """x/a is on node1, x/b on node2, x/c on node3; nobody may reach x/c but x/b on port 80."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)
        self.api.create(cnp("x", "p", {"pod": "c"}, ingress=_FROM_B))
        self.cluster.wait_condition(*_POLICY, "Enforced", "True")
        self.publish()
        self.reader = self.user("page-without-flows", "sluice-explain")
        self.observer = self.user("page-of-flows", "sluice-observer")
        self.both = self.user("page", "sluice-explain")
        self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                         "metadata": {"namespace": suite.SYSTEM, "name": "page-too"},
                         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "sluice-observer"},
                         "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "page"}]})
        # The rights are known a moment after they have been given.
        for kubeconfig, commands in ((self.reader, ["status"]), (self.observer, ["observe"]),
                                     (self.both, ["status", "observe"])):
            for command in commands:
                wait_for(lambda c=command, k=kubeconfig: sluice(c, "--operator", "--kubeconfig", k)[0] == 0,
                         lambda c=command, k=kubeconfig: f"an answer, not {sluice(c, '--operator', '--kubeconfig', k)}", 60)

    def traffic(self):
        self.expect("x/b > x/c A", "x/a > x/c D")

    def answer(self, page, path, *arguments):
        status, answer = page.get(path, arguments)
        self.assertEqual(status, 200, answer)
        return answer

    def edges(self, page, enough):
        """The answer about x/c, port 80, and its edges with their ends, as soon as `enough` says so of the edges."""
        def seen():
            status, answer = page.get("edges", _TO_C)
            if status != 200:
                return None
            for edge in answer["edges"]:
                edge["from"], edge["to"] = answer["ends"][edge["from"]], answer["ends"][edge["to"]]
            return (answer, answer["edges"]) if enough(answer) else None
        return wait_for(seen, lambda: f"edges, not {page.get('edges', _TO_C)}; {self.cluster.logs()}", 60)

    def policy(self, page, name):
        return next(p for p in self.answer(page, "policies")["policies"] if p["name"] == name)

    def agent_away(self, name):
        def back():
            self.cluster.start_agent(name)
            wait_for(lambda: sluice("status", "--check", "--operator", "--kubeconfig", self.reader)[0] == 0,
                     f"{name} is back", 60)
        self.addCleanup(back)
        self.cluster.agents[name].stop()


class Ui(Case):
    def test_the_map_has_the_flows_of_all_nodes_and_goes_on(self):
        self.traffic()
        page = Page(self, self.both)
        self.assertEqual(page.notes(), "")

        def all_three(answer):
            return {(e["from"]["name"], e["verdict"], e["direction"]) for e in answer["edges"]} >= {
                ("b", "FORWARDED", "EGRESS"), ("b", "FORWARDED", "INGRESS"), ("a", "DROPPED", "INGRESS")}
        answer, edges = self.edges(page, all_three)
        self.assertEqual((answer["away"], answer["lost"]), ([], 0))
        for edge in edges:
            self.assertEqual((edge["protocol"], edge["port"], edge["destination"]), ("TCP", 80, "x/c"))
            if edge["direction"] == "INGRESS":
                self.assertEqual(edge["policies"], ["/".join(_POLICY)])
        before = answer["flows"]
        self.traffic()
        after, _ = self.edges(page, lambda answer: answer["flows"] > before)
        self.assertEqual(after["view"], answer["view"])
        flows = self.answer(page, "flows", *_TO_C, ("last", "200"))["flows"]
        self.assertLessEqual({("node2", "b", "FORWARDED"), ("node3", "b", "FORWARDED"), ("node3", "a", "DROPPED")},
                             {(f["node_name"], f["source"]["pod_name"], f["verdict"]) for f in flows})
        ids = [f["uuid"] for f in flows]
        self.assertEqual(len(ids), len(set(ids)))
        for query in ("label=app+in", "colour=red"):
            status, _, body = page.request(f"/api/edges?{query}")
            self.assertEqual(status, 400, body)

    def test_policies_say_on_which_nodes_they_are_in_force(self):
        self.api.create(cnp("x", "wide", {}, ingress=[{"fromEndpoints": [{}]}]))
        self.cluster.wait_condition("CiliumNetworkPolicy", "x", "wide", "Enforced", "True")
        page = Page(self, self.both)
        policy = self.policy(page, "p")
        self.assertEqual((policy["valid"], policy["in_force"], policy["reason"]), (True, True, ""))
        self.assertEqual(policy["subjects"], [{"namespace": "x", "kind": "Pod", "name": "c"}])
        self.assertEqual((policy["nodes"], policy["nodes_in_all"], policy["nodes_in_force"]),
                         ([{"node": "node3", "problem": ""}], 1, 1))
        self.assertEqual([n["node"] for n in self.policy(page, "wide")["nodes"]], ["node1", "node2", "node3"])
        self.agent_away("node3")
        wide = wait_for(lambda: self.policy(page, "wide")["nodes_in_force"] == 2 and self.policy(page, "wide"),
                        lambda: f"node3 is away, not {self.policy(page, 'wide')}")
        self.assertEqual(wide["nodes"], [{"node": "node3", "problem": _AWAY}, {"node": "node1", "problem": ""},
                                         {"node": "node2", "problem": ""}])
        self.assertEqual((self.policy(page, "p")["in_force"], self.policy(page, "p")["nodes_in_force"]), (False, 0))
        # The map says that flows of the node are missing, and the list of flows too.
        answer, _ = self.edges(page, lambda answer: answer["away"])
        self.assertEqual([n["node"] for n in answer["away"]], ["node3"])
        self.assertTrue(answer["away"][0]["problem"])
        self.assertEqual(self.answer(page, "flows", *_TO_C)["away"],
                         [{"node": "node3", "problem": "the agent is not connected to an operator"}])

    def test_explanations_namespaces_and_the_matrix(self):
        page = Page(self, self.both)
        self.assertLessEqual({"x", "y", "z", "default", suite.SYSTEM}, set(self.answer(page, "namespaces")["namespaces"]))
        answer = self.answer(page, "explain", ("from", "x/a"), ("to", "x/c"), ("port", "80/TCP"))
        self.assertFalse(answer["allowed"])
        denied = [side for side in answer["sides"] if not side["allowed"]]
        self.assertEqual({(side["endpoint"], side["node"], *side["isolating"]) for side in denied}, {("x/c", "node3", "/".join(_POLICY))})
        matrix = self.answer(page, "reach", ("namespace", "x"), ("port", "80/TCP"), ("port", "81/TCP"))
        self.assertEqual([w["name"] for w in matrix["workloads"]][:3], ["a", "b", "c"])
        self.assertEqual(matrix["ports"][:2], ["80/TCP", "81/TCP"])
        self.assertEqual([row[2] & 3 for row in matrix["allowed"]][:2], [0, 1])  # of a and b to c
        for path, arguments, text in (("explain", [("from", "x/none"), ("to", "x/c"), ("port", "80")], "x/none"),
                                      ("explain", [("from", "x/a"), ("to", "x/c")], "port"),
                                      ("reach", [("namespace", "x"), ("port", "http")], "http")):
            status, answer = page.get(path, arguments)
            self.assertEqual(status, 422, answer)
            self.assertIn(text, answer["error"])
        self.assertEqual(self.answer(page, "reach", ("namespace", "none"))["workloads"], [])

    def test_what_a_user_has_no_right_to_is_said_by_command_and_page(self):
        page = Page(self, self.reader)
        self.assertRegex(page.notes(), r"^note: the page shows no flows: .*403 Forbidden.*sluice-observer")
        for path in ("edges", "flows"):
            status, answer = page.get(path)
            self.assertEqual(status, 502, answer)
            self.assertIn("403 Forbidden", answer["error"])
        self.assertEqual(self.policy(page, "p")["nodes_in_force"], 1)
        page.end()
        page = Page(self, self.observer)
        self.assertRegex(page.notes(), r"^note: the page shows only flows: .*403 Forbidden.*sluice-explain")
        for path, arguments in (("policies", ()), ("namespaces", ())):
            status, answer = page.get(path, arguments)
            self.assertEqual(status, 502, answer)
            self.assertIn("403 Forbidden", answer["error"])
        self.traffic()
        self.edges(page, lambda answer: answer["edges"])
        code, out, err = sluice("ui", "--kubeconfig", self.user("page-stranger"), "--port", "0")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("403 Forbidden", err)

    def test_flows_of_one_namespace_are_read_by_an_account_of_it(self):
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "x", "name": "page-of-x"}})
        self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                         "metadata": {"namespace": "x", "name": "token-of-page"},
                         "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"],
                                    "resourceNames": ["page-of-x"], "verbs": ["create"]}]})
        for name, role, kind, namespace in (("page-of-x", "sluice-flows", "ClusterRole", "x"),
                                            ("page", "token-of-page", "Role", "default")):
            self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                             "metadata": {"namespace": "x", "name": f"{name}-in-x"},
                             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                             "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}]})
        command = ["observe", "--operator", "--kubeconfig", self.both, "--service-account", "x/page-of-x", "--namespace", "x"]
        wait_for(lambda: sluice(*command)[0] == 0, lambda: f"flows of x, not {sluice(*command)}", 60)
        self.traffic()
        page = Page(self, self.both, "--service-account", "x/page-of-x")
        status, answer = page.get("edges")
        self.assertEqual(status, 502, answer)
        self.assertIn("--namespace", answer["error"])
        wait_for(lambda: {e["verdict"] for e in self.answer(page, "edges", ("namespace", "x"))["edges"]} == {"FORWARDED", "DROPPED"},
                 lambda: f"flows of x, not {page.get('edges', [('namespace', 'x')])}", 60)
        code, _, err = sluice("ui", "--kubeconfig", self.both, "--service-account", "x", "--port", "0")
        self.assertEqual(code, 2)
        self.assertIn("--service-account: x: not NAMESPACE/NAME", err)

    def test_the_page_is_for_this_host_and_its_own_name_alone(self):
        page = Page(self, self.both)
        for host in ("evil.example", "localhost.evil.example", ""):
            for path in ("/", "/api/policies"):
                status, _, body = page.request(path, host)
                self.assertEqual(status, 403, body)
                self.assertNotIn("policies", body)
        status, headers, _ = page.request("/")
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'"))
        self.assertEqual(page.request("/api/policies", method="POST")[0], 405)
        self.assertIn("cluster at https://", self.answer(page, "status")["node"])
        with self.assertRaises(ConnectionRefusedError):
            http.client.HTTPConnection(self.cluster.operators[0].address, page.port, timeout=5).connect()
        code, _, err = sluice("ui", "--kubeconfig", self.both, "--port", str(page.port))
        self.assertEqual(code, 2)
        self.assertIn(f"--port: 127.0.0.1:{page.port}", err)
        self.assertEqual(page.end(), 0)

    def test_an_operator_that_comes_back_is_asked_again(self):
        self.traffic()
        page = Page(self, self.both)
        first, _ = self.edges(page, lambda answer: answer["edges"])
        for operator in self.cluster.operators:
            operator.kill()
        wait_for(lambda: page.get("edges", _TO_C)[0] == 502, lambda: f"an error, not {page.get('edges', _TO_C)}", 60)
        for operator in self.cluster.operators:
            operator.start()
        self.cluster.balance()
        # Agents may come back later than the page, which then gets what they see from then on.
        def goes_on(answer):
            self.traffic()
            return answer["edges"]
        again, _ = self.edges(page, goes_on)
        self.assertNotEqual(again["view"], first["view"])

    def test_the_operator_answers_nobody_without_the_right_token(self):
        operator = self.cluster.operators[0]

        def ask(path, token):
            context = ssl.create_default_context(cafile=self.cluster.ca_file())
            context.check_hostname = False
            connection = http.client.HTTPSConnection(operator.address, people.PORT, timeout=30, context=context)
            self.addCleanup(connection.close)
            connection.request("GET", path, headers={"X-Sluice-Token": token} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        explain = self.api.token_for(suite.SYSTEM, "sluice-explain", ("sluice-explain",))
        observer = self.api.token_for(suite.SYSTEM, "sluice-observer", ("sluice-observer",))
        for path in ("/api/policies", "/api/namespaces", "/api/reach?namespace=x"):
            self.assertEqual(ask(path, explain)[0], 200)
            for token in (None, "rubbish", observer):
                self.assertEqual(ask(path, token)[0], 401)
        self.assertEqual(ask("/api/reach?namespace=" + "x" * 601, explain)[0], 400)
        self.assertEqual(ask("/api/reach?" + "&".join(["port=1"] * 101), explain)[0], 400)
        self.assertEqual(ask("/api/nothing", explain)[0], 404)


@unittest.skipUnless(browser.PATH, "chromium is not installed")
class InABrowser(Case):
    def setUp(self):
        super().setUp()
        self.traffic()
        self.page = Page(self, self.both)
        self.edges(self.page, lambda answer: len(answer["edges"]) >= 3)
        self.browser = browser.Browser(lab.Own)
        self.addCleanup(self.browser.end)

    def open(self, query):
        self.browser.open(self.page.url + query)
        self.until("document.documentElement.dataset.ready === 'yes'")

    def until(self, expression):
        wait_for(lambda: self.browser.value(expression),
                 lambda: f"{expression}; {self.browser.value('document.body.innerText')[-3000:]}; {self.browser.problems}", 60)

    def screenshot(self, name):
        if folder := os.environ.get("SLUICE_SCREENSHOTS"):
            self.browser.screenshot(os.path.join(folder, name + ".png"))

    def test_a_workload_has_its_policies_and_the_nodes_on_which_they_are_in_force(self):
        self.open("?to-pod=x/c&to-port=80")
        self.until("document.querySelectorAll('#panel tr.row').length >= 2")
        self.screenshot("map")
        self.browser.value("document.getElementById('canvas').focus()")
        for _ in range(3):
            self.browser.key("ArrowRight")
            if "CiliumNetworkPolicy/x/p" in self.browser.value("document.getElementById('panel').textContent"):
                break
        self.until("document.getElementById('panel').textContent.includes('in force on 1 of 1 node')")
        self.until("document.querySelector('#panel details').open && document.querySelector('#panel .nodes').textContent.includes('node3')")
        self.screenshot("workload")
        self.browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        self.screenshot("workload-dark")
        self.assertEqual(self.browser.problems, [])

    def test_nodes_that_are_away_are_said(self):
        self.agent_away("node3")
        self.open("?namespace=x&tab=policies")
        self.until("document.getElementById('panel').textContent.includes('in force on 0 of 1 node')")
        self.until("document.querySelector('#panel .nodes').textContent.includes('its agent is not connected')")
        self.until("document.getElementById('status').textContent.includes('no flows of node3')")
        self.screenshot("away")
        self.browser.value("document.getElementById('tab-flows').click()")
        self.until("document.getElementById('panel').textContent.includes('No flows of node node3')")
        self.assertEqual(self.browser.problems, [])

    def test_an_explanation_and_the_matrix_come_from_the_operator(self):
        self.open("?namespace=x&from-pod=x/a&to-pod=x/c")
        self.until("document.querySelectorAll('#panel tr.row').length >= 1")
        self.browser.value("document.querySelector('#panel tr.row').click()")
        self.until("document.getElementById('panel').textContent.includes('Isolated by')")
        self.browser.value("document.getElementById('show-reach').click()")
        self.until("document.querySelectorAll('.matrix button').length >= 9")
        self.screenshot("matrix")
        self.assertEqual(self.browser.problems, [])

    def test_a_user_without_rights_is_told(self):
        self.page.end()
        self.page = Page(self, self.reader)
        self.browser.open(self.page.url)
        self.until("document.getElementById('status').textContent.includes('403 Forbidden')")
        self.browser.value("document.getElementById('tab-policies').click()")
        self.until("document.getElementById('panel').textContent.includes('CiliumNetworkPolicy/x/p')")
        self.screenshot("no-right")
