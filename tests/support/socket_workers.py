"""A server behind the kernel's socket as its tests look at it: its workers, what it has closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.kernel import Installation
from usercrash.report import Report

T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 30.0) -> T:
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
    return found


def children(place: Installation) -> list[int]:
    """The server's children: workers (and jobs, while an analysis runs)."""
    assert place.server is not None
    pid = place.server.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def workers(place: Installation, count: int) -> list[int]:
    """Its workers, once there are so many children and no more."""
    return until(lambda: found if len(found := children(place)) == count else None)


def closed(place: Installation, count: int) -> list[dict[str, object]]:
    def look() -> list[dict[str, object]] | None:
        lines = [line for line in place.events() if line["what"] == "closed"]
        return lines if len(lines) >= count else None

    return until(look)


def has_crashed(pid: int) -> bool:
    """Whether this child of ours is being dumped, or was."""
    status = Path(f"/proc/{pid}/status").read_text()
    return "\nCoreDumping:\t1" in status or "\nState:\tZ" in status


def names(report: Report) -> list[str | None]:
    """The crashing thread's functions."""
    return [frame.function for frame in report.threads[0].frames]
