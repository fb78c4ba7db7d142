"""A server behind the kernel's socket as its tests look at it: its workers."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from tests.support.kernel import Installation
from tests.support.server_life import children, until
from usercrash.report import Report

T = TypeVar("T")


def workers(place: Installation, count: int) -> list[int]:
    """Its workers, once there are so many children and no more."""
    return until(lambda: found if len(found := children(place)) == count else None)


def has_crashed(pid: int) -> bool:
    """Whether this child of ours is being dumped, or was."""
    status = Path(f"/proc/{pid}/status").read_text()
    return "\nCoreDumping:\t1" in status or "\nState:\tZ" in status


def names(report: Report) -> list[str | None]:
    """The crashing thread's functions."""
    return [frame.function for frame in report.threads[0].frames]
