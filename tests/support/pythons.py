"""The CPython interpreters of this machine, and programs that run in them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from usercrash.capture.interpreters import dynamic_of
from usercrash.capture.link_map import find_symbol
from usercrash.cpython.find import Found, find
from usercrash.model.maps import parse_maps
from usercrash.report import Thread

SCENES = Path(__file__).parents[1] / "cpython" / "scenes.py"
MINORS = range(8, 16)
Row = tuple[str, str, int]  # function, file, line


@dataclass(slots=True)
class Scene:
    """A process that waits where its scene has come to an end, and what it said there."""

    pid: int
    stacks: dict[int, list[Row]]  # by thread id
    memory: int = field(default=-1)

    def read(self, address: int, size: int) -> bytes:
        """As the walk wants it."""
        try:
            return os.pread(self.memory, size, address)
        except (OSError, OverflowError):
            return b""


@cache
def interpreters() -> dict[str, Path]:
    """By version ("3.11"): that of these tests always, and what else is installed."""
    found: dict[str, Path] = {}
    own = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    places = [own, *(Path(shutil.which(f"python3.{minor}") or "/-") for minor in MINORS)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places += sorted(pyenv.glob("3.*/bin/python3"))
    for place in places:
        version = _version(place)
        if version is not None:
            found.setdefault(version, place)
    return found


def versions() -> list[str]:
    """Of the interpreters, the oldest first."""
    return sorted(interpreters(), key=lambda version: int(version[2:]))


def _version(python: Path) -> str | None:
    program = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-IS", "-c", program], capture_output=True, timeout=60)
    except OSError:
        return None
    words = done.stdout.decode().split()
    if done.returncode or len(words) != 3 or words[0] != "cpython" or int(words[2]) not in MINORS:
        return None
    return f"{words[1]}.{words[2]}"


def rows_of(line: bytes) -> dict[int, list[Row]]:
    """The stacks that a scene wrote."""
    said = json.loads(line.decode("utf-8", "surrogateescape"))["threads"]
    return {int(tid): [(name, file, number) for name, file, number in rows]
            for tid, rows in said.items()}  # fmt: skip


def command(python: Path, scene: str, *words: str, source: Path = SCENES) -> list[str]:
    """What runs a scene."""
    return [str(python), "-B", "-X", "utf8", str(source), scene, *words]


@contextmanager
def standing(python: Path, scene: str, *words: str, source: Path = SCENES) -> Iterator[Scene]:
    """A process that stands in a scene."""
    with subprocess.Popen(
        command(python, scene, *words, source=source),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        memory = -1
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            pid = json.loads(line.decode("utf-8", "surrogateescape")).get("pid", process.pid)
            _wait_for_standstill(pid)
            memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
            yield Scene(pid, rows_of(line), memory)
        finally:
            if memory >= 0:
                os.close(memory)
            assert process.stdin is not None
            process.stdin.close()
            process.kill()


_STANDSTILL_SECONDS = 60.0


def _wait_for_standstill(pid: int) -> None:
    """Until one thread reads descriptor 0 and all others wait, too. RuntimeError if it never
    comes to that."""
    deadline = time.monotonic() + _STANDSTILL_SECONDS
    while time.monotonic() < deadline:
        states = [
            Path(f"/proc/{pid}/task/{tid}/syscall").read_text().split()
            for tid in os.listdir(f"/proc/{pid}/task")
        ]
        if all(words[0].isdigit() for words in states) and any(
            words[:2] == ["0", "0x0"] for words in states
        ):
            return
        os.sched_yield()
    raise RuntimeError(f"process {pid} does not come to a standstill: {states}")


def found_in(scene: Scene) -> Found:
    """The interpreter of a scene."""
    maps = parse_maps(Path(f"/proc/{scene.pid}/maps").read_bytes())
    modules = [(row.path, row.start) for row in maps if row.is_file and row.offset == 0]

    def symbol(start: int, name: bytes) -> int:
        bias, dynamic = dynamic_of(scene.read(start, 4096), start)
        return find_symbol(scene.read, bias, dynamic, name) if dynamic else 0

    found = find(scene.read, modules, symbol)
    assert found is not None
    return found


def allow_cores() -> None:
    """For a child that is to dump core."""
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def dying(python: Path, scene: str, *words: str) -> tuple[int, dict[int, list[Row]]]:
    """Run a scene to its fault: (pid, the stacks that it told)."""
    with subprocess.Popen(
        command(python, scene, "fault", *words), preexec_fn=allow_cores, cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        told = process.stdout.readline()
        process.wait(60)
    return process.pid, rows_of(told)


def frames_of(thread: Thread) -> list[Row]:
    """A thread's Python frames as a report has them, in the form of `rows_of`."""
    assert all(not stack.end for stack in thread.interpreted)
    return [
        (frame.function, frame.file, frame.line or 0)
        for stack in thread.interpreted
        for frame in stack.frames
    ]


def check_places(thread: Thread) -> None:
    """Each Python frame is tied to a native evaluation loop, all frames of one run to the same,
    and the runs in the order of the loops."""
    natives = {frame.index: frame for frame in thread.frames}
    for stack in thread.interpreted:
        last = -1
        begun = True
        for frame in stack.frames:
            assert frame.native is not None
            assert frame.native > last if begun else frame.native == last
            last, begun = frame.native, frame.entry
            if frame.native in natives:
                assert (natives[frame.native].function or "").startswith("_PyEval_EvalFrameDefault")
