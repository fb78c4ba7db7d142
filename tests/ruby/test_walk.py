"""Ruby's calls, beside what caller_locations() says in the process itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.build import need
from tests.support.interpreted import (
    Memory,
    Read,
    Row,
    found_in,
    of_kept,
    rows_of,
    survives_loss_and_damage,
    taken,
    telling,
)
from usercrash.interpreter_calls import MOST, Found, Frame, Walked
from usercrash.render.text import render_text
from usercrash.report import Report
from usercrash.ruby.layout import TABLES
from usercrash.ruby.walk import find, is_ruby, known, walk

HERE = Path(__file__).parent
TOOL = HERE.parents[1] / "tools" / "ruby_layout.c"
SCRIPT = HERE / "scenes.rb"
SCENES = [
    one
    for one in re.findall(r"^  '(\w+)' =>", SCRIPT.read_text(), re.MULTILINE)
    if one != "recursion"
]
SLEEP = b"sleep"


def has_known() -> bool:
    ruby = shutil.which("ruby")
    if ruby is None:
        return False
    say = 'print RUBY_VERSION, " ", RUBY_PLATFORM'
    told = subprocess.run([ruby, "-e", say], capture_output=True, text=True, check=True).stdout
    version, platform = told.split()
    numbers = tuple(int(one) for one in version.split("."))
    return numbers in TABLES and platform in ("x86_64-linux", "x86_64-linux-gnu")


is_known = pytest.mark.skipif(not has_known(), reason="no Ruby here whose layout is known")


def sleeping(walked: dict[int, Walked]) -> list[Walked]:
    """The calls of the thread that stands in stand()."""
    return [
        one
        for one in walked.values()
        if len(one.frames) > 1 and one.frames[0].name == SLEEP and one.frames[1].name == b"stand"
    ]


@contextmanager
def standing(scene: str, *flags: str) -> Iterator[tuple[int, list[Row]]]:
    """The pid of a process in a scene, and what its caller_locations() says."""
    with telling([need("ruby", "ruby"), *flags, str(SCRIPT), scene]) as (pid, told):
        until = time.monotonic() + 60
        memory = Memory(pid)
        while not sleeping(walk(memory.read, found_in(pid, memory.read, find))):
            assert time.monotonic() < until, f"{scene} does not sleep"
            time.sleep(0.001)
        yield pid, told


def as_ruby_tells(frames: list[Frame]) -> list[Row]:
    """A function in C is told with the place of the code that called it."""
    rows: list[Row] = []
    place = ("", 0)
    for one in reversed(frames):
        if one.file:
            place = (one.file.decode(), one.line)
        rows.append((one.name.decode(), *place))
    return rows[::-1]


@is_known
@pytest.mark.parametrize("scene", SCENES)
def test_each_call_as_the_process_tells_it(scene: str) -> None:
    with standing(scene) as (pid, told):
        memory = Memory(pid)
        walked = walk(memory.read, found_in(pid, memory.read, find))
    (stack,) = sleeping(walked)
    assert {one.end for one in walked.values()} == {""}
    rows = as_ruby_tells(stack.frames)
    assert rows[2:] == told[1:]
    assert rows[0] == ("sleep", str(SCRIPT), 6) and rows[1] == ("stand", str(SCRIPT), 6)
    assert stack.runs and all(stack.frames[end - 1].file for end in stack.runs)


def compiles() -> bool:
    """Whether this Ruby can compile to machine code."""
    ruby = shutil.which("ruby")
    return ruby is not None and subprocess.run([ruby, "--yjit", "-e", "1"]).returncode == 0


@is_known
@pytest.mark.skipif(not compiles(), reason="this Ruby has no YJIT")
@pytest.mark.parametrize("scene", ["block", "made", "refined", "thread"])
def test_compiled_code(scene: str) -> None:
    """What it calls is as sure as before; where it stands itself is not."""
    with standing(scene, "--yjit", "--yjit-call-threshold=1") as (pid, told):
        memory = Memory(pid)
        (stack,) = sleeping(walk(memory.read, found_in(pid, memory.read, find)))
    assert as_ruby_tells(stack.frames)[2:] == told[1:]


@is_known
@pytest.mark.parametrize("scene", ["block", "many"])
def test_in_a_report(scene: str) -> None:
    with standing(scene) as (pid, told):
        report = taken(pid)
    stacks = [stack for thread in report.threads for stack in thread.interpreted]
    assert len(stacks) == len(report.threads) == report.interpreters[0].threads
    assert {stack.language for stack in stacks} == {"ruby"}
    assert not any(stack.end or stack.holds_lock for stack in stacks)
    number = next(at for at, stack in enumerate(stacks) if stack.frames[1].function == "stand")
    names = [row[0] for row in rows_of(stacks[number])]
    assert names == ["sleep", *(row[0] for row in told)]
    for thread in report.threads:
        (stack,) = thread.interpreted
        loops = {frame.index for frame in thread.frames if frame.function == "rb_vm_exec"}
        assert {one.native for one in stack.frames if one.entry} == loops
        assert {one.native for one in stack.frames} == loops
    text = render_text(report)
    assert "rb  stand at " in text and "could not be placed" not in text
    (interpreter,) = report.interpreters
    assert interpreter.language == "ruby" and is_ruby(interpreter.module.encode())


def with_lock(report: Report) -> list[int]:
    """The threads that have the GVL."""
    return [one.tid for one in report.threads if one.interpreted[0].holds_lock]


@is_known
def test_who_has_the_lock() -> None:
    """The thread that runs, but for the moments in which it offers it to others."""
    say = "Thread.new { sleep }; puts 'end'; $stdout.flush; loop {}"
    with telling([need("ruby", "ruby"), "-e", say]) as (pid, _):
        memory = Memory(pid)
        found = found_in(pid, memory.read, find)
        until = time.monotonic() + 60
        while not any(
            one.frames[:1] and one.frames[0].name == SLEEP
            for one in walk(memory.read, found).values()
        ):
            assert time.monotonic() < until
            time.sleep(0.001)
        while not with_lock(report := taken(pid)):
            assert time.monotonic() < until
    assert with_lock(report) == [pid] and len(report.threads) == 2
    assert ": the thread holds the GVL" in render_text(report)


@is_known
def test_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no stack, or a short one, and a word about it."""
    monkeypatch.setattr("usercrash.capture.interpreters.SECONDS", 1e-9)
    with standing("plain") as (pid, _):
        report = taken(pid)
    assert [note.why for note in report.notes if note.stage == "ruby"] == ["no time left"]


