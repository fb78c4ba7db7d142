"""What is measured: collectors of crashes, each behind a core_pattern of its own; ours, and the
floor that there is without any."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.support.kernel import Installation

from .results import FLOOR, PIPE, SOCKET

REPORT_SECONDS = 60.0


class UnavailableError(Exception):
    """This collector cannot be run here; says why."""


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash as the harness saw it: times in ns, `fault`, `waited` of CLOCK_MONOTONIC,
    `fault_realtime` of CLOCK_REALTIME."""

    pid: int
    fault: int
    fault_realtime: int
    waited: int

    @property
    def hold(self) -> float:
        """Milliseconds from the fault to the return of the parent's wait."""
        return (self.waited - self.fault) / 1e6


class Record(NamedTuple):
    """What a collector has of many crashes: how many it knows, how many it kept completely, and
    after how many seconds (from the call) it had them."""

    known: int
    kept: int
    seconds: float


class Collector(Protocol):
    """A collector. `core_limit` is the crasher's RLIMIT_CORE; `heavy`: its work grows with the
    memory, so that it is not run as often; `size`: bytes on disk of the last crash."""

    name: str
    pattern: str
    pipe_limit: int
    core_limit: int
    heavy: bool
    size: int

    def start(self) -> None:
        """Make it ready; UnavailableError says why it cannot be."""

    def stop(self) -> None:
        """End everything that `start` began, remove all that it left."""

    def around(self) -> AbstractContextManager[None]:
        """What has to be there only while it is measured."""

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """Milliseconds from the fault to the complete report; None where it makes none."""

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """What it has of these crashes, waited for at most so long; UnavailableError if
        there is nothing to be counted."""


class Floor:
    """No dump at all: what the death of such a process takes by itself."""

    name = FLOOR
    pattern = "core"
    pipe_limit = 0
    core_limit = 0
    heavy = False
    size = 0

    def start(self) -> None:
        return

    def stop(self) -> None:
        return

    def around(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        return None

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        return Record(0, 0, 0.0)


class Usercrash:
    """Our server, warm, behind the kernel's socket or, with our client, behind its pipe."""

    pipe_limit = 1000
    core_limit = -1
    heavy = False
    size = 0

    def __init__(self, entrance: str, workers: int = 2) -> None:
        self.name = {"socket": SOCKET, "pipe": PIPE}[entrance]
        if workers == 0:
            self.name += ", 0 workers"
        self.workers = workers
        self._entrance = entrance
        self.installation: Installation | None = None
        self.pattern = ""

    def start(self) -> None:
        self.installation = Installation(f"[server]\nworkers = {self.workers}\n")
        self.installation.start_server()
        self.pattern = self.installation.pattern
        if self._entrance == "socket":
            self.pattern = self.installation.socket_pattern

    def stop(self) -> None:
        if self.installation is not None:
            self.installation.__exit__(None, None, None)

    def around(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """The event log says when the report was published."""
        assert self.installation is not None
        deadline = time.monotonic() + REPORT_SECONDS
        while time.monotonic() < deadline:
            lines = self.installation.events()
            ids = {line["id"] for line in lines if line.get("pid") == str(crash.pid)}
            for line in reversed(lines):
                if line["what"] == "closed" and line["id"] in ids:
                    if line["outcome"] != "published":
                        raise RuntimeError(f"crash of {crash.pid}: {line}")
                    core = self.installation.reports / ".data" / f"{line['id']}.core.zst"
                    self.size = os.stat(core).st_blocks * 512
                    return (int(str(line["at"])) - crash.fault_realtime) / 1e6
            time.sleep(0.01)
        raise RuntimeError(f"no report of {crash.pid}: {self.installation.server_log}")

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """Announced in the event log, and published with a complete report."""
        assert self.installation is not None
        wanted = {str(pid) for pid in pids}
        begin = time.monotonic()
        while True:
            lines = self.installation.events()
            ids = {line["id"] for line in lines if line.get("pid") in wanted}
            closed = [line for line in lines if line["what"] == "closed" and line["id"] in ids]
            late = time.monotonic() - begin > seconds
            if late or (len(ids) == len(pids) and len(closed) == len(ids)):
                kept = sum(line["outcome"] == "published" for line in closed)
                return Record(len(ids), kept, time.monotonic() - begin)
            time.sleep(0.1)
