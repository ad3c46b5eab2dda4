# SPDX-License-Identifier: Apache-2.0
"""Finding pods' interfaces: by route, on a bridge, by annotation; and pods that
come, go and come back on another interface."""

from tests.netns import suite
from tests.netns.sluice import cnp, ports, wait_for

_POLICY = cnp("w", "p", {}, ingress=[{"toPorts": ports("80/TCP")}])


class Endpoints(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _POLICY)

    def add_pod(self, number, wire=True, **options):
        pod = self.lab.pod(self.node, f"w/p{number}", 7, number, wire=wire, **options)
        self.addCleanup(self.forget, pod)
        return pod

    def forget(self, pod):
        if pod.link:
            pod.unplug()
        pod.ns.remove()
        del self.lab.pods[pod.full_name]

    def endpoint(self, name):
        return next((e for e in self.sluice.query("endpoint", "list")["endpoints"]
                     if e["name"] == name), None)

    def wait_attached(self, pod):
        wait_for(lambda: (e := self.endpoint(pod.full_name)) and e["attached"]
                 and e["ifindex"] == pod.ifindex, f"{pod.full_name} is attached; {self.sluice.log()}")

    def check_pod(self, pod):
        name = pod.full_name
        self.check(f"x/b > {name} tcp/80 A, x/b > {name} tcp/81 D, {name} > E tcp/80 A")

    def test_by_route(self):
        pod = self.add_pod(2)
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        self.wait_attached(pod)
        self.check_pod(pod)

    def test_pod_that_comes_later(self):
        self.sluice.start()
        pod = self.add_pod(3)
        self.manifests.put("cluster", *self.lab.objects())
        self.wait_attached(pod)
        self.check_pod(pod)

    def test_interface_that_comes_after_its_pod(self):
        pod = self.add_pod(4, wire=False)
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        self.assertFalse(self.endpoint("w/p4")["attached"])
        self.assertIn("w/p4: no interface found for", self.sluice.query("status")["endpoints_problem"])
        self.assertIn("enforced     yes, except for w/p4: no interface found for", self.sluice.command("status"))
        self.assertTrue(self.endpoint("w/p4")["problem"])
        pod.plug()
        self.wait_attached(pod)
        self.check_pod(pod)

    def uplink(self, address):
        """A device of the node's with `address`, to which pods may be attached directly."""
        name = "uplink"
        self.node.ns.ip(f"link add {name} type ifb", f"link set {name} up",
               f"address add {address} dev {name}")
        self.addCleanup(self.node.ns.ip, f"link delete {name}")
        return name

    def pending(self, name, contains):
        wait_for(lambda: (e := self.endpoint(name)) and contains in e["problem"],
                 f"{contains!r} keeps {name} from being enforced; {self.endpoint(name)}")
        self.assertFalse(self.endpoint(name)["attached"])

    def test_a_macvlan_pod_is_no_veth(self):
        """Nothing on the node leads to it: this is said, with its name, and why."""
        pod = self.add_pod(20, wire=False)
        pod.link = None  # there is no veth to take away
        device = self.uplink("10.0.7.1/24")
        self.node.ns.ip(f"link add direct link {device} type macvlan mode bridge",
               f"link set direct netns {pod.ns.name}")
        pod.ns.ip("link set direct name eth0", f"address add {pod.ipv4}/24 dev eth0", "link set eth0 up")
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        self.pending("w/p20", f"10.0.7.20 is on the link of ifb {device}, as with ipvlan, macvlan and host-device; "
                              "policy can be enforced only for pods with a veth")

    def test_a_pod_behind_a_device_that_is_no_veth(self):
        pod = self.add_pod(21, wire=False)
        device = self.uplink("10.99.0.1/24")
        self.node.ns.ip(f"route add {pod.ipv4}/32 dev {device}")
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        self.pending("w/p21", f"10.0.7.21 is routed to ifb {device}, which is no veth")
        # And what it was, if a veth comes after all, does not matter.
        self.node.ns.ip(f"route delete {pod.ipv4}/32 dev {device}")
        pod.plug()
        self.wait_attached(pod)

    def test_interface_made_anew(self):
        pod = self.add_pod(5)
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        self.wait_attached(pod)
        for _ in range(3):
            pod.unplug()
            wait_for(lambda: not self.endpoint("w/p5")["attached"], "the loss is noticed")
            pod.plug()
            self.wait_attached(pod)
            self.check_pod(pod)

    def test_pod_that_goes(self):
        pod = self.add_pod(6)
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        self.wait_attached(pod)
        self.manifests.put("cluster", *(o for o in self.lab.objects()
                                        if o["metadata"]["name"] != "p6"))
        self.sluice.settle()
        self.assertIsNone(self.endpoint("w/p6"))
        self.check("x/b > w/p6 tcp/81 A")

    def test_on_a_bridge(self):
        pod = self.add_pod(8, wire=False)
        self.plug_into_bridge(pod)
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        # The bridge learns where the pod is from its first packet.
        self.check("w/p8 > node1 ping A")
        self.wait_attached(pod)
        self.check_pod(pod)

    def plug_into_bridge(self, pod):
        self.node.ns.ip("link add br0 type bridge", "addr add 10.0.7.1/24 dev br0",
                        "addr add fd00:0:0:7::1/64 dev br0 nodad", "link set br0 up",
                        f"link add {pod.link} type veth peer name eth0 netns {pod.ns.name}",
                        f"link set {pod.link} master br0 up")
        self.addCleanup(self.node.ns.ip, "link del br0")
        pod.ns.ip(f"addr add {pod.ipv4}/24 dev eth0", f"addr add {pod.ipv6}/64 dev eth0 nodad",
                  "link set eth0 up", "route add default via 10.0.7.1",
                  "route add default via fd00:0:0:7::1")

    def test_by_annotation(self):
        pod = self.add_pod(9, wire=False, annotations={"sluice.io/interface": "vw-p9"})
        # No host route and no bridge: a subnet of its own on the interface.
        self.node.ns.ip(f"link add vw-p9 type veth peer name eth0 netns {pod.ns.name}",
                        "addr add 10.0.7.8/29 dev vw-p9", "addr add fd00:0:0:7::8/125 dev vw-p9 nodad",
                        "link set vw-p9 up")
        pod.ns.ip(f"addr add {pod.ipv4}/29 dev eth0", f"addr add {pod.ipv6}/125 dev eth0 nodad",
                  "link set eth0 up", "route add default via 10.0.7.8",
                  "route add default via fd00:0:0:7::8")
        self.manifests.put("cluster", *self.lab.objects())
        self.sluice.start()
        self.wait_attached(pod)
        self.check_pod(pod)