@is_known
def test_a_deep_recursion() -> None:
    with standing("recursion") as (pid, _):
        memory = Memory(pid)
        (walked,) = walk(memory.read, found_in(pid, memory.read, find)).values()
        report = taken(pid)
    assert len(walked.frames) == MOST
    assert walked.end == f"only {MOST:,} frames were read"
    (stack,) = report.threads[0].interpreted
    assert stack.frames_total <= MOST and stack.end
    assert [(one.start, one.length) for one in stack.folds] == [(2, 1)]


@is_known
def test_memory_that_is_missing_or_damaged() -> None:
    """Where a piece is lost frames, names or lines are missing, none is another one."""
    with standing("missing") as (pid, _):
        memory = Memory(pid)
        found = found_in(pid, memory.read, find)
        memory.kept.clear()
        (whole,) = walk(memory.read, found).values()

    names = [frame.name for frame in whole.frames]
    survives_loss_and_damage(
        lambda read: next(iter(walk(read, found).values()), None), memory.kept, names, set()
    )
    for lost in memory.kept:
        left = {key: data for key, data in memory.kept.items() if key != lost}
        for walked in walk(of_kept(left), found).values():
            for frame, own in zip(walked.frames, whole.frames, strict=False):
                assert frame.line in (0, own.line)


@is_known
def test_without_the_table_of_symbols() -> None:
    """Functions in C have no names, all else is as it was."""
    with standing("block") as (pid, told):
        memory = Memory(pid)
        found = found_in(pid, memory.read, find)
        nowhere = known(found.path, found.address, found.version, 0)
        (walked,) = walk(memory.read, nowhere).values()
        other = known(found.path, found.address, found.version, found.mark + 8)
        (misled,) = walk(memory.read, other).values()
    names = [one.name.decode() for one in walked.frames]
    assert [name or "?" for name in names[1:]] == [
        "?" if name.startswith("each") else name for name, _, _ in told
    ]
    assert [one.name for one in misled.frames] == [one.name for one in walked.frames]


def test_other_versions_are_left_alone() -> None:
    assert known(b"/usr/lib/libruby-3.1.so.3.1", 0x1000, (3, 1, 4), 0).layout is None
    other = known(b"/usr/lib/libruby-3.3.so.3.3", 0x1000, (3, 3, 0), 0)
    assert other.layout is None and walk(lambda address, size: bytes(size), other) == {}
    ours = known(b"/usr/lib/libruby-3.1.so.3.1", 0x1000, (3, 1, 2), 0)
    assert walk(lambda address, size: bytes(size), ours) == {}
    assert walk(lambda address, size: b"", ours) == {}


