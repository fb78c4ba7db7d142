"""The minicore: what is written is what is read back."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from usercrash.elf.corewriter import write_core
from usercrash.elf.headers import (
    ET_CORE,
    PT_LOAD,
    PT_NOTE,
    ElfHeader,
    iter_notes,
    parse_program_headers,
)
from usercrash.model import minicore
from usercrash.model.event import CrashEvent
from usercrash.model.notes import Note, NoteLog
from usercrash.model.snapshot import ElfNote, Load, MappedFile, Snapshot
from usercrash.model.types import Pid, Tid


def snapshot(
    loads: list[Load] | None = None,
    elf_class: int = 2,
    elf_notes: list[ElfNote] | None = None,
    facts: dict[bytes, bytes] | None = None,
) -> Snapshot:
    event = CrashEvent("core_pattern", 5, Pid(7), Tid(8), 11, 2, b"a\nb", b"boot", 99)
    files = [MappedFile(b"/lib/a b", b"08:01", 17)]
    return Snapshot(
        event, 62 if elf_class == 2 else 3, elf_class, elf_notes or [], loads or [],
        facts or {}, files, NoteLog([Note("s", "w\udc80", "y")]),
    )  # fmt: skip


def parse(data: bytes) -> tuple[ElfHeader, list[Load], list[ElfNote], set[int]]:
    header = ElfHeader(data)
    rows = parse_program_headers(header, data[header.phoff :], header.phnum)
    assert len(rows) == header.phnum and header.type == ET_CORE
    assert [row.type for row in rows] == [PT_NOTE] + [PT_LOAD] * (len(rows) - 1)
    loads, ends = [], []
    for row in rows[1:]:
        assert row.filesz == row.memsz > 0
        assert row.offset % row.align == 0 == row.vaddr % row.align
        loads.append(Load(row.vaddr, data[row.offset : row.offset + row.filesz], row.flags))
        ends.append(row.offset + row.filesz)
    assert not ends or max(ends) == len(data)
    notes = list(iter_notes(data[rows[0].offset : rows[0].offset + rows[0].filesz]))
    return header, loads, notes, {row.align for row in rows[1:]}


def test_the_first_chunk_is_the_header() -> None:
    for elf_class, size in ((2, 64), (1, 52)):
        chunks = write_core(snapshot(elf_class=elf_class))
        assert len(chunks[0]) == size and chunks[0][:4] == b"\x7fELF"
        assert chunks[1][:4] != b"\x7fELF"


def test_own_notes_come_back() -> None:
    facts = {b"maps": b"x\0y\n", b"fd/3": b"/tmp/a"}
    *_, notes, _ = parse(b"".join(write_core(snapshot(facts=facts))))
    own = {note.type: note.desc for note in notes if note.owner == minicore.OWNER}
    assert minicore.decode_table(own[minicore.NT_FACTS]) == facts
    event = CrashEvent.from_fields(minicore.decode_table(own[minicore.NT_EVENT]))
    assert (event.pid, event.tid, event.name, event.start_ticks) == (7, 8, b"a\nb", 99)
    assert minicore.decode_files(own[minicore.NT_FILES])[0].path == b"/lib/a b"
    assert minicore.decode_soft_notes(own[minicore.NT_NOTES])[0].what == "w\\x80"


def test_alignment_is_what_the_addresses_share() -> None:
    for addresses, align in (
        ([0x1000, 0x4000], 4096), ([0x1000, 0x2040], 64), ([0x1000, 0x2001], 1), ([1 << 40], 4096),
    ):  # fmt: skip
        loads = [Load(address, b"d" * 33) for address in addresses]
        _, read, _, aligns = parse(b"".join(write_core(snapshot(loads))))
        assert aligns == {align}
        assert [(load.address, load.data) for load in read] == [
            (address, b"d" * 33) for address in addresses
        ]


def test_a_32_bit_file_has_no_place_for_what_lies_above() -> None:
    below, above = Load(0xFFFFF000, b"x" * 4096), Load(1 << 32, b"y")
    made = snapshot([above, below, Load(1 << 40, b"z")], elf_class=1)
    _, loads, _, _ = parse(b"".join(write_core(made)))
    assert [load.address for load in loads] == [0xFFFFF000]
    assert made.notes[-1].what == "2 pieces of memory"


def test_more_pieces_than_a_header_can_count() -> None:
    made = snapshot([Load(number << 12, b"x") for number in range(70_000)])
    header, loads, _, _ = parse(b"".join(write_core(made)))
    assert header.phnum == 65_001 and len(loads) == 65_000
    assert made.notes[-1].stage == "core file"


notes_of = st.builds(
    ElfNote,
    st.binary(max_size=9).map(lambda owner: owner.replace(b"\0", b"x")),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=40),
)


@given(
    st.dictionaries(st.integers(0, 0xFFFFF000), st.binary(min_size=1, max_size=50), max_size=8),
    st.lists(notes_of, max_size=6),
    st.dictionaries(st.binary(max_size=8), st.binary(max_size=30), max_size=5),
    st.sampled_from([1, 2]),
)
def test_round_trip(
    memory: dict[int, bytes], notes: list[ElfNote], facts: dict[bytes, bytes], elf_class: int
) -> None:
    loads = [Load(address, data, 5) for address, data in memory.items()]
    data = b"".join(write_core(snapshot(loads, elf_class, notes, facts)))
    header, read, back, _ = parse(data)
    assert (header.elf_class, header.machine) == (elf_class, 62 if elf_class == 2 else 3)
    assert {load.address: load.data for load in read} == memory
    assert [load.address for load in read] == sorted(memory)
    assert [(n.owner, n.type, n.desc) for n in back[: len(notes)]] == [
        (n.owner, n.type, n.desc) for n in notes
    ]
    table = next(note.desc for note in back if note.type == minicore.NT_FACTS
                 and note.owner == minicore.OWNER)  # fmt: skip
    assert minicore.decode_table(table) == facts


def test_own_types_mean_nothing_to_others() -> None:
    """binutils reads a note of an unknown owner by its type alone."""
    types = {minicore.NT_EVENT, minicore.NT_FACTS, minicore.NT_NOTES, minicore.NT_FILES}
    assert len(types) == 4 and all(struct.pack(">I", one)[:2] == b"UC" for one in types)
