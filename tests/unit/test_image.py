"""Core files of every origin, cut short and damaged."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.build import build, programs
from tests.support.coremaker import Segment, file_note, make_core, prstatus, siginfo
from tests.support.gcore import core_of

from usercrash.analysis.core import core_threads
from usercrash.analysis.core.core_mappings import UNKNOWN_PERMISSIONS
from usercrash.analysis.core.elf_notes import FileRow, parse_auxv, parse_file_note
from usercrash.analysis.core.image import CoreImage
from usercrash.elf.arch.x86_64 import ARCH as X86_64
from usercrash.elf.headers import (
    EHDR64,
    NT_AUXV,
    NT_FPREGSET,
    NT_PRPSINFO,
    NT_PRSTATUS,
    PHDR64,
    PT_LOAD,
    PT_NOTE,
    encode_note,
)
from usercrash.errors import FormatError
from usercrash.model import minicore
from usercrash.model.event import CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.snapshot import ElfNote, MappedFile, Snapshot
from usercrash.model.types import Pid, Tid

CORE = make_core([prstatus(1, 11)])
PAGE = bytes(range(256)) * 16


def test_threads_and_memory() -> None:
    core = make_core(
        [prstatus(7, 11), siginfo(11), prstatus(8, 0)],
        [(PT_LOAD, 5, 0x1000, PAGE, 4096), (PT_LOAD, 6, 0x2000, PAGE, 8192)],
    )
    image = CoreImage.open(core)
    assert [(thread.tid, thread.signal) for thread in image.threads] == [(7, 11), (8, 0)]
    assert image.threads[0].registers["rip"] == 0x401000
    assert image.siginfo[:4] == struct.pack("<i", 11)
    assert image.read(0x1FFE, 4) == PAGE[-2:] + PAGE[:2]  # over a seam
    assert image.read(0x2FFE, 100) == PAGE[-2:]  # to the gap: what was left out is not zero
    assert image.read(0x3000, 1) == b""
    assert image.read(0, 1) == b""
    assert [(row.start, row.end, row.perms) for row in image.mappings] == [
        (0x1000, 0x2000, b"r-xp"), (0x2000, 0x4000, b"rw-p"),
    ]  # fmt: skip
    assert {note.why.split()[1] for note in image.notes} == {"NT_AUXV", "NT_FILE"}  # it has none


def test_crashing_thread_that_does_not_come_first() -> None:
    image = CoreImage.open(
        make_core([prstatus(1, 0), siginfo(19), prstatus(2, 11), siginfo(11), prstatus(3, 0)])
    )
    assert [thread.tid for thread in image.threads] == [2, 1, 3]
    assert image.siginfo[:4] == struct.pack("<i", 11)


def test_what_follows_a_thread_without_registers_is_not_the_one_befores() -> None:
    """Its siginfo stands behind it: what killed this thread did not kill the first one."""
    lost = ElfNote(b"CORE", NT_PRSTATUS, bytes(40))
    image = CoreImage.open(make_core([prstatus(1, 0), lost, siginfo(11), prstatus(3, 0)]))
    seen = [(one.tid, bool(one.registers), bool(one.siginfo)) for one in image.threads]
    assert seen == [(0, False, True), (1, True, False), (3, True, False)]
    assert ("a thread's registers", "NT_PRSTATUS of 40 bytes, at least 328 expected") in [
        (note.what, note.why) for note in image.notes
    ]


def test_more_threads_than_are_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what follows them is of no thread that is read."""
    monkeypatch.setattr(core_threads, "MAX_THREADS", 2)
    notes = [prstatus(1, 11), siginfo(11), prstatus(2, 0), prstatus(3, 0), siginfo(5)]
    floats = ElfNote(b"CORE", NT_FPREGSET, bytes(512))
    image = CoreImage.open(make_core([*notes, floats, prstatus(4, 0), prstatus(5, 0)]))
    assert [(one.tid, one.siginfo[:1], one.floats) for one in image.threads] == [
        (1, b"\x0b", b""), (2, b"", b""),
    ]  # fmt: skip
    assert ("3 further threads", "too many") in [(note.what, note.why) for note in image.notes]


