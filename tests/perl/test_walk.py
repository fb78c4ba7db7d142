"""Perl's calls, beside what caller() says in the process itself (Carp)."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.build import need
from tests.support.interpreted import (
    Memory,
    Row,
    found_in,
    rows_of,
    survives_loss_and_damage,
    taken,
    telling,
)
from usercrash.interpreter_calls import MOST
from usercrash.perl.layout import TABLES
from usercrash.perl.walk import MAIN, find, known, walk
from usercrash.render.text import render_text

HERE = Path(__file__).parent
TOOL = HERE.parents[1] / "tools" / "perl_layout.c"
SCENES = [
    "plain", "sort", "compare", "names", "destroy", "ending", "overload", "tie", "eval", "list",
    "pattern", "warn", "die", "signal",
]  # fmt: skip
STAND = range(11, 18)  # lines of stand()


def version() -> tuple[int, int]:
    text = subprocess.run(
        [need("perl", "perl"), "-e", "print $^V"], capture_output=True, text=True, check=True
    ).stdout
    major, minor, _ = text.removeprefix("v").split(".")
    return int(major), int(minor)


is_known = pytest.mark.skipif(
    version() not in {key[0] for key in TABLES}, reason="this Perl's layout is not known"
)


def standing(scene: str) -> AbstractContextManager[tuple[int, list[Row]]]:
    """The pid of a process in a scene, and what its caller() says: subs, innermost first, and
    from where each was called."""
    return telling([need("perl", "perl"), str(HERE / "scenes.pl"), scene])


@is_known
@pytest.mark.parametrize("scene", SCENES)
def test_each_call_as_the_process_tells_it(scene: str) -> None:
    with standing(scene) as (pid, told):
        memory = Memory(pid)
        walked = walk(memory.read, found_in(pid, memory.read, find))
    assert walked is not None and walked.end == ""
    rows = [(one.name.decode(), one.file.decode(), one.line) for one in walked.frames]
    assert [row[0] for row in rows] == [*(row[0] for row in told), MAIN.decode()]
    assert [row[1:] for row in rows[1:]] == [row[1:] for row in told]
    assert rows[0][1] == str(HERE / "scenes.pl") and rows[0][2] in STAND
    assert walked.runs[-1] == len(walked.frames)


@is_known
@pytest.mark.parametrize("scene", ["sort", "destroy"])
def test_in_a_report(scene: str) -> None:
    with standing(scene) as (pid, told):
        report = taken(pid)
    (stack,) = report.threads[0].interpreted
    assert stack.language == "perl" and stack.version.startswith("5.")
    rows = rows_of(stack)
    assert [row[0] for row in rows] == [*(row[0] for row in told), MAIN.decode()]
    assert [row[1:] for row in rows[1:]] == [row[1:] for row in told]
    frames = report.threads[0].frames
    for one in stack.frames:
        assert one.native is not None and frames[one.native].function == "Perl_runops_standard"
    assert {one.native for one in stack.frames if one.entry} == {
        frame.index for frame in frames if frame.function == "Perl_runops_standard"
    }
    text = render_text(report)
    assert "pl  main::stand at " in text and "could not be placed" not in text
    (interpreter,) = report.interpreters
    assert interpreter.language == "perl" and interpreter.module.rpartition("/")[2] == "perl"


@is_known
def test_a_deep_recursion() -> None:
    with standing("recursion") as (pid, _):
        memory = Memory(pid)
        walked = walk(memory.read, found_in(pid, memory.read, find))
        report = taken(pid)
    assert walked is not None and len(walked.frames) == MOST
    assert walked.end == f"only {MOST:,} frames were read"
    (stack,) = report.threads[0].interpreted
    assert stack.frames_total <= MOST and stack.end
    assert [(one.start, one.length) for one in stack.folds] == [(1, 1)]


@is_known
def test_memory_that_is_missing_or_damaged() -> None:
    """Without a piece frames or names are missing, none is another one; damage raises nothing."""
    with standing("destroy") as (pid, _):
        memory = Memory(pid)
        found = found_in(pid, memory.read, find)
        memory.kept.clear()
        whole = walk(memory.read, found)
    assert whole is not None
    names = [frame.name for frame in whole.frames]
    survives_loss_and_damage(lambda read: walk(read, found), memory.kept, names, set())


def test_other_versions_are_left_alone() -> None:
    assert known(b"/usr/bin/perl", 0x1000, (5, 36, 0), 3760).layout is None
    assert known(b"/usr/bin/perl", 0x1000, (5, 38, 0), 3768).layout is None
    other = known(b"/usr/bin/perl", 0x1000, (5, 38, 2), 3768)
    assert walk(lambda address, size: bytes(size), other) is None
    ours = known(b"/usr/bin/perl", 0x1000, (5, 36, 0), 3768)
    assert walk(lambda address, size: bytes(size), ours) is None
    assert walk(lambda address, size: b"", ours) is None


@is_known
def test_the_layout_is_that_of_the_headers(tmp_path: Path) -> None:
    say = 'use Config; print "$Config{ccflags} -I$Config{archlibexp}/CORE"'
    perl = need("perl", "perl")
    flags = subprocess.run([perl, "-e", say], capture_output=True, text=True, check=True).stdout
    program = tmp_path / "layout"
    command = [need("gcc", "gcc"), "-w", *flags.split(), "-o", str(program), str(TOOL)]
    subprocess.run(command, check=True)
    told = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    first, *rest = told.splitlines()
    major, minor, size = (int(word) for word in first.split())
    table = {name: int(value) for name, value in (line.split() for line in rest)}
    assert TABLES[(major, minor), size] == table


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_contexts_of_no_call(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand levels that share their contexts, none of which is of a call: they are not looked
    at for ever, with a bound of time or without."""
    monkeypatch.setattr("usercrash.perl.walk._ALL_CONTEXTS", 2000)
    found = known(b"/usr/bin/perl", 0x1000, (5, 36, 0), 3768)
    at = found.layout
    assert at is not None
    statement, array, levels, contexts = 0x10000, 0x20000, 0x30000, 1 << 32
    words = {0x1000 + at["curcop"]: statement, 0x1000 + at["curstackinfo"]: levels}
    numbers = {statement + at["cop_type"]: at["op_nextstate"], array + at["sv_flags"]: at["sv_av"]}
    for level in range(levels, levels + 1000 * 64, 64):
        words |= {level + at["si_stack"]: array, level + at["si_cxstack"]: contexts,
                  level + at["si_prev"]: level + 64}  # fmt: skip
        numbers |= {level + at["si_cxix"]: 999, level + at["si_cxmax"]: 1000}
    read_bytes = 0

    def read(address: int, size: int) -> bytes:
        nonlocal read_bytes
        data = bytearray(size)
        if address >= contexts:
            read_bytes += size
            return bytes(data)
        for table, width in ((words, 8), (numbers, 4)):
            for place in range(address, address + size - width + 1, 4):
                if place in table:
                    where = place - address
                    data[where : where + width] = table[place].to_bytes(width, "little")
        return bytes(data)

    walked = walk(read, found, seconds=seconds)
    assert walked is not None
    assert walked.end == "only 0 frames were read"
    assert read_bytes <= 3000 * at["cx_size"]
    assert bool(read_bytes) == (not seconds)
