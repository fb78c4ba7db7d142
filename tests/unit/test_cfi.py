"""Call frame information: against readelf for whole libraries, each instruction by hand, and
against hostile bytes."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest
from tests.support.build import need
from tests.support.cfi_sections import CIE_PROGRAM, cie_of, entry_of, frames_of, row_of

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.dwarf import cfi
from usercrash.analysis.dwarf.call_frames import CallFrames
from usercrash.analysis.dwarf.cfi import FrameSection, Row
from usercrash.analysis.dwarf.expression import evaluate
from usercrash.analysis.dwarf.frame_index import EhFrameHdr, FrameTable
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.errors import FormatError

LIBRARIES = ["libc.so.6", "libstdc++.so.6", "libm.so.6"]
WHERE = Path("/usr/lib/x86_64-linux-gnu")


# --- against readelf ---


def _readelf_rows(path: Path) -> dict[int, dict[str, str]]:
    """readelf's rows by pc: column name to cell (`c-8`, `exp`, `u`, `rsp+8` …)."""
    done = subprocess.run(
        [need("readelf", "binutils"), "-wF", str(path)],
        capture_output=True, text=True, check=False, env={"LC_ALL": "C"},
    )  # fmt: skip
    rows = {}
    columns: list[str] = []
    in_fde = False
    for line in done.stdout.split("\n"):
        words = line.split()
        if "FDE" in words or "CIE" in words:
            in_fde = "FDE" in words
        elif words[:1] == ["LOC"]:
            columns = words[1:]
        elif in_fde and len(words) == len(columns) + 1 and re.fullmatch("[0-9a-f]{16}", words[0]):
            rows[int(words[0], 16)] = dict(zip(columns, words[1:], strict=True))
    return rows


def _cell(rule: cfi.Rule | None) -> str:
    if rule is None:
        return "u"
    kind, value = rule
    if kind == cfi.OFFSET:
        assert isinstance(value, int)
        return f"c{value:+d}"
    return {cfi.UNDEFINED: "u", cfi.SAME: "s", cfi.EXPRESSION: "exp", cfi.VAL_EXPRESSION: "vexp"}[
        kind
    ]


def _cells(row: Row) -> dict[str, str]:
    names = {**ARCH.dwarf_registers, 16: "ra"}
    cells = {names[number]: _cell(rule) for number, rule in row.rules.items() if number in names}
    cells["CFA"] = f"{names.get(row.cfa_register)}{row.cfa_offset:+d}"
    if row.cfa_expression is not None:
        cells["CFA"] = "exp"
    return cells


def _tables(path: Path) -> tuple[FrameTable, FrameTable]:
    """`.eh_frame` searched through its header, and through an index that we make."""
    elf = ElfFile(path.read_bytes())
    section, segment = elf.section(b".eh_frame"), elf.eh_frame_hdr
    assert section is not None and segment is not None
    raw = elf.view[segment.offset : segment.offset + segment.filesz]
    header = EhFrameHdr(raw, segment.vaddr)
    assert header.eh_frame == section.address
    frames = FrameSection(elf.contents(section), section.address)
    return FrameTable(frames, header), FrameTable(frames)


@pytest.mark.parametrize("name", LIBRARIES)
def test_all_rows_are_those_of_readelf(name: str) -> None:
    expected = _readelf_rows(WHERE / name)
    assert len(expected) > 1000
    by_header, by_index = _tables(WHERE / name)
    for pc, wanted in expected.items():
        row = by_header.row(pc)
        assert row is not None, hex(pc)
        ours = _cells(row)
        # (readelf prints a column for every register that any row of the entry names)
        assert {name: ours.get(name, "u") for name in wanted} == wanted, hex(pc)
        assert by_index.row(pc) == row


def test_no_row_outside_functions() -> None:
    by_header, by_index = _tables(WHERE / "libc.so.6")
    for table in (by_header, by_index):
        assert table.row(0) is None
        assert table.row(1 << 40) is None


