# SPDX-License-Identifier: Apache-2.0
"""What the suites share: one lab with Sluice installed, and how they write what they want."""

import functools
import os
import time
import unittest

from tests.netns.sluice import wait_for
from tests.netns.traffic import ALLOWED, DENIED, Probe
from tests.real import images
from tests.real.lab import Lab

PORT = 8080
_TOLD = "SLUICE_REAL_LAB"


def announce(name):
    """Says how the lab is called that the process inside the sandbox will make."""
    os.environ[_TOLD] = name


@functools.cache
def lab():
    """Started once for all suites of a process, and ended with it."""
    made = bare_lab()
    made.install()
    made.tell("Sluice is ready")
    return made


@functools.cache
def bare_lab():
    """The same without Sluice."""
    started = time.monotonic()
    made = Lab(os.environ["SLUICE_BUILD"], os.environ[_TOLD],
               lambda line: print(f"{time.monotonic() - started:.0f} s: {line}", flush=True))
    made.start()
    return made


class Case(unittest.TestCase):
    """A test with the whole cluster, in a namespace of its own named `namespace`."""

    namespace = "test"
    # Class attribute: the namespace is made once and kept for all tests of the class.

    @classmethod
    def setUpClass(cls):
        cls.lab = lab()
        cls.api, cls.plane = cls.lab.api, cls.lab.plane
        cls.lab.delete_namespace(cls.namespace)
        cls.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cls.namespace}})
        wait_for(lambda: cls.api.find("ServiceAccount", cls.namespace, "default"), "default account", 30)
        cls.make()

    @classmethod
    def make(cls):
        """What the tests of the class share."""

    @classmethod
    def tearDownClass(cls):
        # Nobody waits for it: no other class has this namespace, or the ports on the nodes that its pods have.
        cls.api.delete("Namespace", None, cls.namespace)

    @classmethod
    def apply(cls, *things):
        for thing in things:
            thing["metadata"].setdefault("namespace", cls.namespace)
            cls.api.apply(thing)

    @classmethod
    def wait_ready(cls, *kinds_and_names, seconds=120):
        for text in kinds_and_names:
            kind, name = text.split("/")
            cls.lab.wait_rollout(kind, cls.namespace, name, seconds)

    def policy(self, name, spec, kind="NetworkPolicy"):
        """A policy that goes with the test."""
        version = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "cilium.io/v2"
        self.apply({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
        self.addCleanup(self.api.delete, kind, self.namespace, name)


def container(*ports, **more):
    """A server on these ports."""
    return {"name": "main", "image": images.PEER, "imagePullPolicy": "Never",
            "args": ["serve", *map(str, ports or (PORT,))],
            "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}}, **more}


def template(name, *containers, **spec):
    return {"metadata": {"labels": {"app": name}},
            "spec": {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
                     "containers": list(containers) or [container()], **spec}}


def deployment(name, *containers, replicas=1, **spec):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                     "template": template(name, *containers, **spec)}}


def daemon_set(name, *containers, **spec):
    """One pod on each node."""
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, *containers, **spec)}}


def pod(name, *containers, labels=None, **spec):
    made = template(name, *containers, **spec)
    made["metadata"]["labels"].update(labels or {})
    return {"apiVersion": "v1", "kind": "Pod", **made, "metadata": {**made["metadata"], "name": name}}


def service(name, selects, ports=(PORT,), protocols=("tcp", "udp"), **spec):
    """Of both families."""
    listed = [{"name": f"{proto}-{port}", "port": port, "targetPort": port, "protocol": proto.upper()}
              for port in ports for proto in protocols]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": selects}, "ports": listed, "ipFamilyPolicy": "RequireDualStack",
                     **spec}}


def verdict(allowed):
    return ALLOWED if allowed else DENIED


def probe(source, destination, port=PORT, family=4, address=None, proto="tcp"):
    return Probe(source, destination, f"ask-{proto}/{port}", family, address)
