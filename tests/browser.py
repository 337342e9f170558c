"""Headless Chromium for tests of pages, driven over pipes by the DevTools protocol: no socket, no further package."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Where Chromium is; None where there is none."""

MOUSE = {"button": "left", "clickCount": 1}

KEYS = {"ArrowDown": 40, "Tab": 9, "Enter": 13}
"""Key codes of keys that write no character."""


class Page:
    """One tab. ``problems`` lists errors in its console, ``requests`` every address that it asked for."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._number = commands, answers, 0
        self._buffer, self._session = b"", ""
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command. Raises RuntimeError where Chromium refuses it."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        text = json.dumps({"id": self._number, "method": method, "params": parameters, **session})
        os.write(self._commands, text.encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = os.read(self._answers, 1 << 20)
            if not more:
                raise RuntimeError("Chromium ended")
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, message: Mapping[str, Any]) -> None:
        method, data = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(data["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and data["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(data["args"]))
        elif method == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
            self.problems.append(data["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(data["request"]["url"])

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a file in a window of this size in px."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Page.navigate", url=file.resolve().as_uri())

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as plain values; promises are awaited."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **asked)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> None:
        """Until a JavaScript expression is true. Raises RuntimeError when it is not in time."""
        tries = int(seconds * 20)
        code = f"""new Promise((done) => {{
            let left = {tries};
            const look = () => ({expression}) ? done(true) : left-- ? setTimeout(look, 50) : done(false);
            look();
        }})"""
        if not self.value(code):
            raise RuntimeError(f"not within {seconds} s: {expression}")

    def click(self, x: float, y: float) -> None:
        """The pointer moves to a point of the window, in px, and presses."""
        self.point(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **MOUSE)

    def point(self, x: float, y: float) -> None:
        """The pointer moves to a point of the window, in px."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        """Presses one key: a character, or one of ``KEYS``."""
        code = {"windowsVirtualKeyCode": KEYS[key]} if key in KEYS else {"text": key}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **code)

    def picture(self, file: Path) -> None:
        """Writes the whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A tab of a new Chromium, offline, with its profile in ``folder``."""
    assert PROGRAM is not None
    (commands_out, commands), (answers, answers_in) = os.pipe(), os.pipe()
    options = (
        *("--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", f"--user-data-dir={folder / 'profile'}"),
    )
    # Chromium reads commands from file 3 and answers on file 4.
    command = f"exec {shlex.join([PROGRAM, *options])} 3<&{commands_out} 4>&{answers_in}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=(commands_out, answers_in),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (commands_out, answers_in):
        os.close(end)
    try:
        yield Page(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        process.terminate()
        process.wait(timeout=30)
