# SPDX-License-Identifier: Apache-2.0
"""Each program's account may do what the program must, and nothing else.

"Nothing else" is asked of the server, question by question: every resource that
it serves, with every verb, in the namespaces that matter. What an account
without any rights may do as well (ask what it may do) does not count.
"""

import itertools

from tests.cluster import suite
from tests.cluster.api import ApiError

_OPERATOR, _AGENT = "sluice-operator", "sluice-agent"
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_READ = ("get", "list", "watch")
_STATUS = ("patch", "update")

# (group, resource, verbs, why): in every namespace and cluster-wide.
_EVERYWHERE = (
    ("", "namespaces", _READ, "labels by which policies select"),
    ("", "pods", _READ, "labels, addresses and nodes of subjects and peers"),
    ("", "nodes", _READ, "addresses of the entities host and remote-node"),
    ("", "services", _READ, "what a Service's address stands for"),
    ("discovery.k8s.io", "endpointslices", _READ, "the pods behind Services, the API server's address"),
    ("networking.k8s.io", "networkpolicies", _READ, "policies"),
    ("cilium.io", "ciliumnetworkpolicies", _READ, "policies"),
    ("cilium.io", "ciliumclusterwidenetworkpolicies", _READ, "policies"),
    ("cilium.io", "ciliumcidrgroups", _READ, "CIDRs that policies refer to"),
    ("policy.networking.k8s.io", "clusternetworkpolicies", _READ, "policies"),
    ("cilium.io", "ciliumnetworkpolicies/status", _STATUS, "Valid and Enforced"),
    ("cilium.io", "ciliumclusterwidenetworkpolicies/status", _STATUS, "Valid and Enforced"),
    ("cilium.io", "ciliumcidrgroups/status", _STATUS, "Valid"),
    ("policy.networking.k8s.io", "clusternetworkpolicies/status", _STATUS, "conditions"),
    ("", "events", ("create", "patch"), "what a user must act on"),
    ("events.k8s.io", "events", ("create", "patch"), "what a user must act on"),
    ("authentication.k8s.io", "tokenreviews", ("create",), "who an agent is, or who reads flows"),
    ("authorization.k8s.io", "subjectaccessreviews", ("create",), "who may read flows"),
)
# CustomResourceDefinitions that may be read: is a kind not there, or only not served yet?
_DEFINITIONS = ("ciliumnetworkpolicies.cilium.io", "ciliumclusterwidenetworkpolicies.cilium.io",
                "ciliumcidrgroups.cilium.io", "clusternetworkpolicies.policy.networking.k8s.io")
# (group, resource, name, verbs, why): in the own namespace.
_OWN = (
    ("coordination.k8s.io", "leases", "", ("create",), "which replica writes status"),
    ("coordination.k8s.io", "leases", "sluice-operator", ("get", "update", "patch"), "the same"),
    ("", "secrets", "", ("create",), "the certificate, made at the first start"),
    ("", "secrets", "sluice-operator-tls", ("get", "update", "patch"), "the same for all replicas"),
    ("", "configmaps", "", ("create", "get", "update", "patch"), "the CA, for agents"),
    ("", "configmaps", "", ("list", "watch", "delete"), "versions that are kept, in a map per namespace"),
)
_NAMES = ("sluice-operator", "sluice-operator-tls", "sluice-operator-ca", "another")


