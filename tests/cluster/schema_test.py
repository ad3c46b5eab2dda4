# SPDX-License-Identifier: Apache-2.0
"""What the API server makes of policies: it takes all that are valid, says what
is wrong with most that are not, and never stores less than it was given."""

import gzip
import json
import unittest

from tests.cluster import suite
from tests.cluster.api import ApiError

_KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "CiliumCIDRGroup")
_OK = {"endpointSelector": {}, "ingress": [{}]}


def _body(thing):
    """All that is up to the user."""
    meta = {k: v for k, v in thing.get("metadata", {}).items() if k in ("name", "namespace", "labels")}
    return {**{k: v for k, v in thing.items() if k != "status"}, "metadata": meta}


class Schema(suite.Case):

    def offer(self, thing):
        """The object as the server would store it, or its ApiError. Nothing is stored."""
        if thing.get("metadata", {}).get("namespace"):
            self.namespace(thing["metadata"]["namespace"])
        try:
            return self.api.create(thing, "?dryRun=All")
        except ApiError as error:
            self.assertIn(error.status, (400, 422), error)
            return error

    known = set()

    def namespace(self, name):
        if name not in self.known:
            self.plane.ensure_namespace(name)
            self.known.add(name)

    def scenarios(self, name):
        with gzip.open(suite.vectors(name), "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)

    def offer_all(self, name):
        """Offers every policy object of a file of vectors once. Returns how many
        valid ones there were and {name of the scenario: error or None} of invalid ones."""
        seen, valid, invalid = set(), 0, {}
        for scenario in self.scenarios(name):
            # Near misses that only Cilium's own preflight minds are valid.
            bad = {i["object"] for i in scenario["invalid"] if i["stage"] != "preflight-only"}
            for thing in scenario["objects"]:
                if thing["kind"] not in _KINDS:
                    continue
                text = json.dumps(_body(thing), sort_keys=True)
                meta = thing["metadata"]
                is_bad = f"{meta.get('namespace', '')}/{meta.get('name', '')}" in bad
                if text in seen and not is_bad:
                    continue
                seen.add(text)
                answer = self.offer(thing)
                refused = isinstance(answer, ApiError)
                if not refused:
                    self.assertEqual(_body(answer), _body(thing), "stored otherwise than given")
                if is_bad:
                    invalid[scenario["name"]] = answer if refused else None
                else:
                    self.assertFalse(refused, f"{scenario['name']}: {answer}\n{text}")
                    valid += 1
        return valid, invalid

    def test_takes_valid_objects_unchanged(self):
        for name in ("cnp-handwritten", "cnp-random", "decided"):
            with self.subTest(name):
                valid, invalid = self.offer_all(name)
                self.assertEqual(invalid, {})
                self.assertGreater(valid, 50)
                print(f"{name}: {valid} objects taken unchanged", end=" ... ", flush=True)

    def test_says_what_is_wrong_with_invalid_ones(self):
        valid, invalid = self.offer_all("cnp-invalid")
        refused = sorted(n for n, e in invalid.items() if e)
        print(f"{len(refused)} of {len(invalid)} invalid objects refused, the others kept as they are "
              f"for the operator to refuse; {valid} near misses taken", end=" ... ", flush=True)
        self.assertGreaterEqual(len(refused), 50)

    def refused(self, spec, where, kind="CiliumNetworkPolicy"):
        thing = {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": {"name": "p"}, "spec": spec}
        if kind == "CiliumNetworkPolicy":
            thing["metadata"]["namespace"] = "default"
        with self.subTest(json.dumps(spec)[:120]):
            answer = self.offer(thing)
            self.assertIsInstance(answer, ApiError)
            self.assertIn(where, answer.message)

    def test_names_the_field(self):
        def ingress(**rule):
            return {"endpointSelector": {}, "ingress": [rule]}

        def ports(*ports):
            return ingress(toPorts=[{"ports": list(ports)}])

        def icmp(*fields):
            return ingress(icmps=[{"fields": list(fields)}])

        def names(*selectors):
            return {"endpointSelector": {}, "egress": [{"toFQDNs": list(selectors)}]}

        def questions(*selectors):
            return {"endpointSelector": {}, "egress": [{"toPorts": [
                {"ports": [{"port": "53"}], "rules": {"dns": list(selectors)}}]}]}

        port = "spec.ingress.toPorts.ports"
        for spec, where in (
                ({}, "spec.endpointSelector"),
                ({"endpointSelector": {}}, "spec.ingress: Required"),
                ({"endpointSelector": {}, "ingress": []}, "spec.ingress"),
                ({"endpointSelector": {}, "ingress": {}}, "spec.ingress"),
                ({"endpointSelector": {}, "ingress": None}, "spec.ingress"),
                ({**_OK, "endpointSelector": "a"}, "spec.endpointSelector"),
                ({**_OK, "endpointSelector": {"matchLabels": {"a": "-b"}}}, "spec.endpointSelector"),
                ({**_OK, "endpointSelector": {"matchLabels": {"a": 1}}}, "spec.endpointSelector"),
                ({**_OK, "endpointSelector": {"matchExpressions": [{"key": "a", "operator": "in"}]}},
                 "operator"),
                ({**_OK, "endpointSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
                 "values"),
                ({**_OK, "endpointSelector": {"matchExpressions": [
                    {"key": "a", "operator": "Exists", "values": ["b"]}]}}, "matchExpressions"),
                ({**_OK, "enableDefaultDeny": {"ingress": "no"}}, "spec.enableDefaultDeny.ingress"),
                ({**_OK, "log": {"value": "x" * 33}}, "spec.log.value"),
                ({**_OK, "log": {"value": "a\nb"}}, "spec.log.value"),
                ({**_OK, "labels": [{"value": "x"}]}, "spec.labels"),
                (ports({}), port + ".port"),
                (ports({"port": 80}), port + ".port"),
                (ports({"port": ""}), port + ".port"),
                (ports({"port": "65536"}), port + ".port"),
                (ports({"port": "-1"}), port + ".port"),
                (ports({"port": "a--b"}), port + ".port"),
                (ports({"port": "a234567890123456"}), port + ".port"),
                (ports({"port": "80", "endPort": 65536}), port + ".endPort"),
                (ports({"port": "80", "protocol": "tcp"}), port + ".protocol"),
                (ports({"port": "80", "protocol": "ICMP"}), port + ".protocol"),
                (ports(*[{"port": str(n)} for n in range(1, 42)]), port),
                (icmp({}), "type"),
                (icmp({"type": -1}), "type"),
                (icmp({"type": "256"}), "type"),
                (icmp({"type": "Ping"}), "type"),
                (icmp({"type": 8, "family": "ipv4"}), "family"),
                (icmp(*[{"type": n} for n in range(41)]), "fields"),
                (ingress(fromEntities=["World"]), "fromEntities"),
                (ingress(fromCIDR=["10.0.0.1"]), "fromCIDR"),
                (ingress(fromCIDR=["10.0.0.0/33"]), "fromCIDR"),
                (ingress(fromCIDRSet=[{}]), "fromCIDRSet"),
                (ingress(fromCIDRSet=[{"cidr": "10.0.0.0/8", "cidrGroupRef": "g"}]), "fromCIDRSet"),
                (ingress(fromCIDRSet=[{"cidr": "10.0.0.0/8", "except": ["10.0.0.1"]}]), "except"),
                (ingress(fromCIDRSet=[{"cidrGroupRef": "A_B"}]), "cidrGroupRef"),
                (names({}), "toFQDNs"),
                (names({"matchName": "a.test", "matchPattern": "*.test"}), "toFQDNs"),
                (names({"matchName": ""}), "toFQDNs.matchName"),
                (names({"matchName": "*.a.test"}), "toFQDNs.matchName"),
                (names({"matchName": "a..test"}), "toFQDNs.matchName"),
                (names({"matchPattern": ""}), "toFQDNs.matchPattern"),
                (names({"matchPattern": "a b.test"}), "toFQDNs.matchPattern"),
                (names({"matchPattern": "a" * 256}), "toFQDNs.matchPattern"),
                (questions({}), "rules.dns"),
                (questions({"matchName": "*"}), "rules.dns.matchName"),
                (questions({"matchPattern": "a/b"}), "rules.dns.matchPattern"),
                (ingress(authentication={"mode": "always"}), "mode")):
            self.refused(spec, where)
            self.refused(spec, where, "CiliumClusterwideNetworkPolicy")
        self.refused({}, "externalCIDRs", "CiliumCIDRGroup")
        self.refused({"externalCIDRs": ["10.0.0.0"]}, "externalCIDRs", "CiliumCIDRGroup")

    def test_keeps_what_it_does_not_know(self):
        """At every level: a field that got lost would widen the policy."""
        unknown = {"of": [{"another": "version"}]}
        rule = {"fromNodes": [{}], "x": unknown, "fromCIDRSet": [{"cidr": "10.0.0.0/8", "x": unknown}],
                "toPorts": [{"x": unknown, "rules": {"http": [{"method": "GET"}]},
                             "ports": [{"port": "80", "x": unknown}]}]}
        spec = {"endpointSelector": {"x": unknown}, "nodeSelector": {}, "x": unknown,
                "enableDefaultDeny": {"x": unknown}, "log": {"value": "a", "x": unknown},
                "labels": [{"key": "a", "x": unknown}], "ingress": [rule],
                "egress": [{"toFQDNs": [{"matchName": "example.com"}], "toGroups": [{"aws": {}}],
                            "toServices": [{"k8sService": {"serviceName": "a", "x": unknown},
                                            "x": unknown}]}],
                "egressDeny": [{"toEndpoints": [{"matchExpressions": [
                    {"key": "a", "operator": "Exists", "x": unknown}]}],
                    "icmps": [{"x": unknown, "fields": [{"type": 8, "x": unknown}]}]}]}
        for kind in _KINDS[:2]:
            thing = {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": {"name": "p"},
                     "spec": spec, "specs": [spec], "spex": unknown}
            if kind == "CiliumNetworkPolicy":
                thing["metadata"]["namespace"] = "default"
            answer = self.offer(thing)
            self.assertNotIsInstance(answer, ApiError, answer)
            self.assertEqual(_body(answer), thing)
        group = {"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup", "metadata": {"name": "g"},
                 "spec": {"externalCIDRs": [], "x": unknown}, "x": unknown}
        self.assertEqual(_body(self.offer(group)), group)


if __name__ == "__main__":
    unittest.main()
