# SPDX-License-Identifier: Apache-2.0
"""Whatever is killed, packets that may pass pass and the others do not, and what
changes afterwards is followed again."""

import time

from tests.cluster import lab, suite
from tests.netns import lab as netlab
from tests.netns.sluice import cnp, ports, wait_for
from tests.netns.traffic import Stream

_RATE = 500  # packets per second and stream


class Restarts(suite.ClusterCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)
        self.api.create(cnp("x", "a", {"pod": "a"}, ingress=[{
            "fromEndpoints": [{"matchLabels": {"pod": "b"}}], "toPorts": ports("80/UDP")}]))
        self.expect("x/b > x/a udp/80 A", "x/b > x/a udp/82 D", "x/c > x/a udp/80 D", seconds=60)

    def ride(self, disturb):
        """Streams that may and may not pass, between nodes, while something is disturbed and
        until changes are followed again. Not one packet may be lost or let through."""
        a, b, c = (self.cluster.net.host(n) for n in ("x/a", "x/b", "x/c"))
        streams = {}
        for family in (4, 6):
            address = a.address(family)
            # Each to a port of its own: what arrives there is told apart by it.
            streams[f"IPv{family} allowed"] = Stream(b, a, [(address, 80)], _RATE)
            streams[f"IPv{family} to another port"] = Stream(b, a, [(address, 82)], _RATE)
            streams[f"IPv{family} from another pod"] = Stream(c, a, [(address, 83)], _RATE)
        try:
            for stream in streams.values():
                stream.wait_sent(100)
            disturb()
            self.api.create(cnp("x", "after", {"pod": "c"}, ingress=[{}]))
            self.expect("x/b > x/c udp/90 D", seconds=60)
            self.api.delete("CiliumNetworkPolicy", "x", "after")
            self.expect("x/b > x/c udp/90 A", seconds=60)
            for stream in streams.values():
                stream.wait_sent(100)
        finally:
            counts = {name: stream.stop() for name, stream in streams.items()}
        for name, (sent, arrived) in counts.items():
            self.assertGreater(sent, 200, name)
            wanted = range(sent) if name.endswith("allowed") else range(0)
            if len(set(arrived)) != len(wanted):
                self.fail(f"{name}: {len(set(arrived))} of {sent} arrived, not {len(wanted)}; these make"
                          f" the difference: {sorted(set(wanted) ^ set(arrived))[:50]}\n"
                          + "\n".join(self.agent_status(node) for node in self.cluster.agents)
                          + self.cluster.logs())

    def test_an_agent_is_killed(self):
        def disturb():
            self.cluster.agents["node1"].kill()
            self.cluster.start_agent("node1")
        self.ride(disturb)

    def test_an_agent_is_ended_properly(self):
        def disturb():
            self.assertEqual(self.cluster.agents["node1"].stop(), 0, self.cluster.agents["node1"].log())
            self.cluster.start_agent("node1")
        self.ride(disturb)

    def test_all_agents_are_killed(self):
        def disturb():
            for agent in self.cluster.agents.values():
                agent.kill()
            self.cluster.start_agents()
        self.ride(disturb)

    def test_policies_change_while_an_agent_is_away(self):
        def disturb():
            self.cluster.agents["node1"].kill()
            self.api.create(cnp("x", "meanwhile", {"pod": "a"}, ingress=[{
                "fromEndpoints": [{"matchLabels": {"pod": "c"}}], "toPorts": ports("90/UDP")}]))
            self.cluster.start_agent("node1")
            self.expect("x/c > x/a udp/90 A", "x/b > x/a udp/90 D", seconds=60)
        self.ride(disturb)

    def enforced(self, name, status="True", contains=""):
        self.cluster.wait_condition("CiliumNetworkPolicy", "x", name, "Enforced", status, contains, 90)

    def test_the_leader_is_killed(self):
        """The other one leads on, and status follows."""
        def disturb():
            leader = self.cluster.leader()
            leader.kill()
            self.addCleanup(self.start_operator, leader)
            self.cluster.balance()
            self.assertIsNot(self.cluster.leader(), leader)
            self.api.create(cnp("x", "meanwhile", {"pod": "b"}, ingress=[{}]))
            self.enforced("meanwhile")
        self.ride(disturb)

    def start_operator(self, operator):
        if not operator.running():
            operator.start()
        self.cluster.balance()

    def test_both_operators_are_killed(self):
        """Without one everything stays; the first one back brings what has changed."""
        def disturb():
            for operator in self.cluster.operators:
                self.addCleanup(self.start_operator, operator)
                operator.kill()
            self.cluster.balance()
            self.api.create(cnp("x", "meanwhile", {"pod": "a"}, ingress=[{
                "fromEndpoints": [{"matchLabels": {"pod": "c"}}], "toPorts": ports("90/UDP")}]))
            self.expect("x/c > x/a udp/90 D", "x/b > x/a udp/90 D")
            self.start_operator(self.cluster.operators[0])
            self.expect("x/c > x/a udp/90 A", "x/b > x/a udp/90 D")
            self.start_operator(self.cluster.operators[1])
            self.enforced("meanwhile")
        self.ride(disturb)

    def test_a_policy_gets_another_name_while_there_is_no_operator(self):
        """What both say goes on without a gap; what only one said comes and goes."""
        def disturb():
            for operator in self.cluster.operators:
                self.addCleanup(self.start_operator, operator)
                operator.kill()
            self.cluster.balance()
            before = self.api.get("CiliumNetworkPolicy", "x", "a")
            self.api.delete("CiliumNetworkPolicy", "x", "a")
            ingress = before["spec"]["ingress"]
            ingress[0]["toPorts"] = ports("80/UDP", "90/UDP")
            self.api.create(cnp("x", "another-name", {"pod": "a"}, ingress=ingress))
            self.expect("x/b > x/a udp/90 D", "x/c > x/a udp/90 D")
            for operator in self.cluster.operators:
                self.start_operator(operator)
            self.expect("x/b > x/a udp/90 A", "x/c > x/a udp/90 D", "x/b > x/a udp/91 D", seconds=60)
            self.enforced("another-name")
        self.ride(disturb)

    def test_the_last_policy_is_deleted_while_there_is_no_operator(self):
        self.api.create(cnp("x", "c", {"pod": "c"}, ingress=[{}]))
        self.expect("x/b > x/c D")
        for operator in self.cluster.operators:
            self.addCleanup(self.start_operator, operator)
            operator.kill()
        self.cluster.balance()
        self.cluster.clear_policies()
        self.expect("x/b > x/c D", "x/b > x/a udp/82 D")
        for operator in self.cluster.operators:
            self.start_operator(operator)
        self.expect("x/b > x/c A", "x/b > x/a udp/82 A", seconds=60)

    def test_operators_start_when_the_newest_version_is_not_valid(self):
        """The one before stays in force, although none of them has seen it."""
        def disturb():
            before = self.api.get("CiliumNetworkPolicy", "x", "a")["spec"]["ingress"]
            self.api.patch("CiliumNetworkPolicy", "x", "a", {"spec": {"ingress": [{"fromNodes": [{}]}]}})
            self.cluster.wait_condition("CiliumNetworkPolicy", "x", "a", "Valid", "False", "stays in force")
            wait_for(lambda: "inForce" in self.api.get("CiliumNetworkPolicy", "x", "a")["status"], "it is kept")
            for operator in self.cluster.operators:
                self.addCleanup(self.start_operator, operator)
                operator.kill()
            for operator in self.cluster.operators:
                operator.start()
            self.cluster.balance()
            self.api.create(cnp("x", "meanwhile", {"pod": "b"}, ingress=[{}]))
            self.expect("x/c > x/b udp/90 D", "x/b > x/a udp/91 D", seconds=60)
            self.cluster.wait_condition("CiliumNetworkPolicy", "x", "a", "Valid", "False", "stays in force")
            self.api.patch("CiliumNetworkPolicy", "x", "a", {"spec": {"ingress": before}})
            self.enforced("a")
            wait_for(lambda: "inForce" not in self.api.get("CiliumNetworkPolicy", "x", "a")["status"],
                     "it is not needed any more")
        self.ride(disturb)

    def test_an_operator_is_ended_properly(self):
        def disturb():
            leader = self.cluster.leader()
            self.assertEqual(leader.stop(), 0, leader.log())
            self.start_operator(leader)
        self.ride(disturb)

    def test_an_agent_is_cut_off_while_policies_change(self):
        """For a minute, until both ends have noticed and beyond: nothing opens there, the status
        says which node is behind, and it catches up by itself."""
        def client_may(port):
            return [{"fromEndpoints": [{"matchLabels": {"pod": "c"}}], "toPorts": ports(f"{port}/UDP")}]

        def disturb():
            self.cluster.cut_off("node1")
            until = time.monotonic() + 60
            self.addCleanup(self.cluster.rejoin, "node1")
            self.api.create(cnp("x", "meanwhile", {"pod": "a"}, ingress=client_may(90)))
            self.enforced("meanwhile", "False", "node1")
            self.expect("x/c > x/a udp/90 D", "x/b > x/a udp/90 D")
            wait_for(lambda: "not connected" in self.agent_status("node1"), "it knows that it is alone", 120)
            self.api.delete("CiliumNetworkPolicy", "x", "meanwhile")
            port = 91
            self.api.create(cnp("x", "other", {"pod": "a"}, ingress=client_may(port)))
            while time.monotonic() < until:
                self.enforced("other", "False", "node1")
                self.expect(f"x/c > x/a udp/{port} D")
                port += 1
                self.api.patch("CiliumNetworkPolicy", "x", "other",
                               {"spec": {"ingress": client_may(port)}})
            self.enforced("other", "False", "node1")
            self.cluster.rejoin("node1")
            self.expect(f"x/c > x/a udp/{port} A", "x/c > x/a udp/90 D", "x/c > x/a udp/91 D",
                        f"x/b > x/a udp/{port} D")
            self.enforced("other")
        self.ride(disturb)

    def agent_status(self, node):
        return netlab.run(lab.program("sluice"), "status", "--socket", f"/run/{node}.sock", check=False)

    def test_the_api_server_restarts(self):
        def disturb():
            self.plane.stop_apiserver()
            self.plane.start_apiserver()
        self.ride(disturb)

    def test_etcd_restarts(self):
        def disturb():
            self.plane.stop_etcd()
            self.plane.start_etcd()
            self.plane.wait_ready()
        self.ride(disturb)
