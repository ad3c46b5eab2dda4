# SPDX-License-Identifier: Apache-2.0
"""What scripts/cluster-demo shows: a cluster whose policies kubectl applies."""

import json
import os
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from tests.cluster import kubernetes  # noqa: E402
from tests.netns import sandbox, show  # noqa: E402
from tests.netns.show import say  # noqa: E402
from tests.netns.sluice import wait_for  # noqa: E402

_PODS = (("shop/web", "node1"), ("shop/api", "node2"), ("shop/db", "node3"), ("blog/visitor", "node3"))
_SOURCES = ("shop/web", "shop/api", "shop/db", "blog/visitor", "internet")
_TARGETS = (("shop/web", 80), ("shop/api", 8080), ("shop/db", 5432), ("internet", 443))

_API = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
"""
_DB = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 5432}]
"""
_OUT = """\
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: no-internet}
spec:
  endpointSelector: {matchLabels: {app: visitor}}
  egress:
  - toEntities: [cluster]
"""


def make_world(plane):
    from tests.cluster import lab  # pylint: disable=C0415

    class World(lab.Cluster):
        """A shop, a visitor and the internet."""

        def populate(self):
            for name, _ in _PODS:
                self.plane.ensure_namespace(name.split("/")[0])
            for number, (name, node) in enumerate(_PODS):
                self.add_pod(name, node, 0, 11 + number, labels={"app": name.split("/")[1]})
            self.net.external("internet", "203.0.113.7", "2001:db8:113::7")
    return World(plane)


class Demo:
    def __init__(self, plane):
        self.plane = plane
        plane.deploy()
        self.cluster = make_world(plane)

    def main(self):
        self.install()
        self.policies()
        self.changes()
        self.mistakes()
        self.kills()
        self.look_inside()
        say("the policies are deleted: everything connects again")
        self.kubectl("delete", "cnp/api", "netpol/db", "-n", "shop")
        self.kubectl("delete", "ccnp/no-internet")
        self.settle()
        self.matrix()

    def install(self):
        say("a kube-apiserver with three nodes and four pods; sluice is installed")
        print("$ kubectl apply --server-side -k deploy/crds")
        print("$ kubectl apply -k deploy/")
        self.cluster.start_operators()
        self.cluster.start_agents()
        self.ready()
        self.kubectl("get", "pods", "-A", "-o", "wide", "-l", "app")
        self.matrix()

    def ready(self):
        def enforced(name):
            text = self.on_node(name, "status", "-o", "json")
            return text.startswith("{") and json.loads(text)["enforced"]
        for name in self.cluster.agents:
            wait_for(lambda name=name: enforced(name), f"{name} is ready")

    def policies(self):
        say("policies by kubectl: api takes 8080 from web, db takes 5432 from api and may not call out,"
            " visitors have no internet")
        for name, text in (("api", _API), ("db", _DB), ("no-internet", _OUT)):
            print(textwrap.indent(text, "    "), end="")
            self.apply(name, text)
        self.kubectl("wait", "--for=condition=Enforced", "-n", "shop", "cnp/api")
        self.kubectl("wait", "--for=condition=Enforced", "ccnp/no-internet")
        self.settle()
        self.kubectl("get", "cnp,ccnp,netpol", "-A")
        self.matrix()

    def changes(self):
        say("the visitor becomes a web pod of another namespace: that is not one of shop's")
        self.kubectl("label", "pod", "-n", "blog", "visitor", "app=web", "--overwrite")
        self.settle()
        self.matrix()
        self.kubectl("label", "pod", "-n", "blog", "visitor", "app=visitor", "--overwrite")

    def mistakes(self):
        say("mistakes: the API server refuses what it can, the operator says what else is wrong;"
            " what was in force stays")
        self.apply("api", _API.replace('"8080"', '"80800"'))
        self.apply("api", _API.replace("protocol: TCP}]", 'protocol: TCP}], rules: {http: [{path: "/v1"}]}'))
        self.kubectl("wait", "--for=condition=Valid=False", "-n", "shop", "cnp/api")
        self.kubectl("get", "cnp", "-n", "shop")
        self.kubectl("describe", "cnp", "-n", "shop", "api", only=("Conditions", "Message", "Reason", "Status", "Type",
                                                                   "Warning"))
        self.matrix()
        self.apply("api", _API)
        self.kubectl("wait", "--for=condition=Enforced", "-n", "shop", "cnp/api")

    def kills(self):
        leader = self.cluster.leader()
        say(f"{leader.identity}, which leads, is killed; so is the agent of node2. A change meanwhile:")
        leader.kill()
        self.cluster.balance()
        self.cluster.agents["node2"].kill()
        self.apply("api", _API.replace('"8080"', '"8081"'))
        self.cluster.wait_condition("CiliumNetworkPolicy", "shop", "api", "Enforced", "False", "node2")
        self.kubectl("get", "cnp", "-n", "shop", "api", "-o",
                     "jsonpath={.status.conditions[?(@.type==\"Enforced\")].message}{\"\\n\"}")
        self.matrix()
        say("the agent is back, and the cluster catches up")
        self.cluster.start_agent("node2")
        self.kubectl("wait", "--for=condition=Enforced", "-n", "shop", "cnp/api")
        self.apply("api", _API)
        self.kubectl("wait", "--for=condition=Enforced", "-n", "shop", "cnp/api")

    def look_inside(self):
        say("on node2: what its kernel holds")
        self.node2("status", lines=12)
        self.node2("endpoint", "list", lines=6)
        self.node2("policy", "dump", lines=8)

    # ---- helpers

    def apply(self, name, text):
        """Shows the command as it would be typed, with a file's name for its text."""
        print(f"$ kubectl apply -f {name}.yaml")
        _, out = self.plane.kubectl("apply", "-f", "-", stdin=text, check=False)
        show.lines(out, 6)

    def kubectl(self, *arguments, only=None):
        print(f"$ kubectl {' '.join(a if ' ' not in a and '{' not in a else repr(a) for a in arguments)}")
        _, out = self.plane.kubectl(*arguments, check=False)
        rows = out.splitlines()
        if only:
            rows = [r for r in rows if r.split(":")[0].split("  ")[0].strip() in only
                    or r.strip().split(":")[0].split()[:1] in ([w] for w in only)]
        show.lines("\n".join(rows), 24)

    def settle(self):
        """NetworkPolicy has no status: nodes are asked."""
        from tests.cluster import fresh  # pylint: disable=C0415
        wait_for(lambda: not fresh.differences(self.cluster.api, list(self.cluster.net.nodes)),
                 "the nodes have everything")

    def on_node(self, node, *arguments):
        from tests.cluster import lab  # pylint: disable=C0415
        done = subprocess.run([lab.program("sluice"), *arguments, "--socket", f"/run/{node}.sock"],
                              check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout

    def node2(self, *arguments, lines):
        print(f"$ sluice {' '.join(arguments)}")
        show.lines(self.on_node("node2", *arguments), lines)

    def matrix(self):
        show.matrix(self.cluster.net.host, _SOURCES, _TARGETS)


def main():
    os.environ["SLUICE_BUILD"] = os.path.abspath(sys.argv[1])
    # Fetching the source needs the network, of which there is none inside.
    kubernetes.binaries(lambda line: print(line, flush=True))
    sandbox.enter()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    from tests.cluster import suite  # pylint: disable=C0415
    start = time.monotonic()
    Demo(suite.plane()).main()
    say("done; nothing is left on this machine")
    print(f"   ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
