"""The head of a core stream: whole, cut short, overflowing, silent, hostile."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.core_stream import HEAD_LIMIT, Head, Stream
from usercrash.capture.kernel_dump import KernelDump
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.elf.headers import EHDR64, PHDR64, encode_note
from usercrash.errors import UsercrashError
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.snapshot import ElfNote
from usercrash.model.types import Pid, Tid

NOTES = [
    ElfNote(b"CORE", 1, struct.pack("<12xh18xi", 11, 77).ljust(336, b"\0")),
    ElfNote(b"CORE", 6, struct.pack("<QQQQ", 3, 0x1000, 0, 0)),
]
BODY = b"".join(map(encode_note, NOTES))


def core(count: int = 2, phnum: int | None = None, offset: int | None = None,
         size: int | None = None, kind: int = 4, first: int = 4) -> bytes:  # fmt: skip
    """A core of `count` program headers, the notes of which are BODY."""
    at = 64 + 56 * count if offset is None else offset
    ident = b"\x7fELF\2\1\1" + bytes(9)
    number = count if phnum is None else phnum
    header = EHDR64.pack(ident, kind, 62, 1, 0, 64, 0, 0, 64, 56, number, 0, 0, 0)
    notes = PHDR64.pack(first, 0, at, 0, 0, len(BODY) if size is None else size, 0, 4)
    return header + notes + PHDR64.pack(1, 6, 0, 4096, 0, 0, 4096, 4096) * (count - 1) + BODY


@contextmanager
def stream(data: bytes, finished: bool = True) -> Iterator[int]:
    """A pipe that holds `data`, and is at its end if `finished`."""
    read, write = os.pipe()
    try:
        os.write(write, data)
        if finished:
            os.close(write)
            write = -1
        yield read
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)


def head_of(data: bytes, finished: bool = True, seconds: float = 5.0) -> tuple[Head, NoteLog]:
    notes = NoteLog()
    with stream(data, finished) as fd:
        return Head(Stream(fd, seconds), notes), notes


def test_a_whole_head() -> None:
    head, notes = head_of(core() + b"memory")
    assert (head.machine, head.elf_class, notes) == (62, 2, [])
    assert [(n.owner, n.type, n.desc) for n in head.elf_notes] == [
        (n.owner, n.type, n.desc) for n in NOTES
    ]


def test_nothing_beyond_the_notes_is_read() -> None:
    with stream(core() + b"memory") as fd:
        Head(Stream(fd, 5.0), NoteLog())
        assert os.read(fd, 100) == b"memory"


def test_more_segments_than_the_header_can_count() -> None:
    head, notes = head_of(core(count=3, phnum=0xFFFF))
    assert len(head.elf_notes) == 2 and notes == []


def test_notes_that_are_not_first() -> None:
    data = core(count=2, first=1)
    data = data[:120] + PHDR64.pack(4, 0, 64 + 112, 0, 0, len(BODY), 0, 4) + data[176:]
    head, notes = head_of(data)
    assert len(head.elf_notes) == 2 and notes == []


@pytest.mark.parametrize("length", [0, 3, 20, 63, 64, 100, 180, 400, 500, 540])
def test_cut_short(length: int) -> None:
    head, notes = head_of(core()[:length])
    assert notes and "ended" in notes[0].why
    assert len(head.elf_notes) <= 1
    if length == 540:
        assert [note.type for note in head.elf_notes] == [1]


def test_a_silent_kernel_does_not_hold_us() -> None:
    head, notes = head_of(core()[:200], finished=False, seconds=0.05)
    assert head.machine == 62 and "in time" in notes[0].why


@pytest.mark.parametrize(
    "data",
    [
        b"not an ELF file at all, but long enough for a header of one" * 3,
        core(kind=2),
        core(offset=10),
        core(offset=1 << 60),
        core(size=1 << 60),
        core(first=1),
        core(count=1, phnum=0),
        b"\x7fELF\2\1\1" + b"\xff" * 200,
        b"\x7fELF\1\1\1" + b"\xff" * 200,
    ],
)
def test_nonsense_is_noted(data: bytes) -> None:
    _, notes = head_of(data)
    assert notes and notes[0].stage == "core stream"


def test_the_end_of_huge_notes_is_not_waited_for() -> None:
    assert HEAD_LIMIT == 64 << 20
    head, notes = head_of(core(size=HEAD_LIMIT * 2))
    assert len(head.elf_notes) == 2 and len(notes) == 2


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes(data: bytes, at: int) -> None:
    whole = core()
    head_of(whole[:at] + data + whole[at + len(data) :])


def event(pid: int, tid: int = 0) -> CrashEvent:
    return CrashEvent(SOURCE_PIPE, 1, Pid(pid), Tid(tid), 0)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_process_that_does_not_dump_is_not_read() -> None:
    """Our own number, and a core that could be ours but for CoreDumping."""
    read, write = os.pipe()
    os.write(write, core())
    os.close(write)
    before = open_descriptors()
    target = KernelDump.open(read, event(os.getpid()))
    assert target.proc == -1 and target.read(0x1000, 16) == b""
    assert target.event.signal == 11
    assert [thread.tid for thread in target.threads()] == [77]
    assert target.threads()[0].host_tid == 0
    assert any("fits the core" in note.why for note in target.notes)
    target.release()
    target.release()
    assert open_descriptors() == before - 1


def test_letting_go_is_told_once_and_dated() -> None:
    told = []
    read, write = os.pipe()
    os.close(write)
    target = KernelDump.open(read, event(os.getpid()), let_go=lambda: told.append(1))
    assert told == [] and target.released_ns == 0
    target.release()
    first = target.released_ns
    target.release()
    assert told == [1] and target.released_ns == first > 0


def test_the_notes_of_the_first_thread() -> None:
    head, _ = head_of(core())
    assert [note.type for note in head.first_notes()] == [1, 6]
    two = KernelDump.__new__(KernelDump)
    two.arch, two.proc, two.notes, two._threads = ARCH, -1, NoteLog(), None
    two._head = head
    head.raw = memoryview(BODY + BODY.replace(struct.pack("<i", 77), struct.pack("<i", 78)))
    head._first.clear()
    assert [note.type for note in head.first_notes()] == [1, 6]
    first, second = two.threads()
    assert (first.tid, second.tid) == (77, 78)
    assert len(first.registers) == 27 and set(second.registers) == {"rip", "rsp", "orig_rax", "rdi"}


def test_an_empty_stream_proves_nothing() -> None:
    read, write = os.pipe()
    os.close(write)
    target = KernelDump.open(read, event(os.getpid()))
    assert target.proc == -1 and target.elf_notes() == [] and target.threads() == []
    target.release()


def test_no_process_to_name() -> None:
    with stream(b"") as fd, pytest.raises(UsercrashError):
        KernelDump.open(fd, event(0))


def test_a_pidfd_says_which_process_it_is() -> None:
    """The number that was given is another's; the descriptor is right."""
    read, write = os.pipe()
    os.close(write)
    target = KernelDump.open(read, event(1), os.pidfd_open(os.getpid()))
    assert target.event.pid == os.getpid() == target.event.tid
    assert target.proc >= 0
    target.release()
    assert target.proc == -1
