# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver on a real etcd, on loopback, for as long as a test needs it.

  with ControlPlane() as plane:
      plane.api.create({"kind": "Namespace", ...})       # as admin
      plane.kubectl("apply", "-k", "deploy/")
      file = plane.kubeconfig_of("sluice-system", "sluice-operator")

Nothing else of a cluster runs: no controllers, no scheduler, no kubelet. What
they would do (default service accounts, pod addresses, endpoint slices, the
end of a namespace) is up to the caller. Both programs end with the process
that started them, also when it is killed; the folder of one that was killed is
swept away by the next.
"""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

from tests.cluster import kubernetes
from tests.cluster.api import KINDS, Api, ApiError
from tests.netns import sandbox

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_PREFIX = "sluice-cluster-"
_ISSUER = "https://kubernetes.default.svc.cluster.local"
# What the server says its address is (in the endpoints of the Service
# "kubernetes", where no loopback address may stand).
_ADVERTISED = "192.0.2.1"
SERVICE_RANGES = "10.96.0.0/16,fd00:96::/112"


class ControlPlane:
    """etcd and kube-apiserver with data, keys and kubeconfigs in a folder of their own.

    Must be entered, used and left on one thread that lives as long: the kernel
    ends the servers with the thread that started them.
    """

    def __init__(self, folder=None, progress=None, server_options=(), advertise=_ADVERTISED, users=None):
        """`advertise`: where clients in other network namespaces find the server, if `server_options`
        make it listen there. `users`: {name: groups} of those who get a kubeconfig by user_kubeconfig()."""
        self._progress = progress or (lambda line: None)
        self._options, self._advertise = list(server_options), advertise
        self._users = users or {}
        self._wanted_folder = folder
        self._exits = contextlib.ExitStack()
        self.folder = self.binaries = self.api = self.server = None
        self._etcd = self._apiserver = None
        self._ports = {}

    def __enter__(self):
        self.binaries = kubernetes.binaries(self._progress)
        with contextlib.ExitStack() as exits:
            self.folder = exits.enter_context(_folder(self._wanted_folder))
            self._ports = dict(zip(("etcd", "peer", "api"), _free_ports(3)))
            self.server = f"https://127.0.0.1:{self._ports['api']}"
            _make_keys(self.folder, self._advertise, self._users)
            with open(self.path("admin.token"), encoding="ascii") as file:
                self.api = Api(self.server, self.ca_file, file.read().strip())
            self._write_admin()
            exits.callback(self._stop)
            self.start_etcd()
            self.start_apiserver()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_):
        self._exits.close()

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def etcd_url(self):
        return f"http://127.0.0.1:{self._ports['etcd']}"

    @property
    def advertised(self):
        """The server's URL for clients in other network namespaces."""
        host = f"[{self._advertise}]" if ":" in self._advertise else self._advertise
        return f"https://{host}:{self._ports['api']}"

    @property
    def ca_file(self):
        return self.path("ca.crt")

    @property
    def admin_kubeconfig(self):
        return self.path("admin.kubeconfig")

    # ---- the two programs ----------------------------------------------------------

    def start_etcd(self):
        client, peer = self.etcd_url, f"http://127.0.0.1:{self._ports['peer']}"
        self._etcd = self._start(
            "etcd", "etcd", "--data-dir", self.path("etcd"), "--name", "one",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"one={peer}", "--logger", "zap", "--log-level", "warn")

    def start_apiserver(self, wait=True):
        self._apiserver = self._start(
            "kube-apiserver", os.path.join(self.binaries, "kube-apiserver"),
            f"--etcd-servers={self.etcd_url}",
            "--bind-address=127.0.0.1", f"--secure-port={self._ports['api']}",
            f"--advertise-address={self._advertise}", "--allow-privileged=true",
            f"--tls-cert-file={self.path('server.crt')}",
            f"--tls-private-key-file={self.path('server.key')}",
            f"--client-ca-file={self.ca_file}",
            f"--service-account-issuer={_ISSUER}", f"--api-audiences={_ISSUER}",
            f"--service-account-signing-key-file={self.path('accounts.key')}",
            f"--service-account-key-file={self.path('accounts.pub')}",
            f"--token-auth-file={self.path('tokens.csv')}", "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICE_RANGES}",
            "--feature-gates=IPv6DualStack=true", f"--cert-dir={self.folder}", *self._options)
        if wait:
            self.wait_ready()

    def ensure_namespace(self, name, labels=None):
        """A namespace with its default service account, which a controller would make."""
        self.api.ensure({"apiVersion": "v1", "kind": "Namespace",
                         "metadata": {"name": name, "labels": labels or {}}})
        self.api.ensure({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"namespace": name, "name": "default"},
                         "automountServiceAccountToken": False})

    def stop_etcd(self):
        _end(self._etcd)

    def stop_apiserver(self):
        _end(self._apiserver)

    def wait_ready(self, seconds=90):
        """Returns when the server says that it is ready and the bootstrap is done."""
        deadline, last = time.monotonic() + seconds, "no answer yet"
        while time.monotonic() < deadline:
            for name, process in (("etcd", self._etcd), ("kube-apiserver", self._apiserver)):
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}: {self.log(name)}")
            try:
                if self.api.request("GET", "/readyz", timeout=5) == "ok":
                    self.ensure_namespace("default")
                    return
            except (OSError, ApiError) as error:
                last = str(error)
            time.sleep(0.1)
        raise TimeoutError(f"kube-apiserver is not ready: {last}; {self.log('kube-apiserver')}")

    def log(self, name, lines=15):
        with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def _start(self, name, *command):
        with open(self.path(name + ".log"), "a", encoding="utf-8") as log:
            # The hook makes one system call.
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,  # pylint: disable=R1732,W1509
                                    stderr=subprocess.STDOUT, cwd=self.folder,
                                    preexec_fn=sandbox.die_with_parent)

    def _stop(self):
        for process in (self._apiserver, self._etcd):
            if process:
                _end(process)

    # ---- identities ----------------------------------------------------------------

    def _write_admin(self):
        self.write_kubeconfig("admin.kubeconfig", token=self.api.token)
        self.write_kubeconfig("admin-certificate.kubeconfig", certificate="admin")

    def write_kubeconfig(self, name, token=None, token_file=None, certificate=None, server=None):
        """A kubeconfig in the folder; its path. YAML that is also JSON. `server`: another one."""
        user = {}
        if token:
            user["token"] = token
        if token_file:
            user["tokenFile"] = token_file
        if certificate:
            user["client-certificate"] = self.path(certificate + ".crt")
            user["client-key"] = self.path(certificate + ".key")
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server or self.server,
                                                      "certificate-authority": self.ca_file}}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}]}
        return self.write_file(name, json.dumps(content, indent=1))

    def user_kubeconfig(self, user):
        """A kubeconfig for one of `users`, for clients in other network namespaces."""
        with open(self.path("tokens.csv"), encoding="ascii") as file:
            token = next(line.split(",")[0] for line in file if line.split(",")[1] == user)
        name = user.replace(":", "-") + ".kubeconfig"
        return self.write_kubeconfig(name, token=token, server=self.advertised)

    def kubeconfig_of(self, namespace, account, seconds=3600):
        """A kubeconfig for a service account, with its real token in a file beside it."""
        token_file = self.token_file_of(namespace, account, (), seconds)
        return self.write_kubeconfig(f"{namespace}.{account}.kubeconfig", token_file=token_file)

    def token_file_of(self, namespace, account, audiences=(), seconds=3600, pod=None, name=None):
        """A file with a fresh token, replaced in one step, as kubelet rotates one."""
        token = self.api.token_for(namespace, account, audiences, seconds, pod)
        return self.write_file(name or f"{namespace}.{account}.token", token)

    def api_of(self, namespace, account):
        """A client with the rights of a service account."""
        return Api(self.server, self.ca_file, self.api.token_for(namespace, account))

    def write_file(self, name, text):
        """A file in the folder, replaced in one step; its path."""
        path = self.path(name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path + ".new", 0o600)
        os.rename(path + ".new", path)
        return path

    # ---- kubectl -------------------------------------------------------------------

    def environment(self):
        return {**os.environ, "KUBECONFIG": self.admin_kubeconfig,
                "PATH": self.binaries + ":" + os.environ.get("PATH", "/usr/bin:/bin"),
                # kubectl keeps what it knows of the server there.
                "HOME": self.folder, "SLUICE_CLUSTER": self.folder}

    def kubectl(self, *arguments, check=True, stdin=None, timeout=120):
        """Output of kubectl 1.20 as admin, run in the checkout; (code, output) with check=False."""
        done = subprocess.run(["kubectl", *arguments], check=False, text=True, input=stdin, cwd=_ROOT,
                              timeout=timeout, env=self.environment(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if not check:
            return done.returncode, done.stdout
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stdout.strip()}")
        return done.stdout

    def deploy(self, folder="deploy/"):
        """Installs deploy/crds and deploy/, or a folder made of it, and returns when its kinds are served."""
        self.kubectl("apply", "--server-side", "-k", "deploy/crds")
        self.kubectl("apply", "-k", folder)
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        # The server lists a kind a moment after it has accepted it, and kubectl
        # remembers for minutes what it saw in between.
        wanted = {k for k, (base, _, _) in KINDS.items() if base.startswith("apis/cilium.io")}
        deadline = time.monotonic() + 30
        while not wanted <= self._served("/apis/cilium.io/v2"):
            if time.monotonic() > deadline:
                raise TimeoutError("the kinds of deploy/ are not served")
            time.sleep(0.05)
        shutil.rmtree(self.path(".kube"), ignore_errors=True)

    def _served(self, path):
        try:
            return {r["kind"] for r in self.api.request("GET", path)["resources"]}
        except ApiError as error:
            if error.status != 404:
                raise
            return set()


def _end(process):
    if process.poll() is None:
        process.kill()
    process.wait()


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]


