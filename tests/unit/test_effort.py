"""Tables of ELF files that would take minutes to read: reading ends by the count of the work that
it is, and what was not read is absent."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextvars import copy_context

from tests.support.coremaker import file_note, make_core, prstatus
from tests.unit.test_hostile_dwarf import make_elf

from usercrash.analysis.binary import effort
from usercrash.analysis.binary.elf_file import MAX_NOTE_SEGMENTS, ElfFile, note_of
from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.modules import ModuleTable, load_modules
from usercrash.analysis.dwarf.arm_index import ArmIndex
from usercrash.analysis.dwarf.cfi import FrameSection
from usercrash.analysis.dwarf.frame_index import EhFrameHdr, FrameTable
from usercrash.elf.headers import encode_note
from usercrash.model.snapshot import ElfNote

LOAD, NOTE = 1, 4
BUILD_ID = encode_note(ElfNote(b"GNU", 3, b"\xab" * 20))
GO_HEAD = struct.pack("<IHBB", 0xFFFFFFF1, 0, 1, 8)


def elf_of(segments: list[tuple[int, int, int]], body: bytes = b"") -> bytes:
    """An ELF file without sections: (type, offset, size) of its segments, whose addresses are
    their offsets, and from byte 65,536 on a body."""
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )  # fmt: skip
    rows = (struct.pack("<IIQQQQQQ", kind, 5, at, at, 0, size, size, 4)
            for kind, at, size in segments)  # fmt: skip
    return (head + b"".join(rows)).ljust(1 << 16, b"\0") + body


def steps_of(work: Callable[[], object], allowed: int = 1 << 40) -> tuple[object, int, int]:
    """What work gives with so many steps, the steps that it took, and how often it was told that
    they did not suffice."""
    told: list[bool] = []

    def limited() -> tuple[object, int, int]:
        effort.limit_effort(allowed, lambda: told.append(True))
        found, often = work(), len(told)
        return found, allowed - effort.affordable(allowed), often

    return copy_context().run(limited)


def test_steps_are_taken_and_refused() -> None:
    told: list[bool] = []

    def limited() -> list[object]:
        effort.limit_effort(10, lambda: told.append(True))
        return [
            effort.spend(4), effort.affordable(3), effort.spend(4), effort.spend(1),
            effort.affordable(9), effort.affordable(9), effort.spend(1),
        ]  # fmt: skip

    assert copy_context().run(limited) == [True, 3, False, True, 2, 0, False]
    assert told == [True]
    assert effort.spend(1 << 60) and effort.affordable(1 << 60) == 1 << 60  # no limit here


def test_headers_that_name_the_same_notes() -> None:
    """A thousand times a megabyte of notes of 12 bytes."""
    size = 1 << 20
    same = ElfFile(elf_of([(NOTE, 1 << 16, size)] * 999, bytes(size)))
    assert len(same.note_segments) == 1
    shifted = ElfFile(elf_of([(NOTE, (1 << 16) + 4 * at, size) for at in range(999)], bytes(size)))
    assert len(shifted.note_segments) == MAX_NOTE_SEGMENTS

    def asked() -> object:
        return shifted.build_id

    found, used, told = steps_of(asked, allowed=200_000)
    assert (found, told) == (None, 1) and used > 190_000
    right = ElfFile(elf_of([(NOTE, 1 << 16, 12), (NOTE, (1 << 16) + 12, 64)], bytes(12) + BUILD_ID))
    assert right.build_id == b"\xab" * 20


def test_notes_by_owner_type_and_size() -> None:
    notes = [ElfNote(b"GNU", 3, b"\1"), ElfNote(b"XYZ", 3, b"\2\2"), ElfNote(b"GNU", 4, b"\3\3"),
             ElfNote(b"GNU", 3, b"\4\4"), ElfNote(b"GNU", 3, b"\5\5")]  # fmt: skip
    data = b"".join(map(encode_note, notes))
    assert note_of(data, True, b"GNU", 3, range(2, 65)) == b"\4\4"
    assert note_of(data, True, b"GNU", 5, range(2, 65)) is None


def test_notes_in_memory_of_many_modules() -> None:
    """Each module's headers in memory name many notes: reading all takes no more than allowed."""
    size, count = 1 << 16, 50
    rows = [(at << 32, (at << 32) + (1 << 20), 0) for at in range(1, count + 1)]
    module = elf_of([(NOTE, (1 << 16) + 4 * at, size) for at in range(60)], bytes(size))
    notes = [prstatus(1, 11), file_note(rows, [b"/none/%d" % at for at in range(count)])]
    data = make_core(notes, [(LOAD, 5, start, module, 1 << 20) for start, _, _ in rows])
    image = CoreImage.open(data)
    table, used, told = steps_of(lambda: load_modules(image, None), allowed=100_000)
    assert isinstance(table, ModuleTable) and len(table) == count
    assert used > 90_000 and told == 1


