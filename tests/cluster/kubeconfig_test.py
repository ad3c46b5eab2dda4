# SPDX-License-Identifier: Apache-2.0
"""One command answers for the cluster: status, endpoints, policies and flows of all nodes, from any replica of the
operator, through the API server, for people who have a kubeconfig and the right."""

import http.client
import json
import os
import ssl
import subprocess
import tempfile
import unittest.mock
import urllib.parse

from tests.cluster import lab, people, suite
from tests.cluster.people import sluice
from tests.netns.sluice import cnp, wait_for

_NODES = ["node1", "node2", "node3"]
_POLICY = ("CiliumNetworkPolicy", "x", "p")


class Kubeconfig(people.Case):
    """x/a is on node1, x/b on node2, x/c on node3; nobody may reach x/c but x/b on port 80."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)
        self.api.create(cnp("x", "p", {"pod": "c"}, ingress=[
            {"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
             "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]}]))
        self.cluster.wait_condition(*_POLICY, "Enforced", "True")
        self.publish()
        self.reader = self.user("reader-of-status", "sluice-explain")
        self.observer = self.user("reader-of-flows", "sluice-observer")
        # The rights are known a moment after they have been given.
        wait_for(lambda: self.status()[0] == 0, lambda: f"an answer, not {self.status()}", 60)

    def ask(self, *command, kubeconfig=None):
        code, out, err = sluice(*command, "--operator", "--kubeconfig", kubeconfig or self.reader, "-o", "json")
        return code, json.loads(out) if out else None, err

    def status(self, *options):
        return self.ask("status", *options)

    def agent_away(self, name):
        def back():
            self.cluster.start_agent(name)
            wait_for(lambda: self.status("--check")[0] == 0, lambda: f"{name} is back, not {self.status()}", 60)
        self.addCleanup(back)
        self.cluster.agents[name].stop()

    # ---- status, endpoints and policies --------------------------------------------------

    def test_every_replica_knows_the_status_of_every_node(self):
        replicas = set()

        def both():
            code, view, err = self.status("--check")
            self.assertEqual((code, err), (0, ""), view)
            self.assertEqual([n["node"] for n in view["nodes"]], _NODES)
            for node in view["nodes"]:
                self.assertEqual((node["problem"], node["status"]["enforced"], node["status"]["node"]),
                                 ("", True, node["node"]))
                self.assertEqual(node["status"]["endpoints"], node["status"]["endpoints_attached"])
                self.assertIn("policy", [m["name"] for m in node["status"]["maps"]])
            self.assertEqual((view["policies"], view["policies_invalid"], view["problems"]), (1, 0, []))
            replicas.add(view["operator"])
            return len(replicas) == len(self.cluster.operators)
        wait_for(both, lambda: f"all replicas answer, not only {replicas}", 60)
        code, out, _ = sluice("status", "--operator", "--kubeconfig", self.reader)
        self.assertEqual(code, 0)
        self.assertIn("enforced     yes, on 3 of 3 nodes", out)
        self.assertRegex(out, r"node2 +yes ")

    def test_a_node_whose_agent_is_away_is_said_to_be_unknown(self):
        self.agent_away("node2")

        def unknown():
            code, view, _ = self.status("--check")
            away = [n for n in view["nodes"] if n["problem"]]
            return code == 1 and [n["node"] for n in away] == ["node2"] and away
        away = wait_for(unknown, lambda: f"node2 is unknown, not {self.status()}")
        self.assertEqual(away[0]["problem"], "its agent is not connected")
        code, view, err = self.ask("endpoint", "list")
        self.assertEqual((code, {e["node"] for e in view["endpoints"]}), (0, {"node1", "node3"}))
        self.assertEqual(err, "note: nothing is known of node node2: its agent is not connected\n")
        # The policy selects no pod there.
        self.assertTrue(self.ask("policy", "list")[1]["policies"][0]["in_force"])

    def test_endpoints_of_all_nodes(self):
        code, view, err = self.ask("endpoint", "list")
        self.assertEqual((code, err), (0, ""))
        known = {e["name"]: e for e in view["endpoints"]}
        for name, node in (("x/a", "node1"), ("x/b", "node2"), ("x/c", "node3")):
            self.assertEqual((known[name]["node"], known[name]["attached"]), (node, True))
        self.assertEqual(known["x/c"]["policies"], ["/".join(_POLICY)])
        self.assertEqual((known["x/c"]["isolated_ingress"], known["x/a"]["isolated_ingress"]), (True, False))
        out = sluice("endpoint", "list", "--operator", "--kubeconfig", self.reader)[1]
        self.assertRegex(out, r"NODE +ENDPOINT")
        self.assertRegex(out, r"node3 +x/c .* ingress +CiliumNetworkPolicy/x/p")

    def test_policies_and_the_nodes_on_which_they_are_not_in_force(self):
        self.api.create(cnp("x", "wrong", {"pod": "a"}, ingress=[
            {"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}]}]))
        self.cluster.wait_condition("CiliumNetworkPolicy", "x", "wrong", "Valid", "False")

        def listed():
            code, view, _ = self.ask("policy", "list")
            self.assertEqual(code, 0)
            return {p["name"]: p for p in view["policies"]}
        policies = wait_for(lambda: listed() if "wrong" in listed() else None, "both policies")
        self.assertEqual((policies["p"]["valid"], policies["p"]["in_force"]), (True, True))
        self.assertEqual((policies["wrong"]["valid"], policies["wrong"]["in_force"]), (False, False))
        self.assertIn("192.168.0.0/16", policies["wrong"]["reason"])
        self.agent_away("node3")
        missing = wait_for(lambda: not listed()["p"]["in_force"] and listed()["p"], "p is in force nowhere")
        self.assertEqual(missing["reason"], "not in force on node3: its agent is not connected")

    # ---- flows ---------------------------------------------------------------------------

    def follow(self, *command):
        """A command that reads flows until the test ends; a function that gives its lines."""
        output = tempfile.TemporaryFile("w+")  # pylint: disable=R1732
        self.addCleanup(output.close)
        process = subprocess.Popen([lab.program("sluice"), *command], stdout=output, stderr=subprocess.STDOUT)

        def end():
            process.terminate()
            process.wait(10)
        self.addCleanup(end)

        def lines():
            output.seek(0)
            return output.read().splitlines()
        return process, lines

    def test_monitor_shows_the_flows_of_all_nodes_as_they_happen(self):
        process, lines = self.follow("monitor", "--operator", "--kubeconfig", self.observer, "--drops")

        def seen():
            self.expect("x/a > x/c D", "x/b > x/c A")
            return [line for line in lines() if "x/a" in line and "x/c:80" in line]
        found = wait_for(seen, lambda: f"a drop, not {lines()}", 60)
        self.assertIn("[node3]", found[0])
        self.assertIn("DROPPED", found[0])
        self.assertEqual([line for line in lines() if "x/b" in line], [], "only drops")
        self.assertIsNone(process.poll())

    def test_observe_gives_past_flows_once_and_ends(self):
        self.expect("x/a > x/c D", "x/b > x/c A")

        def ask():
            code, out, err = sluice("observe", "--operator", "--kubeconfig", self.observer, "--all", "--to-pod", "x/c",
                                    "-o", "json")
            self.assertEqual((code, err), (0, ""))
            messages = [json.loads(line) for line in out.splitlines()]
            return [message["flow"] for message in messages if "flow" in message]
        verdicts = {(f["source"]["pod_name"], f["verdict"], f["node_name"]) for f in ask()}
        self.assertLessEqual({("a", "DROPPED", "node3"), ("b", "FORWARDED", "node3"), ("b", "FORWARDED", "node2")},
                             verdicts)
        ids = [f["uuid"] for f in ask()]
        self.assertEqual(len(ids), len(set(ids)))
        code, _, err = sluice("observe", "--operator", "--kubeconfig", self.observer, "--last", "20000")
        self.assertEqual(code, 2)
        self.assertIn("10000", err)

    def test_filters_of_twenty_kilobytes_are_carried(self):
        def ask(count):
            addresses = [f"fd00:1111:2222:3333:4444:5555:6666:{i:04x}" for i in range(count)]
            return sluice("observe", "--operator", "--kubeconfig", self.observer, "--all",
                          *(word for address in addresses for word in ("--to-ip", address)))
        code, out, err = ask(500)
        self.assertEqual(code, 0, err)
        self.assertIn("node1, node2, node3", err, "all nodes have answered")
        self.assertNotIn("x/c:80", out)
        code, _, err = ask(900)
        self.assertEqual(code, 2)
        self.assertIn("the filters are too long", err)

    def test_rights_are_those_of_the_account(self):
        code, _, err = sluice("observe", "--operator", "--kubeconfig", self.reader)
        self.assertEqual(code, 2)
        self.assertIn("403 Forbidden", err)
        # Another account reads what it may: the flows of a namespace.
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": "x", "name": "flows-of-x"}})
        self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                         "metadata": {"namespace": "x", "name": "flows-of-x"},
                         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                                     "name": "sluice-flows"},
                         "subjects": [{"kind": "ServiceAccount", "namespace": "x", "name": "flows-of-x"}]})
        self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                         "metadata": {"namespace": "x", "name": "token-of-flows"},
                         "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"],
                                    "resourceNames": ["flows-of-x"], "verbs": ["create"]}]})
        self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                         "metadata": {"namespace": "x", "name": "token-of-flows"},
                         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                                     "name": "token-of-flows"},
                         "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "reader-of-flows"}]})

        def ask(*filters):
            return sluice("observe", "--operator", "--kubeconfig", self.observer, "--service-account",
                          "x/flows-of-x", *filters)
        wait_for(lambda: ask("--namespace", "x")[0] == 0, lambda: f"flows of x, not {ask('--namespace', 'x')}", 60)
        code, _, err = ask()
        self.assertEqual(code, 2)
        self.assertIn("--namespace", err)

    # ---- bad input and hostile clients ---------------------------------------------------

    def connect(self):
        context = ssl.create_default_context(cafile=self.cluster.ca_file())
        context.check_hostname = False
        connection = http.client.HTTPSConnection(self.cluster.operators[0].address, people.PORT, timeout=30,
                                                 context=context)
        self.addCleanup(connection.close)
        return connection

    def get(self, path, token):
        connection = self.connect()
        connection.request("GET", path, headers={"X-Sluice-Token": token} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def test_without_the_right_token_there_is_no_answer(self):
        explain = self.api.token_for(suite.SYSTEM, "sluice-explain", ("sluice-explain",))
        observer = self.api.token_for(suite.SYSTEM, "sluice-observer", ("sluice-observer",))
        stranger = self.api.token_for("default", "default", ("sluice-observer",))
        for path in ("/status", "/endpoints", "/policies"):
            self.assertEqual(self.get(path, explain)[0], 200)
            for token in (None, "rubbish", observer):
                status, body = self.get(path, token)
                self.assertEqual(status, 401, body)
                self.assertNotIn("node1", body)
        for token, expected in ((None, 401), ("rubbish", 401), (explain, 401), (stranger, 403)):
            status, body = self.get("/flows?request=", token)
            self.assertEqual(status, expected, body)
            self.assertNotIn("node_name", body)
        for request, expected in (("!", 400), ("AAAA", 400)):
            status, body = self.get("/flows?" + urllib.parse.urlencode({"request": request}), observer)
            self.assertEqual(status, expected, body)
        self.assertEqual(self.get("/nothing", explain)[0], 404)

    def test_many_connections_of_one_address_leave_room(self):
        token = self.api.token_for(suite.SYSTEM, "sluice-explain", ("sluice-explain",))
        for _ in range(40):
            self.connect().connect()
        self.assertEqual(self.get("/status", token)[0], 200)

    def test_as_a_plugin_of_kubectl_the_operator_is_asked_unless_something_else_is_named(self):
        folder = tempfile.mkdtemp()
        plugin = os.path.join(folder, "kubectl-sluice")
        os.symlink(lab.program("sluice"), plugin)
        self.addCleanup(lambda: (os.remove(plugin), os.rmdir(folder)))
        with unittest.mock.patch.dict(os.environ, {"SLUICE_SOCKET": "/run/node1.sock", "KUBECONFIG": self.reader}):
            self.assertIn("on 3 of 3 nodes", sluice("status", program=plugin)[1], "the environment does not count")
            self.assertIn("on 3 of 3 nodes", sluice("status", "--operator")[1])
            self.assertIn("node         node1", sluice("status")[1])
        code, out, err = sluice("status", "--kubeconfig", self.reader, program=plugin)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("on 3 of 3 nodes", out)
        code, out, _ = sluice("status", "--socket", "/run/node1.sock", program=plugin)
        self.assertEqual(code, 0)
        self.assertIn("node         node1", out)
