# SPDX-License-Identifier: Apache-2.0
"""What scripts/demo shows: pods that lose and gain connections by policy."""

import json
import os
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from tests.netns import dns, lab, sandbox, show  # noqa: E402
from tests.netns.show import say  # noqa: E402
from tests.netns.sluice import wait_for  # noqa: E402
from tests.netns.traffic import ALLOWED, DENIED, Probe, verdicts  # noqa: E402

_WEB = """\
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
    ports: [{port: 5432, endPort: 5433}]
"""
_NAMES = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": system, app: dns}}]
    toPorts: [{ports: [{port: "53"}], rules: {dns: [{matchPattern: "*"}]}}]
  - toFQDNs: [{matchName: api.example.com}]
    toPorts: [{ports: [{port: "443"}]}]
"""
_BROKEN = _WEB.replace('"8080"', '"80800"')


class Demo:
    def __init__(self, sluice):
        self.sluice = sluice
        self.dir = "/run/manifests"
        os.makedirs(self.dir)
        self.lab = lab.Lab()
        self.node = self.lab.node("node1", 1)
        for number, name in enumerate(("shop/web", "shop/api", "shop/db", "blog/visitor")):
            self.lab.pod(self.node, name, 0, 11 + number, labels={"app": name.split("/")[1]})
        outside = self.lab.external("internet", "203.0.113.7", "2001:db8:113::7")
        self.dns = self.lab.pod(self.node, "system/dns", 0, 21, labels={"app": "dns"})
        self.names = {"api.example.com": "198.51.100.1", "other.example.com": "198.51.100.2"}
        for address in self.names.values():
            outside.add_address(address)
        self.process = None

    def main(self):
        say("four pods in network namespaces, one node, no policy: everything connects")
        self.write("cluster.yaml", self.yaml_of_pods())
        self.start()
        self.matrix()
        self.with_policies()
        self.look_inside()
        self.mistake_and_crash()
        self.by_name()
        say("the policies are deleted: everything connects again")
        for name in ("api.yaml", "db.yaml", "web.yaml"):
            print(f"$ rm manifests/{name}")
            os.unlink(os.path.join(self.dir, name))
        wait_for(lambda: not self.isolated(), "the policies are gone")
        self.matrix()
        self.end()

    def with_policies(self):
        say("two policies appear as files: api takes 8080 from web, db takes 5432-5433 from api and may not call out")
        for name, text in (("api.yaml", _WEB), ("db.yaml", _DB)):
            print(f"$ cat > manifests/{name}\n{textwrap.indent(text, '    ')}", end="")
            self.write(name, text)
        wait_for(lambda: self.isolated() == {"shop/api", "shop/db"}, "the policies are in force")
        monitor = self.monitor()
        self.matrix()
        say("what was dropped, as it happened ($ sluice monitor --drops)")
        wait_for(lambda: os.path.getsize("/run/monitor") > 0, "an event is shown")
        monitor.terminate()
        monitor.wait()
        with open("/run/monitor", encoding="utf-8") as file:
            show.lines(file.read(), 6)

    def look_inside(self):
        say("why, before and after the fact")
        self.run("explain", "--from", "blog/visitor", "--to", "shop/api", "--port", "8080/TCP")
        self.run("explain", "--from", "shop/api", "--to", "shop/db", "--port", "5433/TCP")
        say("what the kernel holds")
        self.run("status", lines=14)
        self.run("policy", "dump", lines=12)

    def mistake_and_crash(self):
        say("a mistake: the last good version stays in force, the field is named")
        print("$ sed -i s/8080/80800/ manifests/api.yaml")
        self.write("api.yaml", _BROKEN)
        wait_for(lambda: "80800" in self.text("policy", "list"), "the mistake is reported")
        self.run("policy", "list")
        say("the process is killed: the kernel goes on enforcing")
        print("$ kill -9 $(pidof sluice)")
        self.process.kill()
        self.process.wait()
        self.matrix()
        self.write("api.yaml", _WEB)
        self.start()

    def by_name(self):
        say("a policy by DNS name: web may connect to api.example.com and to nothing else")
        print(f"$ cat > manifests/web.yaml\n{textwrap.indent(_NAMES, '    ')}", end="")
        self.write("web.yaml", _NAMES)
        wait_for(lambda: "shop/web" in self.isolated(), "the policy is in force")
        server = dns.Server(self.dns)
        server.names.update({name: dns.Records((address,), ttl=300) for name, address in self.names.items()})
        web, outside = self.lab.host("shop/web"), self.lab.host("internet")
        for name, address in self.names.items():
            probe = Probe(web, outside, "tcp/443", 4, address)
            for look_up in (False, True):
                if look_up:
                    print(f"  web$ getent hosts {name}")
                    show.lines(dns.run_in_pod(web, self.dns.ipv4, "getent", "hosts", name)[0], 2)
                seen = verdicts({probe: ALLOWED if look_up and name.startswith("api") else DENIED})[probe]
                print(f"  web -> {address}:443 (IPv4)".ljust(34),
                      show.paint("open" if seen == ALLOWED else "blocked", seen == ALLOWED))
        say("what web has resolved, and which patterns let it connect")
        self.run("fqdn", "list")
        server.close()

    # ---- helpers

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def yaml_of_pods(self):
        documents = []
        for pod in self.lab.pods.values():
            namespace, name = pod.full_name.split("/")
            documents.append(
                f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace},"
                f" labels: {{app: {name}}}}}\nspec: {{nodeName: node1}}\nstatus: {{phase: Running,"
                f" podIP: {pod.ipv4}, podIPs: [{{ip: {pod.ipv4}}}, {{ip: \"{pod.ipv6}\"}}]}}\n")
        documents.append(
            "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\nstatus: {addresses: "
            f"[{{type: InternalIP, address: {self.node.ipv4}}},"
            f" {{type: InternalIP, address: \"{self.node.ipv6}\"}}]}}\n")
        return "---\n".join(documents)

    def start(self):
        print("$ sluice run manifests/ &")
        with open("/run/log", "ab") as log:
            self.process = self.node.ns.popen(self.sluice, "run", self.dir, "--node", "node1",
                                              stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: '"enforced":true' in self.text("status", "-o", "json").replace(" ", ""),
                 "sluice runs")

    def text(self, *arguments):
        done = self.node.ns.popen(self.sluice, *arguments, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        return done.communicate(timeout=15)[0]

    def run(self, *arguments, lines=24):
        print(f"$ sluice {' '.join(arguments)}")
        show.lines(self.text(*arguments), lines)

    def monitor(self):
        with open("/run/monitor", "ab") as file:
            process = self.node.ns.popen(self.sluice, "monitor", "--drops", stdout=file,
                                         stderr=subprocess.DEVNULL)
        # It is listening once a drop made for the purpose is shown.
        web, db = self.lab.host("shop/web"), self.lab.host("shop/db")
        def heard():
            verdicts({Probe(web, db, "tcp/1"): DENIED})
            return os.path.getsize("/run/monitor") > 0
        wait_for(heard, "monitor listens")
        os.truncate("/run/monitor", 0)
        return process

    def isolated(self):
        listed = json.loads(self.text("endpoint", "list", "-o", "json"))["endpoints"]
        return {e["name"] for e in listed if e["isolated_ingress"] or e["isolated_egress"]}

    def matrix(self):
        show.matrix(self.lab.host, ["shop/web", "shop/api", "shop/db", "blog/visitor", "internet"],
                    [("shop/web", 80), ("shop/api", 8080), ("shop/db", 5432), ("internet", 443)])

    def end(self):
        self.process.terminate()
        self.process.wait(10)
        print("\n$ sluice cleanup")
        show.lines(self.text("cleanup"), 5)
        say("done; nothing is left on this machine")


def main():
    sandbox.enter()
    start = time.monotonic()
    Demo(os.path.abspath(sys.argv[1])).main()
    print(f"   ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