class Rbac(suite.Case):

    @classmethod
    def setUpClass(cls):
        plane = suite.deployed()
        plane.ensure_namespace("elsewhere")
        plane.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                          "metadata": {"namespace": suite.SYSTEM, "name": "nobody"}})
        cls.served = _served(plane.api)
        cls.everyone = cls.allowed("nobody")

    @classmethod
    def allowed(cls, account):
        """{(namespace, name, group, resource, verb)} that the account may, by its own question."""
        api = suite.deployed().api_of(suite.SYSTEM, account)
        places = [(None, None), ("elsewhere", None), (suite.SYSTEM, None)]
        result = set()
        for (group, resource), verb in itertools.product(sorted(cls.served), _VERBS):
            named = [(suite.SYSTEM, name) for name in _NAMES] \
                if resource in ("leases", "secrets", "configmaps", "pods", "serviceaccounts/token") else []
            if resource == "customresourcedefinitions":
                named = [(None, name) for name in (*_DEFINITIONS, "another")]
            for namespace, name in places + named:
                if may(api, group, resource, verb, namespace, name):
                    result.add((namespace, name, group, resource, verb))
        return result

    def expected(self):
        result = set()
        for group, resource, verbs, _ in _EVERYWHERE:
            for verb, place in itertools.product(verbs, (None, "elsewhere", suite.SYSTEM)):
                result.add((place, None, group, resource, verb))
            if resource == "pods":
                result |= {(suite.SYSTEM, name, group, resource, v) for v in verbs for name in _NAMES}
        result |= {(None, n, "apiextensions.k8s.io", "customresourcedefinitions", "get")
                   for n in _DEFINITIONS}
        for group, resource, name, verbs, _ in _OWN:
            result |= {(suite.SYSTEM, name or None, group, resource, v) for v in verbs}
            if not name:
                # A right without a name is one for every name.
                result |= {(suite.SYSTEM, n, group, resource, v) for v in verbs for n in _NAMES}
        return result

    def test_the_operator_may_what_the_table_says_and_no_more(self):
        allowed, expected = self.allowed(_OPERATOR) - self.everyone, self.expected()
        known = {e for e in expected if (e[2], e[3]) in self.served}
        self.assertEqual(sorted(map(str, known - allowed)), [], "may not, but must")
        self.assertEqual(sorted(map(str, allowed - known)), [], "may, but need not")
        # Kinds that this server does not have can only be asked for by name.
        api = suite.deployed().api_of(suite.SYSTEM, _OPERATOR)
        for place, name, group, resource, verb in expected - known:
            self.assertTrue(may(api, group, resource, verb, place, name), (group, resource, verb))

    def test_the_agent_may_nothing(self):
        self.assertEqual(self.allowed(_AGENT) - self.everyone, set())

    def test_the_account_for_explanations_may_nothing_itself(self):
        self.assertEqual(self.allowed("sluice-explain") - self.everyone, set())

    def test_the_account_for_flows_may_read_flows(self):
        """Which are no resource that the server has."""
        self.assertEqual(self.allowed("sluice-observer") - self.everyone, set())
        api = suite.deployed().api_of(suite.SYSTEM, "sluice-observer")
        self.assertTrue(may(api, "sluice.io", "flows", "list", "", ""))

    def test_everyone_may_next_to_nothing(self):
        self.assertEqual({(g, r) for _, _, g, r, _ in self.everyone},
                         {("authorization.k8s.io", "selfsubjectaccessreviews"),
                          ("authorization.k8s.io", "selfsubjectrulesreviews")})

    def test_nobody_rises(self):
        """Rights that would give others."""
        for account in (_OPERATOR, _AGENT):
            api = suite.deployed().api_of(suite.SYSTEM, account)
            for group, resource, verb in (
                    ("", "users", "impersonate"), ("", "groups", "impersonate"),
                    ("", "serviceaccounts", "impersonate"), ("", "serviceaccounts/token", "create"),
                    ("rbac.authorization.k8s.io", "roles", "bind"),
                    ("rbac.authorization.k8s.io", "clusterroles", "bind"),
                    ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
                    ("", "pods/exec", "create"), ("", "pods/exec", "get"), ("", "nodes/proxy", "get"),
                    ("certificates.k8s.io", "certificatesigningrequests/approval", "update")):
                for namespace in (None, suite.SYSTEM):
                    self.assertFalse(may(api, group, resource, verb, namespace, None), (account, resource))

    def test_with_real_requests(self):
        """The server does as it says."""
        policy = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
                  "metadata": {"namespace": "default", "name": "rights"},
                  "spec": {"endpointSelector": {}, "ingress": [{}]}}
        self.api.ensure(policy)
        self.addCleanup(self.api.delete, "CiliumNetworkPolicy", "default", "rights")
        operator = self.plane.api_of(suite.SYSTEM, _OPERATOR)
        agent = self.plane.api_of(suite.SYSTEM, _AGENT)
        done = operator.patch("CiliumNetworkPolicy", "default", "rights",
                              {"status": {"conditions": [{"type": "Valid", "status": "True"}]}},
                              subresource="status")
        self.assertEqual(done["status"]["conditions"][0]["type"], "Valid")
        operator.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                         "metadata": {"namespace": suite.SYSTEM, "name": "sluice-operator"}})
        self.addCleanup(self.api.delete, "Lease", suite.SYSTEM, "sluice-operator")
        operator.patch("Lease", suite.SYSTEM, "sluice-operator", {"spec": {"holderIdentity": "a"}})
        self.forbidden(operator.patch, "CiliumNetworkPolicy", "default", "rights", {"spec": None})
        self.forbidden(operator.delete, "CiliumNetworkPolicy", "default", "rights")
        self.forbidden(operator.get, "Secret", suite.SYSTEM)
        self.forbidden(operator.get, "Secret", suite.SYSTEM, "another")
        self.forbidden(operator.get, "Lease", "kube-system", "sluice-operator")
        for kind in ("Pod", "Node", "CiliumNetworkPolicy", "Secret"):
            self.forbidden(agent.get, kind, None if kind == "Node" else suite.SYSTEM)

    def forbidden(self, function, *arguments):
        with self.assertRaises(ApiError) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.status, 403)

    def test_an_agents_token_is_good_for_the_operator_only(self):
        """The token that the DaemonSet mounts is refused by the API server and
        known by TokenReview, which is how the operator asks, with the agent's pod."""
        pod = self.api.ensure({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": suite.SYSTEM, "name": "agent-x"},
            "spec": {"nodeName": "x", "serviceAccountName": _AGENT, "automountServiceAccountToken": False,
                     "containers": [{"name": "agent", "image": "x"}]}})
        self.addCleanup(self.api.delete, "Pod", suite.SYSTEM, "agent-x", 0)
        token = self.api.token_for(suite.SYSTEM, _AGENT, ("sluice-operator",), pod=pod)
        mine = type(self.api)(self.plane.server, self.plane.ca_file, token)
        with self.assertRaises(ApiError) as caught:
            mine.request("GET", "/api")
        self.assertEqual(caught.exception.status, 401)
        operator = self.plane.api_of(suite.SYSTEM, _OPERATOR)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                  "spec": {"token": token, "audiences": ["sluice-operator"]}}
        status = operator.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
        self.assertTrue(status["authenticated"])
        self.assertEqual(status["user"]["username"], f"system:serviceaccount:{suite.SYSTEM}:{_AGENT}")
        self.assertEqual(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], ["agent-x"])
        review["spec"]["audiences"] = ["somebody-else"]
        status = operator.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
        self.assertFalse(status.get("authenticated"))


def may(api, group, resource, verb, namespace, name):
    main, _, sub = resource.partition("/")
    attributes = {"group": group, "resource": main, "subresource": sub, "verb": verb,
                  "namespace": namespace or "", "name": name or ""}
    answer = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                         {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                          "spec": {"resourceAttributes": attributes}})
    return answer["status"]["allowed"]


def _served(api):
    """{(group, resource)} of everything that the server has, subresources too."""
    paths = [("", "/api/v1")]
    for group in api.request("GET", "/apis")["groups"]:
        paths += [(group["name"], "/apis/" + v["groupVersion"]) for v in group["versions"]]
    return {(group, r["name"]) for group, path in paths for r in api.request("GET", path)["resources"]}
