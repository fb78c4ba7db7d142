"""Cores with notes that are missing, cut short or wrong: read as far as they go, and it is said."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.core.core_notes import core_notes
from usercrash.config import Config
from usercrash.elf.headers import (
    NT_AUXV,
    NT_FILE,
    NT_PRPSINFO,
    NT_PRSTATUS,
    NT_SIGINFO,
    PHDR64,
    PN_XNUM,
    PT_LOAD,
    PT_NOTE,
    note_places,
)
from usercrash.isolated_analysis import Material, View, analyse_isolated
from usercrash.report import Report, from_json

SOURCE = """
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""
NT_GDB_TDESC = 0xFF000000


@dataclass(frozen=True)
class Core:
    """A core's bytes; `notes` by type: where their headers, and descriptors begin and end."""

    data: bytes
    table: int  # of the program headers
    row: int  # the number of the one of type PT_NOTE
    start: int  # of the notes
    notes: dict[int, tuple[int, int, int]]

    def rows(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        count = struct.unpack_from("<H", self.data, 56)[0]
        for number in range(count):
            at = self.table + PHDR64.size * number
            yield at, PHDR64.unpack_from(self.data, at)

    def with_bytes(self, at: int, data: bytes) -> bytes:
        return self.data[:at] + data + self.data[at + len(data) :]

    def without(self, kind: int) -> bytes:
        return self.with_bytes(self.notes[kind][0] + 8, struct.pack("<I", 0x7777))

    def cut_in(self, kind: int) -> bytes:
        """The notes end in the middle of one."""
        _, begin, end = self.notes[kind]
        size = (begin + end) // 2 - self.start
        return self.with_bytes(self.table + PHDR64.size * self.row + 32, struct.pack("<Q", size))

    def with_desc_size(self, kind: int, size: int) -> bytes:
        """The same notes at the core's end, with one whose descriptor has another size."""
        head, begin, end = self.notes[kind]
        last = max(row[2] for row in self.notes.values())
        desc = (self.data[begin:end] + bytes(64))[:size] + bytes(-size % 4)
        notes = self.data[self.start : head + 4] + struct.pack("<I", size)
        notes += self.data[head + 8 : begin] + desc + self.data[end + -end % 4 : last]
        at = self.table + PHDR64.size * self.row
        data = self.with_bytes(at + 8, struct.pack("<Q", len(self.data)))
        return data[: at + 32] + struct.pack("<Q", len(notes)) + data[at + 40 :] + notes


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that also the unprivileged analysis can reach."""
    with tempfile.TemporaryDirectory(prefix="uc-damaged-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def core(place: Path) -> Core:
    program = compile_c(place, "program", SOURCE)
    data = gcore_at_fault([bytes(program)], place / "core", full=True).read_bytes()
    table = struct.unpack_from("<Q", data, 32)[0]
    made = Core(data, table, 0, 0, {})
    for at, (kind, _, offset, _, _, size, _, _) in made.rows():
        if kind == PT_NOTE:
            row = (at - table) // PHDR64.size
            notes: dict[int, tuple[int, int, int]] = {}
            for what, name, _, begin, end in note_places(data[offset : offset + size]):
                places = (offset + name - 12, offset + begin, offset + end)
                notes.setdefault(what, places)
            return Core(data, table, row, offset, notes)
    raise AssertionError("no notes")


def report_of(data: bytes, tmp_path: Path) -> Report:
    path = tmp_path / "damaged"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        done = analyse_isolated(Material("a" * 32, fd, by_path=True), Config(), View())
    finally:
        os.close(fd)
    assert done.failure == ""
    report = from_json(done.json)
    assert report.complete, report.notes
    return report


def functions(report: Report) -> list[str | None]:
    return [frame.function for frame in report.threads[0].frames][:2]


def notes(report: Report) -> str:
    return "\n".join(f"{note.what}: {note.why}" for note in report.notes if note.stage == "core")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (NT_FILE, "the list of mapped files: no NT_FILE"),
        (NT_AUXV, "the auxiliary vector: no NT_AUXV"),
        (NT_PRPSINFO, ""),
        (NT_SIGINFO, ""),
    ],
)
def test_a_note_is_missing(core: Core, tmp_path: Path, kind: int, said: str) -> None:
    report = report_of(core.without(kind), tmp_path)
    assert functions(report) == ["fault", "main"]
    assert report.signal is not None and report.signal.name == "SIGSEGV"
    assert said in notes(report) and bool(said) == bool(notes(report))


def test_no_thread_has_registers(core: Core, tmp_path: Path) -> None:
    report = report_of(core.without(NT_PRSTATUS), tmp_path)
    assert report.signal is not None and report.signal.name == "SIGSEGV"
    assert report.process.comm == "program" and len(report.modules) >= 3
    assert report.threads[0].frames == [] and report.threads[0].registers == {}
    assert "no NT_PRSTATUS that can be read" in notes(report)


@pytest.mark.parametrize("size", [0, 20, 112, 200, 327])
def test_registers_of_another_size(core: Core, tmp_path: Path, size: int) -> None:
    report = report_of(core.with_desc_size(NT_PRSTATUS, size), tmp_path)
    assert report.signal is not None and report.signal.name == "SIGSEGV"
    assert report.threads[0].frames == []
    assert f"NT_PRSTATUS of {size} bytes" in notes(report)


@pytest.mark.parametrize("size", [328, 337, 390])
def test_registers_that_are_all_there(core: Core, tmp_path: Path, size: int) -> None:
    assert functions(report_of(core.with_desc_size(NT_PRSTATUS, size), tmp_path))[0] == "fault"


@pytest.mark.parametrize("kind", [NT_PRSTATUS, NT_SIGINFO, NT_AUXV, NT_FILE, NT_GDB_TDESC])
def test_notes_that_are_cut(core: Core, tmp_path: Path, kind: int) -> None:
    report = report_of(core.cut_in(kind), tmp_path)
    assert "some notes: one is cut short" in notes(report)
    assert bool(report.threads[0].frames) == (kind != NT_PRSTATUS)
    if kind in (NT_FILE, NT_GDB_TDESC):
        assert functions(report) == ["fault", "main"]


def test_a_list_of_files_with_a_wrong_count(core: Core, tmp_path: Path) -> None:
    begin = core.notes[NT_FILE][1]
    for count in (1 << 60, 300):
        report = report_of(core.with_bytes(begin, struct.pack("<Q", count)), tmp_path)
        assert functions(report) == ["fault", "main"]


def test_no_memory_at_all(core: Core, tmp_path: Path) -> None:
    data = core.data
    for at, row in core.rows():
        if row[0] == PT_LOAD:
            data = data[:at] + bytes(4) + data[at + 4 :]
    assert functions(report_of(data, tmp_path)) == ["fault"]


@pytest.mark.parametrize("count", [0xFFFE, PN_XNUM])
def test_a_wrong_number_of_program_headers(core: Core, tmp_path: Path, count: int) -> None:
    """What lies behind the table is read as if it belonged to it."""
    report = report_of(core.with_bytes(56, struct.pack("<H", count)), tmp_path)
    assert functions(report) == ["fault", "main"]


@pytest.mark.parametrize("size", [0, 1, 55])
def test_a_wrong_size_of_program_headers(core: Core, tmp_path: Path, size: int) -> None:
    report = report_of(core.with_bytes(54, struct.pack("<H", size)), tmp_path)
    assert functions(report) == ["fault", "main"]


def test_headers_that_name_the_same_notes_again_and_again(core: Core, tmp_path: Path) -> None:
    """Each costs its bytes only once."""
    [row] = [row for at, row in core.rows() if row[0] == PT_NOTE]
    count = struct.unpack_from("<H", core.data, 56)[0]
    table = b"".join(PHDR64.pack(*row) for _, row in core.rows() if row[0] != PT_NOTE)
    times = 60_000 - count
    head = bytearray(core.data)
    struct.pack_into("<Q", head, 32, len(head))  # e_phoff
    struct.pack_into("<H", head, 56, count - 1 + times)
    report = report_of(bytes(head) + PHDR64.pack(*row) * times + table, tmp_path)
    assert functions(report) == ["fault", "main"]
    assert "more than one header names the same bytes" in notes(report)


@pytest.mark.parametrize("size", [0, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", [NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO, NT_AUXV, NT_FILE])
def test_notes_behind_one_whose_size_cannot_be(
    core: Core, tmp_path: Path, kind: int, size: int
) -> None:
    head = core.notes[kind][0]
    report = report_of(core.with_bytes(head + 4, struct.pack("<I", size)), tmp_path)
    assert "some notes: one is cut short" in notes(report)
    assert functions(report) == (["fault", "main"] if kind != NT_PRSTATUS else [])
    assert report.signal is not None and report.signal.name == "SIGSEGV"
    assert len(report.modules) >= 3


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_looks_like_a_note_is_taken_only_where_one_is_malformed(order: str) -> None:
    def note(owner: bytes, kind: int, desc: bytes) -> bytes:
        head = struct.pack(f"{order}III", len(owner) + 1, len(desc), kind)
        return head + owner + bytes(4 - len(owner) % 4) + desc

    inner = note(b"CORE", 9, b"none") + note(b"LINUX", 8, b"four")
    whole = note(b"CORE", 1, inner) + note(b"ELSE", 2, inner) + note(b"GDB", 3, b"")
    calls: list[int] = []
    little = order == "<"

    def kinds(data: bytes) -> list[int]:
        return [place[0] for place in core_notes(memoryview(data), little, lambda: calls.append(1))]

    assert kinds(whole) == [1, 2, 3] and calls == []
    endless = struct.pack(f"{order}III", 5, 1 << 31, 4) + b"CORE\0\0\0\0"
    assert kinds(endless + whole) == [1, 2, 3] and calls == [1]
    assert kinds(whole + endless + note(b"NONE", 5, b"") + note(b"CORE", 6, b"")) == [1, 2, 3, 6]
    assert kinds(endless * 1000 + whole) == [1, 2, 3]
    assert kinds(endless[:12]) == [] and len(calls) == 4
    # Of a size that is too small: what follows bears no name, and would pass over the true ones.
    short = struct.pack(f"{order}III", 5, 4, 9) + b"CORE\0\0\0\0" + bytes(4)
    nameless = struct.pack(f"{order}III", 0, len(whole), 0)
    assert kinds(short + nameless + whole) == [9, 1, 2, 3] and len(calls) == 5
    assert kinds(short + bytes(64)) == [9] and len(calls) == 5


def test_a_thread_that_stands_there_twice(core: Core, tmp_path: Path) -> None:
    head, begin, end = core.notes[NT_PRSTATUS]
    once = core.data[head : end + -end % 4]
    other = core.data[head:begin] + bytes(32) + struct.pack("<I", 7) + core.data[begin + 36 : end]
    last = max(row[2] for row in core.notes.values())
    notes = once + core.data[core.start : last] + once + other
    at = core.table + PHDR64.size * core.row
    data = core.with_bytes(at + 8, struct.pack("<Q", len(core.data)))
    data = data[: at + 32] + struct.pack("<Q", len(notes)) + data[at + 40 :] + notes
    report = report_of(data, tmp_path)
    assert functions(report) == ["fault", "main"]
    assert [thread.tid for thread in report.threads[1:]] == [7]
    assert report.threads[0].tid != 7


@pytest.mark.parametrize("size", [64, 3000])
def test_a_core_that_ends_before_its_notes(core: Core, tmp_path: Path, size: int) -> None:
    """gcore writes them last: of such a core nothing is known, but why."""
    path = tmp_path / "cut"
    path.write_bytes(core.data[:size])
    with path.open("rb") as file:
        done = analyse_isolated(Material("a" * 32, file.fileno(), by_path=True), Config(), View())
    assert done.failure.startswith("a core file without any thread")
    assert f"it is cut short, {size:,} of " in done.failure
