"""The memory of our server and all its children, when nothing happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.support.kernel import Installation

from usercrash.system.core_pattern import core_pattern_guard
from usercrash.system.entrance import kernel_offers_socket

from .bursts import FEW, run_burst
from .results import Idle

BURST = 300
REST_SECONDS = 15.0  # longer than workers stay that are not needed


def tree_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []  # it ended meanwhile
    return [pid, *(one for child in children for one in tree_of(int(child)))]


def megabytes_of(pids: list[int]) -> float:
    """The sum of their PSS: what is shared counts once."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure_idle(exe: Path, say: Callable[[str], None]) -> list[Idle]:
    """With the workers of the default configuration, and with none. No other server of ours may
    run meanwhile: it would share the programs' pages."""
    found = []
    for workers in (2, 0):
        say(f"memory with {workers} workers")
        with Installation(f"[server]\nworkers = {workers}\n") as place:
            place.start_server()
            assert place.server is not None
            time.sleep(2)
            at_rest = megabytes_of(tree_of(place.server.pid))
            socket = kernel_offers_socket()
            with core_pattern_guard(place.socket_pattern if socket else place.pattern, 1000):
                run_burst(exe, BURST, FEW)
            _wait_for_all(place, BURST)
            time.sleep(REST_SECONDS)
            found.append(Idle(workers, at_rest, megabytes_of(tree_of(place.server.pid))))
    return found


def _wait_for_all(place: Installation, count: int) -> None:
    deadline = time.monotonic() + 240
    while sum(line["what"] == "closed" for line in place.events()) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of {count} crashes are reported: {place.server_log}")
        time.sleep(0.2)
