"""A headless Chromium, spoken to in its own protocol over a pipe: https://chromedevtools.github.io/devtools-protocol/."""

import base64
import collections
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--no-first-run",
]
# How long a command, or a condition, may take.
HUNG = 20.0


def find():
    """The program, or nothing."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Refused(Exception):
    """The browser did not do what it was told, as it may not amid a navigation."""


class Browser:
    def __init__(self, program, folder):
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()
        # The browser reads from descriptor 3 and writes to descriptor 4.
        script = f'exec "$0" "$@" 3<&{their_in} 4>&{their_out} 2>"$LOG"'
        command = ["bash", "-c", script, program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        environment = {**os.environ, "LOG": str(folder / "log")}
        self._process = subprocess.Popen(command, pass_fds=(their_in, their_out), env=environment)
        os.close(their_in)
        os.close(their_out)
        self._numbers = itertools.count(1)
        self._read = b""
        self._answers = {}
        self.events = collections.deque(maxlen=10_000)

    def stop(self):
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def ask(self, method, session=None, **parameters):
        """Sends a command and returns what it answers."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + HUNG
        while number not in self._answers:
            assert self.read(end - time.monotonic()), f"{method} is not answered within {HUNG} s"
        answer = self._answers.pop(number)
        if "error" in answer:
            raise Refused(f"{method}: {answer['error']}")
        return answer["result"]

    def read(self, within):
        """Reads what the browser says, waiting at most this long for something."""
        if not select.select([self._in], [], [], max(within, 0))[0]:
            return False
        read = os.read(self._in, 1 << 20)
        assert read, "the browser has ended"
        *messages, self._read = (self._read + read).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)
        return True

    @contextlib.contextmanager
    def tab(self, **look):
        """A tab of its own, with no cookies or cache of others."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        try:
            yield Tab(self, session, **look)
        finally:
            self.ask("Target.disposeBrowserContext", browserContextId=context)


class Tab:
    def __init__(self, browser, session, *, width=1280, height=900, dark=False, javascript=True):
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        mobile = width < 500
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        if not javascript:
            self._ask("Emulation.setScriptExecutionDisabled", value=True)

    def _ask(self, method, **parameters):
        return self._browser.ask(method, self._session, **parameters)

    def _events(self, *methods):
        while self._browser.read(0):
            pass
        return [event for event in self._browser.events if event.get("sessionId") == self._session and event["method"] in methods]

    def open(self, url):
        """Opens a page, and waits until it is loaded."""
        loaded = len(self._events("Page.loadEventFired"))
        answer = self._ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        wait_for(lambda: len(self._events("Page.loadEventFired")) > loaded)
        return self

    def run(self, expression):
        """Evaluates JavaScript, waits for what it promises, and returns its value."""
        answer = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise Refused(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression, within=HUNG):
        """Returns the first truthy value of an expression, of this page or of one that it leads to."""

        def value():
            with contextlib.suppress(Refused):
                return self.run(expression)

        return wait_for(value, within, expression)

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.textContent")

    def errors(self):
        """What its console says that is an error."""
        logged = [event["params"]["entry"] for event in self._events("Log.entryAdded")]
        thrown = [event["params"] for event in self._events("Runtime.exceptionThrown")]
        said = [event["params"] for event in self._events("Runtime.consoleAPICalled")]
        return [
            *(entry for entry in logged if entry["level"] in ("error", "warning")),
            *thrown,
            *(call for call in said if call["type"] in ("error", "warning", "assert")),
        ]

    def screenshot(self, path, *, height=None):
        """Writes a picture of the whole page, or of its first lines of pixels."""
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        data = self._ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


def wait_for(condition, within=HUNG, what=""):
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not so within {within} s: {what}"
        time.sleep(0.05)
