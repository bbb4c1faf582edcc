"""A real browser without a screen, asked through Chrome's DevTools protocol over two pipes."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from conftest import missing

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120.0


def program() -> str:
    """The path of a browser; without one the test is skipped, or fails in CI."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return found or missing("no chromium on PATH")


class BrowserError(Exception):
    """The browser cannot do what it was asked for."""


class Browser:
    """A running browser."""

    def __init__(self, folder: Path) -> None:
        to_read, self._write = _pipe()
        self._read, to_write = _pipe()
        # The browser reads commands from descriptor 3, and answers on 4.
        shell = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        own = ["--remote-debugging-pipe", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "-", program(), *QUIET, *own],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._numbers = itertools.count(1)
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        self.pages: list[str] = []

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def close_pages(self) -> None:
        """Closes what was opened, which would go on to refresh itself."""
        while self.pages:
            self.ask("Target.closeTarget", targetId=self.pages.pop())

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], PATIENCE)[0]:
                raise BrowserError("the browser does not answer")
            piece = os.read(self._read, 2**20)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


class Page:
    """An open page."""

    def __init__(
        self, browser: Browser, address: str, width: int = 1280, dark: bool = False
    ) -> None:
        self._browser = browser
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        browser.pages.append(target)
        attached = browser.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=address)
        self.until("document.readyState == 'complete' && location.href != 'about:blank'")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        words = {"expression": expression, "returnByValue": True}
        return self.ask("Runtime.evaluate", **words)["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until an expression is true, on whatever page is loaded meanwhile."""
        end = time.monotonic() + PATIENCE
        while not self._is_true(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def _is_true(self, expression: str) -> bool:
        try:
            return bool(self.evaluate(expression))
        except BrowserError:
            return False  # The page went away before it could answer.

    def problems(self) -> list[Any]:
        """Everything that the browser complained about: errors, policies, exceptions."""
        own = [each for each in self._browser.events if each.get("sessionId") == self._session]
        found = [each["params"] for each in own if each["method"] == "Runtime.exceptionThrown"]
        entries = [each["params"]["entry"] for each in own if each["method"] == "Log.entryAdded"]
        calls = [each["params"] for each in own if each["method"] == "Runtime.consoleAPICalled"]
        return [*found, *(entry for entry in entries if entry["level"] == "error"), *calls]

    def screenshot(self, path: Path) -> Path:
        """Takes a picture of the whole page."""
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))
        return path


def _pipe() -> tuple[int, int]:
    """Both ends of a pipe, which are not among the descriptors that the browser uses."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]
