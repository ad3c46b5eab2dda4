# SPDX-License-Identifier: Apache-2.0
"""Flows of all nodes from the operator, and who may read them."""

import base64
import json
import os
import socket
import subprocess

from tests.cluster import suite
from tests.netns.sluice import cnp, wait_for

_BUILD = os.environ.get("SLUICE_BUILD", "build/release")
_PORT = 4245
_NAME = f"sluice-operator.{suite.SYSTEM}.svc"
_UNAUTHENTICATED, _DENIED, _INVALID, _EXHAUSTED = 16, 7, 3, 8
# What traffic() is seen as, at both ends.
_BOTH_ENDS = {("node2", "b", "FORWARDED"), ("node3", "b", "FORWARDED"), ("node3", "a", "DROPPED")}
_FROM_B = [{"fromEndpoints": [{"matchLabels": {"pod": "b"}}]}]


class Answer:
    """What flow_probe has been given, and the last status."""

    def __init__(self, text):
        lines = text.splitlines()
        self.statuses = [line.split(" ", 2)[1:] for line in lines if line.startswith("status ")]
        self.messages = [json.loads(line) for line in lines if line.startswith("{")]
        self.code, self.error = int(self.statuses[-1][0]), self.statuses[-1][1]
        self.flows = [m["flow"] for m in self.messages if "flow" in m]
        self.nodes = [m["node_status"] for m in self.messages if "node_status" in m]


