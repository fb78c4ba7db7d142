"""Crashes through the real kernel into a program that only captures (capture_handler.py)."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import usercrash
from usercrash.system.core_pattern import core_pattern_guard

SECONDS = 60
T = TypeVar("T")

FULL = "%P %I %s %d %F"
SHORT = "%p %s"


@dataclass(frozen=True, slots=True)
class Captured:
    """What the handler found out; the keys are those of its JSON."""

    core: Path
    full: Path
    text: str
    given: int
    pid: int
    tid: int
    signal: int
    start_ticks: int
    proved: bool
    machine: int
    elf_class: int
    threads: list[list[int]]
    facts: dict[str, str]
    files: list[tuple[str, bool, int, int]]
    loads: list[tuple[int, int, int]]
    notes: list[tuple[str, str, str]]
    ms: dict[str, float] = field(default_factory=dict)


class Handler:
    """What the handler wrote, in `place`; results are moved to `keep`."""

    def __init__(self, place: Path, keep: Path) -> None:
        self.place = place
        self.keep = keep
        self._stopped = place / "stopped"
        self._stopped.touch()
        self._locks = {}
        for stage in ("before", "during"):
            self._locks[stage] = os.open(place / stage, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._locks[stage], fcntl.LOCK_EX)

    def close(self) -> None:
        """Let everything go on."""
        for lock in self._locks.values():
            os.close(lock)

    def crash(self, command: Sequence[str | bytes | Path]) -> int:
        """Run a program to its death; its wait status as subprocess has it."""
        return self.start(command).wait(SECONDS)

    def start(self, command: Sequence[str | bytes | Path]) -> subprocess.Popen[bytes]:
        def allow_cores() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)

        return subprocess.Popen(
            command, preexec_fn=allow_cores, cwd="/", env={"GREETING": "hello"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def wait_stopped(self, count: int = 1) -> None:
        """Wait until so many handlers have stopped."""
        _until(f"{count} stopped", lambda: self._stopped.stat().st_size >= count or None)

    def go_on(self, stage: str) -> None:
        """Let the handlers that have stopped at `stage`, and all later ones, go on."""
        fcntl.flock(self._locks[stage], fcntl.LOCK_UN)

    def result(self, name: str) -> Captured:
        """The result of the crash of an executable with this file name, or of one without a known
        name. TimeoutError with the handler's complaint."""
        return _until(f"result for {name}", lambda: self._look(name), self.place / "log")

    def _look(self, name: str) -> Captured | None:
        for file in self.place.glob("*.json"):
            found = self._load(file)
            exe = found.facts.get("exe", "").removesuffix(" (deleted)")
            if not exe or exe.rpartition("/")[2] == name:
                file.unlink()
                for path in (found.core, found.full):
                    if (self.place / path.name).exists():
                        shutil.move(self.place / path.name, path)
                return found
        return None

    def _load(self, file: Path) -> Captured:
        data = json.loads(file.read_text())
        data["elf_class"] = data.pop("class")
        data["files"] = [tuple(row) for row in data["files"]]
        data["loads"] = [tuple(row) for row in data["loads"]]
        data["notes"] = [tuple(row) for row in data["notes"]]
        text = file.with_suffix(".txt").read_text("utf-8")
        core, full = (self.keep / f"{file.stem}.{end}" for end in ("core", "full"))
        return Captured(core, full, text, **data)


def _until(what: str, look: Callable[[], T | None], log: Path | None = None) -> T:
    """What `look` gives once it is not None."""
    deadline = time.monotonic() + SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            complaint = log.read_text() if log and log.exists() else ""
            raise TimeoutError(f"no {what}: {complaint}")
        time.sleep(0.005)
    return found


@contextmanager
def handler(keep: Path, mode: str = "plain", ids: str = FULL) -> Iterator[Handler]:
    """Inside the `with`, all crashes of the machine are captured, by our handler in `mode`;
    cores are moved to `keep`."""
    with tempfile.TemporaryDirectory(prefix="uc-") as name:  # short: the pattern has 127 bytes
        place = Path(name)
        launcher = place / "h"
        roots = [str(Path(usercrash.__file__).parent.parent), str(Path(__file__).parent)]
        launcher.write_text(
            f"#!{os.path.realpath(sys.executable)} -IS\n"
            f"import sys\nsys.path += {roots!r}\n"
            "try:\n    from capture_handler import main\n    main()\n"
            "except BaseException:\n    import traceback\n"
            f"    traceback.print_exc(file=open({str(place / 'log')!r}, 'a'))\n"
        )
        launcher.chmod(0o755)
        held = Handler(place, keep)
        with core_pattern_guard(f"|{launcher} {place} {mode} {ids}", 100):
            try:
                yield held
            finally:
                held.close()
