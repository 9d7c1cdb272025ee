"""A headless Chromium through the WebDriver protocol, which is JSON over HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--window-size=1500,1400", "--disable-background-networking",
    "--host-resolver-rules=MAP evil.example 127.0.0.1 , MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , "
    "EXCLUDE 127.0.0.2",
]  # fmt: skip
SELECT_ALL = "\ue009a\ue000"
"""Control and A, released, in the keys of WebDriver."""
_BOX = """const box = [...document.querySelectorAll('label')]
    .find(e => e.innerText.trim().startsWith(arguments[0])).closest('.p-label');"""


class Browser:
    """One window."""

    def __init__(self, session_url: str) -> None:
        self._url = session_url

    def open(self, url: str) -> None:
        _call("POST", f"{self._url}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript function body."""
        body = {"script": script, "args": list(arguments)}
        return _call("POST", f"{self._url}/execute/sync", body)

    def wait_until(self, script: str, seconds: float = 180) -> Any:
        """The value of an expression, once it has one."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(f"return {script}")):
            assert time.monotonic() < deadline, f"never: {script}\n{self.text()}"
            time.sleep(0.2)
        return value

    def enter(self, link: str) -> None:
        """Open the link that `tirgen up` prints, up to Prefect's pages with what they show."""
        self.open(link)
        self.wait_until("location.pathname === '/dashboard'")
        self.wait_for("Work Pools")

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def wait_for(self, words: str, seconds: float = 180) -> None:
        """Until the page shows some text; a page that never does fails the test, quoted."""
        deadline = time.monotonic() + seconds
        while words not in self.text():
            assert time.monotonic() < deadline, f"{words!r} is not on the page:\n{self.text()}"
            time.sleep(0.3)

    def click(self, words: str) -> None:
        """The last button, link or tab whose whole text is `words`."""
        found = self.run(
            "const all = [...document.querySelectorAll('button, a, li, span')]"
            ".filter(e => e.innerText.trim() === arguments[0] && e.offsetParent);"
            "if (all.length) all.at(-1).click(); return all.length",
            words,
        )
        assert found, f"nothing to click says {words!r}:\n{self.text()}"

    def fill(self, label: str, value: str, kind: str = "") -> None:
        """Type into the field under a label of Prefect's form, after choosing its `kind`."""
        if kind:
            script = "[...box.querySelectorAll('button')].find(e => e.innerText === arguments[1])"
            assert self.run(f"{_BOX} const b = {script}; b.click(); return true", label, kind)
        [reference] = self.run(
            f"{_BOX} return box.querySelector('input, textarea')", label
        ).values()
        element = f"{self._url}/element/{reference}"
        _call("POST", f"{element}/value", {"text": SELECT_ALL + value})

    def screenshot(self, path: Path) -> None:
        self._save(_call("GET", f"{self._url}/screenshot", None), path)

    def whole_page(self, path: Path) -> None:
        """A picture of the page to its end, not only of the window."""
        options = {"captureBeyondViewport": True}
        self._save(self.devtools("Page.captureScreenshot", **options)["data"], path)

    def look_as(self, *, width: int, height: int, dark: bool) -> None:
        """Give the page another window and the reader's choice of light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def devtools(self, command: str, **parameters: Any) -> Any:
        """The answer to a command of Chromium's DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        return _call("POST", f"{self._url}/goog/cdp/execute", body)

    def _save(self, picture: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(picture))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that resolves no host but loopback, to which evil.example points, too.

    Skips the test where none is installed.
    """
    driver, binary = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or binary is None:
        pytest.skip("needs Chromium: apt-get install -y chromium chromium-driver")
    port = free_port()
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}/session"
        options = {"binary": binary, "args": ARGUMENTS}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        session = _until_it_answers(base, wanted)["sessionId"]
        try:
            yield Browser(f"{base}/{session}")
        finally:
            _call("DELETE", f"{base}/{session}", None)
    finally:
        process.terminate()
        process.wait()


def _until_it_answers(url: str, body: Any) -> Any:
    deadline = time.monotonic() + 60
    while True:
        try:
            return _call("POST", url, body)
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _call(method: str, url: str, body: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]