class Flows(suite.ClusterCase):
    """x/a is on node1, x/b on node2, x/c on node3."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)

    # ---- who asks ------------------------------------------------------------------------

    def account(self, name, cluster=False, namespaces=()):
        """A token of an account that may read the flows of the cluster, or of these namespaces."""
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": "default", "name": name}})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sluice-flows"}
        subjects = [{"kind": "ServiceAccount", "namespace": "default", "name": name}]
        if cluster:
            self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                             "metadata": {"name": name}, "roleRef": role, "subjects": subjects})
        for namespace in namespaces:
            self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                             "metadata": {"namespace": namespace, "name": name}, "roleRef": role,
                             "subjects": subjects})
        return self.api.token_for("default", name)

    def probe(self, authorization, operator, *options, seconds=60):
        """The command line of a client."""
        return [os.path.join(_BUILD, "tests/cluster/flow_probe"), "--address", f"{operator.address}:{_PORT}",
                "--ca", self.cluster.ca_file(), "--name", _NAME, "--seconds", str(seconds),
                *(["--authorization", authorization] if authorization else []), *options]

    def ask(self, authorization, *options, operator=None, seconds=60):
        done = subprocess.run(
            self.probe(authorization, operator or self.cluster.operators[0], *options, seconds=seconds),
            check=False, text=True, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return Answer(done.stdout)

    def ask_all(self, authorization, *options):
        """From all replicas that run; each gives the flows of all nodes."""
        return [self.ask(authorization, *options, operator=o) for o in self.cluster.operators if o.running()]

    def follow(self, authorization, operator, request):
        """A client that is given flows until the test ends; a function that gives those that it has."""
        path = f"/run/{operator.identity}.{self.id()}.flows"
        with open(path, "w", encoding="utf-8") as file:
            client = subprocess.Popen(  # pylint: disable=R1732
                self.probe(authorization, operator, "--request", "follow: true " + request, seconds=600),
                stdout=file, stderr=subprocess.STDOUT)

        def end():
            client.kill()
            client.wait(15)
        self.addCleanup(end)

        def flows():
            self.assertIsNone(client.poll(), "the stream goes on")
            with open(path, encoding="utf-8") as file:
                whole = [line for line in file.read().split("\n")[:-1] if line.startswith("{")]
            return [m["flow"] for m in map(json.loads, whole) if "flow" in m]
        return flows

    def all_nodes(self, authorization):
        """Returns when every replica can ask all agents, and says so of no other node."""
        nodes = sorted(self.cluster.agents)

        def counts():
            return [a.messages[0].get("num_connected_nodes", 0) for a in self.ask_all(authorization, "ServerStatus")
                    if a.messages]

        def connected():
            return [sorted(n["name"] for n in a.messages[0]["nodes"] if n["state"] == "NODE_CONNECTED")
                    for a in self.ask_all(authorization, "GetNodes") if a.messages]
        running = [o for o in self.cluster.operators if o.running()]
        wait_for(lambda: counts() == [len(nodes)] * len(running),
                 lambda: f"connected: {counts()}, agents: {nodes}; {self.cluster.logs()}")
        wait_for(lambda: connected() == [nodes] * len(running),
                 lambda: f"connected: {connected()}, agents: {nodes}; {self.cluster.logs()}")

    @staticmethod
    def told_apart(flows):
        """Where, from whom and what became of it."""
        return {(f["node_name"], f["source"].get("pod_name"), f["verdict"]) for f in flows}

    def once(self, flows):
        """Each flow is there once."""
        ids = [f["uuid"] for f in flows]
        self.assertEqual(len(ids), len(set(ids)))

    def traffic(self):
        self.api.create(cnp("x", "p", {"pod": "c"}, ingress=_FROM_B))
        self.expect("x/b > x/c A", "x/a > x/c D", "y/a > y/b A")

    # ---- flows ---------------------------------------------------------------------------

    def test_flows_of_all_nodes(self):
        token = "Bearer " + self.account("reader", cluster=True)
        wait_for(lambda: self.ask(token, "ServerStatus").code == 0, "the right is known", 60)
        self.all_nodes(token)
        self.traffic()

        def seen():
            answers = self.ask_all(token, "--request", "whitelist { destination_pod: 'x/c' }")
            return all(_BOTH_ENDS <= self.told_apart(a.flows) for a in answers) and answers
        answers = wait_for(seen, lambda: f"flows of both ends; {self.cluster.logs()}", 60)
        for answer in answers:
            self.once(answer.flows)

        def the_same():
            seen_by = [{f["uuid"] for f in a.flows} for a in
                       self.ask_all(token, "--request", "whitelist { destination_pod: 'x/c' }")]
            return seen_by == seen_by[:1] * len(seen_by)
        wait_for(the_same, "all replicas give the same flows")
        for answer in self.ask_all(token, "--request", "number: 5"):
            self.assertEqual(answer.code, 0, answer.error)
            times = [f["time"] for f in answer.flows]
            self.assertEqual(times, sorted(times))
            self.assertEqual(len(times), 5)
            named = {name for n in answer.nodes for name in n["node_names"]}
            self.assertLessEqual({"node1", "node2", "node3"}, named)
        for answer in self.ask_all(token, "GetNamespaces"):
            self.assertLessEqual({"x", "y"}, {n["namespace"] for n in answer.messages[0].get("namespaces", [])})

    def test_the_leader_is_killed(self):
        """Of three replicas. The others find the new leader, and clients that follow go on."""
        token = "Bearer " + self.account("follower", cluster=True)
        added = self.cluster.add_operator()
        self.addCleanup(lambda: self.cluster.remove_operator(added))
        wait_for(lambda: self.ask(token, "ServerStatus", operator=added).code == 0, "the third one serves", 60)
        self.all_nodes(token)
        leader = self.cluster.leader()
        followed = [self.follow(token, o, "whitelist { destination_pod: 'x/c' }")
                    for o in self.cluster.operators if o is not leader]
        self.traffic()

        def seen(flows):
            return _BOTH_ENDS <= self.told_apart(flows)
        wait_for(lambda: all(seen(flows()) for flows in followed), lambda: f"it is followed; {self.cluster.logs()}")
        leader.kill()

        def start():
            if not leader.running():
                leader.start()
            self.cluster.balance()
        self.addCleanup(start)
        self.cluster.balance()
        self.assertIsNot(self.cluster.leader(), leader)
        self.all_nodes(token)
        before = [len(flows()) for flows in followed]
        self.cluster.clear_policies()
        self.traffic()
        wait_for(lambda: all(seen(flows()[old:]) for flows, old in zip(followed, before)),
                 lambda: f"new flows; {self.cluster.logs()}")
        for flows in followed:
            self.once(flows())
        for answer in self.ask_all(token, "--request", "whitelist { destination_pod: 'x/c' }"):
            self.assertLessEqual(_BOTH_ENDS, self.told_apart(answer.flows))
            self.once(answer.flows)

    # ---- rights --------------------------------------------------------------------------

    def test_without_a_right_there_is_nothing(self):
        good = self.account("reader2", cluster=True)
        for authorization in (None, "Bearer rubbish", f"Bearer {good}x", f"Basic {good}", good,
                              # For the operator as an agent; for nobody.
                              "Bearer " + self.api.token_for(suite.SYSTEM, "sluice-agent", ("sluice-operator",)),
                              "Bearer " + self.api.token_for("default", "reader2", ("another",))):
            for call in ("GetFlows", "ServerStatus", "GetNodes", "GetNamespaces"):
                answer = self.ask(authorization, call)
                self.assertEqual((answer.code, answer.messages), (_UNAUTHENTICATED, []), answer.error)
        stranger = "Bearer " + self.account("stranger2")
        for call in ("GetFlows", "ServerStatus", "GetNodes", "GetNamespaces"):
            answer = self.ask(stranger, call)
            self.assertEqual((answer.code, answer.messages), (_DENIED, []))
            self.assertIn('user "system:serviceaccount:default:stranger2" cannot list resource "flows" '
                          'in API group "sluice.io" at the cluster scope', answer.error)

    def test_other_forms_of_the_token(self):
        self.account("reader3", cluster=True)
        token = self.api.token_for("default", "reader3", ("sluice-observer",))
        wait_for(lambda: self.ask(f"Bearer {token}", "ServerStatus").code == 0, "the right is known", 60)
        basic = base64.b64encode(f"anybody:{token}".encode()).decode()
        self.assertEqual(self.ask(f"Basic {basic}", "ServerStatus").code, 0)

    def test_a_right_in_a_namespace(self):
        token = "Bearer " + self.account("tenant", namespaces=("x",))
        self.traffic()
        inside = ("--request", "whitelist { source_pod: 'x/' } whitelist { destination_pod: 'x/' }")

        def seen():
            answers = self.ask_all(token, *inside)
            return {a.code for a in answers} == {0} and [f for a in answers for f in a.flows]
        for flow in wait_for(seen, "flows of the namespace", 60):
            self.assertIn("x", (flow["source"].get("namespace"), flow["destination"].get("namespace")))
        for request in ("", "whitelist { source_pod: 'y/' }", "whitelist { verdict: DROPPED }",
                        "whitelist { source_pod: 'x/' source_pod: 'y/' }",
                        "whitelist { source_pod: 'x/' } whitelist { source_pod: 'y/' }",
                        "whitelist { source_pod: '/' source_pod: 'x/' }"):
            answer = self.ask(token, "--request", request)
            self.assertEqual((answer.code, answer.messages), (_DENIED, []), request)
        self.assertIn('nor in the namespace "y"',
                      self.ask(token, "--request", "whitelist { source_pod: 'y/' }").error)
        self.assertEqual(self.ask(token, "ServerStatus").code, _DENIED)

    def test_a_right_that_is_taken_back(self):
        token = "Bearer " + self.account("former", cluster=True)
        wait_for(lambda: self.ask(token, "ServerStatus").code == 0, "the right is known", 60)
        self.api.delete("ClusterRoleBinding", None, "former")
        wait_for(lambda: self.ask(token, "ServerStatus").code == _DENIED, "it is gone", 90)

    # ---- whoever it is -------------------------------------------------------------------

    def test_hostile_clients(self):
        token = "Bearer " + self.account("hostile", cluster=True)
        other = "Bearer " + self.account("peaceful", cluster=True)
        for authorization in (token, other):
            wait_for(lambda who=authorization: self.ask(who, "ServerStatus").code == 0, "the right is known", 60)
        for size, code in ((33_000, _INVALID), (100_000, _EXHAUSTED), (3_000_000, _EXHAUSTED)):
            answer = self.ask(token, "--filter-bytes", str(size))
            self.assertEqual((answer.code, answer.messages), (code, []), answer.error)
        # Connections that say nothing, or half of a handshake.
        operator = self.cluster.operators[0]
        idle = [socket.create_connection((operator.address, _PORT)) for _ in range(200)]
        for one in idle[::2]:
            one.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        # A thousand streams of one user: the first ones end at their deadline.
        many = self.ask(token, "--request", "follow: true", "--streams", "1000", seconds=15)
        codes = [int(code) for code, *_ in many.statuses]
        self.assertEqual(len(codes), 1000)
        self.assertEqual(codes.count(4), 16, "deadline exceeded")
        self.assertEqual(codes.count(_EXHAUSTED), 984)
        self.assertEqual(self.ask(other, "ServerStatus").code, 0)
        for one in idle:
            one.close()
        self.assertLess(operator.memory_peak(), 400 << 20)
        self.api.create(cnp("x", "q", {"pod": "a"}, ingress=_FROM_B))
        self.expect("x/b > x/a A", "x/c > x/a D")

    def test_the_socket_is_for_its_owner(self):
        path = f"/run/{self.cluster.operators[0].identity}.observer.sock"
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        done = subprocess.run([os.path.join(_BUILD, "tests/cluster/flow_probe"), "--address", f"unix:{path}",
                               "ServerStatus"], check=True, text=True, timeout=60, stdout=subprocess.PIPE)
        self.assertEqual(Answer(done.stdout).code, 0)

