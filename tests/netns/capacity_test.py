# SPDX-License-Identifier: Apache-2.0
"""A map that is too small: nothing half-applied, a message that helps, recovery."""

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for

_A = {"pod": "a"}
_SMALL = 256


def _large(pod, count):
    return {**_many(count, 80), "metadata": {"namespace": "x", "name": "large"},
            "spec": {**_many(count, 80)["spec"], "endpointSelector": {"matchLabels": {"pod": pod}}}}


def _many(count, port):
    """`count` entries, one of them for `port`."""
    listed = [f"{port}/TCP"] + [f"{20001 + 2 * n}/TCP" for n in range(count - 1)]
    return cnp("x", "p", _A, ingress=[{"toPorts": ports(*listed[at:at + 40])}
                                      for at in range(0, count, 40)])


class Capacity(suite.Case):
    options = ("--policy-entries", str(_SMALL))

    def test_policy_map_full(self):
        self.manifests.put("policy", _many(50, 80))
        self.sluice.start()
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        self.sluice.apply("policy", _many(600, 81), enforced=False)
        status = self.sluice.query("status")
        self.assertFalse(status["enforced"])
        self.assertIn("policy", status["problem"])
        self.assertIn(str(_SMALL), status["problem"])
        needed = [int(w) for w in status["problem"].replace(",", " ").split() if w.isdigit()]
        self.assertTrue(any(n >= 600 for n in needed), status["problem"])
        self.assertIn("CiliumNetworkPolicy/x/p", status["problem"])
        policies = {p["name"]: p for p in self.sluice.query("policy", "list")["policies"]}
        self.assertIn(f"of {_SMALL} entries are used", policies["p"]["reason"])
        # Of this pod the state before stays, all of it.
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D, E > x/a tcp/80 A")
        # Everybody else's changes take effect; when it fits again it is applied, without help.
        self.manifests.put("other", cnp("x", "q", {"pod": "b"}, ingress=[{"toPorts": ports("80/TCP")}]))
        wait_for(lambda: "q" in {p["name"] for p in self.sluice.query("policy", "list")["policies"]},
                 "the other policy read")
        self.check("x/a > x/b tcp/80 A, x/a > x/b tcp/81 D")
        self.assertFalse(self.sluice.query("status")["enforced"])
        # A pod that gets another set of policies, for which there is no room, is isolated.
        self.manifests.put("large", _large("b", 600))
        wait_for(lambda: "large" in {p["name"] for p in self.sluice.query("policy", "list")["policies"]},
                 "the large policy read")
        self.check("x/a > x/b tcp/80 D, x/a > x/b tcp/20001 D, x/b > x/a tcp/80 A")
        self.manifests.remove("large")
        wait_for(lambda: "large" not in {p["name"] for p in self.sluice.query("policy", "list")["policies"]},
                 "the large policy gone")
        self.check("x/a > x/b tcp/80 A, x/a > x/b tcp/81 D")
        self.manifests.put("policy", _many(60, 82))
        wait_for(lambda: self.sluice.query("status")["enforced"], "applied when it fits")
        self.check("x/b > x/a tcp/80 D, x/b > x/a tcp/82 A")


class PeersFull(suite.Case):
    options = ("--peers", "64")

    def test_peer_map_full(self):
        def pods(count):
            return [{"apiVersion": "v1", "kind": "Pod",
                     "metadata": {"namespace": "x", "name": f"m{n}", "labels": {"role": "many"}},
                     "spec": {"nodeName": "node2"},
                     "status": {"phase": "Running", "podIP": f"10.1.0.{n + 1}"}}
                    for n in range(count)]
        policy = cnp("x", "p", _A, ingress=[{"fromEndpoints": [{"matchLabels": {"role": "many"}}]},
                                            {"fromEndpoints": [{"matchLabels": {"pod": "b"}}]}])
        self.manifests.put("policy", policy, *pods(10))
        self.sluice.start()
        self.check("x/b A, x/c D")
        self.sluice.apply("policy", policy, *pods(200), enforced=False)
        status = self.sluice.query("status")
        self.assertFalse(status["enforced"])
        self.assertIn("CiliumNetworkPolicy/x/p: map peers4: ", status["problem"])
        self.assertIn("of 64 entries are used", status["problem"])
        self.check("x/b A, x/c D")
        policies = {p["name"]: p for p in self.sluice.query("policy", "list")["policies"]}
        self.assertIn("of 64 entries are used", policies["p"]["reason"])
        problems = {e["name"]: e["problem"] for e in self.sluice.query("endpoint", "list")["endpoints"]}
        self.assertIn("map peers4: ", problems["x/a"])
        self.assertEqual(problems["x/b"], "")
        # Everybody else's changes take effect, also those that need peers.
        self.manifests.put("other", cnp("x", "q", {"pod": "b"},
                                        ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "c"}}]}]))
        wait_for(lambda: "q" in {p["name"] for p in self.sluice.query("policy", "list")["policies"]},
                 "the other policy read")
        self.check("x/c > x/b A, x/a > x/b D, x/b > x/a A, x/c > x/a D")
        self.assertFalse(self.sluice.query("status")["enforced"])
        self.manifests.remove("other")
        self.manifests.put("policy", policy, *pods(20))
        wait_for(lambda: self.sluice.query("status")["enforced"], "applied when it fits")
        self.check("x/b A, x/c D")


class PrefixesFull(suite.Case):
    options = ("--prefixes", "64")

    def test_excepts_that_have_no_room_are_not_open(self):
        """Without their prefixes, what a policy excepts would be allowed: its pods are isolated, and nobody else's."""
        def policy(excepts):
            return cnp("x", "p", _A, ingress=[
                {"fromCIDRSet": [{"cidr": "::/0"}, {"cidr": "0.0.0.0/0", "except": [f"10.{n}.0.0/16" for n in range(100, 100 + excepts)]}]}])
        self.manifests.put("policy", policy(10))
        self.sluice.start()
        self.check("E > x/a A, x/b > x/a D")
        self.sluice.apply("policy", policy(100), enforced=False)
        status = self.sluice.query("status")
        self.assertFalse(status["enforced"])
        self.assertIn("CiliumNetworkPolicy/x/p: map prefixes4: ", status["problem"])
        self.assertIn("its pods are isolated until there is room", status["problem"])
        self.check("E > x/a D, x/b > x/a D, E > x/b A")
        self.manifests.put("other", cnp("x", "q", {"pod": "b"}, ingress=[{"fromCIDR": ["203.0.113.0/24"]}]))
        wait_for(lambda: "q" in {p["name"] for p in self.sluice.query("policy", "list")["policies"]},
                 "the other policy read")
        self.check("x/c > x/b D, E > x/a D")
        self.manifests.put("policy", policy(20))
        wait_for(lambda: self.sluice.query("status")["enforced"], "applied when it fits")
        self.check("E > x/a A, x/b > x/a D")