def test_live_core_keeps_its_order() -> None:
    image = CoreImage.open(make_core([prstatus(1, 0), siginfo(19), prstatus(2, 0), siginfo(19)]))
    assert [thread.tid for thread in image.threads] == [1, 2]


def test_mappings_from_thefile_note() -> None:
    notes = [
        prstatus(1, 11),
        file_note(
            [(0x1000, 0x2000, 0), (0x5000, 0x6000, 1)], [b"/bin/x (deleted)", b"/lib/l.so"]
        ),
        ElfNote(b"CORE", NT_AUXV, struct.pack("<4Q", 33, 0x9000, 25, 0x8010)),
        ElfNote(b"CORE", NT_PRPSINFO, bytes(24) + struct.pack("<I", 42) + bytes(12)
                + b"comm".ljust(16, b"\0") + b"comm -x ".ljust(80, b"\0")),
    ]  # fmt: skip
    loads: list[Segment] = [
        (PT_LOAD, 5, 0x1000, PAGE, 4096),
        (PT_LOAD, 6, 0x8000, PAGE, 4096),
        (PT_LOAD, 5, 0x9000, PAGE, 4096),
    ]
    image = CoreImage.open(make_core(notes, loads))
    rows = [(row.start, row.path, row.offset, row.perms) for row in image.mappings]
    assert rows == [
        (0x1000, b"/bin/x", 0, b"r-xp"),
        (0x5000, b"/lib/l.so", 0x1000, UNKNOWN_PERMISSIONS),
        (0x8000, b"[stack]", 0, b"rw-p"),
        (0x9000, b"[vdso]", 0, b"r-xp"),
    ]
    assert image.mappings[0].deleted
    assert image.psinfo is not None
    assert (image.psinfo.pid, image.psinfo.comm, image.psinfo.args) == (42, b"comm", b"comm -x")


def _snapshot() -> Snapshot:
    event = CrashEvent("core_pattern", 1, Pid(100), Tid(101), 11)
    facts = {
        b"maps": b"00001000-00002000 r-xp 00000000 fe:00 12 /bin/x\n",
        b"task/101/status": b"Name:\tx\nNSpid:\t101\t7\n",
        b"task/102/status": b"Name:\tx\nNSpid:\t102\t8\n",
    }
    notes = NoteLog()
    notes.add("facts", "environ", "Permission denied")
    files = [MappedFile(b"/bin/x y", b"fe:00", 12)]
    return Snapshot(event, 62, 2, [], [], facts, files, notes)


def test_our_own_notes() -> None:
    snapshot = _snapshot()
    own = minicore.encode_own_notes(snapshot)
    image = CoreImage.open(make_core([prstatus(7, 11), prstatus(8, 0), prstatus(9, 0), *own]))
    assert image.event is not None
    assert (image.event.pid, image.event.tid) == (100, 101)
    assert image.facts == snapshot.facts
    assert [(file.path, file.inode, file.fd) for file in image.files] == [(b"/bin/x y", 12, -1)]
    assert [note.why for note in image.notes] == ["Permission denied", "no NT_AUXV"]
    assert image.mappings[0].path == b"/bin/x"
    # 9's status was not captured: its id here is not known, and not guessed
    assert [thread.host_tid for thread in image.threads] == [101, 102, 0]


def test_notes_of_another_owner_are_not_ours() -> None:
    own = [
        ElfNote(b"USERCRASH2", note.type, note.desc)
        for note in minicore.encode_own_notes(_snapshot())
    ]
    image = CoreImage.open(make_core([prstatus(7, 11), *own]))
    assert image.event is None
    assert image.facts == {}
    assert [thread.host_tid for thread in image.threads] == [7]


@pytest.mark.parametrize("with_section", [True, False])
def test_more_segments_than_the_header_can_say(with_section: bool) -> None:
    count = 70_000
    note = encode_note(prstatus(1, 11))
    start = 64 + 56 * (count + 1)
    rows = [PHDR64.pack(PT_NOTE, 0, start, 0, 0, len(note), 0, 1)]
    rows += [PHDR64.pack(PT_LOAD, 6, 0, 0x10000 + 4096 * i, 0, 0, 4096, 1) for i in range(count)]
    shoff = start + len(note) if with_section else 0
    head = EHDR64.pack(
        b"\x7fELF\2\1\1" + bytes(9), 4, 62, 1, 0, 64, shoff, 0, 64, 56, 0xFFFF, 64, 1, 0
    )
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 1, 0, count + 1, 0, 0)
    core = head + b"".join(rows) + note + (section if with_section else b"")
    assert len(CoreImage.open(core).mappings) == count


