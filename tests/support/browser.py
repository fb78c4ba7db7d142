"""A page in a real browser (Debian's chromium), steered through the DevTools pipe: nothing listens
on a network, and the page gets no script of its own."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import cast

SECONDS = 60.0  # one answer, on a busy machine
_FROM_US, _TO_US = 3, 4  # the descriptors that --remote-debugging-pipe uses

Answer = dict[str, object]


class Browser:
    """One browser with one page. Use it in a `with`: it is gone afterwards."""

    def __init__(self, profile: Path) -> None:
        theirs, self._writer = os.pipe()
        self._reader, answers = os.pipe()
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (theirs, answers)]
        os.close(theirs)
        os.close(answers)

        def place() -> None:
            os.dup2(ends[0], _FROM_US)
            os.dup2(ends[1], _TO_US)

        self._process = subprocess.Popen(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
                "--hide-scrollbars", "--remote-debugging-pipe", "about:blank",
            ],
            pass_fds=(_FROM_US, _TO_US), preexec_fn=place, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in ends:
            os.close(fd)
        self._count = 0
        self._data = b""
        self._events: list[Answer] = []
        self._session = ""

    def __enter__(self) -> Browser:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        answer = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = str(answer["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._writer)
        os.close(self._reader)
        try:
            self._process.wait(5)  # it ends with its pipe
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def open(self, page: Path, *, width: int, dark: bool = False, media: str = "") -> None:
        """Show the file in a window of that width, until it is loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        while not any(one["method"] == "Page.loadEventFired" for one in self._events):
            self._receive()

    def complaints(self) -> list[str]:
        """What the browser has said about the page since it was opened: what its policy refused,
        what could not be loaded."""
        entries = [cast("Answer", one["params"]) for one in self._events
                   if one["method"] == "Log.entryAdded"]  # fmt: skip
        return [str(cast("Answer", entry["entry"])["text"]) for entry in entries]

    def value(self, expression: str) -> object:
        """What the expression gives in the page, as JSON can say it."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return cast("Answer", answer["result"]).get("value")

    def press(self, key: str) -> None:
        """A key of the keyboard, as `Tab`."""
        codes = {"Tab": 9, "Enter": 13}
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                     windowsVirtualKeyCode=codes[key])  # fmt: skip

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """A PNG of the page."""
        answer = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(str(answer["data"])))

    def ask(self, method: str, **parameters: object) -> Answer:
        """The result of one command of the DevTools protocol."""
        self._count += 1
        message: Answer = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writer, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return cast("Answer", answer["result"])

    def _receive(self) -> Answer:
        """The next message; events are kept."""
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._data:
            left = deadline - time.monotonic()
            ready = select.select([self._reader], [], [], max(0.0, left))[0]
            chunk = os.read(self._reader, 1 << 20) if ready else b""
            assert chunk, "the browser does not answer"
            self._data += chunk
        message, _, self._data = self._data.partition(b"\0")
        answer = cast("Answer", json.loads(message))
        if "method" in answer:
            self._events.append(answer)
        return answer
