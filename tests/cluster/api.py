# SPDX-License-Identifier: Apache-2.0
"""A client of the Kubernetes API, as small as the tests need it."""

import http.client
import json
import ssl
import threading

# kind: (path of its group and version, plural, namespaced)
KINDS = {
    "Namespace": ("api/v1", "namespaces", False),
    "Node": ("api/v1", "nodes", False),
    "Pod": ("api/v1", "pods", True),
    "Service": ("api/v1", "services", True),
    "ServiceAccount": ("api/v1", "serviceaccounts", True),
    "ConfigMap": ("api/v1", "configmaps", True),
    "Secret": ("api/v1", "secrets", True),
    "Event": ("api/v1", "events", True),
    "Endpoints": ("api/v1", "endpoints", True),
    "EndpointSlice": ("apis/discovery.k8s.io/v1beta1", "endpointslices", True),
    "Deployment": ("apis/apps/v1", "deployments", True),
    "DaemonSet": ("apis/apps/v1", "daemonsets", True),
    "Lease": ("apis/coordination.k8s.io/v1", "leases", True),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies", True),
    "CiliumNetworkPolicy": ("apis/cilium.io/v2", "ciliumnetworkpolicies", True),
    "CiliumClusterwideNetworkPolicy": ("apis/cilium.io/v2", "ciliumclusterwidenetworkpolicies", False),
    "CiliumCIDRGroup": ("apis/cilium.io/v2", "ciliumcidrgroups", False),
    "ClusterNetworkPolicy": ("apis/policy.networking.k8s.io/v1alpha2", "clusternetworkpolicies", False),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
}
_PATCH = {"merge": "application/merge-patch+json", "json": "application/json-patch+json",
          "apply": "application/apply-patch+yaml"}


class ApiError(Exception):
    """The server answered, and not with success."""

    def __init__(self, status, reason, message):
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


def path_of(kind, namespace=None, name=None, subresource=None):
    """The URL path of an object, or of a collection without `name`."""
    base, plural, namespaced = KINDS[kind]
    parts = ["", base]
    if namespaced and namespace:
        parts += ["namespaces", namespace]
    parts += [p for p in (plural, name, subresource) if p]
    return "/".join(parts)


def path_to(thing, subresource=None):
    """The URL path of an object that is at hand."""
    meta = thing["metadata"]
    return path_of(thing["kind"], meta.get("namespace"), meta["name"], subresource)


class Api:
    """Requests as one user. One connection per thread, opened again when the server was away.

    Raises ApiError for an answer that is no success, OSError where there is no answer.
    """

    def __init__(self, server, ca_file, token):
        self.server, self.ca_file, self.token = server, ca_file, token
        self._address = server.removeprefix("https://")
        self._context = ssl.create_default_context(cafile=ca_file)
        self._local = threading.local()

    def request(self, method, path, body=None, content_type="application/json", timeout=30):
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        data = None
        if body is not None:
            data = body if isinstance(body, (bytes, str)) else json.dumps(body)
            headers["Content-Type"] = content_type
        status, text = self._exchange(method, path, data, headers, timeout)
        if status >= 300:
            raise _error(status, text)
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def _exchange(self, method, path, data, headers, timeout):
        while True:
            connection = getattr(self._local, "connection", None)
            fresh = connection is None
            if fresh:
                connection = http.client.HTTPSConnection(self._address, context=self._context)
                self._local.connection = connection
            connection.timeout = timeout
            if connection.sock:
                connection.sock.settimeout(timeout)
            try:
                connection.request(method, path, data, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._local.connection = None
                # A connection kept from before may have ended with the server's last life.
                if fresh or not isinstance(error, (ConnectionError, http.client.RemoteDisconnected)):
                    raise error if isinstance(error, OSError) else OSError(str(error)) from error

    # ---- objects -------------------------------------------------------------------

    def get(self, kind, namespace=None, name=None):
        return self.request("GET", path_of(kind, namespace, name))

    def find(self, kind, namespace=None, name=None):
        """The object, or None if there is none."""
        try:
            return self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, thing, query=""):
        meta = thing["metadata"]
        return self.request("POST", path_of(thing["kind"], meta.get("namespace")) + query, thing)

    def ensure(self, thing):
        """Creates what is not there yet; what is there stays as it is."""
        try:
            return self.create(thing)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return self.request("GET", path_to(thing))

    def apply(self, thing):
        """Server-side apply, as kubectl apply --server-side does."""
        return self.patch(thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"],
                          thing, how="apply", query="?fieldManager=tests&force=true")

    def patch(self, kind, namespace, name, change, how="merge", subresource=None, query=""):
        return self.request("PATCH", path_of(kind, namespace, name, subresource) + query, change,
                            _PATCH[how])

    def delete(self, kind, namespace=None, name=None, grace_seconds=None):
        """Deletes an object; that there is none is success."""
        query = "" if grace_seconds is None else f"?gracePeriodSeconds={grace_seconds}"
        try:
            return self.request("DELETE", path_of(kind, namespace, name) + query)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def delete_namespace(self, name):
        """Deletes a namespace and what is in it. No controller does that here."""
        for kind, (_, _, namespaced) in KINDS.items():
            if namespaced and kind != "Event":
                try:
                    things = self.get(kind, name)["items"]
                except ApiError as error:
                    if error.status == 404:  # the kind is not installed
                        continue
                    raise
                for thing in things:
                    self.delete(kind, name, thing["metadata"]["name"], 0)
        self.delete("Namespace", None, name)
        left = self.find("Namespace", None, name)
        if left:
            left["spec"]["finalizers"] = []
            self.request("PUT", path_of("Namespace", None, name, "finalize"), left)

    # ---- identities ----------------------------------------------------------------

    def token_for(self, namespace, account, audiences=(), seconds=3600, pod=None):
        """A token of a service account by TokenRequest, bound to `pod` (an object) if given."""
        spec = {"audiences": list(audiences), "expirationSeconds": seconds}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"],
                                      "uid": pod["metadata"]["uid"]}
        answer = self.request("POST", path_of("ServiceAccount", namespace, account, "token"),
                              {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                               "spec": spec})
        return answer["status"]["token"]


def _error(status, text):
    try:
        answer = json.loads(text)
        return ApiError(status, answer.get("reason", ""), answer.get("message", ""))
    except (ValueError, AttributeError):
        return ApiError(status, "", text[:500].decode(errors="replace"))