@pytest.mark.parametrize(
    ("version", "description"),
    [
        (b"3.1.2", b"ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [aarch64-linux-gnu]"),
        (b"3.1.2", b"ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-musl]"),
        (b"3.1.2", b"ruby 3.1.3p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]"),
        (b"3.1.2.1", b"ruby 3.1.2.1p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]"),
        (b"", b""),
    ],
)
def test_only_what_says_twice_what_it_is(version: bytes, description: bytes) -> None:
    places = {b"ruby_current_vm_ptr": 0x1000, b"ruby_version": 0x2000, b"ruby_description": 0x3000}
    texts = {0x1000: (0x10000).to_bytes(8, "little"), 0x2000: version, 0x3000: description}

    def asked() -> object:
        return find(
            lambda address, size: texts.get(address, b"").ljust(size, b"\0"),
            [(b"/usr/lib/libruby.so.3.1", 0x400000)],
            lambda start, name: places.get(name, 0),
        )

    assert asked() is None
    texts |= {0x2000: b"3.1.2", 0x3000: b"ruby 3.1.2p20 (2022-04-12) [x86_64-linux]"}
    assert asked() is None
    texts |= {0x10008: (0x20000).to_bytes(8, "little"), 0x20008: (0x10008).to_bytes(8, "little")}
    assert asked() is not None


@is_known
def test_a_file_that_is_mapped_once_more() -> None:
    """As Ruby does when it writes its crash report, to read the names of functions."""
    with standing("plain") as (pid, _):
        memory = Memory(pid)
        own = found_in(pid, memory.read, find)
        shift = 1 << 46  # (all that there is lies above)

        def read(address: int, size: int) -> bytes:
            if address >= shift:
                return memory.read(address, size)
            data = memory.read(address + shift, size)
            return data if data.startswith((b"3.", b"ruby 3.")) else b"\x70" * size

        def twice(
            look: Read, modules: list[tuple[bytes, int]], symbol: Callable[[int, bytes], int]
        ) -> Found | None:
            copies = [(path, start - shift) for path, start in modules]

            def symbol_of(start: int, name: bytes) -> int:
                return symbol(start | shift, name) - (0 if start & shift else shift)

            return find(read, [*copies, *modules], symbol_of)

        again = found_in(pid, memory.read, twice)
    assert (again.address, again.mark) == (own.address, own.mark)


@is_known
def test_the_layout_is_that_of_the_headers(tmp_path: Path) -> None:
    say = 'print RbConfig::CONFIG["rubyarchhdrdir"], "/rb_mjit_min_header-", RUBY_VERSION, ".h"'
    ruby = need("ruby", "ruby")
    header = subprocess.run([ruby, "-e", say], capture_output=True, text=True, check=True).stdout
    if not Path(header).exists():
        pytest.skip("its development package is not installed")
    program = tmp_path / "layout"
    command = [need("gcc", "gcc"), "-w", "-O1", "-include", header, "-o", str(program), str(TOOL)]
    subprocess.run(command, check=True)
    told = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    table = {name: int(value) for name, value in (line.split() for line in told.splitlines())}
    major, minor, patch = (
        int(one) for one in header.rpartition("-")[2].removesuffix(".h").split(".")
    )
    assert TABLES[major, minor, patch] == table


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_frames_of_no_call(seconds: float) -> None:
    """Threads without end, each with frames that are no calls: they are counted, too, with a
    bound of time or without."""
    at = TABLES[3, 1, 2]
    found = known(b"/usr/lib/libruby-3.1.so.3.1", 0x1000, (3, 1, 2), 0)
    ractor, context, stack, size = 0x100000 - at["ractor_node"], 0x500000, 0x10000000, 1 << 20
    asked: list[int] = []

    def word(address: int) -> int:
        if address in (0x1000 + at["vm_ractors"], 0x100000):
            return 0x100000 if address != 0x100000 else 0x1000 + at["vm_ractors"]
        if address == 0x100008:
            return 0x1000 + at["vm_ractors"]
        if address == ractor + at["ractor_threads"]:
            return 0x200000
        if 0x200000 <= address < 0x400000:
            thread, field = address & ~0xFF, address & 0xFF
            before = thread - 0x100 if thread > 0x200000 else ractor + at["ractor_threads"]
            return {
                0: thread + 0x100, 8: before, at["thread_vm"]: 0x1000,
                at["thread_ractor"]: ractor, at["thread_ec"]: context + (thread - 0x200000),
                at["thread_id"]: thread,
            }.get(field, 0)  # fmt: skip
        if context <= address < 0x700000:
            owner = (address - context & ~0xFF) + 0x200000
            return {
                at["ec_stack"]: stack, at["ec_stack_size"]: size, at["ec_frame"]: stack,
                at["ec_thread"]: owner,
            }.get(address & 0xFF, 0)  # fmt: skip
        return stack if address % at["frame_size"] == at["frame_ep"] else 0x1234

    def read(address: int, count: int) -> bytes:
        asked.append(count)
        words = range(address & -8, address + count + 7 & -8, 8)
        data = b"".join(word(one).to_bytes(8, "little") for one in words)
        return data[address % 8 : address % 8 + count]

    walked = walk(read, found, most=10, seconds=seconds)
    assert len(walked) <= 4000 and all(one.end and not one.frames for one in walked.values())
    assert bool(walked) == (not seconds)
    assert len(asked) < 4000 * 60
