# SPDX-License-Identifier: Apache-2.0
"""A cluster of real parts on this machine: etcd, kube-apiserver, kube-controller-manager and
kube-scheduler; nodes with containerd, kubelet, kube-proxy and CNI plugins; Sluice as deploy/ installs it.

node1 wires its pods by the bridge plugin, node2 by ptp. Pods have addresses of both families; on node1 the
IPv4 address is the first one, on node2 the IPv6 address.
"""

import json
import os
import subprocess
import threading

from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.netns import sandbox, traffic
from tests.netns.sluice import wait_for
from tests.real import cgroups, images, network, packages
from tests.real.node import Node

SYSTEM = "sluice-system"
FOLDER = "/run/real"
_PLUGINS = ("bridge", "ptp")
_PLANE = FOLDER + "/plane"
_SERVER = ("--bind-address=0.0.0.0", "--kubelet-preferred-address-types=InternalIP",
           f"--kubelet-client-certificate={_PLANE}/admin.crt", f"--kubelet-client-key={_PLANE}/admin.key",
           "--default-not-ready-toleration-seconds=10", "--default-unreachable-toleration-seconds=10")
_USERS = {"system:kube-controller-manager": [], "system:kube-scheduler": [], "system:kube-proxy": [],
          **{f"system:node:node{n + 1}": ["system:nodes"] for n in range(len(_PLUGINS))}}


