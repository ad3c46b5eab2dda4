# SPDX-License-Identifier: Apache-2.0
"""Explanations from both ends: an agent asks the operator for what other nodes'
pods are and say, and `sluice explain --operator` asks it through the API server."""

import http.client
import json
import ssl
import urllib.parse

from tests.cluster import people, suite
from tests.cluster.people import sluice
from tests.netns.sluice import cnp, wait_for

_FROM_B = [{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
            "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]}]
_POLICY = "CiliumNetworkPolicy/x/p"
_ACCOUNT = "sluice-explain"
_PORT = 9966


class Explain(people.Case):
    """x/a is on node1, x/b on node2, x/c on node3; x/c admits x/b on port 80."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)
        self.api.create(cnp("x", "p", {"pod": "c"}, ingress=_FROM_B))
        self.cluster.wait_condition("CiliumNetworkPolicy", "x", "p", "Enforced", "True")

    def from_node(self, node, source, target, port="80/TCP"):
        code, out, err = sluice("explain", "--socket", f"/run/{node}.sock", "--from", source,
                                 "--to", target, "--port", port, "-o", "json")
        return code, json.loads(out) if out else None, err

    def side(self, view, direction):
        return [s for s in view["sides"] if s["direction"] == direction]

    # ---- from an agent -----------------------------------------------------------------

    def test_an_agent_explains_what_another_nodes_pod_says(self):
        self.expect("x/a > x/c D", "x/b > x/c A", "x/b > x/c tcp/81 D")
        for node, source, port, allowed in (("node1", "x/a", 80, False), ("node2", "x/b", 80, True),
                                            ("node2", "x/b", 81, False), ("node3", "x/b", 81, False)):
            code, view, err = self.from_node(node, source, "x/c", f"{port}/TCP")
            self.assertEqual((code, err), (0 if allowed else 1, ""), view)
            for side in self.side(view, "ingress"):
                self.assertEqual((side["endpoint"], side["node"], side["judged"], side["allowed"]),
                                 ("x/c", "node3", True, allowed))
                self.assertEqual(side["isolating"], [_POLICY])
                missed = [(m["policy"], m["differs"]) for m in side["near_misses"]]
                self.assertEqual(missed, [] if allowed else
                                 [(_POLICY, "peer" if source == "x/a" else "port")])
            for side in self.side(view, "egress"):
                self.assertEqual((side["endpoint"], side["judged"]), (source, True))

    def test_both_nodes_and_the_folder_say_the_same(self):
        path = self.plane.write_file("cluster.yaml", self.plane.kubectl(
            "get", "ns,nodes,pods,services,endpointslices,networkpolicies,cnp,ccnp,ccg", "-A", "-o", "yaml"))
        code, out, err = sluice("explain", "--from", "x/b", "--to", "x/c", "--port", "81/TCP", "-o", "json",
                                 path)
        self.assertEqual(code, 1, err)
        folder = json.loads(out)
        for node in ("node2", "node3"):
            self.assertEqual(self.from_node(node, "x/b", "x/c", "81/TCP")[1], folder)

    def test_an_agent_is_told_nothing_about_two_other_nodes(self):
        code, view, err = self.from_node("node1", "x/b", "x/c")
        self.assertEqual((code, view), (2, None))
        self.assertIn("neither end is a pod of node node1", err)
        code, _, err = self.from_node("node1", "x/a", "x/none")
        self.assertEqual(code, 2)
        self.assertIn("there is no pod x/none", err)

    def test_conntrack_names_pods_of_other_nodes(self):
        self.expect("x/b > x/c A")
        code, out, err = sluice("conntrack", "list", "--socket", "/run/node2.sock", "-o", "json")
        self.assertEqual((code, err), (0, ""))
        self.assertIn(("x/b", "x/c"), {(e["endpoint"], e["remote_name"])
                                       for e in json.loads(out)["entries"]})

    def test_without_an_operator_it_says_what_lacks_and_why(self):
        self.expect("x/b > x/c A")
        self.cluster.cut_off("node2")
        self.addCleanup(self.expect, "x/b > x/c A")
        self.addCleanup(self.cluster.rejoin, "node2")
        code, view, err = self.from_node("node2", "x/b", self.host("x/c").ipv4)
        self.assertEqual((code, err), (0, ""))
        self.assertTrue(self.side(view, "egress")[0]["judged"])
        self.assertIn("operator", self.side(view, "ingress")[0]["unknown"])
        code, out, err = sluice("conntrack", "list", "--socket", "/run/node2.sock", "-o", "json")
        self.assertEqual(code, 0)
        self.assertIn("names of pods of other nodes are missing", err)
        self.assertIn(self.host("x/c").ipv4, {e["remote"] for e in json.loads(out)["entries"]})

    def test_an_agent_lists_the_warnings_of_its_own_policies(self):
        self.api.create(cnp("x", "typo", {"pod": "c"},
                            ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "nobody"}}]}]))
        self.addCleanup(self.cluster.clear_policies)
        self.cluster.wait_condition("CiliumNetworkPolicy", "x", "typo", "Enforced", "True")

        def policies(node):
            code, out, err = sluice("policy", "list", "--socket", f"/run/{node}.sock", "-o", "json")
            self.assertEqual((code, err), (0, ""))
            view = json.loads(out)
            return {p["name"]: p["warnings"] for p in view["policies"]}, view["problems"]
        self.assertEqual(policies("node3"),
                         ({"p": [], "typo": ["spec.ingress[0]: no pod has matched a peer selector yet"]}, []))
        self.assertEqual(policies("node1"), ({}, []), "of other nodes' pods")
        self.cluster.cut_off("node3")
        self.addCleanup(self.expect, "x/b > x/c A")
        self.addCleanup(self.cluster.rejoin, "node3")
        listed, problems = policies("node3")
        self.assertEqual(listed, {"p": [], "typo": []})
        self.assertEqual([(p["severity"], p["source"]) for p in problems], [("note", "operator")])
        self.assertIn("warnings are missing: ", problems[0]["message"])

    # ---- from a kubeconfig ---------------------------------------------------------------

    def test_a_kubeconfig_is_enough_to_ask_the_operator(self):
        self.publish()
        friend = self.user("friend", _ACCOUNT)

        def ask(source, port, kubeconfig=friend):
            return sluice("explain", "--operator", "--kubeconfig", kubeconfig, "--from", source, "--to",
                           "x/c", "--port", str(port), "-o", "json")
        # The rights are known a moment after they have been given.
        wait_for(lambda: ask("x/b", 80)[0] == 0, lambda: f"an answer, not {ask('x/b', 80)}", 60)
        code, out, err = ask("x/a", 80)
        self.assertEqual((code, err), (1, ""))
        self.assertEqual({s["node"] for s in self.side(json.loads(out), "ingress")}, {"node3"})
        code, out, err = sluice("explain", "--operator", "--kubeconfig", friend, "--from", "x/b", "--to", "x/c", "-o", "json")
        self.assertEqual((code, err), (1, ""))
        self.assertEqual([v["port"] for v in json.loads(out) if v["allowed"]], ["80/TCP"])
        code, _, err = sluice("explain", "--socket", "/run/node3.sock", "--from", "x/b", "--to", "x/c")
        self.assertEqual(code, 2)
        self.assertIn("--port: an agent explains one port", err)
        code, _, err = ask("x/none", 80)
        self.assertEqual(code, 2)
        self.assertIn("--from: there is no pod x/none", err)
        code, _, err = ask("x/b", 80, self.user("stranger"))
        self.assertEqual(code, 2)
        self.assertIn("403 Forbidden", err)

    def test_without_the_right_token_there_is_no_answer(self):
        """Whoever reaches the port, from inside the cluster or through the proxy."""
        operator = self.cluster.operators[0]

        def ask(token):
            context = ssl.create_default_context(cafile=self.cluster.ca_file())
            context.check_hostname = False
            connection = http.client.HTTPSConnection(operator.address, _PORT, timeout=30, context=context)
            connection.request("GET", "/explain?" + urllib.parse.urlencode(
                {"from": "x/b", "to": "x/c", "port": "80"}),
                               headers={"X-Sluice-Token": token} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        good = self.api.token_for(suite.SYSTEM, _ACCOUNT, (_ACCOUNT,))
        status, body = ask(good)
        self.assertEqual(status, 200, body)
        self.assertTrue(json.loads(body)["allowed"])
        for token, expected in ((None, 401), ("rubbish", 401), (good + "x", 401),
                                # For the API server, and for the operator as an agent.
                                (self.api.token_for(suite.SYSTEM, _ACCOUNT), 401),
                                (self.api.token_for(suite.SYSTEM, "sluice-agent", ("sluice-operator",)), 401),
                                # Another account's, though for this audience.
                                (self.api.token_for("default", "default", (_ACCOUNT,)), 403)):
            status, body = ask(token)
            self.assertEqual(status, expected, body)
            self.assertNotIn("sides", body)
