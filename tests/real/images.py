# SPDX-License-Identifier: Apache-2.0
"""The images of the lab: Sluice's, made by scripts/images as for everybody, and those of the lab's pods."""

import os
import shutil
import subprocess

from deploy.images import archive
from tests.real.node import PAUSE

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
PEER = "sluice-test/peer:1"
# What deploy/cleanup waits in.
_CLEANUP_PAUSE = "registry.k8s.io/pause:3.9"


def make(folder, build):
    """Writes all of them as archives into a folder."""
    subprocess.run([os.path.join(_ROOT, "scripts", "images"), "--built", build, "--output", folder], check=True,
                   stdout=subprocess.DEVNULL)
    programs = os.path.join(build, "tests", "real")
    for reference, files in ((PAUSE, {"pause": f"{programs}/pause"}),
                             (_CLEANUP_PAUSE, {"pause": f"{programs}/pause"}),
                             (PEER, {"peer": f"{programs}/peer", "bin/busybox": "/bin/busybox"})):
        root = os.path.join(folder, "root")
        for name, source in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
            shutil.copy(source, os.path.join(root, name))
        program = "/" + next(iter(files))
        archive.write(os.path.join(folder, reference.replace("/", "-").replace(":", "-") + ".tar"), reference,
                      root, {"Entrypoint": [program], "WorkingDir": "/"})
        shutil.rmtree(root)
