# SPDX-License-Identifier: Apache-2.0
"""What a container runtime does: calls the plugins of a network configuration in order, for pods
whose network namespaces it makes."""

import itertools
import json
import os
import subprocess
import time

from tests.netns.lab import Netns, run

PLUGINS = "/usr/lib/cni"  # Debian's containernetworking-plugins
_numbers = itertools.count(1)


def sluice_cni():
    build = os.path.join(os.path.dirname(os.environ["SLUICE"]), "..")
    return os.path.abspath(os.path.join(build, "cni", "sluice-cni"))


def conflist(kind, subnet4, subnet6, **options):
    """A bridge or ptp network with sluice-cni behind it."""
    main = {"type": kind, "ipam": {"type": "host-local", "dataDir": f"/run/ipam-{kind}",
                                   "ranges": [[{"subnet": subnet4}], [{"subnet": subnet6}]],
                                   "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}
    if kind == "bridge":
        main |= {"bridge": "cni0", "isGateway": True}
    return {"cniVersion": "1.0.0", "name": kind + "-net",
            "plugins": [main, {"type": "sluice-cni", **options}]}


class CniError(Exception):
    """What a plugin says of its failure."""

    def __init__(self, code, exit_code, text):
        super().__init__(text)
        self.code, self.exit_code = code, exit_code


def call(node, plugin, command, conf, environment):
    """Standard output of a plugin; the text that it got is what `conf` is, byte for byte."""
    program = sluice_cni() if plugin == "sluice-cni" else os.path.join(PLUGINS, plugin)
    process = node.ns.popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CNI_PATH": PLUGINS,
                                 "CNI_COMMAND": command, **environment})
    out, err = process.communicate(conf, timeout=60)
    if process.returncode != 0:
        try:
            error = json.loads(out)
        except ValueError as wrong:
            raise AssertionError(f"{plugin} {command}: {process.returncode}: {out!r} {err!r}") from wrong
        raise CniError(error["code"], process.returncode, f"{plugin}: {error['msg']} "
                                                          f"{error.get('details', '')}")
    return out


class CniPod:
    """A pod that its runtime has to connect. `full_name` is "namespace/pod"."""

    def __init__(self, node, full_name, network, labels=None):
        self.node, self.full_name, self.network = node, full_name, network
        self.labels = labels or {}
        self.container = f"container-{next(_numbers)}"
        self.ns = Netns("c" + str(next(_numbers)) + "-" + full_name.replace("/", "-"))
        self.ns.sysctl(ipv6__conf__default__accept_dad=0)
        self.result, self.seconds = None, None

    @property
    def environment(self):
        namespace, name = self.full_name.split("/")
        return {"CNI_CONTAINERID": self.container, "CNI_NETNS": f"/run/netns/{self.ns.name}",
                "CNI_IFNAME": "eth0",
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};"
                            f"K8S_POD_INFRA_CONTAINER_ID={self.container};"
                            "K8S_POD_UID=0b1f6f0e-5b3e-4c55-9a52-3a3f7f5c9d11"}

    def conf(self, plugin, prev=None):
        head = {"cniVersion": self.network["cniVersion"], "name": self.network["name"]}
        text = json.dumps({**head, **plugin})
        return text if prev is None else text[:-1] + ', "prevResult": ' + prev + "}"

    def make_interface(self):
        """All plugins but the last one."""
        self.result = None
        for plugin in self.network["plugins"][:-1]:
            self.result = call(self.node, plugin["type"], "ADD", self.conf(plugin, self.result),
                               self.environment)

    def set_neighbours(self):
        """Behind ptp, the kernel is not done when the plugin is: what is asked of a neighbour over IPv6
        may be lost for a second, with sluice-cni or without."""
        result = json.loads(self.result)
        host, inner = ({i["name"]: i for i in result["interfaces"] if bool(i.get("sandbox")) == inside}
                       for inside in (False, True))
        (link, outer), = host.items()
        for ip in result["ips"]:
            self.ns.ip(f"neigh replace {ip['gateway']} lladdr {outer['mac']} dev eth0 nud permanent")
            address = ip["address"].split("/")[0]
            self.node.ns.ip(f"neigh replace {address} lladdr {inner['eth0']['mac']} dev {link} nud permanent")

    def announce(self, command="ADD"):
        """sluice-cni, timed."""
        begun = time.monotonic()
        try:
            return call(self.node, "sluice-cni", command,
                        self.conf(self.network["plugins"][-1], self.result), self.environment)
        finally:
            self.seconds = time.monotonic() - begun

    def add(self):
        self.make_interface()
        return self.announce()

    def delete(self):
        for plugin in reversed(self.network["plugins"]):
            call(self.node, plugin["type"], "DEL", self.conf(plugin, self.result), self.environment)
        self.ns.remove()

    def addresses(self):
        return [ip["address"].split("/")[0] for ip in json.loads(self.result)["ips"]]

    def object(self, with_status=False):
        namespace, name = self.full_name.split("/")
        result = {"apiVersion": "v1", "kind": "Pod",
                  "metadata": {"namespace": namespace, "name": name, "labels": self.labels},
                  "spec": {"nodeName": self.node.name}, "status": {"phase": "Pending"}}
        if with_status:
            ips = self.addresses()
            result["status"] = {"phase": "Running", "podIP": ips[0],
                                "podIPs": [{"ip": ip} for ip in ips]}
        return result


def route(node, subnet4, subnet6):
    """From the router to the node's pods."""
    run("ip", "route", "replace", subnet4, "via", node.ipv4, "dev", node.link, "onlink")
    run("ip", "route", "replace", subnet6, "via", node.ipv6, "dev", node.link, "onlink")
