"""Crashes that wait for their analysis, in their order.

One that waits holds no descriptors of its own: what was collected lies on disk under the
crash's id (storage/store.py), its ELF files are shared with the others.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

from .. import config
from ..pipeline import Crash
from .elf_descriptors import SharedFile


class Job:
    """A crash on its way. `pid` and `deadline` (monotonic seconds) are 0 while it waits.

    `has_report`, `has_core`: which of its two files on disk count; `size` is that of both.
    """

    __slots__ = (
        "analyse", "crash", "deadline", "files", "has_core", "has_report", "pid", "size",
    )  # fmt: skip

    def __init__(self, crash: Crash, files: list[SharedFile], *, analyse: bool) -> None:
        """Closes the crash's own two descriptors."""
        self.crash = crash
        self.files = files
        self.analyse = analyse
        self.has_report, self.has_core = crash.report >= 0, crash.core >= 0
        self.size = 0
        for fd in (crash.report, crash.core):
            if fd >= 0:
                self.size += os.fstat(fd).st_size
                os.close(fd)
        crash.report = crash.core = -1
        self.pid = 0
        self.deadline = 0.0


class Queue:
    """Bounded by asking: `full` says when it has enough; what comes all the same is taken."""

    def __init__(self, limits: config.Queue) -> None:
        self._limits = limits
        self._jobs: deque[Job] = deque()
        self.size = 0  # bytes on disk

    def __len__(self) -> int:
        """How many crashes wait."""
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def full(self, *, half: bool = False) -> bool:
        """Whether of a further crash only the facts are to be kept; with `half`, whether half of
        the room is used up."""
        parts = 2 if half else 1
        limits = self._limits
        return (
            parts * len(self._jobs) >= limits.crashes or parts * self.size >= limits.megabytes << 20
        )

    def put(self, job: Job) -> None:
        """To the end."""
        self._jobs.append(job)
        self.size += job.size

    def put_back(self, job: Job) -> None:
        """To the front, where it was taken."""
        self._jobs.appendleft(job)
        self.size += job.size

    def take(self) -> Job:
        """The one that has waited longest; IndexError if there is none."""
        job = self._jobs.popleft()
        self.size -= job.size
        return job
