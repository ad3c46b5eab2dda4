# SPDX-License-Identifier: Apache-2.0
"""Everything at random, compared with a fresh translation every few seconds.

SLUICE_SOAK_SECONDS says how long, SLUICE_SOAK_SEED what happens; both have
defaults, and the seed is printed.
"""

import os
import random

from tests.cluster import suite
from tests.cluster.soak import Soak

_SECONDS = int(os.environ.get("SLUICE_SOAK_SECONDS", "60"))


class Soaking(suite.ClusterCase):

    def test_whatever_happens_nodes_have_what_they_should(self):
        seed = int(os.environ.get("SLUICE_SOAK_SEED", random.randrange(1 << 32)))
        soak = Soak(self.cluster, seed, lambda line: print(line, end=" ... ", flush=True))
        print(f"{_SECONDS} s, SLUICE_SOAK_SEED={seed}", end=" ... ", flush=True)
        self.addCleanup(soak.clear)
        self.assertGreaterEqual(soak.run(_SECONDS), 1)
