"""A server as its tests look at it from outside: its children, what it has closed, its reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.kernel import Installation
from usercrash.storage.store import Store

T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 30.0) -> T:
    """What `look` gives, once that is not None."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
    return found


def closed(place: Installation, count: int = 1, seconds: float = 30.0) -> list[dict[str, object]]:
    """The closing lines of the event log, once there are so many."""

    def look() -> list[dict[str, object]] | None:
        lines = [line for line in place.events() if line["what"] == "closed"]
        return lines if len(lines) >= count else None

    # Jobs run niced: beside busy processes each has a tenth of a processor only.
    return until(look, seconds + count)


def children(place: Installation) -> list[int]:
    """The server's children: workers (and jobs, while an analysis runs)."""
    assert place.server is not None
    pid = place.server.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def text_of(place: Installation, line: dict[str, object]) -> str:
    store = Store(str(place.reports))
    try:
        return store.read_text(int(str(line["slot"]))).decode()
    finally:
        store.close()
