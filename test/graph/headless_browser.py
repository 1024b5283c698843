"""A real Chromium without a window, driven over its DevTools protocol by the websockets we have anyway."""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_S = 30.0
KEY_CODES = {" ": ("Space", 32), "Enter": ("Enter", 13)}


def find_chromium() -> str | None:
    """The browser's path, None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page. Everything raises AssertionError with what the page said where it goes wrong."""

    def __init__(
        self, chromium: str, directory: Path, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """directory: empty, for the browser's profile; width below 700: a phone with a finger."""
        self._phone = width < 700
        options = [
            "--headless=new",
            "--no-sandbox",  # tests may run as root in a container
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--force-device-scale-factor=1",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--remote-debugging-port=0",
            f"--user-data-dir={directory}",
            f"--window-size={width},{height}",
        ]
        log = (directory.parent / f"{directory.name}.log").open("w")
        self._process = subprocess.Popen([chromium, *options, "about:blank"], stdout=log, stderr=log)
        log.close()
        self._ids = itertools.count(1)
        self.errors: list[str] = []  # uncaught ones, and what the page's policy refused
        self._closing = ExitStack()
        address = self._page_address(directory / "DevToolsActivePort")
        self._socket = self._closing.enter_context(connect(address, max_size=None))
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        scale = 2 if self._phone else 1
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": self._phone}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setTouchEmulationEnabled", enabled=self._phone)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def _page_address(self, port_file: Path) -> str:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                port = port_file.read_text().split()[0]
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                    pages = [p for p in json.load(answer) if p["type"] == "page"]
                return pages[0]["webSocketDebuggerUrl"]
            except (OSError, IndexError, KeyError):
                assert self._process.poll() is None, f"Chromium ended with status {self._process.returncode}"
                time.sleep(0.05)
        raise AssertionError(f"Chromium does not answer within {START_S:g} s")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        values = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(values["exceptionDetails"])[:600])
        elif message.get("method") == "Log.entryAdded" and values["entry"]["source"] in (
            "javascript",
            "security",
        ):
            self.errors.append(values["entry"]["text"])

    def open(self, address: str) -> None:
        """Loads a page."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.protocol.startsWith('http')")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 30.0) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(expression):
            if time.monotonic() > end:
                shown = self.ask("document.body.innerText")
                raise AssertionError(
                    f"not true in {seconds:g} s: {expression}\nerrors: {self.errors}\npage: {shown}"
                )
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """What an element says."""
        return self.ask(f"document.querySelector({json.dumps(selector)}).innerText")

    def press(self, selector: str, hold_s: float = 0.0) -> None:
        """A mouse button or a finger on the middle of an element, for so long."""
        find = f"document.querySelector({json.dumps(selector)})"
        x, y = self.ask(
            f"(() => {{ const r = {find}.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        if self._phone:
            self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
            time.sleep(hold_s)
            self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        button = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **button)
        time.sleep(hold_s)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **button)

    def key(self, key: str, hold_s: float = 0.0) -> None:
        """A key of the keyboard: a letter, a space or Enter."""
        code, number = KEY_CODES.get(key, (f"Key{key.upper()}", ord(key.upper())))
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        time.sleep(hold_s)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def offline(self, is_offline: bool) -> None:
        """Takes the network away, or gives it back."""
        speed = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.call("Network.emulateNetworkConditions", offline=is_offline, **speed)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Ends the browser."""
        try:
            self.call("Browser.close")
            self._closing.close()
        except (OSError, AssertionError, ConnectionClosed, TimeoutError):
            pass  # gone already
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
