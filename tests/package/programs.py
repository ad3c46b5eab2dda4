# SPDX-License-Identifier: Apache-2.0
"""The programs of the build folder."""

import os
import subprocess

_PATHS = {"sluice": "cli/sluice", "sluice-agent": "agent/program/sluice-agent",
          "sluice-operator": "operator/program/sluice-operator", "sluice-cni": "cni/sluice-cni"}


def path(name):
    return os.path.join(os.environ["SLUICE_BUILD"], _PATHS[name])


def run(name, *arguments):
    """What the program prints; it must succeed."""
    return subprocess.run([path(name), *arguments], check=True, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
