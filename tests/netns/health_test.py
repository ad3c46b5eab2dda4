# SPDX-License-Identifier: Apache-2.0
"""The health port of `sluice run`: whether its policies are in force, and its metrics."""

import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

from tests.netns import metrics, suite
from tests.netns.lab import run
from tests.netns.sluice import cnp, ports, wait_for

PORT = 9965
_PLACE = f"127.0.0.1:{PORT}"


def _policy(count=1):
    """`count` entries, one of them for port 80."""
    listed = ["80/TCP"] + [f"{20001 + 2 * n}/TCP" for n in range(count - 1)]
    return cnp("x", "p", {"pod": "a"}, ingress=[{"toPorts": ports(*listed[at:at + 40])} for at in range(0, count, 40)])


class Case(suite.Case):
    def setUp(self):
        super().setUp()
        self.manifests.put("policy", _policy())

    def get(self, path):
        """Status and text."""
        with self.node.ns.entered():
            try:
                with urllib.request.urlopen(f"http://{_PLACE}{path}", timeout=10) as reply:
                    return reply.status, reply.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()


class Health(Case):
    options = ("--health", _PLACE, "--policy-entries", "256")

    def setUp(self):
        super().setUp()
        self.sluice.start()

    def check_status(self):
        """/readyz says what `sluice status` says. Returns the reason."""
        status = self.sluice.query("status")
        self.assertEqual(self.get("/readyz"),
                         (200, "ok\n") if status["enforced"] else (503, status["problem"] + "\n"))
        return status["problem"]

    def metric(self, name):
        lines = self.get("/metrics")[1].splitlines()
        return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + " ")]

    def test_ready_while_the_policies_are_in_force(self):
        self.assertEqual(self.get("/healthz"), (200, "ok\n"))
        self.assertEqual(self.check_status(), "")
        self.sluice.apply("policy", _policy(600), enforced=False)
        self.assertIn("CiliumNetworkPolicy/x/p", self.check_status())
        self.assertEqual(self.get("/healthz"), (200, "ok\n"))
        self.sluice.apply("policy", _policy(2))
        self.assertEqual(self.check_status(), "")

    def test_not_ready_while_the_folder_cannot_be_read(self):
        away = self.manifests.path + "-away"
        os.rename(self.manifests.path, away)
        wait_for(lambda: not self.sluice.status()["enforced"], "the folder is missed")
        self.assertIn(self.manifests.path, self.check_status())
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")
        os.rename(away, self.manifests.path)
        wait_for(lambda: self.sluice.status()["enforced"], "the folder is read again")
        self.assertEqual(self.check_status(), "")

    def test_metrics_are_those_of_an_agent_that_need_no_operator(self):
        self.check("x/b > x/a tcp/81 D")
        text = self.get("/metrics")[1]
        own = {name for name in metrics.exported(text) if not name.startswith("process_")}
        self.assertEqual(own, metrics.documented("sluice_agent", table="sluice run"))
        for line in ('sluice_agent_packets_total{reason="default deny",direction="ingress",verdict="denied"} ',
                     'sluice_agent_build_info{version="', 'sluice_agent_endpoints{state="enforced"} ',
                     'sluice_agent_map_capacity{map="policy"} 256', "sluice_agent_apply_seconds_bucket",
                     "sluice_agent_in_force 1", "sluice_agent_behind_seconds 0",
                     "sluice_agent_apply_failures_total 0", "process_resident_memory_bytes "):
            self.assertIn("\n" + line, "\n" + text)
        self.assertIn(f'node="{self.node.name}"', text)

    def test_flows_are_counted_by_workload_policy_and_pair(self):
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/81 D")
        lines = ('sluice_agent_flows_total{workload_namespace="x",workload="a",direction="ingress",verdict="allowed",'
                 'reason="policy allow"} ',
                 'sluice_agent_flows_total{workload_namespace="x",workload="a",direction="ingress",verdict="denied",'
                 'reason="default deny"} ',
                 'sluice_agent_policy_flows_total{policy="CiliumNetworkPolicy/x/p",rule="spec.ingress[0]",'
                 'direction="ingress",verdict="allowed"} ',
                 'sluice_agent_policy_flows_total{policy="CiliumNetworkPolicy/x/p",rule="",direction="ingress",'
                 'verdict="denied"} ',
                 'sluice_agent_denied_pair_flows_total{source_namespace="x",source="c",destination_namespace="x",'
                 'destination="a"} ')

        def missing():
            text = "\n" + self.get("/metrics")[1]
            return [line for line in lines if "\n" + line not in text]
        wait_for(lambda: not missing(), f"in the metrics: {lines}")

    def test_a_change_is_counted_when_it_is_in_force(self):
        def seen():
            return [self.metric(f"sluice_agent_{name}") for name in ("apply_seconds_count", "revision_applied")]
        before = seen()
        self.sluice.apply("policy", _policy(2))
        after = seen()
        for was, now in zip(before, after):
            self.assertGreater(now, was)
        self.assertEqual(self.metric("sluice_agent_revision_received"), self.metric("sluice_agent_revision_applied"))

    def test_promtool_finds_nothing_wrong_with_the_metrics(self):
        promtool = shutil.which("promtool")
        self.assertTrue(promtool, "the package prometheus is not installed")
        done = subprocess.run([promtool, "check", "metrics"], input=self.get("/metrics")[1], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


class Few(Case):
    """A bound of the number of series."""
    options = ("--health", _PLACE, "--flow-metrics-series", "1")

    def test_what_goes_beyond_is_counted_together(self):
        self.sluice.start()
        self.check("x/b > x/a tcp/80 A, x/c > x/a tcp/81 D")

        def series():
            return [line for line in self.get("/metrics")[1].splitlines()
                    if line.startswith("sluice_agent_flows_total{")]
        wait_for(lambda: len(series()) == 2, "one series and that of the others")
        self.assertEqual(len([line for line in series() if 'workload="other",direction="other"' in line]), 1)


class Off(Case):
    def test_nothing_is_served_without_the_option(self):
        self.sluice.start()
        with self.assertRaises(urllib.error.URLError):
            self.get("/healthz")

    def test_an_address_that_is_none_is_refused(self):
        for text in ("9965", "localhost:9965", "127.0.0.1"):
            self.sluice.options = ["--health", text]
            self.sluice.spawn()
            self.assertEqual(self.sluice.process.wait(60), 2)
            self.assertIn(f"--health: {text}: not an address and a port", self.sluice.log())


class Taken(Case):
    """A port that is taken ends the program before it changes anything in the kernel."""

    def check_refused(self, option, value):
        with self.node.ns.entered():
            listener = socket.create_server(("127.0.0.1", PORT))
        self.addCleanup(listener.close)
        self.sluice.options = [option, value]
        self.sluice.spawn()
        self.assertEqual(self.sluice.process.wait(60), 2)
        self.assertIn(f"error: {option}: {_PLACE}: cannot listen there: Address already in use", self.sluice.log())
        self.assertNotIn("manifests, ", self.sluice.log())
        self.assertEqual([name for _, _, files in os.walk(self.sluice.pin_dir) for name in files], [])
        link = self.host("x/a").link
        self.assertNotIn("sluice", "".join(run("tc", "-n", self.node.ns.name, "filter", "show", "dev", link, direction,
                                               check=False) for direction in ("ingress", "egress")))
        self.assertFalse(os.path.exists(self.sluice.socket))
        # With the port, it starts.
        listener.close()
        self.sluice.start()
        self.check("x/b > x/a tcp/80 A, x/b > x/a tcp/81 D")

    def test_the_health_port(self):
        self.check_refused("--health", _PLACE)

    def test_the_port_of_the_page(self):
        self.check_refused("--ui", str(PORT))
