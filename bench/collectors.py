"""What is measured: collectors of crashes, each behind a core_pattern of its own; ours, and the
floor that there is without any."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.support.kernel import Installation

from usercrash.storage.events import NAME as EVENTS
from usercrash.storage.reports import DATA
from usercrash.system.entrance import kernel_offers_socket

from .results import COLD, FLOOR, PIPE, SOCKET

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
    """What a collector has of many crashes: how many it knows of, how many it kept completely, and
    since when (ns of CLOCK_MONOTONIC; 0: since the last process was let go)."""

    known: int
    kept: int
    done: int


class Collector(Protocol):
    """A collector. `core_limit` is the crasher's RLIMIT_CORE; `heavy`: its work grows with the
    memory, so that it is not run as often; `small`: it is only run on the smallest load;
    `bursts`: whether it is run in bursts; `size`: bytes on disk of the last crash."""

    name: str
    pattern: str
    pipe_limit: int
    core_limit: int = -1
    heavy: bool = False
    small: bool = False
    bursts: bool = True
    size: int = 0

    def start(self) -> None:
        """Make it ready; UnavailableError says why it cannot be."""

    def stop(self) -> None:
        """End everything that `start` began, remove all that it left."""

    def around(self) -> AbstractContextManager[None]:
        """What has to be there only while it is measured."""
        return contextlib.nullcontext()

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """Milliseconds from the fault to the complete report; None where it makes none."""

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """What it has of these crashes, waited for at most so long."""


class Floor(Collector):
    """No dump at all: what the death of such a process takes by itself."""

    name = FLOOR
    pattern = "core"
    pipe_limit = 0
    core_limit = 0

    def start(self) -> None:
        return

    def stop(self) -> None:
        return

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        return None

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        return Record(0, 0, 0)


class Usercrash(Collector):
    """Our server, warm, behind the kernel's socket or, with our client, behind its pipe."""

    pipe_limit = 1000

    def __init__(self, entrance: str, workers: int = 2) -> None:
        self.name = {"socket": SOCKET, "pipe": PIPE}[entrance] if workers else COLD
        self.small = not workers
        self.bursts = bool(workers)
        self._workers = workers
        self._entrance = entrance
        self._installation: Installation | None = None
        self._events = EventLines(Path())
        self.pattern = ""

    def start(self) -> None:
        if self._entrance == "socket" and not kernel_offers_socket():
            raise UnavailableError("needs Linux 6.17, with a socket for crashes")
        self._installation = place = Installation(f"[server]\nworkers = {self._workers}\n")
        place.start_server()
        self._events = EventLines(place.state / EVENTS)
        self.pattern = place.socket_pattern if self._entrance == "socket" else place.pattern
        self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        if self._installation is not None:
            self._signal(signal.SIGCONT)
            self._installation.__exit__(None, None, None)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Our servers read the kernel's log, also about crashes that go to others: while those
        are measured, they stand still."""
        self._events.skip()
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        assert self._installation is not None
        if self._installation.server is not None:
            self._installation.server.send_signal(number)

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """The event log says when the report was published."""
        assert self._installation is not None
        deadline = time.monotonic() + REPORT_SECONDS
        ours: object = None
        while time.monotonic() < deadline:
            for line in self._events.read():
                if line.get("pid") == str(crash.pid):
                    ours = line.get("id")
                elif ours is not None and line.get("id") == ours:
                    if line.get("outcome") != "published":
                        raise RuntimeError(f"crash of {crash.pid}: {line}")
                    core = self._installation.reports / DATA / f"{ours}.core.zst"
                    self.size = os.stat(core).st_blocks * 512
                    return (int(str(line["at"])) - crash.fault_realtime) / 1e6
            time.sleep(0.005)
        raise RuntimeError(f"no report of {crash.pid}: {self._installation.server_log}")

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """Announced in the event log, or counted there as missed; and published with a
        complete report."""
        waiting = {str(pid) for pid in pids}
        ids: set[object] = set()
        known = kept = done = 0
        deadline = time.monotonic() + seconds
        while (waiting or ids) and time.monotonic() < deadline:
            time.sleep(0.2)
            for line in self._events.read():
                if line.get("pid") in waiting:
                    waiting.discard(str(line["pid"]))
                    known += 1
                    if line["what"] == "announced":
                        ids.add(line["id"])
                elif line["what"] == "closed" and line["id"] in ids:
                    ids.discard(line["id"])
                    kept += line["outcome"] == "published"
                    done = int(str(line["at"]))
        return Record(known, kept, done - (time.time_ns() - time.monotonic_ns()) if done else 0)


class EventLines:
    """The lines of an event log as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def skip(self) -> None:
        """What was written until now is not read."""
        with contextlib.suppress(FileNotFoundError):
            self._at = self._path.stat().st_size

    def read(self) -> list[dict[str, object]]:
        """The whole lines since the last call."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
