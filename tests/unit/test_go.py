"""Go's function table: each version's layout, and real programs with and without DWARF."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.build import PROGRAMS, need
from tests.support.gcore import gcore_at_fault

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.binary.gopclntab import GoTable, go_table
from usercrash.analysis.dwarf.call_frames import CallFrames
from usercrash.analysis.dwarf.cfi import OFFSET, UNDEFINED
from usercrash.analysis.dwarf.go_rows import GoRows
from usercrash.elf.headers import EHDR64, PHDR64
from usercrash.errors import FormatError

TEXT = 0x400000
STACK = ["main.third", "main.second", "main.first", "main.main.func1", "runtime.goexit"]


# --- each version ---


def _values(*pairs: tuple[int, int]) -> bytes:
    """A pc-value table: (value, bytes of code for which it holds)."""
    out, last = b"", -1
    for value, size in pairs:
        change = value - last
        for number in (change << 1 if change >= 0 else ~(change << 1), size):
            while number > 0x7F:
                out += bytes((number & 0x7F | 0x80,))
                number >>= 7
            out += bytes((number,))
        last = value
    return out + b"\0"


def _record(version: int, order: str, entry: int, name: int, tables: list[int]) -> bytes:
    """A function's record; `tables` are those of stack sizes, files and lines."""
    data = struct.pack(order + ("I" if version >= 18 else "Q"), entry)
    data += struct.pack(order + "iiI3II", name, 0, 0, *tables, 0)
    if version >= 16:
        data += struct.pack(order + "I", 0)
    if version >= 20:
        data += struct.pack(order + "I", 1)
    return data + bytes(4)


def make_table(version: int, order: str = "<") -> bytes:
    """A table of two functions: `one` with [0x100 bytes], `runtime.goexit` behind it."""
    magic = {2: 0xFFFFFFFB, 16: 0xFFFFFFFA, 18: 0xFFFFFFF0, 20: 0xFFFFFFF1}[version]
    names, path = b"\0one\0runtime.goexit\0", b"/src/one.go\0"
    values = b"\0"
    tables = []
    file = 1 if version == 2 else 0
    for wanted in ([(0, 16), (24, 0xF0)], [(file, 0x100)], [(7, 16), (9, 0xF0)]):
        tables.append(len(values))
        values += _values(*wanted)
    head = struct.pack(order + "IHBB", magic, 0, 1, 8)
    cell = "I" if version >= 18 else "Q"
    base = 0 if version >= 18 else TEXT
    if version == 2:
        return _oldest(head, order, names, path, values, tables)
    count = 3 if version < 18 else 4
    start = 8 + 8 * (count + 4)
    units = struct.pack(order + "I", 0)
    parts = [names + bytes(-len(names) % 4), units, path, values]
    at, offsets = start, []
    for part in parts:
        offsets.append(at)
        at += len(part)
    at += -at % 8
    first = 2 * struct.calcsize(order + cell) * 2 + struct.calcsize(order + cell)
    one = _record(version, order, base, 1, tables)
    rows = (base, first, base + 0x100, first + len(one), base + 0x140)
    listed = struct.pack(f"{order}5{cell}", *rows)
    counts = [2, 1] + ([TEXT] if version >= 18 else [])
    data = head + struct.pack(f"{order}{len(counts) + 5}Q", *counts, *offsets, at)
    data = data + bytes(start - len(data)) + b"".join(parts)
    data += bytes(at - len(data)) + listed + one
    return data + _record(version, order, base + 0x100, 5, [0, 0, 0]) + bytes(8)


def _oldest(
    head: bytes, order: str, names: bytes, path: bytes, values: bytes, tables: list[int]
) -> bytes:
    at = 8 + 8 + 5 * 8 + 8  # header, count, list of functions, where the files are
    texts = names + path + values
    record = at + len(texts)
    shifted = [at + len(names + path) + table for table in tables]
    one = _record(2, order, TEXT, at + 1, shifted)
    other = _record(2, order, TEXT + 0x100, at + 5, [0, 0, 0])
    files = record + len(one) + len(other)
    rows = struct.pack(
        order + "6QI4x", 2, TEXT, record, TEXT + 0x100, record + len(one), TEXT + 0x140, files
    )
    return head + rows + texts + one + other + struct.pack(order + "II", 2, at + len(names))


