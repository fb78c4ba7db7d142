"""Abbreviation tables: how the entries of `.debug_info` are laid out (DWARF 5 section 7.5).

Forms of versions 2 to 5, and those of GNU's split DWARF and dwz extensions before version 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import FormatError
from .attributes import AT_high_pc, AT_ranges, AT_sibling
from .encodings import Buffer, fixed, sleb, uleb
from .work import Work

MAX_ABBREVIATIONS = 200_000
MAX_ATTRIBUTES = 1_000  # of one abbreviation

FORM_addr, FORM_string, FORM_sdata, FORM_strp, FORM_udata = 0x01, 0x08, 0x0D, 0x0E, 0x0F
FORM_ref_addr, FORM_ref1, FORM_ref_udata, FORM_indirect = 0x10, 0x11, 0x15, 0x16
FORM_sec_offset, FORM_strx, FORM_addrx, FORM_ref_sup4 = 0x17, 0x1A, 0x1B, 0x1C
FORM_strp_sup, FORM_line_strp, FORM_implicit_const = 0x1D, 0x1F, 0x21
FORM_data16, FORM_ref_sig8, FORM_loclistx = 0x1E, 0x20, 0x22
FORM_rnglistx, FORM_ref_sup8 = 0x23, 0x24
FORM_GNU_addr_index, FORM_GNU_str_index = 0x1F01, 0x1F02
FORM_GNU_ref_alt, FORM_GNU_strp_alt = 0x1F20, 0x1F21

# Blocks and expressions: `struct`'s letter and bytes of their length, "" for LEB128
BLOCKS = {0x03: ("H", 2), 0x04: ("I", 4), 0x09: ("", 0), 0x0A: ("B", 1), 0x18: ("", 0)}
_REFERENCES = {0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8}  # within a unit, and how long

# What a form takes: so many bytes, or one of these
ADDRESS, OFFSET, LEB, STRING, BLOCK1, BLOCK2, BLOCK4, BLOCK, INDIRECT = range(-9, 0)
_SIZES = {
    0x01: ADDRESS, 0x03: BLOCK2, 0x04: BLOCK4, 0x05: 2, 0x06: 4, 0x07: 8, 0x08: STRING,
    0x09: BLOCK, 0x0A: BLOCK1, 0x0B: 1, 0x0C: 1, 0x0D: LEB, 0x0E: OFFSET, 0x0F: LEB,
    0x10: OFFSET, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x15: LEB, 0x16: INDIRECT,
    0x17: OFFSET, 0x18: BLOCK, 0x19: 0, 0x1A: LEB, 0x1B: LEB, 0x1C: 4, 0x1D: OFFSET,
    0x1E: 16, 0x1F: OFFSET, 0x20: 8, 0x21: 0, 0x22: LEB, 0x23: LEB, 0x24: 8,
    0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
    0x1F01: LEB, 0x1F02: LEB, 0x1F20: OFFSET, 0x1F21: OFFSET,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the sizes of forms in a unit: bytes of an address and of an offset, and the
    byte order ("<" or ">")."""

    word: int
    offset: int
    version: int
    order: str


@dataclass(slots=True)
class Abbreviation:
    """One layout: (attribute, form, its constant for DW_FORM_implicit_const) in order.

    `skips` is how to step over all of them: byte counts, and the sizes that depend on the data.
    `sibling`: how many bytes the last of them takes if it says where the next sibling is, else 0.
    `placed`: they may have addresses.
    """

    tag: int
    children: bool
    attributes: list[tuple[int, int, int]]
    skips: list[int] = field(default_factory=list)
    sibling: int = 0
    placed: bool = False


def form_size(form: int, shape: Shape) -> int:
    """Bytes that a form takes in such units; negative where the data says it."""
    size = _SIZES.get(form)
    if size is None:
        raise FormatError(f"attribute form {form:#x}")
    if size == ADDRESS:
        return shape.word
    if size == OFFSET:
        return shape.word if form == FORM_ref_addr and shape.version == 2 else shape.offset
    return size


def read_table(data: Buffer, position: int, shape: Shape, work: Work) -> dict[int, Abbreviation]:
    """The abbreviations of a unit by their codes. FormatError where the table is broken."""
    table: dict[int, Abbreviation] = {}
    while len(table) < MAX_ABBREVIATIONS:
        if position >= len(data):
            return table  # (some tables lack their final zero)
        code, position = uleb(data, position)
        if code == 0:
            return table
        tag, position = uleb(data, position)
        children = fixed(data, position, "B") != 0
        found, position = _attributes(data, position + 1)
        work.spend(4 + 4 * len(found))
        last = found[-1] if found and found[-1][0] == AT_sibling else (0, 0, 0)
        table[code] = Abbreviation(
            tag, children, found, _skips(found, shape), _REFERENCES.get(last[1], 0),
            any(one[0] in (AT_high_pc, AT_ranges) for one in found),
        )  # fmt: skip
    raise FormatError("too many abbreviations")


def _attributes(data: Buffer, position: int) -> tuple[list[tuple[int, int, int]], int]:
    found: list[tuple[int, int, int]] = []
    for _ in range(MAX_ATTRIBUTES):
        attribute, position = uleb(data, position)
        form, position = uleb(data, position)
        constant = 0
        if form == FORM_implicit_const:
            constant, position = sleb(data, position)
        if attribute == 0 and form == 0:
            return found, position
        found.append((attribute, form, constant))
    raise FormatError("too many attributes")


def _skips(attributes: list[tuple[int, int, int]], shape: Shape) -> list[int]:
    steps: list[int] = []
    for _attribute, form, _constant in attributes:
        size = form_size(form, shape)
        if size >= 0 and steps and steps[-1] >= 0:
            steps[-1] += size
        elif size != 0:
            steps.append(size)
    return steps


def step_over(data: Buffer, position: int, step: int, shape: Shape) -> int:
    """The position behind a value of one of the sizes that the data says."""
    if step == LEB:
        return uleb(data, position)[1]
    if step == STRING:
        return string_end(data, position) + 1
    if step == BLOCK:
        size, position = uleb(data, position)
        return position + size
    if step == INDIRECT:
        form, position = uleb(data, position)
        if form in (FORM_indirect, FORM_implicit_const):
            raise FormatError("a form that may not be indirect")
        size = form_size(form, shape)
        return position + size if size >= 0 else step_over(data, position, size, shape)
    letter, size = {BLOCK1: ("B", 1), BLOCK2: ("H", 2), BLOCK4: ("I", 4)}[step]
    return position + size + fixed(data, position, shape.order + letter)


def string_end(data: Buffer, position: int) -> int:
    """Where the zero lies that ends a string."""
    end = position
    while end < len(data):
        at = bytes(data[end : end + 256]).find(b"\0")
        if at >= 0:
            return end + at
        end += 256
    raise FormatError("string without end")
