# SPDX-License-Identifier: Apache-2.0
"""lib/kube/api against a real API server, through the program kube_probe.

It has a control plane of its own, which it restarts and compacts.
"""

import base64
import collections
import json
import os
import queue
import subprocess
import threading
import time
import unittest
import urllib.request

from tests.cluster.api import KINDS, ApiError, path_of
from tests.cluster.control_plane import ControlPlane
from tests.netns import sandbox

_BOUND = 60  # seconds; of waits that end as soon as what they wait for is there


class Probe:
    """A running kube_probe: what it says, in order."""

    def __init__(self, kubeconfig, *options):
        path = os.path.join(os.environ["SLUICE_BUILD"], "tests", "cluster", "kube_probe")
        self._process = subprocess.Popen(  # pylint: disable=R1732,W1509
            [path, "--kubeconfig", kubeconfig, *options], stdin=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE, preexec_fn=sandbox.die_with_parent)
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.said = []    # everything
        self.events = []  # what lines with "event" say
        self.last = {}    # the last line with "state"

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def do(self, what, **arguments):
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()

    def ask(self, what, **arguments):
        """The answer to a command that has one."""
        before = len(self.said)
        self.do(what, **arguments)
        self.until(lambda: any("event" not in line and "state" not in line for line in self.said[before:]))
        return next(line for line in self.said[before:] if "event" not in line and "state" not in line)

    def until(self, holds, what=""):
        deadline = time.monotonic() + _BOUND
        while not holds():
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{what or 'what was waited for'} did not come; "
                                     f"the last lines: {self.said[-5:]}") from None
            self.said.append(line)
            if "event" in line:
                self.events.append(line)
            if "state" in line:
                self.last = line

    def until_state(self, state, **more):
        self.until(lambda: self.last.get("state") == state
                   and all(self.last.get(k) == v for k, v in more.items()), f"state {state}")

    def until_events(self, count):
        self.until(lambda: len(self.events) >= count, f"event {count}")

    def names(self, kind, since=0):
        return [e["name"] for e in self.events[since:] if e["event"] == kind]

    def kill(self):
        self._process.kill()
        self._process.wait()

    def close(self):
        self._process.stdin.close()
        try:
            return self._process.wait(timeout=_BOUND)
        finally:
            self.kill()
            self._reader.join()
            self._process.stdout.close()


def config_map(name, text="", labels=None):
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": text},
            "metadata": {"namespace": "probe", "name": name, "labels": labels or {}}}


