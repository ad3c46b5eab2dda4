# SPDX-License-Identifier: Apache-2.0
"""Who gets a node's view from the operator: that node's agent, with its own token,
and nobody else; and with which accounts the programs work."""

from tests.cluster import lab, suite
from tests.netns import lab as netlab
from tests.netns.sluice import cnp, wait_for


class Identity(suite.ClusterCase):
    """An agent on a machine of its own, which says that it is node1's."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=[
            {"fromEndpoints": [{"matchLabels": {"pod": "b"}}]}]))
        self.expect("x/b > x/a A", "x/c > x/a D")
        if "stranger" not in self.cluster.net.nodes:
            self.cluster.add_node("stranger")
            self.cluster.balance()
            self.addClassCleanup(self.cluster.remove_node, "stranger")

    def run_stranger(self, node, token, ca_file=None):
        """Its log, once it has been refused, and whether it got anything."""
        path = self.plane.write_file("stranger.token", token)
        command = lab.agent_command(self.cluster, node, path, ca_file)
        for option, value in (("--pin-dir", "/run/bpf/stranger/sluice"), ("--socket", "/run/stranger.sock")):
            command[command.index(option) + 1] = value
        agent = lab.Process("agent-stranger", self.host("stranger").ns, command)
        netlab.run("rm", "-f", agent.log_path)
        agent.start()
        self.addCleanup(agent.kill)
        return agent

    def refused(self, node, token, why, ca_file=None):
        agent = self.run_stranger(node, token, ca_file)
        wait_for(lambda: why in agent.log(), f"{why!r} in the log; {agent.log()}", 30)
        self.assertNotIn("snapshot", agent.log())
        self.assertIn("no operator has connected yet",
                      netlab.run(lab.program("sluice"), "status", "--socket", "/run/stranger.sock",
                                 check=False))

    def token(self, account="sluice-agent", audience="sluice-operator", node=None):
        pod = self.cluster.agents_pod(node) if node else None
        return self.api.token_for(suite.SYSTEM, account, (audience,) if audience else (), pod=pod)

    def test_the_token_of_the_node_is_good(self):
        """So that the others are not refused for another reason."""
        agent = self.run_stranger("stranger", self.token(node="stranger"))
        wait_for(lambda: "snapshot" in agent.log(), f"it gets its view; {agent.log()}", 30)
        self.addCleanup(self.api.delete, "Pod", suite.SYSTEM, "sluice-agent-stranger", 0)

    def test_another_nodes_token(self):
        self.refused("node1", self.token(node="node2"), "node2")

    def test_a_token_that_is_bound_to_no_pod(self):
        """It would be good for every node."""
        self.refused("node1", self.token(), "bound to no pod")

    def test_a_token_for_somebody_else(self):
        self.refused("node1", self.token(audience=None, node="node1"), "token")

    def test_another_accounts_token(self):
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": suite.SYSTEM, "name": "nobody"}})
        self.refused("node1", self.token("nobody"), "nobody")

    def test_the_operators_own_token(self):
        self.refused("node1", self.token("sluice-operator"), "sluice-operator")

    def test_no_token(self):
        self.refused("node1", "", "token")

    def test_noise_for_a_token(self):
        self.refused("node1", "eyJhbGciOiJub25lIn0.e30.", "token")

    def test_an_operator_with_another_certificate(self):
        self.refused("node1", self.token(node="node1"), "no operator", ca_file=self.plane.ca_file)

    def test_the_operators_do_all_their_work(self):
        """Nothing that they ask of the API server is refused: that would be "403 Forbidden".

        The number alone is also part of times and addresses."""
        for operator in self.cluster.operators:
            self.assertNotIn("forbidden", operator.log(10_000_000).lower(), operator.name)