def test_constants_that_look_like_a_table() -> None:
    """Without section headers the table is looked for; a program may have its first bytes, too."""
    table = make_table(18)
    decoys = b"\xf0\xff\xff\xff\0\0 some constant " + b"\xf0\xff\xff\xff\0\0\1\x08" + bytes(99)
    content = decoys + table
    head = EHDR64.pack(b"\x7fELF\2\1\1".ljust(16, b"\0"), 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = PHDR64.pack(1, 5, 120, 0x400000 + 120, 0, len(content), len(content), 1)
    found = go_table(ElfFile(head + load + content))
    assert found is not None and len(found) == len(GoTable(table))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 16, 18, 20])
def test_every_version(version: int, order: str) -> None:
    table = GoTable(make_table(version, order), order)
    assert len(table) == 2
    one, end = table.find(TEXT + 0x50), table.find(TEXT + 0x100)
    assert one is not None and end is not None
    assert (one.name, one.start, one.end) == (b"one", TEXT, TEXT + 0x100)
    assert end.name == b"runtime.goexit" and end.outermost and not one.outermost
    assert table.stack_size(one, TEXT + 15) == 0
    assert table.stack_size(one, TEXT + 16) == 24
    assert table.line(one, TEXT) == (b"/src/one.go", 7)
    assert table.line(one, TEXT + 0xFF) == (b"/src/one.go", 9)
    assert table.line(end, TEXT + 0x100) is None
    assert table.find(TEXT - 1) is None and table.find(TEXT + 0x140) is None


@pytest.mark.parametrize("version", [2, 16, 18, 20])
def test_cut_anywhere(version: int) -> None:
    data = make_table(version)
    for size in range(len(data)):
        try:
            table = GoTable(data[:size])
            for pc in (TEXT, TEXT + 0x50, TEXT + 0x100):
                function = table.find(pc)
                if function is not None:
                    table.stack_size(function, pc)
                    table.line(function, pc)
        except FormatError:
            pass


def test_rows() -> None:
    table = GoTable(make_table(20))
    rows = GoRows(table, 62)
    first, later, end = rows.row(TEXT), rows.row(TEXT + 16), rows.outermost(TEXT + 0x100)
    assert first is not None and later is not None and end is not None
    assert (first.cfa_register, first.cfa_offset, first.rules) == (7, 8, {16: (OFFSET, -8)})
    assert (later.cfa_offset, later.rules) == (32, {16: (OFFSET, -8), 6: (OFFSET, -16)})
    assert end.rules == {16: (UNDEFINED, 0)}
    assert rows.outermost(TEXT) is None
    arm = GoRows(table, 183).row(TEXT + 16)
    assert arm is not None
    assert (arm.cfa_register, arm.cfa_offset) == (31, 24)
    assert arm.rules == {30: (OFFSET, -24), 29: (OFFSET, -32)}
    assert GoRows(table, 8).row(TEXT) is None


