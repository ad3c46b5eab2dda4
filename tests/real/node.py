# SPDX-License-Identifier: Apache-2.0
"""A node of the lab: containerd, kubelet and kube-proxy, each the real one, in namespaces and control
groups of the node's own, over a root that is this machine's with Debian's packages on top."""

import json
import os
import shutil
import signal
import subprocess
import sys

from tests.netns import lab as netlab
from tests.netns import sandbox
from tests.netns.sluice import wait_for
from tests.real import cgroups, network

_HERE = os.path.dirname(os.path.abspath(__file__))
_CONTAINERD = "unix:///run/containerd/containerd.sock"
PAUSE = "sluice-test/pause:1"
SERVICES = ("containerd", "kubelet", "kube-proxy")


class Node:
    """`start()` boots it and `crash()` ends it as a power cut does; its disk stays until the sandbox goes."""

    def __init__(self, lab, name, number, plugin):
        self.lab, self.name, self.number, self.plugin = lab, name, number, plugin
        self.ipv4, self.ipv6 = network.node_addresses(number)
        self.disk = os.path.join(lab.folder, name)
        self.ns, self._unshare, self._init = None, None, None
        self._groups, self._services = [], {}
        self._make_disk()

    def address(self, family):
        return self.ipv4 if family == 4 else self.ipv6

    # ---- the disk ------------------------------------------------------------------

    def _make_disk(self):
        for name in ("upper", "work", "root", "containerd", "kubelet"):
            os.makedirs(os.path.join(self.disk, name))
        upper = os.path.join(self.disk, "upper")
        # Plugins of its own, which an agent may add to.
        shutil.copytree(os.path.join(self.lab.packages, "usr/lib/cni"), upper + "/opt/cni/bin")
        for path, text in self._files().items():
            os.makedirs(os.path.dirname(upper + path), exist_ok=True)
            with open(upper + path, "w", encoding="utf-8") as file:
                file.write(text if isinstance(text, str) else json.dumps(text, indent=1))
        shutil.copy(self.lab.plane.ca_file, upper + "/etc/kubernetes/ca.crt")
        for user, name in ((f"system:node:{self.name}", "kubelet"), ("system:kube-proxy", "kube-proxy")):
            text = self._portable(self.lab.plane.user_kubeconfig(user))
            with open(f"{upper}/etc/kubernetes/{name}.kubeconfig", "w", encoding="utf-8") as file:
                file.write(text)

    def _portable(self, kubeconfig):
        with open(kubeconfig, encoding="utf-8") as file:
            return file.read().replace(self.lab.plane.ca_file, "/etc/kubernetes/ca.crt")

    def _files(self):
        return {
            "/etc/hostname": self.name + "\n",
            "/etc/hosts": f"127.0.0.1 localhost\n{self.ipv4} {self.name}\n",
            "/etc/resolv.conf": "nameserver 127.0.0.1\n",
            "/etc/machine-id": f"{self.number:032x}\n",
            "/etc/cni/net.d/10-lab.conflist": self.conflist(),
            "/etc/containerd/config.toml": self._containerd(),
            "/etc/kubernetes/kubelet.yaml": _KUBELET,
            "/etc/kubernetes/kube-proxy.yaml": self.kube_proxy(),
        }

    def conflist(self):
        """As the main plugin's installer writes it."""
        ranges = [[{"subnet": pods}] for pods in network.pod_ranges(self.number)]
        if self.plugin == "ptp":
            # Kubelet asks a pod at its first address: so it asks by IPv4 there and by IPv6 here.
            ranges.reverse()
        ipam = {"type": "host-local", "ranges": ranges}
        if self.plugin == "bridge":
            main = {"type": "bridge", "bridge": "cni0", "isGateway": True, "isDefaultGateway": True,
                    "hairpinMode": True, "ipam": ipam}
        else:
            ipam["routes"] = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
            main = {"type": "ptp", "ipam": ipam}
        return {"cniVersion": "0.4.0" if self.plugin == "bridge" else "1.0.0", "name": "lab", "plugins": [
            main, {"type": "portmap", "capabilities": {"portMappings": True}}]}

    def _containerd(self):
        return f"""version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/{PAUSE}"
  # No process of the lab may get out of memory later than it does by itself.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
  # The first address is the one that the plugin names first.
  ip_pref = "cni"
"""

    @staticmethod
    def kube_proxy(mode="iptables", masquerade_all=False):
        return {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
                "mode": mode, "clusterCIDR": ",".join(network.PODS),
                "featureGates": {"IPv6DualStack": True},
                "iptables": {"masqueradeAll": masquerade_all, "minSyncPeriod": "0s"},
                "ipvs": {"scheduler": "rr"},
                "clientConnection": {"kubeconfig": "/etc/kubernetes/kube-proxy.kubeconfig"},
                # They are the whole machine's.
                "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s",
                              "tcpCloseWaitTimeout": "0s"}}

    # ---- power ---------------------------------------------------------------------

    def start(self):
        """Boots it; returns when its services have been started."""
        self.ns = self.lab.fabric.plug(self.name, self.number)
        self._groups = self.lab.groups.make(self.name)
        spec = {"name": self.name, "disk": self.disk, "packages": self.lab.packages,
                "shared": {"/opt/kubernetes": self.lab.plane.binaries, "/opt/images": self.lab.images},
                "cgroups": [[h.name, h.kind, h.options] for h in cgroups.hierarchies()]}
        self._unshare = self._popen(
            ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child",
             sys.executable, os.path.join(_HERE, "node_init.py"), json.dumps(spec)],
            stdout=subprocess.PIPE, stderr=self._open_log("init"), text=True)
        if self._unshare.stdout.readline() != "ready\n":
            raise RuntimeError(f"{self.name} has no root: {self.log('init')}")
        self._init = _child(self._unshare.pid)
        self.start_service("containerd")
        wait_for(lambda: self.run("ctr", "version", check=False)[0] == 0,
                 f"containerd of {self.name} answers; {self.log('containerd')}", 60)
        for name in sorted(os.listdir(self.lab.images)):
            self.run("ctr", "-n", "k8s.io", "images", "import", "/opt/images/" + name, timeout=120)
        self.start_service("kubelet")
        self.start_service("kube-proxy")

    def crash(self):
        """Everything that runs ends at once; interfaces and bpffs are gone with it. The disk stays."""
        os.kill(self._init, signal.SIGKILL)
        self._unshare.wait(30)
        for service in self._services.values():
            service.wait(30)
        self._services.clear()
        self.ns.remove()
        # The namespaces of its pods may live a moment longer; the port on the switch goes with its peer.
        wait_for(lambda: not os.path.exists(f"/sys/class/net/port{self.number}"), f"{self.name} is unplugged", 30)
        cgroups.clear(self._groups)

    # ---- services ------------------------------------------------------------------

    def _command(self, name):
        if name == "containerd":
            return ["containerd", "--config", "/etc/containerd/config.toml"]
        if name == "kubelet":
            return ["/opt/kubernetes/kubelet", "--config=/etc/kubernetes/kubelet.yaml",
                    "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig", f"--hostname-override={self.name}",
                    f"--node-ip={self.ipv4},{self.ipv6}", "--container-runtime=remote",
                    f"--container-runtime-endpoint={_CONTAINERD}", "--v=2"]
        return ["/opt/kubernetes/kube-proxy", "--config=/etc/kubernetes/kube-proxy.yaml",
                f"--hostname-override={self.name}"]

    def start_service(self, name):
        self._services[name] = self._popen([*self._entering(), *self._command(name)],
                                           stdout=self._open_log(name), stderr=subprocess.STDOUT)

    def stop_service(self, name, number=signal.SIGKILL):
        """Ends it; what it has started goes on, as under systemd with KillMode=process."""
        entering = self._services.pop(name)
        inside = _child(entering.pid)
        os.kill(inside, number)
        entering.wait(30)

    def service_pid(self, name):
        return _child(self._services[name].pid)

    def write(self, path, content):
        """Writes a file of the node, replacing it in one step."""
        whole = f"/proc/{self._init}/root{path}"
        with open(whole + ".new", "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content, indent=1))
        os.rename(whole + ".new", whole)

    def read(self, path):
        with open(f"/proc/{self._init}/root{path}", encoding="utf-8") as file:
            return file.read()

    def run(self, *command, check=True, timeout=60):
        """Output of a command run on the node; (code, output) with check=False."""
        entered = self._popen([*self._entering(), *command], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        out, _ = entered.communicate(timeout=timeout)
        if not check:
            return entered.returncode, out
        if entered.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {out.strip()}")
        return out

    def _entering(self):
        return ["nsenter", "-t", str(self._init), "-m", "-n", "-p", "-u", "-i", "-C", "--"]

    def _popen(self, command, **options):
        def prepare():
            cgroups.join(self._groups)
            sandbox.set_network_namespace(self.ns.fd)
            sandbox.die_with_parent()
        environment = {"PATH": "/opt/kubernetes:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "HOME": "/root", "LC_ALL": "C"}
        # The hook writes small files and makes system calls, and no thread of ours holds a lock.
        return subprocess.Popen(command, preexec_fn=prepare, env=environment,  # pylint: disable=R1732,W1509
                                stdin=subprocess.DEVNULL, **options)

    def _open_log(self, name):
        return open(os.path.join(self.disk, name + ".log"), "ab")  # pylint: disable=R1732

    def log(self, name, lines=15):
        with open(os.path.join(self.disk, name + ".log"), encoding="utf-8", errors="replace") as file:
            return "".join(line[:300] + "\n" for line in file.read().splitlines()[-lines:])


def _child(pid):
    def found():
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return file.read().split()
    return int(wait_for(found, f"process {pid} has started its child", 30)[0])


_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
    "cgroupDriver": "cgroupfs", "failSwapOn": False, "featureGates": {"IPv6DualStack": True},
    "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                       "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"}},
    "authorization": {"mode": "Webhook"},
    # A busy machine is no reason to end pods.
    "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    "imageGCHighThresholdPercent": 100, "maxPods": 250, "serializeImagePulls": False,
    "kubeAPIQPS": 50, "kubeAPIBurst": 100, "registryPullQPS": 0,
    # Projected ConfigMaps and tokens are there sooner than by default.
    "syncFrequency": "5s", "nodeStatusUpdateFrequency": "5s",
}
