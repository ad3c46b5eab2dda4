# SPDX-License-Identifier: Apache-2.0
"""Objects that are wrong, also those that the definitions of the kinds would not
let in (a cluster may have other definitions, or objects from before them): each
says so in its status, and nothing else changes."""

import gzip
import json

from tests.cluster import suite
from tests.cluster.api import KINDS, ApiError
from tests.netns.sluice import cnp, wait_for

_DEFINITIONS = ("ciliumnetworkpolicies.cilium.io", "ciliumclusterwidenetworkpolicies.cilium.io")
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
# The API server itself minds: no object without a name.
_IMPOSSIBLE = {"inv-no-name"}


def _bad_objects():
    """(name of the scenario, object) of every object that is not valid."""
    with gzip.open(suite.vectors("cnp-invalid"), "rt", encoding="utf-8") as file:
        scenarios = [json.loads(line) for line in file]
    for scenario in scenarios:
        bad = {i["object"] for i in scenario["invalid"] if i["stage"] != "preflight-only"}
        for thing in scenario["objects"]:
            meta = thing["metadata"]
            if thing["kind"].endswith("NetworkPolicy") and \
                    f"{meta.get('namespace', '')}/{meta.get('name', '')}" in bad:
                yield scenario["name"], thing


class Invalid(suite.ClusterCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.clear_policies)

    def let_everything_in(self):
        for name in _DEFINITIONS:
            definition = self.api.get("CustomResourceDefinition", None, name)
            self.addCleanup(self.restore, definition)
            self.api.patch("CustomResourceDefinition", None, name, [
                {"op": "replace", "path": f"/spec/versions/{n}/schema/openAPIV3Schema", "value": _ANYTHING}
                for n in range(len(definition["spec"]["versions"]))], how="json")
            wait_for(lambda name=definition["spec"]["names"]["kind"]: self.takes_anything(name),
                     f"{name} are not checked", 30)

    def takes_anything(self, kind):
        thing = {"apiVersion": "cilium.io/v2", "kind": kind, "spec": "no object",
                 "metadata": {"name": "try", **({"namespace": "x"} if KINDS[kind][2] else {})}}
        try:
            return bool(self.api.create(thing, "?dryRun=All"))
        except ApiError as error:
            self.assertIn(error.status, (400, 422))
            return False

    def restore(self, definition):
        name = definition["metadata"]["name"]
        versions = definition["spec"]["versions"]
        self.api.patch("CustomResourceDefinition", None, name, [
            {"op": "replace", "path": f"/spec/versions/{n}/schema", "value": version["schema"]}
            for n, version in enumerate(versions)], how="json")
        wait_for(lambda: not self.takes_anything(definition["spec"]["names"]["kind"]),
                 f"{name} are checked again", 30)

    def test_each_says_so_and_changes_nothing(self):
        self.api.create(cnp("x", "good", {"pod": "a"}, ingress=[
            {"fromEndpoints": [{"matchLabels": {"pod": "b"}}]}]))
        self.expect("x/b > x/a A", "x/c > x/a D", "x/a > x/c A", "y/a > y/b A", "z/a > x/b A")
        self.let_everything_in()
        put = {}
        for number, (scenario, thing) in enumerate(_bad_objects()):
            if scenario in _IMPOSSIBLE:
                continue
            made = {**thing, "metadata": {"name": f"bad-{number}"}}
            made.pop("status", None)
            if KINDS[thing["kind"]][2]:
                made["metadata"]["namespace"] = "x"
            # Whoever is selected would be a pod of the lab's.
            if isinstance(made.get("spec"), dict) and \
                    isinstance(made["spec"].get("endpointSelector"), dict) and \
                    made["spec"]["endpointSelector"].keys() <= {"matchLabels"} and \
                    "label" not in scenario:
                made["spec"] = {**made["spec"], "endpointSelector": {}}
            self.api.create(made)
            put[scenario] = made
        self.assertGreaterEqual(len(put), 75)
        for scenario, thing in put.items():
            meta = thing["metadata"]
            with self.subTest(scenario):
                said = self.cluster.wait_condition(thing["kind"], meta.get("namespace"), meta["name"],
                                                   "Valid", "False")
                self.assertTrue(said["reason"] and said["message"])
                enforced = self.cluster.condition(thing["kind"], meta.get("namespace"), meta["name"],
                                                  "Enforced")
                self.assertNotEqual(enforced.get("status"), "True")
        # All has been seen; another policy's effect tells that what follows is the last word.
        self.api.create(cnp("x", "after", {"pod": "c"}, ingress=[{}]))
        self.expect("x/b > x/c D", "x/b > x/a A", "x/c > x/a D", "y/a > y/b A", "z/a > x/b A")
        print(f"{len(put)} objects", end=" ... ", flush=True)
