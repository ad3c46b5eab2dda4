# SPDX-License-Identifier: Apache-2.0
"""sluice.service under systemd, in its sandbox."""

import glob
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import unittest

_BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot")
_SECONDS = 120

_SCRIPT = """
check() { if eval "$2"; then echo "ok: $1"; else echo "NOT OK: $1"; systemctl status --no-pager sluice; fi; }
within() { tries=0; until eval "$1" >/dev/null 2>&1; do tries=$((tries + 1)); [ $tries -lt 100 ] || return 1; sleep 0.1; done; }
dpkg -i /package.deb
check "the installation starts nothing" '! systemctl -q is-active sluice'
cat >/etc/sluice/manifests/p.yaml <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: p}
spec: {podSelector: {}, policyTypes: [Ingress]}
YAML
systemctl enable --now sluice
check "the policies are in force" 'within "sluice status --check"'
before=$(systemctl show -P MainPID sluice)
systemctl reload sluice
check "a reload keeps the process" '[ "$(systemctl show -P MainPID sluice)" = "$before" ] && systemctl -q is-active sluice'
systemctl stop sluice
check "what is in force stays in force" '[ -n "$(ls /sys/fs/bpf/sluice)" ]'
systemctl start sluice
check "the next start takes it over" 'within "sluice status --check"'
rm -r /etc/sluice/manifests/p.yaml
dpkg --purge sluice
check "the purge ends the service" '! pidof sluice >/dev/null'
check "the purge ends enforcement" '[ ! -e /sys/fs/bpf/sluice ]'
check "nothing is left" '[ ! -e /run/sluice ] && [ ! -e /etc/sluice ] && [ ! -e /etc/systemd/system/multi-user.target.wants/sluice.service ]'
echo finished
"""


class Service(unittest.TestCase):
    def output_of(self, *command):
        """Up to its end, which is not that of the command: it is killed then, and systemd with it."""
        with subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as process:
            timer = threading.Timer(_SECONDS, process.kill)
            timer.start()
            try:
                return "".join(itertools.takewhile(lambda line: line != "end of the output\n", process.stdout))
            finally:
                timer.cancel()
                process.kill()

    def test_it_enforces_in_its_sandbox_and_the_purge_leaves_nothing(self):
        top = tempfile.mkdtemp(prefix="service-")
        self.addCleanup(shutil.rmtree, top)
        mounts = os.path.join(top, "mounts")
        os.mkdir(mounts)
        subprocess.run(["cpack", "-G", "DEB", "-B", top, "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=none"], check=True,
                       cwd=os.environ["SLUICE_BUILD"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        (deb,) = glob.glob(top + "/sluice_*.deb")
        text = self.output_of("unshare", "-fmpCnu", "--kill-child", _BOOT, mounts, deb, _SCRIPT)
        self.assertNotIn("NOT OK", text)
        self.assertEqual(text.count("\nok: "), _SCRIPT.count("\ncheck \""), text)
        self.assertIn("\nfinished\n", text)
