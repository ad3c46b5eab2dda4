# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, driven by its DevTools protocol over a pipe."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PATH = shutil.which("chromium")


class Browser:
    """One page of a browser in a network namespace. What goes wrong in the page is in `problems`."""

    def __init__(self, netns, width=1400, height=900):
        self.problems = []
        self._folder = tempfile.mkdtemp(prefix="browser-", dir="/run")
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                 f"--user-data-dir={self._folder}", f"--window-size={width},{height}", "--remote-debugging-pipe")
        # Chromium reads from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = netns.popen("bash", "-c", script, "bash", PATH, *flags, "about:blank",
                                    pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    env={"HOME": self._folder, "PATH": os.environ["PATH"]})
        os.close(to_browser)
        os.close(from_browser)
        self._text = b""
        self._numbers = itertools.count(1)
        self._session = None
        self._loaded = False
        target = next(t for t in self._wait_for_targets() if t["type"] == "page")
        self._session = self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.command(f"{domain}.enable")

    def _wait_for_targets(self):
        while True:
            targets = self.command("Target.getTargets")["targetInfos"]
            if any(t["type"] == "page" for t in targets):
                return targets

    def command(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            reply = self._read(deadline)
            if reply.get("id") == number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]

    def _read(self, deadline):
        while b"\0" not in self._text:
            if not select.select([self._from], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError("the browser does not answer")
            more = os.read(self._from, 1 << 20)
            if not more:
                raise AssertionError("the browser has ended")
            self._text += more
        message, self._text = self._text.split(b"\0", 1)
        message = json.loads(message)
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(message["params"]["exceptionDetails"])[:2000])
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(json.dumps(message["params"]["entry"])[:2000])
        elif message.get("method") == "Page.loadEventFired":
            self._loaded = True
        return message

    def open(self, url):
        """Returns when the page has been loaded, with its scripts."""
        self._loaded = False
        self.command("Page.navigate", url=url)
        deadline = time.monotonic() + 60
        while not self._loaded:
            self._read(deadline)

    def value(self, expression):
        """Of JavaScript in the page; awaits promises."""
        result = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=key,
                         **({"text": "\r", "windowsVirtualKeyCode": 13} if key == "Enter" else {}))

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def end(self):
        self._process.kill()
        self._process.wait(15)
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)
