# SPDX-License-Identifier: Apache-2.0
"""How an instance finds its node, its file system and its manifests, and how it ends."""

import json
import os
import signal
import socket
import subprocess

from tests.netns import suite
from tests.netns.lab import run
from tests.netns.sluice import cnp, ports, wait_for

_POLICY = cnp("x", "p", {"pod": "a"}, ingress=[{"fromEndpoints": [{"matchLabels": {"pod": "b"}}],
                                                "toPorts": ports("80/TCP")}])


class Start(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _POLICY)

    def check_enforced(self):
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/80 D")

    def filters(self):
        """What is on the host side of pod x/a's veth, in both directions."""
        link = self.host("x/a").link
        # Without a qdisc to hang them on, tc says so.
        return "".join(run("tc", "-n", self.node.ns.name, "filter", "show", "dev", link, direction,
                           check=False) for direction in ("ingress", "egress"))

    def test_node_is_the_one_that_has_an_address_of_the_host(self):
        self.sluice.start(names_node=False)
        self.assertEqual(self.sluice.query("status")["node"], "node1")
        self.check_enforced()

    def test_without_node_objects_the_host_name_is_the_node(self):
        objects = [o for o in self.lab.objects() if o["kind"] != "Node"]
        for pod in (o for o in objects if o["kind"] == "Pod"):
            if pod["spec"]["nodeName"] == "node1":
                pod["spec"]["nodeName"] = socket.gethostname()
        self.manifests.put("cluster", *objects)
        self.sluice.start(names_node=False)
        self.assertEqual(self.sluice.query("status")["node"], socket.gethostname())
        self.check_enforced()

    def test_bpffs_is_mounted_where_none_is(self):
        unmounted = ("unshare", "--mount", "sh", "-c",
                     'while umount /sys/fs/bpf 2>/dev/null; do :; done; exec "$@"', "sh")
        self.sluice.start(wrapper=unmounted)
        with open(f"/proc/{self.sluice.process.pid}/mounts", encoding="ascii") as file:
            mounts = [line.split()[1:3] for line in file]
        self.assertIn(["/sys/fs/bpf", "bpf"], mounts)
        self.check_enforced()

    def test_pins_elsewhere_than_in_a_bpffs_are_refused(self):
        self.sluice.pin_dir = "/run/plain"
        self.sluice.spawn()
        self.assertEqual(self.sluice.process.wait(15), 2)
        self.assertIn("/run/plain: not in a BPF file system", self.sluice.log())

    def test_run_with_cleanup_leaves_nothing(self):
        self.sluice.options = ["--cleanup"]
        self.sluice.start()
        self.check_enforced()
        self.assertIn("sluice_", self.filters())
        self.sluice.stop()
        self.assertNotIn("sluice_", self.filters())
        for path in (self.sluice.pin_dir, self.sluice.socket):
            self.assertFalse(os.path.exists(path), path)
        self.check("x/c > x/a tcp/80 A")

    def test_cleanup_without_a_folder_removes_what_a_crash_left(self):
        self.sluice.start()
        self.sluice.kill()
        self.assertIn("sluice_", self.filters())
        done = self.node.ns.popen(os.environ["SLUICE"], "run", "--cleanup", "--pin-dir",
                                  self.sluice.pin_dir, "--socket", self.sluice.socket,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = done.communicate(timeout=15)[0]
        self.assertEqual((done.returncode, text), (0, ""))
        self.assertNotIn("sluice_", self.filters())
        self.assertFalse(os.path.exists(self.sluice.pin_dir))
        self.check("x/c > x/a tcp/80 A")

    def test_sighup_reads_what_no_notice_tells(self):
        """A link out of the folder: nothing says when its target changes."""
        target = self.manifests.path + "-outside.json"
        os.rename(os.path.join(self.manifests.path, "policy.json"), target)
        os.symlink(target, os.path.join(self.manifests.path, "policy.json"))
        self.sluice.start()
        self.check_enforced()
        with open(target, "w", encoding="ascii") as file:
            json.dump({"apiVersion": "v1", "kind": "List", "items": []}, file)
        self.sluice.process.send_signal(signal.SIGHUP)
        # Without the signal it would be noticed after twenty seconds.
        wait_for(lambda: not self.sluice.query("policy", "list")["policies"],
                 "the target is read again", seconds=10)
