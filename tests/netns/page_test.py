# SPDX-License-Identifier: Apache-2.0
"""What a browser makes of the web page of `sluice run`."""

import glob
import os
import re
import unittest

from tests.netns import browser, ui_test
from tests.netns.sluice import wait_for

_LONG = "w" * 253
_SCRIPT = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
_BACKWARDS = "\u202egnp.exe\u200f"


_WEB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "web")


class Files(unittest.TestCase):
    def test_nothing_becomes_markup_or_comes_from_elsewhere(self):
        bad = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|srcdoc"
                         r"|https?://(?!www\.w3\.org/2000/svg)|[\"'(]//| style=| on[a-z]+=")
        files = [f for f in glob.glob(os.path.join(_WEB, "*")) if os.path.isfile(f)]
        self.assertGreaterEqual(len(files), 9)
        for path in files:
            with open(path, encoding="utf-8") as file:
                found = [line for line in file if bad.search(line)]
            self.assertEqual(found, [], path)


@unittest.skipUnless(browser.PATH, "chromium is not installed")
class InABrowser(ui_test.Page):
    """Names that are as bad as they can be, in a page that a browser shows."""

    def before(self):
        objects = self.lab.objects()
        owners = {"a": _SCRIPT, "b": _LONG, "c": _BACKWARDS}
        for item in objects:
            metadata = item["metadata"]
            if item["kind"] == "Pod" and metadata["namespace"] == "x":
                metadata["labels"] = {**metadata["labels"], "bad": _SCRIPT}
                metadata["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "controller": True,
                                                "name": owners[metadata["name"]], "uid": "1"}]
        self.manifests.put("cluster", *objects)

    def setUp(self):
        super().setUp()
        self.check(ui_test.TRAFFIC)
        self.edges()
        self.browser = browser.Browser(self.node.ns)
        self.addCleanup(self.browser.end)

    def open(self, query=""):
        self.browser.open(f"http://127.0.0.1:{ui_test.PORT}/{query}")
        self.until("document.documentElement.dataset.ready === 'yes'")

    def until(self, expression):
        wait_for(lambda: self.browser.value(expression),
                 lambda: f"{expression}; {self.browser.value('document.body.innerText')[-3000:]}; {self.browser.problems}")

    def panel(self):
        return self.browser.value("document.getElementById('panel').textContent")

    def tearDown(self):
        # Whatever a test did: no script of a name has run, nothing broke, and nothing was refused by the policy.
        self.assertEqual(self.browser.value("document.title"), "Sluice")
        self.assertEqual(self.browser.value("document.querySelectorAll('main img, main script').length"), 0)
        self.assertEqual(self.browser.problems, [])

    def test_connections_have_all_names_as_text(self):
        self.open()
        self.until("document.querySelectorAll('#panel tr.row').length >= 2")
        text = self.panel()
        for name in (_SCRIPT, _LONG, _BACKWARDS):
            self.assertIn(name, text)
        self.assertEqual(self.browser.value("[...document.querySelectorAll('#panel td.name')].every(e => e.querySelector('bdi'))"),
                         True)
        # The long name is cut on the screen and whole in its title, and makes nothing wider.
        self.assertEqual(self.browser.value(f"[...document.querySelectorAll('bdi')].some(e => e.title.includes('{_LONG}')"
                                            " && e.scrollWidth > e.clientWidth)"), True)
        self.assertEqual(self.browser.value("document.documentElement.scrollWidth <= innerWidth"), True)
        self.assertEqual(self.browser.value("[...document.querySelectorAll('[title]')].some(e => e.title.includes('\\u202e'))"),
                         False)

    def test_a_line_is_explained(self):
        self.open("?from-pod=x/c&to-pod=x/a")
        self.until("document.querySelectorAll('#panel tr.row').length === 1")
        self.browser.value("document.querySelector('#panel tr.row').click()")
        self.until("document.getElementById('panel').textContent.includes('Isolated by')")
        text = self.panel()
        self.assertIn("CiliumNetworkPolicy/x/p", text)
        self.assertIn("denied", text)
        self.assertIn("Nearly decided it", text)

    def test_a_workload_has_its_policies(self):
        self.open("?from-pod=x/b&to-pod=x/a&to-port=80")
        self.browser.value("document.getElementById('canvas').focus()")
        self.browser.key("ArrowRight")
        self.browser.key("ArrowRight")
        self.until("document.getElementById('panel').textContent.includes('CiliumNetworkPolicy/x/p')")
        self.assertIn(_SCRIPT, self.panel())
        self.assertIn("in force on 1 of 1 node", self.panel())
        self.assertEqual(self.browser.value("document.querySelector('#panel .nodes').textContent"), "✓ node1")
        # What the user has folded stays so when the list is drawn anew.
        self.browser.value("document.querySelector('#panel summary').click()")
        self.browser.value("document.getElementById('tab-details').click()")
        self.assertEqual(self.browser.value("document.querySelector('#panel details').open"), False)

    def test_filters_are_in_the_address(self):
        self.open("?verdict=dropped&not&to-port=53&tab=flows")
        self.until("document.querySelectorAll('#panel tr.row').length >= 1")
        self.assertNotIn(_LONG, self.panel())
        self.assertEqual(self.browser.value("[...document.querySelectorAll('#chips li')].map(e => e.textContent)"),
                         ["verdict dropped×", "not to-port 53×"])
        self.browser.value("document.querySelector('#chips button').click()")
        self.until("document.querySelectorAll('#panel tr.row').length >= 2")
        self.assertEqual(self.browser.value("location.search"), "?not=&to-port=53&tab=flows")
        self.browser.value("history.back()")
        self.until("document.querySelectorAll('#chips li').length === 2")

    def test_a_filter_that_the_server_refuses_is_named(self):
        self.browser.open(f"http://127.0.0.1:{ui_test.PORT}/?label=app+in")
        self.until("document.getElementById('filter-error').textContent.includes('label')")
        self.browser.problems.clear()  # the browser's own note of the answer 400

    def test_who_may_reach_whom(self):
        self.open("?namespace=x")
        self.browser.value("document.getElementById('show-reach').click()")
        self.until("document.querySelector('#reach-view form') !== null")
        self.browser.value("document.querySelector('#reach-view input').value = '80/TCP';"
                           "document.querySelector('#reach-view form').requestSubmit()")
        self.until("document.querySelectorAll('.matrix button').length === 9")
        self.assertEqual(self.browser.value("document.querySelectorAll('.matrix button:not(.all)').length"),
                         sum(row.count(0) for row in self.get("reach", ("namespace", "x"), ("port", "80/TCP"))["allowed"]))
        # The line about the map is not there, and a cell has its explanation for each port.
        self.assertEqual(self.browser.value("document.getElementById('status').textContent"), "node1")
        self.browser.value("document.querySelector('.matrix button:not(.all)').click()")
        self.until("document.getElementById('reach-view').textContent.includes('Isolated by')")
        self.assertEqual(self.browser.value("[...document.querySelectorAll('#reach-view h3')].map(e => e.textContent)"), ["✕ denied 80/TCP"])

    def test_a_large_map_has_a_place_for_every_workload(self):
        self.open()
        result = self.browser.value("""(async () => {
            const { Model } = await import("/model.js");
            const { layout, WIDTH, HEIGHT } = await import("/layout.js");
            const ends = Array.from({ length: 500 }, (_, i) => ({ type: "workload", namespace: `team-${i % 8}`, kind: "Deployment", name: `w${i}` }));
            const edges = Array.from({ length: 5000 }, (_, i) => ({ id: i + 1, from: i % 500, to: (i * 7 + Math.floor(i / 500)) % 500, protocol: "TCP",
                port: 80, verdict: i % 9 ? "FORWARDED" : "DROPPED", flows: 1, changed: i + 1, last: 9 }));
            const model = new Model();
            model.take({ view: "1", reset: true, after: 5000, oldest: 0, flows: 5000, lost: 0, ends, edges });
            const places = () => { const graph = model.graph(0); layout([...graph.nodes.values()]); return [...graph.nodes.values()]; };
            const nodes = places();
            const again = places();
            let overlaps = 0;
            for (const a of nodes) for (const b of nodes) overlaps += a !== b && Math.abs(a.x - b.x) < WIDTH && Math.abs(a.y - b.y) < HEIGHT;
            const grouped = model.graph(0, true);
            model.take({ view: "1", reset: false, after: 5001, oldest: 4001, flows: 5001, lost: 0, ends: [], edges: [] });
            return { nodes: nodes.length, overlaps, same: nodes.every((n, i) => n.x === again[i].x && n.y === again[i].y),
                     finite: nodes.every((n) => Number.isFinite(n.x + n.y)), groups: grouped.nodes.size,
                     flows: [...grouped.pairs.values()].reduce((sum, pair) => sum + pair.allowed + pair.denied, 0), left: model.edges.size };
        })()""")
        self.assertEqual(result, {"nodes": 500, "overlaps": 0, "same": True, "finite": True, "groups": 8, "flows": 5000, "left": 1000})

    def test_the_map_is_drawn(self):
        self.open("?to-pod=x/a&to-port=80")
        self.until("document.querySelectorAll('#panel tr.row').length >= 2")
        drawn = """(() => { const c = document.getElementById('canvas');
            const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
            let count = 0; for (let i = 3; i < pixels.length; i += 4) count += pixels[i] > 0; return count; })()"""
        self.until(f"{drawn} > 5000")