@pytest.mark.parametrize(
    ("program", "rule"),
    [
        (b"\x83\x02", (cfi.OFFSET, -16)),  # offset
        (b"\x05\x03\x02", (cfi.OFFSET, -16)),  # offset_extended
        (b"\x11\x03\x7e", (cfi.OFFSET, 16)),  # offset_extended_sf
        (b"\x2f\x03\x02", (cfi.OFFSET, 16)),  # GNU_negative_offset_extended
        (b"\x14\x03\x02", (cfi.VAL_OFFSET, -16)),
        (b"\x15\x03\x7e", (cfi.VAL_OFFSET, 16)),
        (b"\x09\x03\x06", (cfi.REGISTER, 6)),
        (b"\x07\x03", (cfi.UNDEFINED, 0)),
        (b"\x08\x03", (cfi.SAME, 0)),
        (b"\x10\x03\x02\x77\x08", (cfi.EXPRESSION, b"\x77\x08")),
        (b"\x16\x03\x02\x77\x08", (cfi.VAL_EXPRESSION, b"\x77\x08")),
        (b"\x2e\x20\x83\x02", (cfi.OFFSET, -16)),  # GNU_args_size says nothing to us
        (b"\x00\x83\x02", (cfi.OFFSET, -16)),  # nop
        (b"\x83\x02\xc3", None),  # restore: the CIE has no rule
        (b"\x83\x02\x06\x03", None),  # restore_extended
        (b"\x0a\x83\x02\x0b", None),  # remember_state … restore_state
        (b"\x83\x02\x0a\x07\x03\x0b", (cfi.OFFSET, -16)),
    ],
)
def test_register_rules(program: bytes, rule: cfi.Rule | None) -> None:
    assert row_of(program).rules.get(3) == rule


@pytest.mark.parametrize(
    ("program", "cfa"),
    [
        (b"", (7, 8, None)),
        (b"\x0e\x20", (7, 32, None)),  # def_cfa_offset
        (b"\x13\x7e", (7, 16, None)),  # def_cfa_offset_sf
        (b"\x0c\x06\x10", (6, 16, None)),  # def_cfa
        (b"\x12\x06\x7e", (6, 16, None)),  # def_cfa_sf
        (b"\x0d\x06", (6, 8, None)),  # def_cfa_register
        (b"\x0f\x02\x77\x08", (7, 8, b"\x77\x08")),  # def_cfa_expression
        (b"\x0f\x02\x77\x08\x0c\x06\x10", (6, 16, None)),
        (b"\x0a\x0c\x06\x10\x0b", (7, 8, None)),  # restore_state brings the CFA back
    ],
)
def test_cfa_rules(program: bytes, cfa: tuple[int, int, bytes | None]) -> None:
    row = row_of(program)
    assert (row.cfa_register, row.cfa_offset, row.cfa_expression) == cfa


@pytest.mark.parametrize(
    "advance",
    [
        b"\x60",  # advance_loc 32
        b"\x02\x20",
        b"\x03\x20\x00",
        b"\x04\x20\x00\x00\x00",
        b"\x01" + struct.pack("<Q", 0x1020),  # set_loc
        b"\x1d" + struct.pack("<Q", 0x20),
    ],
)
def test_rows_begin_where_they_say(advance: bytes) -> None:
    program = advance + b"\x83\x02"
    assert 3 not in row_of(program, 0x101F).rules
    assert 3 in row_of(program, 0x1020).rules


def test_signal_frame_and_other_augmentations() -> None:
    # z with personality (udata4, 4 bytes), LSDA, FDE encoding, S
    cie = cie_of(CIE_PROGRAM, b"zPLRS", b"\x03\x01\x02\x03\x04\x1b\x00")
    row = FrameTable(frames_of(b"\x83\x02", cie)).row(0x1000)
    assert row is not None
    assert row.signal_frame
    assert row.rules[3] == (cfi.OFFSET, -16)


def test_old_gcc_augmentation() -> None:
    cie = entry_of(b"\0\0\0\0\x01eh\0" + b"\0" * 8 + b"\x01\x78\x10" + CIE_PROGRAM)
    row = FrameTable(frames_of(b"\x83\x02", cie, augmented=False)).row(0x1000)
    assert row is not None
    assert row.rules[3] == (cfi.OFFSET, -16)