def test_segments_that_are_searched_for_gos_table() -> None:
    """A file without sections whose segments are all of it, a thousand times."""
    size = 1 << 20
    elf = ElfFile(elf_of([(LOAD, 0, size)] * 999, bytes(size)))
    steps = size // effort.SEARCHED_BYTES
    found, used, told = steps_of(lambda: elf.go_table, allowed=10 * steps)
    assert (found, told) == (None, 1) and used > 8 * steps
    # one function [0, 16), and its record
    table = GO_HEAD + struct.pack("<8Q3Ii", 1, 0, 0, 0, 0, 0, 0, 72, 0, 12, 16, 0)
    real = ElfFile(elf_of([(LOAD, 0, size)], bytes(5) + table + bytes(64)))
    assert real.go_table is not None and len(real.go_table) == 1


def test_symbols_and_sections() -> None:
    symbols = struct.pack("<IBBHQQ", 1, 2, 0, 1, 0x1000, 16) * 5000
    data = bytearray(make_elf({".symtab": symbols, ".strtab": b"\0" + b"A" * 60_000}))
    at = struct.unpack_from("<Q", data, 40)[0] + 64
    data[at + 4 : at + 8] = struct.pack("<I", 2)  # SHT_SYMTAB, its strings in the next section
    data[at + 40 : at + 44] = struct.pack("<I", 2)
    elf = ElfFile(bytes(data))
    found, used, told = steps_of(lambda: len(elf.symbols))
    assert (found, told) == (1, 0) and 5000 < used < 5100  # (a section is 8 steps)
    found, used, told = steps_of(lambda: len(ElfFile(bytes(data)).symbols), allowed=1000)
    assert (found, told) == (1, 1)
    found, used, told = steps_of(lambda: len(ElfFile(bytes(data)).sections), allowed=16)
    assert (found, told) == (2, 1)


def test_call_frame_information_of_nothing_but_ends() -> None:
    """A section of zeros: a terminator in each four bytes, and no index of it is a large one."""
    table = FrameTable(FrameSection(bytes(1 << 16), 0x1000))
    found, used, told = steps_of(lambda: table.find(0x2000), allowed=5000)
    assert (found, told) == (None, 1) and used == 5000
    whole = FrameTable(FrameSection(bytes(1 << 16), 0x1000))
    found, used, told = steps_of(lambda: whole.find(0x2000))
    assert (found, told) == (None, 0) and used == 1 << 14


def test_a_search_table_out_of_order_and_one_of_arm() -> None:
    rows = struct.pack("<ii", 0x100, 0x200) * 4000
    header = EhFrameHdr(b"\1\x1b\3\x3b" + struct.pack("<iI", 0x40, 4000) + rows, 0x5000)
    assert header.count == 4000
    found, used, _ = steps_of(header.sorted)
    assert found is True and used == 250
    found, used, told = steps_of(header.sorted, allowed=200)
    assert (found, told) == (False, 1)
    index, used, told = steps_of(lambda: ArmIndex(rows, 0x5000, lambda at, size: b""), allowed=1000)
    assert isinstance(index, ArmIndex) and told == 1
    assert len(index._starts) == used == 1000
