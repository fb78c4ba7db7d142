"""Threads that wait for Python's GIL: who holds it is told, and circles that go through it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.commands import environment, program, settings
from tests.support.pythons import interpreters, standing, versions

from usercrash.report import Report, Thread, from_json

# One lock for all interpreters (the oldest, our own up to 3.11), or for each (3.12 and later).
SOME = sorted({versions()[0], next(iter(interpreters())), versions()[-1]})
# Both end in a call of C that keeps the GIL. A thread reads descriptor 0: that ends the program.
PROGRAM = """
import _thread, ctypes, os, sys, time
LIBC, KEEPING = ctypes.CDLL(None), ctypes.PyDLL(None)
BUFFER = ctypes.create_string_buffer(64)

def compute():
    while True:
        pass

def kept():
    for _ in range(3):
        _thread.start_new_thread(compute, ())
    os.write(1, b'{"threads": {}}\\n')
    KEEPING.read(0, BUFFER, 1)

def take_other():
    KEEPING.pthread_mutex_lock(BUFFER)

def reads(thread):
    with open(f"/proc/self/task/{thread}/syscall") as file:
        return file.read().startswith("0 0x0 ")

def crossed():
    _thread.start_new_thread(LIBC.read, (0, ctypes.create_string_buffer(1), 1))
    while not any(map(reads, os.listdir("/proc/self/task"))):
        time.sleep(0.001)  # else it might wait for the GIL for ever
    LIBC.pthread_mutex_lock(BUFFER)
    os.write(1, b'{"threads": {}}\\n')
    _thread.start_new_thread(take_other, ())
    compute()

globals()[sys.argv[1]]()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, as symbols are kept there."""
    found = tmp_path_factory.mktemp("gil")
    (found / "program.py").write_text(PROGRAM)
    settings(found)
    return found


def looked_at(version: str, scene: str, place: Path) -> Report:
    source, config = place / "program.py", place / "usercrash.toml"
    with standing(interpreters()[version], scene, source=source) as process:
        done = subprocess.run(
            [*program("debugger"), str(process.pid), "--json", "--config", str(config)],
            capture_output=True, timeout=60, env=environment(), check=True,
        )  # fmt: skip
    return from_json(done.stdout)


def summary(thread: Thread) -> str:
    assert thread.waiting is not None
    return thread.waiting.summary


@pytest.mark.parametrize("version", SOME)
def test_who_holds_it(version: str, place: Path) -> None:
    report = looked_at(version, "kept", place)
    first, *others = report.threads
    assert summary(first).startswith("read on descriptor 0") and len(others) == 3
    for thread in others:
        assert thread.waiting is not None and thread.waiting.kind == "lock"
        assert summary(thread) == f"Python's GIL, held by thread {first.tid} ({first.name})"
        assert thread.waiting.holder == first.tid
    assert report.deadlocks == []


@pytest.mark.parametrize("version", SOME)
def test_a_circle_through_it(version: str, place: Path) -> None:
    """One has the GIL and waits for a mutex of C, the other has the mutex and waits for the GIL."""
    report = looked_at(version, "crossed", place)
    first = report.threads[0]
    (other,) = [one for one in report.threads if one.tid in report.deadlocks[0][1:]]
    assert report.deadlocks == [[first.tid, other.tid]]
    assert summary(first) == f"Python's GIL, held by thread {other.tid} ({other.name})"
    assert summary(other).startswith("the mutex at 0x")
    assert summary(other).endswith(f", held by thread {first.tid} ({first.name})")