# ---- the folder ----------------------------------------------------------------------


@contextlib.contextmanager
def _folder(wanted):
    """A folder that is removed at the end. Whoever lives in one holds its lock."""
    base = tempfile.gettempdir()
    for old in glob.glob(os.path.join(base, _PREFIX + "*")):
        _sweep(old)
    if wanted:
        os.makedirs(wanted)
    path = os.path.abspath(wanted) if wanted else tempfile.mkdtemp(prefix=_PREFIX)
    try:
        with open(os.path.join(path, "lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(path):
    try:
        with open(os.path.join(path, "lock"), encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # in use, or so new that it has no lock yet


# ---- keys ----------------------------------------------------------------------------


def _make_keys(folder, advertised, users):
    """A CA, the server's and an administrator's certificates, the key that signs tokens; users' tokens."""
    def openssl(*arguments):
        done = subprocess.run(["openssl", *arguments], cwd=folder, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {arguments[0]}: {done.stdout}")

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-days", "30", "-subj", "/CN=test-ca", "-keyout", "ca.key",
            "-out", "ca.crt", "-addext", "keyUsage=critical,keyCertSign,digitalSignature")
    names = ("DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,"
             f"IP:{advertised}")
    for name, subject, usage in (
            ("server", "/CN=kube-apiserver", f"extendedKeyUsage=serverAuth\nsubjectAltName={names}\n"),
            ("admin", "/O=system:masters/CN=admin-by-certificate", "extendedKeyUsage=clientAuth\n")):
        with open(os.path.join(folder, name + ".ext"), "w", encoding="ascii") as file:
            file.write(usage)
        openssl("req", *key, "-subj", subject, "-keyout", name + ".key", "-out", name + ".csr")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "30", "-out", name + ".crt", "-extfile", name + ".ext")
    openssl("genrsa", "-out", "accounts.key", "2048")
    openssl("rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")
    token = os.urandom(16).hex()
    tokens = f'{token},admin,admin,"system:masters"\n'
    for user, groups in users.items():
        tokens += f'{os.urandom(16).hex()},{user},{user},"{",".join(groups)}"\n'
    for name, text in (("admin.token", token), ("tokens.csv", tokens)):
        with open(os.path.join(folder, name), "w", encoding="ascii", opener=_private) as file:
            file.write(text)


def _private(path, flags):
    return os.open(path, flags, 0o600)
