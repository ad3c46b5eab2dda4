# SPDX-License-Identifier: Apache-2.0
"""deploy/alerts: every rule fires where something is wrong and is silent where all is well, as promtool evaluates
them; and rules, documents and programs name the same metrics. `python3 -m tests.alerts.alerts_test`."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

import yaml

from tests import counted
from tests.alerts import cases

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_ALERTS = os.path.join(_ROOT, "deploy", "alerts")
_RULES = os.path.join(_ALERTS, "rules.yaml")
# Of kube-state-metrics.
_FOREIGN = {"kube_node_info"}
_SOURCES = ("agent/node", "agent/program", "operator/program", "lib/health")


def _read(*path):
    with open(os.path.join(_ROOT, *path), encoding="utf-8") as file:
        return file.read()


def rules():
    """{alert: rule}"""
    return {rule["alert"]: rule for group in yaml.safe_load(_read("deploy/alerts/rules.yaml"))["groups"]
            for rule in group["rules"]}


def metrics(expression):
    """Names in an expression, those of histograms without their suffix."""
    names = re.findall(r"\b(?:sluice|kube)_[a-z0-9_]+\b", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def documented():
    """{metric: when to be alerted} of docs/operations.md"""
    return {name: when.strip() for name, when in
            re.findall(r"^\| `(sluice_[a-z0-9_]+)(?:\{[^`]*\})?` \|.*\|([^|]*)\|$", _read("docs/operations.md"), re.M)}


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], check=False, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def firing(series, alerts):
    """What promtool says of these alerts if none is expected; empty if none fires."""
    test = {"rule_files": [_RULES], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": cases.EVALUATED_AT, "alertname": name, "exp_alerts": []} for name in alerts]}]}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(test, file)
        file.flush()
        code, text = promtool("test", "rules", file.name)
    return text if code else ""


class Rules(unittest.TestCase):
    """One test for each rule is added below."""

    def fires(self, alert):
        text = firing(cases.unwell(alert), [alert])
        found = re.findall(r'Labels:\{alertname="(\w+)"', text)
        self.assertEqual(found, [alert], text)
        annotations = re.search(r"Annotations:\{(.*)\}", text).group(1)
        self.assertRegex(annotations, r'summary="[A-Z0-9]')
        self.assertNotRegex(annotations, r"(?i)<no value>|<error|\{\{|node  |node \.|operator  |the map  ")
        self.assertEqual(firing(cases.healthy(), [alert]), "")


def _test_of(alert):
    def test(self):
        self.fires(alert)
    return test


for _alert in rules():
    setattr(Rules, f"test_{_alert}_fires_where_it_must_and_only_there", _test_of(_alert))


class Files(unittest.TestCase):
    def test_every_rule_has_a_case_and_every_case_a_rule(self):
        self.assertEqual(rules().keys(), cases.UNWELL.keys())

    def test_promtool_accepts_the_rules(self):
        code, text = promtool("check", "rules", _RULES)
        self.assertEqual(code, 0, text)
        self.assertIn(f"{len(rules())} rules found", text)

    def test_the_prometheus_operators_object_has_the_same_rules(self):
        self.assertEqual(yaml.safe_load(_read("deploy/alerts/prometheusrule.yaml"))["spec"],
                         yaml.safe_load(_read("deploy/alerts/rules.yaml")))
        done = subprocess.run([sys.executable, os.path.join(_ALERTS, "generate.py"), "--check"], check=False)
        self.assertEqual(done.returncode, 0)

    def test_pod_monitors_choose_the_pods_and_ports_that_the_manifests_have(self):
        manifests = [part for name in ("agent", "operator") for part in yaml.safe_load_all(_read(f"deploy/{name}.yaml"))]
        pods = [part["spec"]["template"] for part in manifests if part["kind"] in ("DaemonSet", "Deployment")]
        monitors = list(yaml.safe_load_all(_read("deploy/alerts/podmonitor.yaml")))
        self.assertEqual(len(monitors), len(pods))
        for monitor in monitors:
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            (pod,) = [pod for pod in pods if wanted <= pod["metadata"]["labels"].items()]
            port = pod["metadata"]["annotations"]["prometheus.io/port"]
            declared = {entry["name"]: entry["containerPort"] for entry in pod["spec"]["containers"][0].get("ports", [])}
            (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
            if "port" in endpoint:
                self.assertEqual(str(declared[endpoint["port"]]), port)
            else:
                self.assertEqual({rule["replacement"].rpartition(":")[2] for rule in endpoint["relabelings"]}, {port})


class Metrics(unittest.TestCase):
    def used(self):
        return set().union(*(metrics(rule["expr"]) for rule in rules().values())) - _FOREIGN

    def test_every_metric_of_a_rule_is_documented_and_exported(self):
        code = "".join(_read(folder, name) for folder in _SOURCES for name in os.listdir(os.path.join(_ROOT, folder))
                       if name.endswith(".cpp"))
        exported = set(re.findall(r'"(sluice_[a-z0-9_]+)"', code))
        self.assertEqual(self.used() - documented().keys(), set())
        self.assertEqual(self.used() - exported, set())

    def test_every_metric_that_is_worth_an_alert_has_a_rule(self):
        worth = {name for name, when in documented().items() if when}
        self.assertGreater(len(worth), 20)
        self.assertEqual(worth - self.used(), set())


if __name__ == "__main__":
    sys.exit(counted.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])))
