# SPDX-License-Identifier: Apache-2.0
"""What policies' status says: whether they are valid, whether they are enforced,
and never that they are before a packet agrees."""

import threading

from tests.cluster import lab, suite
from tests.netns.sluice import ccnp, cnp, wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe, verdicts

_CNP = "CiliumNetworkPolicy"
_ROUNDS = 12


def _from(pod):
    return [{"fromEndpoints": [{"matchLabels": {"pod": pod}}]}]


class Status(suite.ClusterCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)

    def enforced(self, name, status="True", contains="", namespace="x", kind=_CNP, seconds=60):
        return self.cluster.wait_condition(kind, namespace, name, "Enforced", status, contains, seconds)

    def valid(self, name, status="True", contains="", namespace="x", kind=_CNP):
        return self.cluster.wait_condition(kind, namespace, name, "Valid", status, contains)

    def change(self, name, ingress):
        return self.api.patch(_CNP, "x", name, {"spec": {"ingress": ingress}})

    # ---- what it says --------------------------------------------------------------------

    def test_a_good_policy_is_valid_and_enforced(self):
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=_from("b")))
        valid, enforced = self.valid("p"), self.enforced("p")
        for condition in (valid, enforced):
            self.assertTrue(condition["reason"])
            self.assertRegex(condition["lastTransitionTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(enforced["message"], r"\b(\d+)/\1 nodes?\b")
        self.assertEqual(enforced["observedGeneration"], 1)
        self.change("p", _from("c"))
        self.assertEqual(self.enforced("p")["observedGeneration"], 2)
        self.assertEqual(self.valid("p")["observedGeneration"], 2)

    def test_kubectl_waits_for_it(self):
        for thing, name in ((cnp("x", "p", {"pod": "a"}, ingress=_from("b")), "cnp/p"),
                            (ccnp("p", {"pod": "a"}, ingress=_from("b")), "ccnp/p")):
            self.api.create(thing)
            for what in ("Valid", "Enforced"):
                self.plane.kubectl("wait", f"--for=condition={what}", "--timeout=60s", "-n", "x", name)
        line = self.plane.kubectl("get", "cnp", "-n", "x").splitlines()[1]
        self.assertRegex(line, r"^p +True +True +\w+$")

    def test_a_policy_that_selects_nobody_is_enforced(self):
        self.api.create(cnp("x", "p", {"no": "pod"}, ingress=[{}]))
        self.enforced("p")

    # ---- never too early -----------------------------------------------------------------

    def test_enforced_is_never_said_before_a_packet_agrees(self):
        """Again and again, for several policies at once: the moment that it is said, it is so;
        for a new policy and for a new version of one."""
        wrong = []
        threads = [threading.Thread(target=self.race, args=(namespace, wrong)) for namespace in "xyz"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def race(self, namespace, wrong):
        try:
            pods = {name: self.host(f"{namespace}/{name}") for name in "abc"}
            for number in range(_ROUNDS):
                name = f"race-{number}"
                made = self.api.create(cnp(namespace, name, {"pod": "a"}, ingress=_from("b")))
                self.look(made, pods, "b", "c", wrong)
                made = self.api.patch(_CNP, namespace, name, {"spec": {"ingress": _from("c")}})
                self.look(made, pods, "c", "b", wrong)
                self.api.delete(_CNP, namespace, name)
        except Exception as error:  # pylint: disable=W0718
            wrong.append(f"{namespace}: {error}")

    def look(self, made, pods, allowed, denied, wrong):
        meta = made["metadata"]

        def said():
            found = self.cluster.condition(_CNP, meta["namespace"], meta["name"], "Enforced")
            return found.get("status") == "True" and found["observedGeneration"] >= meta["generation"]
        wait_for(said, f"{meta['name']} is enforced", 60)
        expected = {Probe(pods[source], pods["a"], "udp/80", family): verdict
                    for source, verdict in ((allowed, ALLOWED), (denied, DENIED)) for family in (4, 6)}
        seen = verdicts(expected)
        wrong += [f"{meta['name']} generation {meta['generation']}: {p} {seen[p]}"
                  for p, v in expected.items() if seen[p] != v]

    # ---- what keeps it from being enforced -------------------------------------------------

    def test_an_agent_that_is_away_is_named(self):
        """A policy that was enforced stays so there; a new one is not enforced until it is back."""
        self.api.create(cnp("x", "before", {"pod": "a"}, ingress=_from("b")))
        self.enforced("before")
        self.cluster.agents["node1"].kill()
        try:
            self.api.create(cnp("x", "new", {"pod": "a"}, ingress=_from("c")))
            self.enforced("new", "False", "node1")
            self.expect("x/b > x/a A", "x/c > x/a D")
        finally:
            self.cluster.start_agent("node1")
        self.enforced("new")
        self.enforced("before")
        self.expect("x/b > x/a A", "x/c > x/a A", "y/b > x/a D")

    def test_a_map_that_is_full_is_named_and_hurts_nobody_else(self):
        """node1's policy map is small: what is too much for it is said, the pods that it selects are
        isolated there, all others go on, and it is right by itself when there is room again."""
        self.api.create(cnp("x", "good", {"pod": "a"}, ingress=_from("b")))
        self.enforced("good")
        self.renew_agent("node1", "--policy-entries", "64")
        try:
            self.enforced("good")
            self.expect("x/b > x/a A", "x/c > x/a D")
            many = [{"fromEndpoints": [{"matchLabels": {"pod": "c"}}], "toPorts": [{"ports": [
                {"port": str(1000 + 2 * n), "protocol": "UDP"} for n in range(40 * k, 40 * (k + 1))]}]}
                    for k in range(4)]
            self.api.create(cnp("x", "large", {"pod": "a"}, ingress=many))
            said = self.enforced("large", "False", "map policy")
            self.assertIn("node1", said["message"])
            self.assertIn("x/a", said["message"])
            self.expect("x/b > x/a D", "x/c > x/a D")
            self.api.create(cnp("x", "elsewhere", {"pod": "b"}, ingress=_from("c")))
            self.enforced("elsewhere")
            self.expect("x/c > x/b A", "x/a > x/b D")
            self.wait_event(_CNP, "x", "large")
            self.api.delete(_CNP, "x", "large")
            self.api.create(cnp("x", "after", {"pod": "a"}, ingress=_from("c")))
            self.enforced("after")
            self.expect("x/b > x/a A", "x/c > x/a A", "y/b > x/a D")
        finally:
            self.renew_agent("node1")
        self.enforced("good")

    def renew_agent(self, name, *options):
        """Maps keep the size that they were made with: the old ones have to go."""
        agent = self.cluster.agents[name]
        self.assertEqual(agent.stop(), 0, agent.log())
        cleanup = agent.ns.popen(lab.program("sluice-agent"), "--cleanup", "--pin-dir",
                                 f"/run/bpf/{name}/sluice", "--socket", f"/run/{name}.sock")
        self.assertEqual(cleanup.wait(30), 0)
        self.cluster.start_agent(name, *options)

    def test_a_bad_version_is_named_and_the_last_good_one_stays(self):
        self.api.create(cnp("x", "p", {"pod": "a"}, ingress=_from("b")))
        self.enforced("p")
        self.change("p", [{"fromEndpoints": [{"matchLabels": {"pod": "c"}}], "toPorts": [
            {"ports": [{"port": "80"}], "rules": {"http": [{"path": "/"}]}}]}])
        self.valid("p", "False", "spec.ingress[0].toPorts[0].rules")
        self.assertNotEqual(self.cluster.condition(_CNP, "x", "p", "Enforced").get("status"), "True")
        self.expect("x/b > x/a A", "x/c > x/a D")
        self.wait_event(_CNP, "x", "p")
        self.change("p", _from("c"))
        self.valid("p")
        self.enforced("p")
        self.expect("x/b > x/a D", "x/c > x/a A")

    def test_events_about_clusterwide_policies_are_in_kube_system(self):
        kind = "CiliumClusterwideNetworkPolicy"
        self.api.create(ccnp("bad", {"pod": "a"}, ingress=[{"toPorts": [
            {"ports": [{"port": "80"}], "rules": {"http": [{"path": "/"}]}}]}]))
        self.valid("bad", "False", "spec.ingress[0].toPorts[0].rules", None, kind)
        self.wait_event(kind, "kube-system", "bad")

    def wait_event(self, kind, namespace, name):
        """A warning about the object that says something."""
        def found():
            return [e for e in self.api.get("Event", namespace)["items"]
                    if (e["involvedObject"]["kind"], e["involvedObject"]["name"]) == (kind, name)
                    and e["type"] == "Warning" and e["message"] and e["reason"]]
        return wait_for(found, f"an event about {name}; {self.cluster.logs()}", 30)