def test_unknown_augmentation_without_z_is_refused() -> None:
    cie = entry_of(b"\0\0\0\0\x01xy\0\x01\x78\x10" + CIE_PROGRAM)
    table = FrameTable(frames_of(b"", cie, augmented=False))
    assert table.row(0x1000) is None


@pytest.mark.parametrize(
    "program",
    [
        b"\x0b",  # restore without remember
        b"\x0a" * 600,
        b"\x3f",  # no such instruction
        b"\x10\x03\x7f\x01",  # expression cut short
        b"\x83" + b"\x80" * 30 + b"\x01",  # LEB128 without end
    ],
)
def test_broken_programs_are_refused(program: bytes) -> None:
    with pytest.raises(FormatError):
        row_of(program)


def test_debug_frame_version_4() -> None:
    cie = entry_of(b"\xff\xff\xff\xff\x04\0\x08\0\x01\x78\x10" + CIE_PROGRAM)
    fde = entry_of(struct.pack("<IQQ", 0, 0x1000, 0x100) + b"\x83\x02")
    table = FrameTable(FrameSection(cie + fde, 0, debug_frame=True))
    row = table.row(0x1001)
    assert row is not None
    assert row.rules[3] == (cfi.OFFSET, -16)


def test_64_bit_debug_frame() -> None:
    def entry(content: bytes) -> bytes:
        return b"\xff\xff\xff\xff" + struct.pack("<Q", len(content)) + content

    cie = entry(b"\xff" * 8 + b"\x03\0\x01\x78\x10" + CIE_PROGRAM)
    fde = entry(struct.pack("<QQQ", 0, 0x1000, 0x100) + b"\x83\x02")
    row = FrameTable(FrameSection(cie + fde, 0, debug_frame=True)).row(0x1001)
    assert row is not None
    assert row.rules[3] == (cfi.OFFSET, -16)


def test_terminator_in_the_middle_does_not_end_the_index() -> None:
    one, other = frames_of(b"\x83\x02"), frames_of(b"\x83\x03")
    moved = bytearray(other.data)
    at = bytes(moved).index(struct.pack("<Q", 0x1000))
    moved[at : at + 8] = struct.pack("<Q", 0x2000)
    table = FrameTable(FrameSection(bytes(one.data) + bytes(moved), 0))
    first, second = table.row(0x1000), table.row(0x2000)
    assert first is not None and second is not None
    assert (first.rules[3], second.rules[3]) == ((cfi.OFFSET, -16), (cfi.OFFSET, -24))


@pytest.mark.parametrize("encoding", [0x03, 0x04, 0x0B, 0x0C, 0x00, 0x33, 0x34, 0x3B, 0x3C])
def test_header_tables_of_every_fixed_encoding(encoding: int) -> None:
    address = 0x400
    base = address if encoding & 0x30 else 0
    form = {3: "I", 4: "Q", 0xB: "i", 0xC: "q", 0: "Q"}[encoding & 0xF]
    rows = [(0x1000, 0x900), (0x2000, 0x940), (0x3000, 0x980)]
    data = bytes((1, 0x1B, 0x03, encoding)) + struct.pack("<iI", 0x800 - address - 4, len(rows))
    for start, fde in rows:
        data += struct.pack(f"<2{form}", start - base, fde - base)
    header = EhFrameHdr(data, address)
    assert header.eh_frame == 0x800
    assert [header.lookup(pc) for pc in (0xFFF, 0x1000, 0x1FFF, 0x2000, 0x9999)] == [
        None, rows[0], rows[0], rows[1], rows[2],
    ]  # fmt: skip


# --- what only some machines and tools write ---


def _row_for(program: bytes, machine: int) -> Row:
    made = frames_of(program)
    row = FrameTable(FrameSection(bytes(made.data), 0, machine=machine)).row(0x1050)
    assert row is not None
    return row


