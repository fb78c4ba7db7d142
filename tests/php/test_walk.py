"""PHP's calls, beside what debug_backtrace() says in the process itself."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.perl.test_walk import Memory, Row, of_kept, rows_of, taken
from usercrash.capture.interpreters import dynamic_of
from usercrash.capture.link_map import find_symbol
from usercrash.php.layout import TABLES
from usercrash.php.walk import INCLUDED, MAIN, Found, find, walk
from usercrash.render.text import render_text

HERE = Path(__file__).parent
SCENES = [
    "plain", "callback", "sort", "text", "missing", "destroy", "generator", "eval", "nested",
    "anonymous", "handler",
]  # fmt: skip


def is_known() -> bool:
    php = shutil.which("php")
    if php is None:
        return False
    say = "echo PHP_MAJOR_VERSION, ' ', PHP_MINOR_VERSION, ' ', PHP_ZTS + PHP_DEBUG;"
    told = subprocess.run([php, "-r", say], capture_output=True, text=True, check=True).stdout
    major, minor, other = (int(word) for word in told.split())
    return (major, minor) in TABLES and not other


known = pytest.mark.skipif(not is_known(), reason="no PHP here whose layout is known")


@contextmanager
def standing(scene: str) -> Iterator[tuple[int, list[Row]]]:
    """The pid of a process in a scene, and what its debug_backtrace() says: functions, innermost
    first, and from where each was called."""
    command = ["php", "-n", str(HERE / "scenes.php"), scene]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        rows = []
        while (line := process.stdout.readline().decode()) != "end\n":
            assert line, f"{scene} has ended"
            name, file, number = line.split("\t")
            name = INCLUDED.decode() if name == "eval" else name
            rows.append((name, file, int(number)))
        while ") S " not in Path(f"/proc/{process.pid}/stat").read_text():
            time.sleep(0.001)  # until it sleeps
        yield process.pid, rows
    finally:
        process.kill()
        process.communicate()


def found_in(pid: int, memory: Memory) -> Found:
    modules = []
    for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[2] == b"00000000":
            modules.append((fields[5], int(line.partition(b"-")[0], 16)))

    def symbol(start: int, name: bytes) -> int:
        bias, dynamic = dynamic_of(memory.read(start, 4096), start)
        return find_symbol(memory.read, bias, dynamic, name) if dynamic else 0

    found = find(memory.read, modules, symbol)
    assert found is not None
    return found


def wanted(told: list[Row]) -> tuple[list[str], list[tuple[str, int]]]:
    """The names of all frames, and the places of all but sleep() and what called it."""
    names = ["sleep", *(row[0] for row in told), MAIN.decode()]
    return names, [row[1:] for row in told]


@known
@pytest.mark.parametrize("scene", SCENES)
def test_each_call_as_the_process_tells_it(scene: str) -> None:
    with standing(scene) as (pid, told):
        memory = Memory(pid)
        walked = walk(memory.read, found_in(pid, memory))
    assert walked is not None and walked.end == ""
    names, places = wanted(told)
    assert [one.name.decode() for one in walked.frames] == names
    assert [(one.file.decode(), one.line) for one in walked.frames[2:]] == places
    assert walked.frames[1].line == 13 and walked.runs[-1] == len(walked.frames)


@known
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


@known
def test_memory_that_is_missing_or_damaged() -> None:
    """Where a piece is lost frames or names are missing, none is another one."""
    with standing("text") as (pid, _):
        memory = Memory(pid)
        found = found_in(pid, memory)
        memory.kept.clear()
        whole = walk(memory.read, found)
    assert whole is not None
    names = [frame.name for frame in whole.frames]
    for lost in memory.kept:
        left = {key: data for key, data in memory.kept.items() if key != lost}
        walked = walk(of_kept(left), found)
        if walked is not None:
            assert walked.end or len(walked.frames) == len(names)
            for frame, name in zip(walked.frames, names, strict=False):
                assert frame.name in (name, b"", name.rpartition(b"::")[2], INCLUDED, MAIN)
    chance = random.Random(5)
    for _ in range(300):
        bad = dict(memory.kept)
        for key in chance.sample(sorted(bad), 3):
            data = bytearray(bad[key])
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
            bad[key] = bytes(data)
        walk(of_kept(bad), found)


def test_other_versions_are_left_alone() -> None:
    assert Found(b"/usr/bin/php8.2", 0x1000, (8, 2, 32), 20220829).layout is not None
    assert Found(b"/usr/bin/php8.2", 0x1000, (8, 2, 32), 20220830).layout is None
    other = Found(b"/usr/bin/php8.3", 0x1000, (8, 3, 1), 20230831)
    assert other.layout is None and walk(lambda address, size: bytes(size), other) is None
    ours = Found(b"/usr/bin/php8.2", 0x1000, (8, 2, 1), 20220829)
    assert walk(lambda address, size: bytes(size), ours) is None
    assert walk(lambda address, size: b"", ours) is None


def test_calls_of_no_function() -> None:
    """Endlessly many that only hold others together: they are counted, too."""
    version, at = next(iter(TABLES.items()))
    found = Found(b"/usr/bin/php", 0x1000, (*version, 0), at["api"])
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
