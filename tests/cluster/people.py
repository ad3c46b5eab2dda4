# SPDX-License-Identifier: Apache-2.0
"""People with a kubeconfig, who ask the operator through the API server."""

import subprocess

from tests.cluster import lab, suite

PORT = 9966


def sluice(*arguments, program=None):
    """Exit status, output and errors of the command."""
    done = subprocess.run([program or lab.program("sluice"), *arguments], check=False, text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


class Case(suite.ClusterCase):

    def publish(self):
        """What kubelet and a controller do: the operators' pods behind their Service. The API server's
        proxy sends to no address that is not that of a pod."""
        addresses = []
        for operator in self.cluster.operators:
            pod = self.api.ensure({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": suite.SYSTEM, "name": operator.identity},
                "spec": {"nodeName": "node1", "serviceAccountName": "sluice-operator", "hostNetwork": True,
                         "automountServiceAccountToken": False,
                         "containers": [{"name": "operator", "image": "none"}]}})
            self.api.patch("Pod", suite.SYSTEM, operator.identity, {"status": {
                "phase": "Running", "podIP": operator.address, "podIPs": [{"ip": operator.address}]}},
                           subresource="status")
            addresses.append({"ip": operator.address, "targetRef": {
                "kind": "Pod", "namespace": suite.SYSTEM, "name": operator.identity,
                "uid": pod["metadata"]["uid"]}})
        self.api.ensure({"apiVersion": "v1", "kind": "Endpoints",
                         "metadata": {"namespace": suite.SYSTEM, "name": "sluice-operator"},
                         "subsets": [{"addresses": addresses,
                                      "ports": [{"name": "grpc", "port": 9443},
                                                {"name": "explain", "port": PORT}]}]})

    def user(self, name, role=None):
        """The kubeconfig of somebody to whom the role is bound."""
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": "default", "name": name}})
        if role:
            self.api.ensure({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                             "metadata": {"namespace": suite.SYSTEM, "name": name},
                             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                                         "name": role},
                             "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": name}]})
        return self.plane.kubeconfig_of("default", name)
