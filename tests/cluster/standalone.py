# SPDX-License-Identifier: Apache-2.0
"""The lab without operator and agents: on every node a `sluice run` that follows
a folder, and a thread that keeps the folder equal to what the API server has.

The same objects, the same translation, the same kernel; only how changes get to
the nodes is another. What fails here is no fault of the operator's.
"""

import json
import os
import threading

from tests.cluster import fresh, lab
from tests.cluster.api import ApiError

_FOLDER = "/run/manifests"
_PERIOD_SECONDS = 0.1


class Cluster(lab.Cluster):

    def start_operators(self, count=1):
        os.makedirs(_FOLDER)
        mirror = _Mirror(self.api)
        mirror.step()
        threading.Thread(target=mirror.run, daemon=True).start()

    def start_agent(self, name, *options):
        if name not in self.agents:
            self.agents[name] = lab.Process(
                f"sluice-{name}", self.net.nodes[name].ns,
                lab.confined([
                    lab.program("sluice"), "run", _FOLDER, "--node", name,
                    "--pin-dir", f"/run/bpf/{name}/sluice", "--socket", f"/run/{name}.sock"]))
        self.agents[name].start(*options)
        return self.agents[name]


class _Mirror:
    def __init__(self, api):
        self._api, self._last = api, None

    def run(self):
        pause = threading.Event()
        while True:
            try:
                self.step()
            except (OSError, ApiError):
                pass  # the server is away: the folder stays as it is
            pause.wait(_PERIOD_SECONDS)

    def step(self):
        text = json.dumps(fresh.objects(self._api))
        if text != self._last:
            with open(_FOLDER + "/.new", "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(_FOLDER + "/.new", _FOLDER + "/cluster.json")
            self._last = text
