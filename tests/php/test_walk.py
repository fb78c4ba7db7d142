"""PHP's calls, beside what debug_backtrace() says in the process itself."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.interpreted import (
    Memory,
    Row,
    found_in,
    rows_of,
    survives_loss_and_damage,
    taken,
    telling,
)
from usercrash.php.layout import TABLES
from usercrash.php.walk import INCLUDED, MAIN, find, known, walk
from usercrash.render.text import render_text

HERE = Path(__file__).parent
SCENES = [
    "plain", "callback", "sort", "text", "missing", "destroy", "generator", "eval", "nested",
    "anonymous", "handler",
]  # fmt: skip


def has_known() -> bool:
    php = shutil.which("php")
    if php is None:
        return False
    say = "echo PHP_MAJOR_VERSION, ' ', PHP_MINOR_VERSION, ' ', PHP_ZTS + PHP_DEBUG;"
    told = subprocess.run([php, "-r", say], capture_output=True, text=True, check=True).stdout
    major, minor, other = (int(word) for word in told.split())
    return (major, minor) in TABLES and not other


is_known = pytest.mark.skipif(not has_known(), reason="no PHP here whose layout is known")


@contextmanager
def standing(scene: str) -> Iterator[tuple[int, list[Row]]]:
    """The pid of a process in a scene, and what its debug_backtrace() says: functions, innermost
    first, and from where each was called."""
    with telling(["php", "-n", str(HERE / "scenes.php"), scene]) as (pid, told):
        while ") S " not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.001)  # until it sleeps
        yield pid, [(INCLUDED.decode() if row[0] == "eval" else row[0], *row[1:]) for row in told]


def wanted(told: list[Row]) -> tuple[list[str], list[tuple[str, int]]]:
    """The names of all frames, and the places of all but sleep() and what called it."""
    names = ["sleep", *(row[0] for row in told), MAIN.decode()]
    return names, [row[1:] for row in told]


@is_known
@pytest.mark.parametrize("scene", SCENES)
def test_each_call_as_the_process_tells_it(scene: str) -> None:
    with standing(scene) as (pid, told):
        memory = Memory(pid)
        walked = walk(memory.read, found_in(pid, memory.read, find))
    assert walked is not None and walked.end == ""
    names, places = wanted(told)
    assert [one.name.decode() for one in walked.frames] == names
    assert [(one.file.decode(), one.line) for one in walked.frames[2:]] == places
    assert walked.frames[1].line == 13 and walked.runs[-1] == len(walked.frames)


@is_known
@pytest.mark.parametrize("scene", ["sort", "text"])
def test_in_a_report(scene: str) -> None:
    with standing(scene) as (pid, told):
        report = taken(pid)
    (stack,) = report.threads[0].interpreted
    assert stack.language == "php" and stack.version.startswith("8.")
    names, places = wanted(told)
    rows = rows_of(stack)
    assert [row[0] for row in rows] == names
    assert [row[1:] for row in rows[2:]] == places
    frames = report.threads[0].frames
    for one in stack.frames:
        assert one.native is not None and frames[one.native].function == "execute_ex"
    text = render_text(report)
    assert "php Laden\\stand at " in text and "could not be placed" not in text
    (interpreter,) = report.interpreters
    assert interpreter.language == "php" and "php" in interpreter.module


@is_known
def test_memory_that_is_missing_or_damaged() -> None:
    """Where a piece is lost frames or names are missing, none is another one."""
    with standing("text") as (pid, _):
        memory = Memory(pid)
        found = found_in(pid, memory.read, find)
        memory.kept.clear()
        whole = walk(memory.read, found)
    assert whole is not None
    names = [frame.name for frame in whole.frames]
    others = {INCLUDED, MAIN}
    survives_loss_and_damage(lambda read: walk(read, found), memory.kept, names, others)


def test_other_versions_are_left_alone() -> None:
    assert known(b"/usr/bin/php8.2", 0x1000, (8, 2, 32), 20220829).layout is not None
    assert known(b"/usr/bin/php8.2", 0x1000, (8, 2, 32), 20220830).layout is None
    other = known(b"/usr/bin/php8.3", 0x1000, (8, 3, 1), 20230831)
    assert other.layout is None and walk(lambda address, size: bytes(size), other) is None
    ours = known(b"/usr/bin/php8.2", 0x1000, (8, 2, 1), 20220829)
    assert walk(lambda address, size: bytes(size), ours) is None
    assert walk(lambda address, size: b"", ours) is None


def test_calls_of_no_function() -> None:
    """Endlessly many that only hold others together: they are counted, too."""
    version, at = next(iter(TABLES.items()))
    found = known(b"/usr/bin/php", 0x1000, (*version, 0), at["api"])
    asked: list[int] = []

    def read(address: int, size: int) -> bytes:
        asked.append(address)
        assert len(asked) < 1000
        data = bytearray(size)
        if address == 0x1000 + at["current"]:
            data[:8] = (0x100000).to_bytes(8, "little")
        elif size >= at["execute_size"]:
            data[at["previous"] : at["previous"] + 8] = (address + 128).to_bytes(8, "little")
        return bytes(data)

    assert walk(read, found, most=100) is None
    assert len(asked) > 100
