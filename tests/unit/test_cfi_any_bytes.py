"""Call frame sections of any bytes, damaged and absurd ones: FormatError, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cfi_sections import row_of

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.dwarf.cfi import FrameSection
from usercrash.analysis.dwarf.frame_index import EhFrameHdr, FrameTable
from usercrash.errors import FormatError

WHERE = Path("/usr/lib/x86_64-linux-gnu")


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 1 << 64), st.booleans())
def test_any_bytes_as_a_section(data: bytes, pc: int, debug_frame: bool) -> None:
    table = FrameTable(FrameSection(data, 0x1000, debug_frame=debug_frame))
    try:
        table.row(pc)
    except FormatError:
        pass


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_instructions(program: bytes) -> None:
    try:
        row_of(program)
    except FormatError:
        pass


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 1 << 64))
def test_any_bytes_as_a_header(data: bytes, pc: int) -> None:
    try:
        header = EhFrameHdr(data, 0x1000)
    except FormatError:
        return
    table = FrameTable(FrameSection(b"\0" * 64, 0x2000), header)
    try:
        table.row(pc)
    except FormatError:
        pass


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12), st.data())
def test_damaged_library(damage: list[tuple[int, int]], data: st.DataObject) -> None:
    elf = ElfFile((WHERE / "libm.so.6").read_bytes())
    section = elf.section(b".eh_frame")
    assert section is not None
    raw = bytearray(elf.contents(section)[:2000])
    for at, value in damage:
        raw[at % len(raw)] = value
    table = FrameTable(FrameSection(bytes(raw), section.address))
    pc = data.draw(st.integers(0, 1 << 18))
    try:
        table.row(pc)
    except FormatError:
        pass


def test_offsets_beyond_what_an_index_can_be() -> None:
    section = FrameSection(b"\0" * 64, 0)
    for offset in (1 << 63, 1 << 64, 1 << 70):
        with pytest.raises(FormatError):
            section.fde(offset)
        with pytest.raises(FormatError):
            section.cie(offset)
