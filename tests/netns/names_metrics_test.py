# SPDX-License-Identifier: Apache-2.0
"""What the metrics of sluice-agent say of the names that a pod has resolved."""

import re
import time

from tests.netns import metrics, names_lab
from tests.netns.dns import REFUSED, Records, ask
from tests.netns.names_lab import dns_servers, fqdns, policy
from tests.netns.sluice import wait_for

_MAXIMUM = 16  # the least that the option takes
_BEYOND = 4


class Metrics(names_lab.Case):
    def setUp(self):
        super().setUp()
        self.server = self.outside.ipv4
        self.manifests.put("names", policy(
            dns_servers("*.allowed.test", "other.test", to={"toCIDR": [f"{self.server}/32"]}), fqdns("*.allowed.test")))
        _, self.agent = self.start_programs("--fqdn-addresses", str(_MAXIMUM))

    def text(self):
        return "\n" + self.agent.http("/metrics")[1]

    def value(self, name):
        return float(re.search(rf"\n{re.escape(name)} (\S+)\n", self.text()).group(1))

    def wait_value(self, name, expected):
        wait_for(lambda: self.value(name) == expected, lambda: f"{name} {expected}: {self.value(name)}")

    def look_up(self, name):
        """Seconds until the answer is here."""
        begun = time.monotonic()
        self.assertTrue(ask(self.client, self.server, name).addresses, name)
        return time.monotonic() - begun

    def test_lookups_of_a_pod(self):
        names = [f"n{number}.allowed.test" for number in range(_MAXIMUM + _BEYOND - 1)] + ["other.test"]
        self.names.update({name: Records((f"198.18.3.{number}",), ttl=600) for number, name in enumerate(names)})
        longest = sum(self.look_up(name) for name in names)
        self.assertEqual(self.value("sluice_agent_dns_hold_seconds_count"), len(names))
        self.assertEqual(self.value("sluice_agent_dns_held_total"), len(names))
        held = self.value("sluice_agent_dns_hold_seconds_sum")
        self.assertTrue(0 < held < longest, f"{held} of {longest} s")
        self.wait_value("sluice_agent_learned_addresses_total", len(names))
        self.assertEqual(self.value("sluice_agent_learned_addresses_without_room"), _BEYOND)
        # A name that is known is not held, and its address counts again.
        self.look_up(names[-1])
        self.wait_value("sluice_agent_learned_addresses_total", len(names) + 1)
        self.assertEqual(self.value("sluice_agent_dns_hold_seconds_count"), len(names))
        self.assertEqual(self.value("sluice_agent_learned_addresses_without_room"), _BEYOND)
        self.assertEqual(self.value("sluice_agent_names_forgotten_total"), 0)
        self.assertEqual(ask(self.client, self.server, "elsewhere.test").code, REFUSED)
        self.assertEqual(self.value('sluice_agent_packets_total{reason="dns question not allowed",direction="egress",'
                                    'verdict="denied"}'), 1)
        self.assertFalse({what: wrong for what, wrong in metrics.problems("sluice_agent", self.text()).items() if wrong})