def test_sparse_core_of_many_gigabytes(tmp_path: Path) -> None:
    size = 200 << 30
    note = encode_note(prstatus(1, 11))
    head = EHDR64.pack(b"\x7fELF\2\1\1" + bytes(9), 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    table = PHDR64.pack(PT_NOTE, 0, 176, 0, 0, len(note), 0, 1)
    table += PHDR64.pack(PT_LOAD, 6, 4096, 0x10000, 0, size, size, 4096)
    path = tmp_path / "core"
    with path.open("wb") as file:
        file.write(head + table + note)
        file.truncate(4096 + size)
        file.seek(4096 + size - 3)
        file.write(b"end")
    with path.open("rb") as file:
        image = CoreImage.open(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    assert image.read(0x10000 + size - 3, 10) == b"end"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not an ELF file"),
        (b"\x7fELF", "not an ELF file"),
        (make_core([prstatus(1, 11)], kind=2), "not a core file"),
        (make_core([]), "without any thread"),
        (CORE[:18] + b"\x01\0" + CORE[20:], "machine"),
    ],
)
def test_what_is_no_core(data: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        CoreImage.open(data)


def test_note_tables_that_lie() -> None:
    assert parse_file_note(struct.pack("<QQ", 1 << 60, 4096), X86_64) == []
    data = struct.pack("<QQQQQ", 2, 4096, 0x1000, 0x2000, 1) + b"/a\0"
    assert parse_file_note(data, X86_64) == [FileRow(0x1000, 0x2000, 4096, b"/a")]  # one of two
    assert parse_file_note(data[:-3], X86_64) == []  # (its name is not whole)
    data = struct.pack("<8Q", 2, 4096, 0x1000, 0x2000, 1, 0x3000, 0x4000, 0) + b"/a\0/b\0"
    assert parse_file_note(data, X86_64) == [
        FileRow(0x1000, 0x2000, 4096, b"/a"), FileRow(0x3000, 0x4000, 0, b"/b"),
    ]  # fmt: skip
    assert parse_auxv(struct.pack("<5Q", 3, 4, 3, 5, 9), X86_64) == {3: 4}


# --- a real core, whole, cut and damaged ---


@pytest.fixture(scope="module")
def real_core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    core = core_of(build(programs()["null_chain/debug"]), tmp_path_factory.mktemp("core"))
    yield core.read_bytes()


def test_real_core(real_core: bytes) -> None:
    image = CoreImage.open(real_core)
    assert image.threads[0].signal == 11
    paths = {row.path.rpartition(b"/")[2] for row in image.mappings}
    assert {b"[stack]", b"[vdso]", b"libc.so.6"} <= paths
    assert image.psinfo is not None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_cut_short_anywhere(real_core: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(real_core)))
    try:
        image = CoreImage.open(real_core[:length])
    except FormatError:
        return
    for row in image.mappings:
        image.read(row.start, 64)
    if length < len(real_core) - 4096:
        assert image.notes


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    damage=st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)),
                    max_size=8),
    address=st.integers(0, 1 << 64),
)  # fmt: skip
def test_damaged_anywhere(damage: list[tuple[int, bytes]], address: int) -> None:
    core = bytearray(
        make_core(
            [prstatus(7, 11), siginfo(11), file_note([(0x1000, 0x2000, 0)], [b"/bin/x"]),
             *minicore.encode_own_notes(_snapshot())],
            [(PT_LOAD, 5, 0x1000, PAGE, 4096), (PT_LOAD, 6, 0x2000, PAGE, 8192)],
        )
    )  # fmt: skip
    for at, value in damage:
        at %= len(core) - 8
        core[at : at + len(value)] = value
    try:
        image = CoreImage.open(bytes(core))
    except FormatError:
        return
    image.read(address, 100)
    image.read(0x1000, 1 << 40)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_header(data: bytes) -> None:
    try:
        CoreImage.open(make_core([prstatus(1, 1)])[:64] + data)
    except FormatError:
        pass