class KubeClientTest(unittest.TestCase):
    """What the client makes of a real server."""

    @classmethod
    def setUpClass(cls):
        cls.plane = ControlPlane()
        cls.plane.__enter__()
        cls.addClassCleanup(cls.plane.__exit__, None, None, None)
        cls.api = cls.plane.api

    def setUp(self):
        self.plane.ensure_namespace("probe")
        self.addCleanup(self._sweep)

    def _sweep(self):
        self.api.request("DELETE", path_of("ConfigMap", "probe"))

    def probe(self, *options, kubeconfig=None):
        probe = Probe(kubeconfig or self.plane.admin_kubeconfig, *options)
        self.addCleanup(probe.close)
        return probe

    def watch(self, *options, plural="configmaps", kubeconfig=None, **more):
        probe = self.probe(*options, kubeconfig=kubeconfig)
        probe.do("watch", plural=plural, namespace=more.pop("namespace", "probe"), **more)
        return probe

    def eventually(self, holds, what):
        deadline = time.monotonic() + _BOUND
        while not (result := holds()):
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)
        return result

    # ---- lists and watches ---------------------------------------------------------

    def test_pages_are_put_together(self):
        for i in range(53):
            self.api.create(config_map(f"m{i:02}"))
        probe = self.watch(page=10, labels="")
        probe.until_state("watching", synced=True)
        self.assertEqual(sorted(probe.names("set")), [f"m{i:02}" for i in range(53)])
        # A first list may come from the server's cache, which gives no pages. One from
        # the storage does, and there is nothing new in it.
        self._forget_versions(probe, lambda: self.api.delete("ConfigMap", "probe", "m52"))
        self.assertEqual(probe.last["relists"], 1)
        self.assertEqual(probe.names("deleted"), ["m52"])
        self.assertEqual(len(probe.events), 54)

    def test_pages_from_the_storage(self):
        """A list that must be as new as the storage is cut into pages by the server."""
        for i in range(25):
            self.api.create(config_map(f"m{i:02}"))
        probe = self.probe()
        seen, token = [], ""
        while True:
            answer = probe.ask("get", path=f"{path_of('ConfigMap', 'probe')}?limit=10{token}")["object"]
            seen += [item["metadata"]["name"] for item in answer["items"]]
            if not (more := answer["metadata"].get("continue")):
                break
            self.assertEqual(len(answer["items"]), 10)
            token = f"&continue={more}"
        self.assertEqual(seen, [f"m{i:02}" for i in range(25)])

    def test_a_version_that_the_server_does_not_have_yet_has_its_cause(self):
        answer = self.probe().ask("get", path=path_of("ConfigMap", "probe") + "?resourceVersion=999999999")
        self.assertEqual((answer["failure"]["status"], answer["failure"]["causes"]), (504, ["ResourceVersionTooLarge"]))

    def test_a_list_then_what_changes(self):
        self.api.create(config_map("old"))
        probe = self.watch()
        probe.until_state("watching", synced=True)
        self.assertEqual(probe.names("set"), ["old"])
        made = self.api.create(config_map("new", labels={"a": "1"}))
        changed = self.api.patch("ConfigMap", "probe", "new", {"metadata": {"labels": {"a": "2"}}})
        self.api.delete("ConfigMap", "probe", "old")
        probe.until_events(4)
        self.assertEqual([(e["event"], e["name"]) for e in probe.events[1:]],
                         [("set", "new"), ("set", "new"), ("deleted", "old")])
        self.assertEqual([e["version"] for e in probe.events[1:3]],
                         [made["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]])
        self.assertEqual(probe.events[2]["labels"], {"a": "2"})
        self.assertEqual(probe.events[1]["uid"], made["metadata"]["uid"])

    def test_selectors_end_objects_that_do_not_match_any_more(self):
        self.api.create(config_map("one", labels={"a": "1"}))
        probe = self.watch(labels="a=1")
        probe.until_state("watching", synced=True)
        self.api.patch("ConfigMap", "probe", "one", {"metadata": {"labels": {"a": "2"}}})
        probe.until_events(2)
        self.assertEqual([e["event"] for e in probe.events], ["set", "deleted"])

    def test_bookmarks_come_and_count(self):
        """The server sends one a minute; a resource in which nothing happens stays new enough."""
        probe = self.watch()
        probe.until_state("watching", synced=True)

        def bookmarked():
            return probe.ask("stats")["bookmarks"] > 0
        deadline = time.monotonic() + 2 * _BOUND
        while not bookmarked():
            self.assertLess(time.monotonic(), deadline, "no bookmark")
            self.api.ensure(config_map("other"))
            time.sleep(0.5)

    def test_compressed_answers(self):
        for i in range(3):
            self.api.create(config_map(f"large{i}", "sluice " * 20_000))
        probe = self.watch()
        probe.until_state("watching", synced=True)
        stats = probe.ask("stats")
        self.assertGreater(stats["bytes"], 3 * 7 * 20_000)
        self.assertLess(stats["compressed"], stats["bytes"] / 10)

    def test_http2_where_both_have_it(self):
        probe = self.watch()
        probe.until_state("watching", synced=True)
        for _ in range(20):
            self.assertIn("object", probe.ask("get", path="/version"))
        stats = probe.ask("stats")
        self.assertEqual(stats["http2"], 21)
        self.assertEqual(stats["connections"], 1, "watch and requests share a connection")

    def test_http1(self):
        probe = self.watch("--http1")
        probe.until_state("watching", synced=True)
        self.api.create(config_map("one"))
        probe.until_events(1)
        self.assertIn("object", probe.ask("get", path="/version"))
        stats = probe.ask("stats")
        self.assertEqual(stats["http2"], 0)
        self.assertGreater(stats["connections"], 1, "a watch keeps its connection for itself")

    # ---- what happens to servers ----------------------------------------------------

    def _forget_versions(self, probe, change):
        """While the probe is stopped: changes, then nobody knows the versions before any more."""
        probe.ask("stop")
        change()
        newest = int(self.api.get("Namespace")["metadata"]["resourceVersion"])
        self._etcd("kv/compaction", {"revision": newest, "physical": True})
        # The server's own memory goes back further than the storage's.
        self.plane.stop_apiserver()
        self.plane.start_apiserver()
        probe.do("start")
        probe.until(lambda: probe.last.get("relists") == 1 and probe.last["state"] == "watching",
                    "the second list")

    def _etcd(self, path, body):
        with urllib.request.urlopen(self.plane.etcd_url + "/v3/" + path, json.dumps(body).encode(),
                                    timeout=30) as answer:
            return json.load(answer)

    def test_gone_lists_again_and_tells_only_differences(self):
        for name in ("stays", "changes", "goes", "returns"):
            self.api.create(config_map(name))
        probe = self.watch()
        probe.until_state("watching", synced=True)
        before = len(probe.events)

        def change():
            self.api.patch("ConfigMap", "probe", "changes", {"data": {"text": "new"}})
            self.api.delete("ConfigMap", "probe", "goes")
            self.api.delete("ConfigMap", "probe", "returns")
            self.api.create(config_map("returns"))
            self.api.create(config_map("comes"))
        self._forget_versions(probe, change)
        probe.until_events(before + 4)
        told = collections.Counter((e["event"], e["name"]) for e in probe.events[before:])
        self.assertEqual(told, {("set", "changes"): 1, ("deleted", "goes"): 1, ("set", "returns"): 1,
                                ("set", "comes"): 1})
        self.assertGreaterEqual(probe.ask("stats")["failures"], 1)
        self.api.create(config_map("later"))
        probe.until_events(before + 5)
        self.assertEqual(probe.events[-1]["name"], "later")

    def test_the_api_server_restarts(self):
        self.api.create(config_map("one"))
        probe = self.watch()
        probe.until_state("watching", synced=True)
        self.plane.stop_apiserver()
        probe.until_state("waiting")
        self.plane.start_apiserver()
        self.api.create(config_map("two"))
        probe.until(lambda: "two" in probe.names("set"))
        self.assertEqual(probe.names("set"), ["one", "two"])
        self.assertEqual(probe.names("deleted"), [])

    def test_etcd_restarts(self):
        self.api.create(config_map("one"))
        probe = self.watch()
        probe.until_state("watching", synced=True)
        self.plane.stop_etcd()
        self.plane.start_etcd()
        self.eventually(lambda: self._made("two"), "the API server recovers")
        probe.until(lambda: "two" in probe.names("set"))
        self.assertEqual(probe.names("set"), ["one", "two"])
        self.assertEqual(probe.names("deleted"), [])

    def _made(self, name):
        try:
            return self.api.ensure(config_map(name))
        except (ApiError, OSError):
            return None

    def test_a_kind_that_comes_and_goes(self):
        _, plural, _ = KINDS["CiliumCIDRGroup"]
        probe = self.watch(plural=plural, group="cilium.io", versions=["v2", "v2alpha1"],
                           kind="CiliumCIDRGroup", namespaced=False, namespace="")
        probe.until_state("not installed", synced=True)
        self.assertEqual(probe.events, [])
        definition = "deploy/crds/ciliumcidrgroups.yaml"
        self.plane.kubectl("apply", "-f", definition)
        self.addCleanup(self.plane.kubectl, "delete", "--ignore-not-found", "-f", definition)
        probe.until_state("watching", synced=True)
        group = {"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup", "metadata": {"name": "one"},
                 "spec": {"externalCIDRs": ["10.0.0.0/8"]}}
        self.eventually(lambda: self._created(group), "the kind is served")
        probe.until_events(1)
        self.assertEqual((probe.names("set"), probe.last["version"]), (["one"], "v2"))
        self.plane.kubectl("delete", "-f", definition)
        probe.until_state("not installed")
        self.assertEqual(probe.names("deleted"), ["one"])
        self.plane.kubectl("apply", "-f", definition)
        self.eventually(lambda: self._created(group), "the kind is served again")
        probe.until_events(3)
        self.assertEqual([e["event"] for e in probe.events], ["set", "deleted", "set"])

    def _created(self, thing):
        try:
            return self.api.create(thing)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    # ---- who it is ------------------------------------------------------------------

    def _reader(self, name):
        """A service account that may read config maps; path of a kubeconfig with its token file."""
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": "probe", "name": name}})
        self.plane.kubectl("-n", "probe", "create", "role", name, "--resource=configmaps",
                           "--verb=list,watch")
        self.plane.kubectl("-n", "probe", "create", "rolebinding", name, f"--role={name}",
                           f"--serviceaccount=probe:{name}")
        self.addCleanup(self.plane.kubectl, "-n", "probe", "delete", "role,rolebinding", name)
        return self.plane.kubeconfig_of("probe", name)

    def test_a_token_rotates(self):
        kubeconfig = self._reader("reader")
        old = self.api.token_for("probe", "reader")
        self.plane.write_file("probe.reader.token", old)
        probe = self.watch(kubeconfig=kubeconfig)
        probe.until_state("watching", synced=True)
        # With the account go its tokens.
        self.api.delete("ServiceAccount", "probe", "reader")
        self.eventually(lambda: self._refused(old), "the old token is refused")
        probe.ask("stop")
        probe.do("start")
        probe.until(lambda: "401" in probe.last.get("error", ""), "401")
        self.assertEqual(probe.last["state"], "waiting")
        self._reader_again("reader")
        self.api.create(config_map("later"))
        probe.until_events(1)
        self.assertEqual(probe.names("set"), ["later"])
        self.assertEqual(probe.ask("stats")["lists"], 1, "the watch goes on where it was")

    def _reader_again(self, name):
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": "probe", "name": name}})
        self.plane.token_file_of("probe", name)

    def _refused(self, token):
        answer = self.api.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews",
                                  {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                                   "spec": {"token": token}})
        return not answer["status"].get("authenticated")

    def test_a_client_certificate(self):
        probe = self.probe(kubeconfig=self.plane.path("admin-certificate.kubeconfig"))
        self.assertIn("object", probe.ask("get", path="/api/v1/namespaces/probe"))

    def test_what_is_forbidden_is_named(self):
        probe = self.watch(kubeconfig=self._reader("narrow"), plural="pods", namespace="default")
        probe.until(lambda: "403" in probe.last.get("error", ""), "403")
        self.assertIn("list pods in default: 403 Forbidden", probe.last["error"])
        self.assertIn('cannot list resource "pods"', probe.last["error"])

    def test_tokens_are_reviewed(self):
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": "probe", "name": "agent"},
                         "automountServiceAccountToken": False})
        pod = self.api.ensure({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "probe", "name": "agent-1"},
            "spec": {"serviceAccountName": "agent", "nodeName": "n1",
                     "containers": [{"name": "c", "image": "none"}]}})
        self.addCleanup(self.api.delete, "Pod", "probe", "agent-1", 0)
        token = self.api.token_for("probe", "agent", pod=pod)
        probe = self.probe()
        answer = probe.ask("review", token=token)
        self.assertEqual(answer["username"], "system:serviceaccount:probe:agent")
        self.assertEqual(answer["extra"]["authentication.kubernetes.io/pod-name"], ["agent-1"])
        self.assertEqual(probe.ask("review", token="no.such.token")["failure"]["reason"], "InvalidToken")
        other = probe.ask("review", token=token, audiences=["another"])
        self.assertEqual(other["failure"]["reason"], "InvalidToken")
        changed = token[:-8] + base64.urlsafe_b64encode(b"forged").decode()
        self.assertEqual(probe.ask("review", token=changed)["failure"]["status"], 401)

    # ---- writing --------------------------------------------------------------------

    def test_objects_are_written(self):
        probe = self.probe()
        collection = path_of("ConfigMap", "probe")
        made = probe.ask("create", path=collection, body=config_map("one"))["object"]
        again = probe.ask("create", path=collection, body=config_map("one"))["failure"]
        self.assertEqual((again["status"], again["reason"]), (409, "AlreadyExists"))
        merged = probe.ask("merge", path=collection + "/one",
                           body={"data": {"text": None, "more": "1"}})["object"]
        self.assertEqual(merged["data"], {"more": "1"})
        made["data"] = {"text": "late"}
        late = probe.ask("replace", path=collection + "/one", body=made)["failure"]
        self.assertEqual((late["status"], late["reason"]), (409, "Conflict"))
        self.assertIn("object", probe.ask("delete", path=collection + "/one"))
        gone = probe.ask("get", path=collection + "/one")["failure"]
        self.assertEqual((gone["status"], gone["reason"]), (404, "NotFound"))
        odd = probe.ask("create", path=collection, body=config_map("Not A Name"))["failure"]
        self.assertEqual((odd["status"], odd["reason"]), (422, "Invalid"))

    def test_the_status_of_a_policy(self):
        """Server-side apply sets and takes back what is ours; merge patches replace."""
        definition = "deploy/crds/ciliumnetworkpolicies.yaml"
        self.plane.kubectl("apply", "-f", definition)
        self.addCleanup(self.plane.kubectl, "delete", "--ignore-not-found", "-f", definition)
        policy = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
                  "metadata": {"namespace": "probe", "name": "p"},
                  "spec": {"endpointSelector": {}, "ingress": [{}]}}
        made = self.eventually(lambda: self._created(policy), "the kind is served")
        path = path_of("CiliumNetworkPolicy", "probe", "p", "status")
        probe = self.probe()

        def condition(kind, status):
            return {"type": kind, "status": status, "reason": "Test", "message": "said by a test",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}

        def status(*conditions):
            return {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
                    "metadata": {"namespace": "probe", "name": "p"},
                    "status": {"conditions": list(conditions)}}

        def shown():
            conditions = self.api.get("CiliumNetworkPolicy", "probe", "p")["status"]["conditions"]
            return {c["type"]: c["status"] for c in conditions}

        self.assertIn("object", probe.ask("apply", path=path,
                                          body=status(condition("Valid", "True"),
                                                      condition("Enforced", "False"))))
        self.assertEqual(shown(), {"Valid": "True", "Enforced": "False"})
        self.assertIn("object", probe.ask("apply", path=path, body=status(condition("Valid", "False"))))
        self.assertEqual(shown()["Valid"], "False")
        self.assertIn("object", probe.ask("merge", path=path,
                                          body={"status": {"conditions": [condition("Enforced", "True")]}}))
        self.assertEqual(shown(), {"Enforced": "True"})
        after = self.api.get("CiliumNetworkPolicy", "probe", "p")
        self.assertEqual(after["metadata"]["generation"], made["metadata"]["generation"])
        self.assertEqual(after["spec"], made["spec"])

    def test_a_note_about_an_object(self):
        about = self.api.create(config_map("one"))
        probe = self.probe()
        long = "something is wrong: " + "x" * 5000
        self.assertIn("object", probe.ask(
            "note", reason="NotValid", message=long, apiVersion="v1", kind="ConfigMap",
            namespace="probe", name="one", uid=about["metadata"]["uid"]))
        shown = self.plane.kubectl("-n", "probe", "describe", "configmap", "one")
        self.assertIn("NotValid", shown)
        self.assertIn("something is wrong", shown)

    # ---- leaders --------------------------------------------------------------------

    def _candidate(self, identity):
        probe = self.probe()
        probe.do("elect", namespace="probe", name="lease", identity=identity)
        return probe

    def _until_leads(self, probe, leads=True):
        probe.until(lambda: any(line.get("leads") is leads for line in probe.said), f"leads: {leads}")

    def test_one_leads_at_a_time(self):
        one = self._candidate("one")
        self._until_leads(one)
        two = self._candidate("two")
        holder = self.api.get("Lease", "probe", "lease")["spec"]
        self.assertEqual(holder["holderIdentity"], "one")
        first = holder["renewTime"]
        self.eventually(lambda: self.api.get("Lease", "probe", "lease")["spec"]["renewTime"] != first,
                        "the lease is renewed")
        two.ask("stats")
        self.assertFalse(any(line.get("leads") for line in two.said))
        # What is released is free at once.
        self.assertEqual(one.ask("release").get("leads"), False)
        self._until_leads(two)
        # Who dies leaves it to whoever waits, when it is over.
        three = self._candidate("three")
        two.kill()
        self._until_leads(three)
        self.assertEqual(self.api.get("Lease", "probe", "lease")["spec"]["holderIdentity"], "three")

    def test_who_cannot_renew_steps_down(self):
        one = self._candidate("first")
        self._until_leads(one)
        self.plane.stop_apiserver()
        self._until_leads(one, False)
        self.plane.start_apiserver()
        before = len(one.said)
        one.until(lambda: any(line.get("leads") for line in one.said[before:]), "leads again")


if __name__ == "__main__":
    unittest.main()
