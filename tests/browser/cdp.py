"""A page of headless Chromium, driven over the Chrome DevTools Protocol: what a test sees and does in it.

Only what the tests need: JavaScript evaluated in the page, waiting until it holds, real key presses, screenshots.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import websocket

FLAGS = """
    --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --no-proxy-server --mute-audio
    --disable-background-networking --disable-component-update --disable-sync --disable-extensions
    --force-device-scale-factor=1 --hide-scrollbars --remote-debugging-port=0
"""
_BOX = "s => { const r = document.querySelector(s).getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; }"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # a proxy knows nothing of our loopback
_CONTROL, _SHIFT = 2, 8  # in the protocol's bits
_KEYS = {  # name: code, number, the text that it types
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, None),
    "Escape": ("Escape", 27, None),
    "Backspace": ("Backspace", 8, None),
    "Home": ("Home", 36, None),
    "End": ("End", 35, None),
    "ArrowLeft": ("ArrowLeft", 37, None),
    "ArrowUp": ("ArrowUp", 38, None),
    "ArrowRight": ("ArrowRight", 39, None),
    "ArrowDown": ("ArrowDown", 40, None),
    "Delete": ("Delete", 46, None),
    "F2": ("F2", 113, None),
}


def executable():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def wait_for(condition, what, timeout=20.0, pause=0.05):
    """Return what *condition* returns as soon as that is true."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(pause)
    return found


@contextlib.contextmanager
def group(command, log, **options):
    """A process and all its children: they end with the block, by the id of their group."""
    with Path(log).open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options)
        try:
            yield process
        finally:
            for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)


@contextlib.contextmanager
def chromium(folder, width=1400, height=1000):
    """A Chromium of its own, with nothing of the user's, and its only page."""
    profile = Path(folder) / "chromium"
    flags = [*FLAGS.split(), f"--user-data-dir={profile}", f"--window-size={width},{height}"]
    with group([executable(), *flags, "about:blank"], Path(folder) / "chromium.log") as process:
        port_file = profile / "DevToolsActivePort"

        def port():
            if process.poll() is not None:
                log = (Path(folder) / "chromium.log").read_text(errors="replace")
                raise RuntimeError(f"chromium ended with {process.returncode}: {log}")
            return port_file.exists() and port_file.read_text().split()[:1]

        (number,) = wait_for(port, "chromium to listen")
        page = Page(_page_address(number))
        try:
            yield page
        finally:
            page.socket.close()


def _page_address(port):
    with direct(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = [target for target in json.load(answer) if target["type"] == "page"]
    return pages[0]["webSocketDebuggerUrl"]


class Page:
    """One tab. Errors of its scripts are kept in ``errors``."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=60)
        self.errors = []
        self._number = 0
        for domain in ("Page", "Runtime"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)  # nobody looks at it, and it shall not know

    def send(self, method, **params):
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (message := json.loads(self.socket.recv())).get("id") != self._number:
            self._event(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def _event(self, message):
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            thrown = details.get("exception", {})
            self.errors.append(thrown.get("description", str(thrown.get("value", details["text"]))))
        if message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))

    def evaluate(self, script, *arguments):
        """The value of a JavaScript expression, or what a function of *arguments* returns; promises are awaited."""
        if arguments:
            script = f"({script})({', '.join(map(json.dumps, arguments))})"
        done = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"]["exception"].get("description", script))
        return done["result"].get("value")

    def wait_for(self, script, *arguments, timeout=20.0):
        return wait_for(lambda: self.evaluate(script, *arguments), script, timeout)

    def type(self, text):
        """Type key by key, as a user does; new lines and tabs are keys as well."""
        for character in text:
            if key := {"\n": "Enter", "\t": "Tab"}.get(character):
                self.press(key)
            else:
                self.send("Input.dispatchKeyEvent", type="keyDown", key=character, text=character)
                self.send("Input.dispatchKeyEvent", type="keyUp", key=character)

    def press(self, key, *, shift=False, control=False):
        code, number, text = _KEYS[key]
        common = {
            "key": key,
            "code": code,
            "windowsVirtualKeyCode": number,
            "modifiers": _SHIFT * shift + _CONTROL * control,
        }
        if text:
            common |= {"text": text}
        self.send("Input.dispatchKeyEvent", type="keyDown" if "text" in common else "rawKeyDown", **common)
        common.pop("text", None)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path, clip=None):
        """Save a PNG, of the element that *clip* selects or of the whole page."""
        options = {}
        if clip:
            options["clip"] = dict(zip(("x", "y", "width", "height"), self.evaluate(_BOX, clip), strict=True), scale=1)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot", **options)["data"]))