class Lab:
    """One per sandbox. `build`: build folder with the programs under test; `name`: the lab's, which its control
    groups have, too. What it starts ends with the sandbox."""

    def __init__(self, build, name, tell=lambda line: None):
        self.folder, self.tell = FOLDER, tell
        self.images = os.path.join(FOLDER, "images")
        self.packages = os.path.join(FOLDER, "packages")
        os.makedirs(self.images)
        # Layers of one overlay may not lie within each other.
        subprocess.run(["cp", "-a", packages.folder(), self.packages], check=True)
        packing = threading.Thread(target=images.make, args=(self.images, build))
        packing.start()
        self.groups = cgroups.Groups(os.path.join(FOLDER, "cgroup"), name)
        self.fabric = network.Fabric(len(_PLUGINS))
        self.outsider = self.fabric.outsider
        tell("starting the control plane")
        self.plane = ControlPlane(_PLANE, tell, _SERVER, network.ROUTER[0], _USERS)
        self.plane.__enter__()
        self.api = self.plane.api
        self._start_controllers()
        packing.join()
        self.nodes = {f"node{n + 1}": Node(self, f"node{n + 1}", n + 1, plugin)
                      for n, plugin in enumerate(_PLUGINS)}
        self._netns = {}

    def _start_controllers(self):
        for name, options in (
                ("kube-controller-manager", [
                    f"--service-account-private-key-file={self.plane.path('accounts.key')}",
                    f"--root-ca-file={self.plane.ca_file}", "--use-service-account-credentials",
                    "--node-monitor-grace-period=20s", "--node-monitor-period=2s",
                    "--feature-gates=IPv6DualStack=true"]),
                ("kube-scheduler", [])):
            kubeconfig = self.plane.user_kubeconfig("system:" + name)
            with open(self.plane.path(name + ".log"), "ab") as log:
                command = [os.path.join(self.plane.binaries, name), f"--kubeconfig={kubeconfig}",
                           "--leader-elect=false", "--bind-address=127.0.0.1", "--port=0", *options]
                # The hook makes one system call.
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,  # pylint: disable=R1732,W1509
                                 stderr=subprocess.STDOUT, preexec_fn=sandbox.die_with_parent)

    # ---- bringing it up --------------------------------------------------------------

    def start(self):
        """Boots the nodes and returns when they are ready for pods."""
        for node in self.nodes.values():
            self.tell(f"booting {node.name}")
            node.start()
        for node in self.nodes.values():
            self.wait_node(node)
            ranges = network.pod_ranges(node.number)
            self.api.patch("Node", None, node.name, {"spec": {"podCIDR": ranges[0], "podCIDRs": list(ranges)}})

    def wait_node(self, node, seconds=180):
        """Returns when kubelet reports the node ready."""
        wait_for(lambda: self._ready_node(node.name),
                 lambda: f"{node.name} is ready; {node.log('kubelet', 40)}", seconds)

    def _ready_node(self, name):
        return _is_ready(self.api.find("Node", None, name) or {})

    def reboot(self, node):
        """A power cut, and what comes up afterwards by itself; returns when kubelet has started every pod
        of the node anew, which the API server takes for running all the time."""
        before = self._containers(node)
        self.crash(node)
        node.start()
        self.wait_node(node)
        wait_for(lambda: not before & self._containers(node),
                 lambda: f"the pods of {node.name} are started anew; {node.log('kubelet')}", 180)

    def _containers(self, node):
        return {c["containerID"] for p in self.api.get("Pod")["items"] if p["spec"].get("nodeName") == node.name
                for c in p["status"].get("containerStatuses", []) if "containerID" in c}

    def crash(self, node):
        for netns in self._netns.values():
            netns.close()
        self._netns.clear()
        node.crash()

    def install(self):
        """kubectl apply -k deploy/, and waits until both programs are ready everywhere."""
        self.tell("installing Sluice")
        self.plane.deploy()
        self.wait_sluice()

    def wait_sluice(self, seconds=180):
        self.wait_rollout("Deployment", SYSTEM, "sluice-operator", seconds)
        self.wait_rollout("DaemonSet", SYSTEM, "sluice-agent", seconds)

    def restart_sluice(self, app):
        """Deletes the pods of the agents or operators, and returns when others are ready in their place."""
        old = self.pods(SYSTEM, **{"app.kubernetes.io/name": app})
        for pod in old:
            self.api.delete("Pod", SYSTEM, pod["metadata"]["name"])
        uids = {p["metadata"]["uid"] for p in old}
        wait_for(lambda: not uids & {p["metadata"]["uid"] for p in self.api.get("Pod", SYSTEM)["items"]},
                 f"the pods of {app} are gone", 180)
        self.wait_sluice()

    # ---- objects ---------------------------------------------------------------------

    def wait_rollout(self, kind, namespace, name, seconds=120):
        """Returns when all pods of the latest version are ready and there are no others."""
        wait_for(lambda: self._rolled_out(self.api.get(kind, namespace, name)),
                 lambda: f"{kind} {namespace}/{name} is ready; {self.describe(namespace)}", seconds)

    @staticmethod
    def _rolled_out(thing):
        status = thing.get("status", {})
        if status.get("observedGeneration") != thing["metadata"]["generation"]:
            return False
        if thing["kind"] == "DaemonSet":
            wanted = status["desiredNumberScheduled"]
            return wanted > 0 and (status.get("updatedNumberScheduled", 0) == status.get("numberReady", 0)
                                   == status.get("currentNumberScheduled") == wanted)
        wanted = thing["spec"]["replicas"]
        return (status.get("updatedReplicas", 0) == status.get("readyReplicas", 0)
                == status.get("replicas", 0) == wanted)

    def wait_pods(self, namespace, seconds=120):
        """Returns when every pod of a namespace is ready."""
        wait_for(lambda: all(map(_is_ready, self.api.get("Pod", namespace)["items"])),
                 lambda: f"the pods of {namespace} are ready; {self.describe(namespace)}", seconds)

    def pods(self, namespace, **labels):
        """Pods of a namespace that are not on their way out."""
        return [p for p in self.api.get("Pod", namespace)["items"]
                if labels.items() <= p["metadata"].get("labels", {}).items()
                and "deletionTimestamp" not in p["metadata"]]

    def pod(self, namespace, name):
        """A running pod as a peer."""
        return self.peer(self.api.get("Pod", namespace, name))

    def peer(self, pod):
        addresses = [a["ip"] for a in pod["status"]["podIPs"]]
        four = next(a for a in addresses if ":" not in a)
        six = next(a for a in addresses if ":" in a)
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        return network.Peer(name, self._netns_of(uid, name), four, six)

    def process_of(self, pod):
        """The process of a pod's only container."""
        uid = pod["metadata"]["uid"]
        return wait_for(lambda: next((p for p in _processes_of(uid) if not _is_pause(p)), None),
                        f"a process of pod {pod['metadata']['name']}", 30)

    def _netns_of(self, uid, name):
        kept = self._netns.get(uid)
        if kept is None:
            pid = wait_for(lambda: next(_processes_of(uid), None), f"a process of pod {name}", 10)
            kept = self._netns[uid] = network.OpenNetns(name, pid)
        return kept

    def create(self, *things):
        for thing in things:
            self.api.create(thing)

    def delete_namespace(self, name):
        """Deletes a namespace and returns when all in it is gone."""
        if self.api.find("Namespace", None, name):
            self.api.delete("Namespace", None, name)
        wait_for(lambda: self.api.find("Namespace", None, name) is None, f"namespace {name} is gone", 120)

    # ---- what a message of a failed test shows -------------------------------------------

    def describe(self, namespace):
        """The pods of a namespace, and what its latest events say."""
        lines = []
        for pod in self.api.get("Pod", namespace)["items"]:
            status = pod.get("status", {})
            states = [json.dumps(c.get("state")) for c in status.get("containerStatuses", [])]
            lines.append(f"{pod['metadata']['name']} on {pod['spec'].get('nodeName')}: {status.get('phase')}"
                         f" {' '.join(states)}")
        events = self.api.get("Event", namespace)["items"]
        events.sort(key=lambda e: e.get("lastTimestamp") or "")
        lines += [f"{e['involvedObject'].get('name')}: {e.get('reason')} {e.get('message')}"[:300]
                  for e in events[-12:]]
        return "\n".join(lines)

    def logs(self, lines=12):
        """The last lines of Sluice's programs."""
        found = []
        for pod in self.api.get("Pod", SYSTEM)["items"]:
            name = pod["metadata"]["name"]
            try:
                text = self.api.request("GET", f"/api/v1/namespaces/{SYSTEM}/pods/{name}/log?tailLines={lines}")
            except (ApiError, OSError) as error:
                text = str(error)
            found.append(f"== {name}\n{text}")
        return "\n".join(found)

    # ---- packets -----------------------------------------------------------------------

    def wait_for_table(self, expected, seconds=30):
        """Returns when the wire agrees with {Probe: verdict}."""
        traffic.wait_for_table(expected, seconds, self.logs)


def _is_ready(thing):
    """A node or a pod."""
    conditions = thing.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _processes_of(uid):
    """Processes of a pod: their control group has the pod's uid in its name."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                if uid in file.read():
                    yield int(pid)
        except OSError:
            pass


def _is_pause(pid):
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "pause"