def test_register_windows_and_signed_return_addresses_share_a_number() -> None:
    sparc = _row_for(b"\x2d", 43).rules
    assert sparc[8] == (cfi.REGISTER, 24) and sparc[15] == (cfi.REGISTER, 31)
    assert sparc[16] == (cfi.OFFSET, 0) and sparc[31] == (cfi.OFFSET, 120)
    for program in (b"\x2d\x83\x02", b"\x2c\x83\x02"):
        assert _row_for(program, 183).rules == {16: (cfi.OFFSET, -8), 3: (cfi.OFFSET, -16)}


def test_address_spaces() -> None:
    row = row_of(b"\x30\x06\x10\x00")
    assert (row.cfa_register, row.cfa_offset) == (6, 16)
    row = row_of(b"\x31\x06\x7e\x00")
    assert (row.cfa_register, row.cfa_offset) == (6, 16)
    with pytest.raises(FormatError, match="address space"):
        row_of(b"\x30\x06\x10\x05")


def test_instructions_end_with_their_entry() -> None:
    """Operands are not taken from the entry behind."""
    with pytest.raises(FormatError):
        row_of(b"\x00\x00\x0c")  # def_cfa without operands, as the last byte


@pytest.mark.parametrize(("address", "letter"), [(2, "H"), (4, "I"), (8, "Q")])
@pytest.mark.parametrize("segment", [0, 4])
def test_debug_frame_with_segments_and_small_addresses(
    address: int, letter: str, segment: int
) -> None:
    head = b"\xff\xff\xff\xff\x04\0" + bytes((address, segment)) + b"\x01\x78\x10"
    cie = entry_of(head + CIE_PROGRAM)
    moved = b"\x01" + struct.pack("<" + letter, 0x1040) + b"\x83\x02"  # set_loc
    place = bytes(segment) + struct.pack("<2" + letter, 0x1000, 0x100)
    table = FrameTable(FrameSection(cie + entry_of(bytes(4) + place + moved), 0, debug_frame=True))
    before, behind = table.row(0x103F), table.row(0x1040)
    assert before is not None and behind is not None
    assert 3 not in before.rules and behind.rules[3] == (cfi.OFFSET, -16)


def test_arm_compiler_augmentation() -> None:
    cie = entry_of(b"\xff\xff\xff\xff\x03armcc+\0\x01\x78\x10" + CIE_PROGRAM)
    fde = entry_of(struct.pack("<IQQ", 0, 0x1000, 0x100) + b"\x83\x02")
    assert FrameTable(FrameSection(cie + fde, 0, debug_frame=True)).row(0x1001) is not None


@pytest.mark.parametrize("flags", [(), ("-fcf-protection=full", "-Wl,-z,ibtplt")])
def test_stubs_of_the_procedure_linkage_table(flags: tuple[str, ...], tmp_path: Path) -> None:
    """The linker describes all of `.plt` by one expression: after the push one word more."""
    source = tmp_path / "plt.c"
    source.write_text(
        "#include <stdio.h>\nint main(int c, char **v) { return puts(v[c]) + putchar(c); }\n"
    )
    program = tmp_path / "plt"
    command = [need("gcc", "gcc"), "-O1", "-Wl,-z,lazy", "-o", str(program), str(source), *flags]
    subprocess.run(command, check=True)
    elf = ElfFile(program.read_bytes())
    frames = CallFrames(elf, None, 0, lambda address, size: b"")
    registers: list[int | None] = [None] * 17
    registers[7] = 0x1000
    plt = elf.section(b".plt")
    assert plt is not None
    code = bytes(elf.contents(plt))
    for entry in range(16, plt.size, 16):
        pushed = code.index(b"\x68", entry) + 5 - entry
        for at in range(16):
            registers[16] = plt.address + entry + at
            row = frames.row(plt.address + entry + at)
            assert row is not None and row.cfa_expression is not None
            value = evaluate(row.cfa_expression, registers, lambda address, size: b"")
            assert value == (0x1010 if at >= pushed else 0x1008), (entry, at)
    behind = elf.section(b".plt.sec")
    assert (behind is not None) == bool(flags)
    if behind is not None:
        row = frames.row(behind.address + 4)
        assert row is not None and (row.cfa_register, row.cfa_offset) == (7, 8)
