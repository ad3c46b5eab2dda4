# SPDX-License-Identifier: Apache-2.0
"""A cluster in which things come, change, go and are killed at random, and which
is compared again and again with what it should be."""

import random
import time

from tests.cluster import fresh
from tests.cluster.services import Backend
from tests.netns.sluice import ccnp, cnp, network_policy, ports, wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe

_PODS_MAX = 10
_SUBNET = 9
_ROLES = ("red", "green", "blue")
_PORTS = ("80/TCP", "80/UDP", "81/TCP", "8000-8100/UDP", "1-1023/TCP", "53/UDP")
_CIDRS = ("203.0.113.0/24", "203.0.113.7/32", "2001:db8::/32", "10.0.0.0/8", "0.0.0.0/0", "::/0",
          "198.51.100.0/24", "fd00::/16")
_SETTLED_SECONDS = 60


class Soak:
    """`say` takes lines for whoever watches."""

    def __init__(self, cluster, seed, say):
        self.cluster, self.api, self.say = cluster, cluster.api, say
        self.random = random.Random(seed)
        self.number = 0
        self.pods = {}      # full name -> (Pod, number of its address)
        self.finished = {}  # full name -> Pod, whose address is free again
        self.free = list(range(1, _PODS_MAX + 1))
        self.policies = {}  # (kind, namespace, name)
        self.groups = set()
        self.counts = {}
        self.away = []      # what has been killed and not started again: functions that start it
        self.server_at = time.monotonic() + 20

    # ---- the course of it --------------------------------------------------------------

    def run(self, seconds):
        """Returns how many comparisons were made."""
        end, comparisons = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for _ in range(self.random.randint(4, 16)):
                self.step()
            for begin in self.away:
                begin()
            self.away = []
            self.compare()
            comparisons += 1
        self.say(f"{comparisons} comparisons; " + ", ".join(
            f"{count} {name}" for name, count in sorted(self.counts.items())))
        return comparisons

    def step(self):
        operations = {
            self.make_pod: 6, self.delete_pod: 3, self.finish_pod: 2, self.label_pod: 8,
            self.label_namespace: 2, self.make_policy: 8, self.change_policy: 5, self.delete_policy: 4,
            self.put_group: 3, self.delete_group: 1, self.put_service: 4, self.delete_service: 1,
            self.kill_agent: 1, self.kill_operator: 1, self.restart_server: 1}
        operation = self.random.choices(list(operations), list(operations.values()))[0]
        if operation() is not False:
            name = operation.__name__.replace("_", " ")
            self.counts[name] = self.counts.get(name, 0) + 1

    def compare(self):
        """Returns when every node has what it should have, and packets agree."""
        nodes, left = list(self.cluster.net.nodes), []

        def same():
            nonlocal left
            left = fresh.differences(self.api, nodes)
            return not left
        try:
            wait_for(same, "no difference", _SETTLED_SECONDS)
        except AssertionError:
            raise AssertionError("\n".join(left[:40]) + "\n" + self.cluster.logs()) from None
        self.cluster.wait_for_table(self.sample(), _SETTLED_SECONDS)

    def sample(self):
        """Some packets, with what the rules say of them."""
        expected = {}
        names = list(self.cluster.pods())
        names = [n for n in names if n not in self.finished]
        with fresh.Folder(self.api) as folder:
            for _ in range(6):
                source, destination = self.random.sample(names, 2)
                port = self.random.choice(("80/TCP", "80/UDP", "8080/UDP"))
                number, protocol = port.split("/")
                for family, may in folder.explain(source, destination, port).items():
                    probe = Probe(self.cluster.net.host(source), self.cluster.net.host(destination),
                                  f"{protocol.lower()}/{number}", family)
                    expected[probe] = ALLOWED if may else DENIED
        return expected

    # ---- pods and namespaces -----------------------------------------------------------

    def labels(self):
        return {"role": self.random.choice(_ROLES), "pod": self.random.choice("abcd")}

    def any_pod(self):
        return self.random.choice(list(self.pods)) if self.pods else None

    def make_pod(self):
        if not self.free:
            return False
        self.number += 1
        name = f"{self.random.choice('xyz')}/s{self.number}"
        address = self.free.pop(self.random.randrange(len(self.free)))
        node = self.random.choice(list(self.cluster.net.nodes))
        pod = self.cluster.add_pod(name, node, _SUBNET, address, labels=self.labels())
        self.pods[name] = (pod, address)
        return True

    def delete_pod(self):
        if self.finished and self.random.random() < 0.5:
            name = self.random.choice(list(self.finished))
            del self.finished[name]
            self.cluster.forget_pod(name)
            return True
        if not (name := self.any_pod()):
            return False
        self.free.append(self.pods.pop(name)[1])
        self.drop_backends(name)
        self.cluster.delete_pod(name)
        return True

    def finish_pod(self):
        """The object stays for a while, the address is another's."""
        if not (name := self.any_pod()):
            return False
        pod, address = self.pods.pop(name)
        self.drop_backends(name)
        self.cluster.set_status(pod, {"phase": self.random.choice(("Succeeded", "Failed"))})
        pod.unplug()
        self.free.append(address)
        self.finished[name] = pod
        return True

    def label_pod(self):
        if not (name := self.any_pod()):
            return False
        self.api.patch("Pod", *name.split("/"), {"metadata": {"labels": self.labels()}})
        return True

    def label_namespace(self):
        self.api.patch("Namespace", None, self.random.choice("xyz"),
                       {"metadata": {"labels": {"team": self.random.choice(("one", "two"))}}})

    # ---- policies ----------------------------------------------------------------------

    def selector(self):
        return self.random.choice(({"role": self.random.choice(_ROLES)},
                                   {"pod": self.random.choice("abcd")}, self.labels()))

    def peers(self, to):
        """The members of a rule that name peers, of CiliumNetworkPolicy."""
        word = "to" if to else "from"
        kind = self.random.randrange(6)
        if kind == 0:
            return {f"{word}CIDR": self.random.sample(_CIDRS, 2)}
        if kind == 1:
            return {f"{word}CIDRSet": [{"cidr": "0.0.0.0/0", "except": ["203.0.113.0/28"]}]}
        if kind == 2:
            return {f"{word}CIDRSet": [{"cidrGroupRef": f"g{self.random.randrange(3)}"}]}
        if kind == 3:
            return {f"{word}Entities": [self.random.choice(("world", "cluster", "remote-node", "host"))]}
        labels = self.selector()
        if self.random.random() < 0.5:
            labels["k8s:io.cilium.k8s.namespace.labels.team"] = self.random.choice(("one", "two"))
        if to and kind == 4:
            return {"toServices": [{"k8sService": {"serviceName": f"s{self.random.randrange(3)}",
                                                   "namespace": self.random.choice("xyz")}}]}
        return {f"{word}Endpoints": [{"matchLabels": labels}]}

    def rules(self, to):
        result = []
        for _ in range(self.random.randint(1, 3)):
            rule = self.peers(to)
            if self.random.random() < 0.6:
                rule["toPorts"] = ports(*self.random.sample(_PORTS, 2))
            result.append(rule)
        return result

    def sections(self):
        chosen = {}
        for name, to in (("ingress", False), ("egress", True)):
            if self.random.random() < 0.6:
                chosen[name] = self.rules(to)
            if self.random.random() < 0.2:
                chosen[name + "Deny"] = [r for r in self.rules(to) if "toServices" not in r] or [{
                    ("to" if to else "from") + "Entities": ["world"]}]
        return chosen or {"ingress": [{}]}

    def np_sections(self):
        peers = self.random.choice((
            {"podSelector": {"matchLabels": self.selector()}},
            {"namespaceSelector": {"matchLabels": {"team": "one"}}},
            {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/24"]}}))
        port = self.random.choice(([{"port": 80}], [{"port": 80, "protocol": "UDP"}],
                                   [{"port": "serve-80-tcp"}]))
        if self.random.random() < 0.5:
            return {"policyTypes": ["Ingress"], "ingress": [{"from": [peers], "ports": port}]}
        return {"policyTypes": ["Egress"], "egress": [{"to": [peers], "ports": port}]}

    def make_policy(self):
        if len(self.policies) > 14:
            return False
        self.number += 1
        name, namespace = f"p{self.number}", self.random.choice("xyz")
        kind = self.random.choices(("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy",
                                    "NetworkPolicy"), (5, 2, 3))[0]
        if kind == "NetworkPolicy":
            thing = network_policy(namespace, name, {"matchLabels": self.selector()}, **self.np_sections())
        elif kind == "CiliumNetworkPolicy":
            thing = cnp(namespace, name, self.selector(), **self.sections())
        else:
            thing, namespace = ccnp(name, self.selector(), **self.sections()), None
        self.api.create(thing)
        self.policies[(kind, namespace, name)] = thing
        return True

    def change_policy(self):
        if not self.policies:
            return False
        kind, namespace, name = self.random.choice(list(self.policies))
        thing = self.policies[(kind, namespace, name)]
        spec = {"podSelector": thing["spec"]["podSelector"], **self.np_sections()} \
            if kind == "NetworkPolicy" else {"endpointSelector": {"matchLabels": self.selector()},
                                             **self.sections()}
        gone = {key: None for key in thing["spec"] if key not in spec}
        self.api.patch(kind, namespace, name, {"spec": {**spec, **gone}})
        thing["spec"] = spec
        return True

    def delete_policy(self):
        if not self.policies:
            return False
        key = self.random.choice(list(self.policies))
        del self.policies[key]
        self.api.delete(*key)
        return True

    def put_group(self):
        name = f"g{self.random.randrange(3)}"
        spec = {"externalCIDRs": self.random.sample(_CIDRS, 2)}
        if name in self.groups:
            self.api.patch("CiliumCIDRGroup", None, name, {"spec": spec})
        else:
            self.api.create({"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
                             "metadata": {"name": name}, "spec": spec})
            self.groups.add(name)

    def delete_group(self):
        if not self.groups:
            return False
        name = self.groups.pop()
        self.api.delete("CiliumCIDRGroup", None, name)
        return True

    # ---- Services ----------------------------------------------------------------------

    def backends(self):
        names = self.random.sample(list(self.pods), min(len(self.pods), 2))
        return [Backend(self.pods[n][0], self.random.random() < 0.8) for n in names]

    def put_service(self):
        name = f"{self.random.choice('xyz')}/s{self.random.randrange(3)}"
        port = [{"port": 80, "targetPort": self.random.choice((80, 81, "serve-81-tcp"))}]
        self.cluster.services.put(name, port, self.backends(), self.selector())

    def delete_service(self):
        names = self.cluster.services.names()
        if not names:
            return False
        self.cluster.services.remove(self.random.choice(names))
        return True

    def drop_backends(self, pod):
        """As the endpoint controller does for a pod that goes."""
        self.cluster.services.drop_pod(pod)

    # ---- kills -------------------------------------------------------------------------

    def later(self, begin):
        """Starts something at once, or after some more has happened."""
        if self.random.random() < 0.5:
            begin()
        else:
            self.away.append(begin)

    def kill_agent(self):
        name = self.random.choice(list(self.cluster.agents))
        if not self.cluster.agents[name].running():
            return False
        self.cluster.agents[name].kill()
        self.later(lambda: self.cluster.start_agent(name))
        return True

    def kill_operator(self):
        running = [o for o in self.cluster.operators if o.running()]
        if not running:
            return False
        operator = self.random.choice(running)
        operator.kill()
        self.cluster.balance()

        def begin():
            operator.start()
            self.cluster.balance()
        self.later(begin)
        return True

    def restart_server(self):
        """Not too often: it takes a while."""
        if time.monotonic() < self.server_at:
            return False
        self.server_at = time.monotonic() + 45
        plane = self.cluster.plane
        if self.random.random() < 0.5:
            plane.stop_etcd()
            plane.start_etcd()
            plane.wait_ready()
        else:
            plane.stop_apiserver()
            plane.start_apiserver()
        return True

    # ---- the end -----------------------------------------------------------------------

    def clear(self):
        """The cluster as it was before."""
        for begin in self.away:
            begin()
        for key in self.policies:
            self.api.delete(*key)
        for name in self.groups:
            self.api.delete("CiliumCIDRGroup", None, name)
        self.cluster.services.clear()
        for name in self.finished:
            self.cluster.forget_pod(name)
        for name in self.pods:
            self.cluster.delete_pod(name)
        for namespace in "xyz":
            self.api.patch("Namespace", None, namespace, {"metadata": {"labels": {"team": None}}})