@pytest.mark.parametrize(
    ("name", "code", "row"),
    [
        (b"runtime.mcall", b"\xff\xd2", (7, 0, None, {16: (UNDEFINED, 0)})),
        (b"runtime.mcall.abi0", b"\x00\xe8", None),
        (b"runtime.other", b"\xff\xd2", None),
    ],
)
def test_calls_on_another_stack(
    name: bytes, code: bytes, row: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = GoTable(make_table(20))
    found = table.find(TEXT)
    assert found is not None
    monkeypatch.setattr(table, "find", lambda pc: replace(found, name=name))
    switched = GoRows(table, 62, lambda address, size: code).switched(TEXT + 1)
    if row is None or switched is None:
        assert switched is row
    else:
        assert (
            switched.cfa_register, switched.cfa_offset, switched.cfa_expression, switched.rules
        ) == row  # fmt: skip
    assert GoRows(table, 183, lambda address, size: code).switched(TEXT + 1) is None


# --- real programs ---


@cache
def _go() -> str:
    return need("go", "golang-go")


def _build(place: Path, *flags: str, source: str = "goroutine.go") -> Path:
    program = place / "program"
    # (what Go keeps in its own cache is worth a minute: its library need not be compiled again)
    environment = {"HOME": os.environ.get("HOME", "/tmp"), "PATH": os.defpath, "GO111MODULE": "off"}
    command = [_go(), "build", *flags, "-o", str(program), str(PROGRAMS / source)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return program


def test_table_against_debug_frame(tmp_path: Path) -> None:
    """The two ways to a row agree, for each function."""
    elf = ElfFile(_build(tmp_path).read_bytes())
    assert elf.go_table is not None
    frames, rows = CallFrames(elf, None, 0, lambda address, size: b""), GoRows(elf.go_table, 62)
    compared, tables = 0, frames._load()
    for start in elf.symbols._starts[::3]:
        function = elf.go_table.find(start)
        named = elf.symbols.find(start)
        if function is None or function.outermost or named is None:
            continue
        if b"[" not in named[0]:
            assert named[0].removesuffix(b".abi0") == function.name
        for pc in range(function.start, function.end, 13):
            by_frames, by_table = frames._first(tables, pc), rows.row(pc)
            if by_frames is None or by_table is None:
                assert by_table is None
                continue  # padding
            compared += 1
            assert (by_table.cfa_register, by_table.cfa_offset) == (
                by_frames.cfa_register, by_frames.cfa_offset,
            ), hex(pc)  # fmt: skip
    assert compared > 5000


@pytest.mark.parametrize(
    "flags",
    [
        (), ("-ldflags=-s -w",), ("-buildmode=pie", "-ldflags=-s -w"), ("-ldflags=-w",),
        ("-buildmode=pie", "-ldflags=-s -w -linkmode=external"),
    ],
    ids=["as it comes", "stripped", "stripped PIE", "without DWARF", "stripped PIE by GNU ld"],
)  # fmt: skip
def test_stack_of_a_goroutine(flags: tuple[str, ...], tmp_path: Path) -> None:
    program = _build(tmp_path, *flags)
    seen = analyse(gcore_at_fault([bytes(program)], tmp_path / "core"))
    stack = seen.stack()
    names = [name.removesuffix(".abi0") for name in seen.names(stack)]
    assert names == STACK
    assert stack.complete, stack.end
    assert [str(frame.trust) for frame in stack.frames[1:]] == ["cfi"] * 4
    lines = [seen.locations(frame)[0] for frame in stack.frames[:4]]
    assert [place.line for place in lines] == [6, 12, 16, 20]
    assert all((place.file or "").endswith("goroutine.go") for place in lines)


def test_c_that_go_called(tmp_path: Path) -> None:
    """Go calls C on the thread's own stack, and is called back on the goroutine's: the frames are
    those of the calls, not what the scheduler left on the stack; and the stack ends with them."""
    program = _build(tmp_path, source="cgo.go")
    seen = analyse(gcore_at_fault([bytes(program)], tmp_path / "core"))
    stack = seen.stack()
    names = [name.removesuffix(".abi0") for name in seen.names(stack)]
    assert names[-1] == "runtime.goexit" and stack.complete
    own = [name for name in names if name.startswith("main.")]
    assert own == [
        "main._Cfunc_second", "main.inner", *(["main.goBack"] if "main.goBack" in own else []),
        "main._Cfunc_first", "main.outer", "main.main.func1",
    ]  # fmt: skip
    calls = [name for name in names if name in ("runtime.asmcgocall", "runtime.cgocallback")]
    assert calls == ["runtime.asmcgocall", "runtime.cgocallback"]
    assert {str(frame.trust) for frame in stack.frames[1:]} == {"cfi"}
    for number in range(len(seen.image.threads)):
        names = [name.removesuffix(".abi0") for name in seen.names(seen.stack(number))]
        assert "runtime.mcall" not in names[:-1]


def test_all_threads_end_where_go_begins(tmp_path: Path) -> None:
    seen = analyse(gcore_at_fault([bytes(_build(tmp_path, "-ldflags=-s -w"))], tmp_path / "core"))
    assert len(seen.image.threads) > 2
    for number in range(len(seen.image.threads)):
        stack = seen.stack(number)
        names = [name.removesuffix(".abi0") for name in seen.names(stack)]
        paths = {module.path for frame in stack.frames if (module := seen.modules.find(frame.pc))}
        if b"[vdso]" in paths:
            continue  # the caller has gone over to another stack, of which no table tells
        assert stack.complete, (names, stack.end)
        ends = ("goexit", "rt0_go", "clone", "mstart", "mcall")
        assert names[-1].removeprefix("runtime.") in ends
