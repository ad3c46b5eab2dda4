# SPDX-License-Identifier: Apache-2.0
"""Egress policy and Services, with packets that are rewritten to a backend behind
the pod's interface, as kube-proxy does it. Both address families each time, and
"allowed" means that the answer came back."""

import json

from tests.cluster import lab, suite
from tests.cluster.services import Backend, Front, Responder
from tests.netns import lab as netlab
from tests.netns.sluice import ccnp, cnp, network_policy
from tests.netns.traffic import ALLOWED, DENIED, Probe

_DNS = [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5300},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 5300}]
_BOTH = [{"ports": [{"port": "5300", "protocol": "UDP"}, {"port": "5300", "protocol": "TCP"}]}]
_FROM_A = {"pod": "a"}
_VERDICTS = {"A": ALLOWED, "D": DENIED}


class ServiceAddresses(suite.ClusterCase):
    """x/a asks; y/dns1 is on its node, y/dns2 and y/other are elsewhere."""

    @classmethod
    def setUpClass(cls):
        cluster = suite.cluster()
        cls.pods = {name: cluster.add_pod(
            f"y/{name}", node, 1, number, labels={"app": app, "behind": "yes"},
            ports={"lookup": (port, "UDP")})
            for name, node, number, app, port in (
                ("dns1", "node1", 61, "dns", 5300), ("dns2", "node2", 62, "dns", 5301),
                ("other", "node3", 63, "other", 5300))}
        cls.responder = Responder()
        for pod in cls.pods.values():
            cls.responder.serve(pod, 5300, 5301)
        cls.addClassCleanup(cls.responder.close)
        for name in cls.pods:
            cls.addClassCleanup(cluster.delete_pod, f"y/{name}")

    def setUp(self):
        super().setUp()
        self.services = self.cluster.services
        self.addCleanup(self.services.clear)
        self.addCleanup(self.cluster.clear_policies)

    def backends(self, *names, ready=True):
        return [Backend(self.pods[n], ready) for n in names]

    def put_dns(self, *names, **spec):
        return self.services.put("y/dns", _DNS, self.backends(*names), {"behind": "yes"}, **spec)

    def allow_dns(self, name="dns", **more):
        """x/a may call the dns pods at their port, and nobody else."""
        self.api.create(cnp("x", name, _FROM_A, egress=[{
            "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "y", "app": "dns"}}],
            "toPorts": _BOTH, **more}]))

    def probes(self, lines):
        """"x/a > dns udp/53 A": through the Service's address; "x/a > y/dns1 udp/53 A": directly;
        "x/a > dns@external udp/53 A", "x/a > node1 udp/30053 A". ask-…: with an answer."""
        expected = {}
        for line in lines:
            source, _, destination, what, verdict = line.split()
            for family in (4, 6):
                name, _, kind = destination.partition("@")
                if f"y/{name}" in self.services.names():
                    address = self.services.address(f"y/{name}", family, kind or "cluster")
                else:
                    address = self.cluster.net.host(name).address(family)
                expected[Probe(self.cluster.net.host(source), Front(destination), "ask-" + what, family,
                               address)] = _VERDICTS[verdict]
        return expected

    def expect(self, *lines):
        self.cluster.wait_for_table(self.probes(lines))

    def test_the_policy_allows_the_backends(self):
        self.put_dns("dns1", "dns2")
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A")
        self.allow_dns()
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A", "x/a > y/dns1 udp/5300 A",
                    "x/a > y/dns2 tcp/5300 A", "x/a > y/dns1 udp/5301 D", "x/a > y/other udp/5300 D",
                    "x/b > dns udp/53 A", "x/b > y/other udp/5300 A")

    def test_the_policy_does_not_allow_the_backends(self):
        self.put_dns("other")
        self.allow_dns()
        self.expect("x/a > dns udp/53 D", "x/a > dns tcp/53 D", "x/b > dns udp/53 A")

    def test_one_protocol_of_two(self):
        self.put_dns("dns1", "dns2")
        self.allow_dns(toPorts=[{"ports": [{"port": "5300", "protocol": "UDP"}]}])
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 D")

    def test_a_backend_comes_that_is_not_allowed(self):
        self.put_dns("dns1")
        self.allow_dns()
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A")
        self.services.set_backends("y/dns", *self.backends("dns1", "other"))
        self.expect("x/a > dns udp/53 D", "x/a > dns tcp/53 D", "x/a > y/dns1 udp/5300 A",
                    "x/b > dns udp/53 A")
        self.services.set_backends("y/dns", *self.backends("dns1", "dns2"))
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A")

    def test_a_backend_that_is_not_ready_does_not_count(self):
        self.services.put("y/dns", _DNS, [*self.backends("dns1"), *self.backends("other", ready=False)],
                          {"behind": "yes"})
        self.allow_dns()
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A")
        self.services.set_backends("y/dns", *self.backends("dns1", "other"))
        self.expect("x/a > dns udp/53 D", "x/a > dns tcp/53 D")

    def test_backends_go(self):
        self.put_dns("dns1", "other")
        self.allow_dns()
        self.expect("x/a > dns udp/53 D")
        self.services.set_backends("y/dns", *self.backends("dns1"))
        self.expect("x/a > dns udp/53 A")
        self.services.set_backends("y/dns")
        self.expect("x/a > dns udp/53 D", "x/b > dns udp/53 D", "x/a > y/dns1 udp/5300 A")
        self.services.set_backends("y/dns", *self.backends("dns2"))
        self.expect("x/a > dns udp/53 A", "x/b > dns udp/53 A")

    def test_a_backends_labels_change(self):
        self.put_dns("dns1", "dns2")
        self.allow_dns()
        self.expect("x/a > dns udp/53 A")
        self.addCleanup(self.api.patch, "Pod", "y", "dns2", {"metadata": {"labels": {"app": "dns"}}})
        self.api.patch("Pod", "y", "dns2", {"metadata": {"labels": {"app": "fallen"}}})
        self.expect("x/a > dns udp/53 D", "x/a > dns tcp/53 D")
        self.api.patch("Pod", "y", "dns2", {"metadata": {"labels": {"app": "dns"}}})
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A")

    def test_a_port_by_name_is_each_backends_own(self):
        port = [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "lookup"}]
        self.services.put("y/dns", port, self.backends("dns1", "dns2"), {"behind": "yes"})
        self.allow_dns(toPorts=[{"ports": [{"port": "lookup", "protocol": "UDP"}]}])
        self.expect("x/a > dns udp/53 A", "x/a > y/dns1 udp/5300 A", "x/a > y/dns2 udp/5301 A",
                    "x/a > y/dns1 udp/5301 D", "x/a > y/dns2 udp/5300 D")
        self.cluster.clear_policies()
        self.allow_dns()
        self.expect("x/a > dns udp/53 D", "x/a > y/dns1 udp/5300 A", "x/a > y/dns2 udp/5301 D")

    def test_the_services_port_changes(self):
        self.put_dns("dns1", "dns2")
        self.allow_dns()
        self.expect("x/a > dns udp/53 A")
        moved = [{**p, "port": 1053} for p in _DNS]
        self.services.put("y/dns", moved, self.backends("dns1", "dns2"), {"behind": "yes"})
        self.expect("x/a > dns udp/1053 A", "x/a > dns tcp/1053 A")
        elsewhere = [{**p, "targetPort": 5301} for p in _DNS]
        self.services.put("y/dns", elsewhere, self.backends("dns1", "dns2"), {"behind": "yes"})
        self.expect("x/a > dns udp/53 D", "x/a > dns tcp/53 D", "x/b > dns udp/53 A")

    def test_a_headless_service_has_no_address(self):
        self.services.put("y/dns", _DNS, self.backends("dns1", "dns2"), {"behind": "yes"}, clusterIP="None")
        self.allow_dns()
        self.expect("x/a > y/dns1 udp/5300 A", "x/a > y/dns2 tcp/5300 A", "x/a > y/other udp/5300 D")

    def test_an_address_of_the_range_does_not_let_a_service_around_its_backends(self):
        self.put_dns("dns1", "other")
        self.api.create(network_policy("x", "p", {"matchLabels": _FROM_A}, policyTypes=["Egress"], egress=[
            {"to": [{"ipBlock": {"cidr": c}} for c in ("10.96.0.0/16", "fd00:96::/112")]}]))
        self.expect("x/a > dns udp/53 D", "x/a > dns tcp/53 D", "x/b > dns udp/53 A")

    def test_a_network_policy_allows_the_backends(self):
        self.put_dns("dns1", "dns2")
        self.api.create(network_policy("x", "p", {"matchLabels": _FROM_A}, policyTypes=["Egress"], egress=[
            {"to": [{"namespaceSelector": {"matchLabels": {"ns": "y"}},
                     "podSelector": {"matchLabels": {"app": "dns"}}}],
             "ports": [{"port": 5300, "protocol": "UDP"}]}]))
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 D", "x/a > y/other udp/5300 D")
        self.services.set_backends("y/dns", *self.backends("dns1", "dns2", "other"))
        self.expect("x/a > dns udp/53 D")

    def test_external_addresses_and_those_of_a_balancer(self):
        self.services.put(
            "y/dns", _DNS[:1], self.backends("dns1"), {"behind": "yes"}, type="LoadBalancer",
            externalIPs=["198.51.100.7", "2001:db8:51::7"],
            status={"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}, {"ip": "2001:db8:51::8"}]}})
        self.allow_dns()
        addresses = ("dns", "dns@external", "dns@balancer")
        self.expect(*(f"x/a > {address} udp/53 A" for address in addresses))
        self.services.set_backends("y/dns", *self.backends("dns1", "other"))
        self.expect(*(f"x/{pod} > {address} udp/53 {verdict}" for pod, verdict in (("a", "D"), ("b", "A"))
                      for address in addresses))

    def test_node_ports(self):
        """At the pod's own node and at another one."""
        made = self.put_dns("dns1", "dns2", type="NodePort")
        udp, tcp = (p["nodePort"] for p in made["spec"]["ports"])
        self.allow_dns()
        self.expect(*(f"x/a > {node} {what} A" for node in ("node1", "node3")
                      for what in (f"udp/{udp}", f"tcp/{tcp}")))
        self.services.set_backends("y/dns", *self.backends("dns1", "other"))
        self.expect(*(f"x/{pod} > {node} {what} {verdict}" for pod, verdict in (("a", "D"), ("b", "A"))
                      for node in ("node1", "node3") for what in (f"udp/{udp}", f"tcp/{tcp}")))

    def test_a_backend_sees_the_pod_that_called(self):
        self.put_dns("dns1", "dns2")
        self.api.create(cnp("y", "p", {"app": "dns"}, ingress=[{"fromEndpoints": [
            {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "x", "pod": "a"}}]}]))
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A", "x/b > dns udp/53 D", "x/b > dns tcp/53 D")

    def test_to_services_by_name(self):
        self.put_dns("dns1", "other")
        self.api.create(cnp("x", "p", _FROM_A, egress=[{"toServices": [
            {"k8sService": {"serviceName": "dns", "namespace": "y"}}]}]))
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A", "x/a > y/dns2 udp/5300 A",
                    "x/a > y/other udp/5301 A")

    def test_to_services_by_selector(self):
        self.put_dns("dns1", "other", labels={"kind": "lookup"})
        self.api.create(ccnp("p", _FROM_A, egress=[{"toServices": [
            {"k8sServiceSelector": {"selector": {"matchLabels": {"kind": "lookup"}}}}], "toPorts": _BOTH}]))
        self.expect("x/a > dns udp/53 A", "x/a > y/dns1 udp/5300 A", "x/a > y/dns1 udp/5301 D")
        self.services.remove("y/dns")
        self.expect("x/a > y/dns1 udp/5300 D", "x/a > y/dns1 udp/5301 D")

    def test_to_services_without_pods_behind(self):
        outside = self.cluster.outside()
        self.responder.serve(outside, 5300)
        self.services.put("y/dns", _DNS, [Backend(addresses=(outside.ipv4, outside.ipv6))])
        self.api.create(cnp("x", "p", _FROM_A, egress=[{"toServices": [
            {"k8sService": {"serviceName": "dns", "namespace": "y"}}]}]))
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A", "x/a > E udp/5300 A",
                    "x/a > y/dns1 udp/5300 D")
        self.services.set_backends("y/dns")
        self.expect("x/a > dns udp/53 D", "x/a > E udp/5300 D")

    def test_a_pod_calls_itself_through_its_own_service(self):
        """Though its policies allow nothing; and nobody else, either way."""
        self.put_dns("dns1")
        self.api.create(cnp("y", "p", {"app": "dns"}, ingress=[{}], egress=[{}]))
        self.expect("y/dns1 > dns udp/53 A", "y/dns1 > dns tcp/53 A", "x/a > dns udp/53 D", "x/a > dns tcp/53 D",
                    "y/dns1 > y/other udp/5300 D", "y/other > y/dns1 udp/5300 D")
        # It does not know which of them it would reach.
        self.services.set_backends("y/dns", *self.backends("dns1", "other"))
        self.expect("y/dns1 > dns udp/53 D", "y/dns1 > dns tcp/53 D")
        self.api.patch("CiliumNetworkPolicy", "y", "p", {"spec": {"egress": [
            {"toEndpoints": [{"matchLabels": {"app": "other"}}]}]}})
        self.expect("y/dns1 > dns udp/53 A", "y/dns1 > dns tcp/53 A", "x/a > y/dns1 udp/5300 D")

    def test_explain_judges_the_ingress_of_every_backend(self):
        """As packets through real NAT: by the Service's address and by node ports; the client has no policy."""
        made = self.put_dns("dns1", "dns2", type="NodePort")
        number = next(p["nodePort"] for p in made["spec"]["ports"] if p.get("protocol") == "TCP")
        ways = {"dns": 53, "node1": number, "node3": number}

        def check(summary, *verdicts):
            self.expect(*(f"x/a > {way} tcp/{port} {v}" for (way, port), v in zip(ways.items(), verdicts)))
            for (way, port), v in zip(ways.items(), verdicts):
                for view in self.explanations("x/a", way, f"{port}/TCP"):
                    self.assertEqual(view["allowed"], v == "A", view)
                    self.assertIn("(Service y/dns)", view["to"])
                    self.assertEqual([s["behind"][0] for s in view["sides"] if s["direction"] == "egress"],
                                     ["through Service y/dns"])
                    if way == "dns":
                        self.assertEqual(view["summary"], summary)
        check("allowed at egress; 2 of 2 backends accept", "A", "A", "A")
        self.api.create(cnp("y", "in", {"app": "dns"}, ingress=[{}]))
        check("allowed at egress; 0 of 2 backends accept", "D", "D", "D")
        # The pod on its own node, and whoever is masqueraded by another one.
        self.services.set_backends("y/dns", *self.backends("dns1"))
        self.api.patch("CiliumNetworkPolicy", "y", "in", {"spec": {"ingress": [
            {"fromEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "x", "pod": "a"}}]}]}})
        check("allowed at egress; 1 of 1 backend accepts", "A", "A", "D")
        self.api.patch("CiliumNetworkPolicy", "y", "in", {"spec": {"ingress": [
            {"fromEntities": ["remote-node"]}]}})
        check("allowed at egress; 0 of 1 backend accepts", "D", "D", "A")

    def explanations(self, source, destination, port):
        """Of the objects as the API server gives them, for each family."""
        path = self.plane.write_file("cluster.yaml", self.plane.kubectl(
            "get", "ns,nodes,pods,services,endpointslices,networkpolicies,cnp,ccnp,ccg", "-A", "-o", "yaml"))
        for family in (4, 6):
            address = (self.services.address(f"y/{destination}", family)
                       if f"y/{destination}" in self.services.names() else self.host(destination).address(family))
            yield json.loads(netlab.run(lab.program("sluice"), "explain", "--from", source, "--to", address,
                                        "--port", port, "-o", "json", path, check=False))

    def test_sctp(self):
        """By the first packet, as far as to the backend: it needs no SCTP in the kernel."""
        self.services.put("y/dns", [{"name": "m3ua", "port": 2905, "protocol": "SCTP", "targetPort": 5300}],
                          self.backends("dns1"), {"behind": "yes"})
        addresses = [self.services.address("y/dns", family) for family in (4, 6)]

        def expect(*verdicts):
            self.cluster.wait_for_table({
                Probe(self.host(source), self.pods["dns1"], "sctp-init/2905", family, address): _VERDICTS[verdict]
                for source, verdict in zip(("x/a", "x/b"), verdicts)
                for family, address in zip((4, 6), addresses)})
        expect("A", "A")
        rules = [{"ports": [{"port": "5300", "protocol": "UDP"}]}]
        self.allow_dns(toPorts=rules)
        expect("D", "A")
        self.explain("denied")
        rules[0]["ports"].append({"port": "5300", "protocol": "SCTP"})
        self.api.patch("CiliumNetworkPolicy", "x", "dns", {"spec": {"egress": [
            {"toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "y", "app": "dns"}}],
             "toPorts": rules}]}})
        expect("A", "A")
        self.explain("allowed")

    def explain(self, verdict):
        """What `sluice explain` says of the objects as the API server gives them."""
        path = self.plane.write_file("cluster.yaml", self.plane.kubectl(
            "get", "ns,nodes,pods,services,endpointslices,networkpolicies,cnp,ccnp,ccg", "-A", "-o", "yaml"))
        for family in (4, 6):
            told = netlab.run(lab.program("sluice"), "explain", "--from", "x/a", "--to",
                              self.services.address("y/dns", family), "--port", "2905/SCTP", "-o", "json",
                              path, check=False)
            self.assertEqual(json.loads(told)["allowed"], verdict == "allowed", told)

    def test_a_tunnel_of_a_node_behind_a_service(self):
        """Whatever a pod's policies say, and if it has none; unless its namespace is permitted tunnels."""
        node, responder = self.host("node2"), Responder()
        self.addCleanup(responder.close)
        responder.serve(node, 8472)
        self.services.put("y/dns", [{"name": "wrap", "port": 9999, "protocol": "UDP", "targetPort": 8472}],
                          [Backend(addresses=(node.ipv4, node.ipv6))])
        self.expect("x/a > dns udp/9999 D", "x/b > dns udp/9999 D")
        self.api.create(cnp("x", "p", _FROM_A, egress=[{"toEntities": ["all"]}]))
        self.expect("x/a > dns udp/9999 D", "x/a > y/dns1 udp/5300 A")
        self.addCleanup(self.permit, "x", None)
        self.permit("x", "tunnels")
        self.expect("x/a > dns udp/9999 A", "x/b > dns udp/9999 A", "y/dns1 > dns udp/9999 D")

    def permit(self, namespace, what):
        self.api.patch("Namespace", None, namespace, {"metadata": {"annotations": {"sluice.io/permit": what}}})

    def test_each_family_has_its_own_backends(self):
        """A Service of both whose slices do not agree."""
        one, other = self.pods["dns1"], self.pods["other"]
        self.services.put("y/dns", _DNS, [Backend(addresses=(one.ipv4, other.ipv6))])
        self.allow_dns()
        for family, verdict in ((4, "A"), (6, "D")):
            self.expect_address(self.services.address("y/dns", family), family, verdict)
        self.services.set_backends("y/dns", Backend(addresses=(other.ipv4, one.ipv6)))
        for family, verdict in ((4, "D"), (6, "A")):
            self.expect_address(self.services.address("y/dns", family), family, verdict)

    def test_a_service_gets_its_second_family_later(self):
        made = self.services.put("y/dns", _DNS, self.backends("dns1", "other"), {"behind": "yes"},
                                 ipFamilyPolicy="SingleStack", ipFamilies=["IPv6"])
        self.assertEqual(len(made["spec"]["clusterIPs"]), 1)
        self.allow_dns()
        self.expect_address(made["spec"]["clusterIP"], 6, "D")
        made = self.services.put("y/dns", _DNS, self.backends("dns1", "other"), {"behind": "yes"},
                                 ipFamilyPolicy="RequireDualStack")
        self.assertEqual(len(made["spec"]["clusterIPs"]), 2)
        self.expect("x/a > dns udp/53 D", "x/a > dns tcp/53 D", "x/b > dns udp/53 A")
        self.services.set_backends("y/dns", *self.backends("dns1"))
        self.expect("x/a > dns udp/53 A", "x/a > dns tcp/53 A")

    def expect_address(self, address, family, verdict):
        self.cluster.wait_for_table({
            Probe(self.host("x/a"), Front("dns"), f"ask-{protocol}/53", family, address): _VERDICTS[verdict]
            for protocol in ("udp", "tcp")})
