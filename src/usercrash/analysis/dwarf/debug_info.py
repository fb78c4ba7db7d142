"""`.debug_info`: units and their entries, read where they are asked for (DWARF 2 to 5, 7.5).

Only the unit headers are read in advance, and only as far as an offset or address needs. An
entry may name things of other units and of other files: `DwarfFile.alternate` is the file that
dwz (or DWARF 5's `.debug_sup`) put common parts into, a unit's `skeleton` is the one in the
program's file that stands for a unit of a `.dwo` or `.dwp` file. Broken data raises
FormatError, and nothing else.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...errors import FormatError
from ..binary.elf_file import ElfFile
from . import abbreviations as ab
from .abbreviations import Abbreviation, Shape
from .encodings import Buffer, fixed, sleb, uleb

MAX_UNITS = 400_000
MAX_STRING = 16_384
BUDGET = 3_000_000  # entries that one file's reader looks at before it gives up

UT_compile, UT_type, UT_partial, UT_skeleton, UT_split_compile, UT_split_type = range(1, 7)
AT_sibling, AT_name, AT_stmt_list, AT_low_pc, AT_high_pc = 0x01, 0x03, 0x10, 0x11, 0x12
AT_language, AT_comp_dir, AT_abstract_origin, AT_declaration = 0x13, 0x1B, 0x31, 0x3C
AT_specification, AT_ranges, AT_linkage_name = 0x47, 0x55, 0x6E
AT_str_offsets_base, AT_addr_base, AT_rnglists_base, AT_dwo_name = 0x72, 0x73, 0x74, 0x76
AT_GNU_dwo_name, AT_GNU_dwo_id = 0x2130, 0x2131
AT_GNU_ranges_base, AT_GNU_addr_base = 0x2132, 0x2133

_DIRECT = {1: "B", 2: "H", 4: "I", 8: "Q"}
_UNIT_HEADS = 24  # bytes of a unit's header that are looked at


class DwarfFile:
    """One file's DWARF. `split`: the sections are those of a `.dwo` or `.dwp` file."""

    def __init__(self, elf: ElfFile, *, split: bool = False) -> None:
        self.elf = elf
        self.order = elf.order
        self.split = split
        self.alternate: Callable[[], DwarfFile | None] = lambda: None
        self.budget = BUDGET
        self._sections: dict[str, Buffer] = {}
        self._tables: dict[tuple[int, Shape], dict[int, Abbreviation]] = {}
        self._starts: list[int] = []
        self._units: dict[int, Unit] = {}

    def section(self, name: str) -> Buffer:
        """A section's bytes (`info` stands for `.debug_info`), empty where there is none."""
        found = self._sections.get(name)
        if found is None:
            full = f".debug_{name}" + (".dwo" if self.split else "")
            section = self.elf.section(full.encode())
            if section is None:
                section = self.elf.section(b".z" + full[1:].encode())
            found = self.elf.contents(section) if section is not None else b""
            self._sections[name] = found
        return found

    def spend(self, entries: int = 1) -> None:
        """Count entries that are read: FormatError when there were too many."""
        self.budget -= entries
        if self.budget < 0:
            raise FormatError("more debug information than there is time for")

    def table(self, offset: int, shape: Shape) -> dict[int, Abbreviation]:
        """The abbreviations at an offset."""
        key = (offset, shape)
        if key not in self._tables:
            if len(self._tables) > 4_096:
                self._tables.clear()
            self._tables[key] = ab.read_table(self.section("abbrev"), offset, shape)
        return self._tables[key]

    # --- units ---

    def unit_starts(self) -> list[int]:
        """The offsets of all units whose headers follow each other without a gap."""
        if not self._starts:
            info = self.section("info")
            at = 0
            while at + 11 <= len(info) and len(self._starts) < MAX_UNITS:
                self._starts.append(at)
                size, wide = initial_length(info, at, self.order)
                at += size + (12 if wide else 4)
        return self._starts

    def unit(self, start: int) -> Unit:
        """The unit whose header is at this offset."""
        found = self._units.get(start)
        if found is None:
            found = self._units[start] = Unit(self, start)
        return found

    def unit_at(self, offset: int) -> Unit:
        """The unit that holds an entry."""
        starts = self.unit_starts()
        index = bisect_right(starts, offset) - 1
        if index < 0:
            raise FormatError("no unit there")
        found = self.unit(starts[index])
        if offset >= found.end:
            raise FormatError("no unit there")
        return found

    def units(self) -> Iterator[Unit]:
        """All units with headers of known versions."""
        for start in self.unit_starts():
            try:
                yield self.unit(start)
            except FormatError:
                continue

    def text(self, section: str, offset: int) -> bytes:
        """A string of a string section."""
        data = self.section(section)
        if not 0 <= offset < len(data):
            raise FormatError("string outside its section")
        return bytes(data[offset : offset + MAX_STRING]).partition(b"\0")[0]

    def elsewhere(self) -> DwarfFile:
        """The alternate file; FormatError where it is missing."""
        found = self.alternate()
        if found is None:
            raise FormatError("the alternate debug file is missing")
        return found


def initial_length(data: Buffer, at: int, order: str) -> tuple[int, bool]:
    """(bytes that follow, whether offsets have 64 bits) of a unit's first field."""
    size = fixed(data, at, order + "I")
    if size == 0xFFFFFFFF:
        return fixed(data, at + 4, order + "Q"), True
    if size >= 0xFFFFFFF0:
        raise FormatError("unit length of a reserved kind")
    return size, False


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a unit's parts of the shared sections of a `.dwp` file begin."""

    abbrev: int = 0
    str_offsets: int = 0
    rnglists: int = 0


@dataclass(slots=True)
class Entry:
    """One debugging information entry: `values` are (form, number) by attribute; a number that
    stands for a string or block is where it lies in `.debug_info`."""

    unit: Unit
    offset: int
    tag: int
    children: bool
    values: dict[int, tuple[int, int]]
    end: int  # behind its attributes: its first child, or what follows it

    def number(self, attribute: int) -> int | None:
        """A constant, flag or offset."""
        found = self.values.get(attribute)
        return None if found is None else found[1]

    def text(self, attribute: int) -> bytes:
        """A string; b"" where there is none that can be read."""
        found = self.values.get(attribute)
        try:
            return self.unit.text(*found) if found is not None else b""
        except FormatError:
            return b""

    def address(self, attribute: int) -> int | None:
        """An address, by its index where the form says so."""
        found = self.values.get(attribute)
        return None if found is None else self.unit.address(*found)

    def reference(self, attribute: int) -> Entry | None:
        """The entry that an attribute refers to, None where there is no such attribute."""
        found = self.values.get(attribute)
        return None if found is None else self.unit.referred(*found)


class Unit:
    """A unit: its header, and its entries as they are asked for."""

    def __init__(
        self, file: DwarfFile, start: int, parts: Parts = Parts(), skeleton: Unit | None = None
    ) -> None:
        """FormatError if there is no header of a known version."""
        self.file = file
        self.start = start
        self.parts = parts
        self.skeleton = skeleton
        info, order = file.section("info"), file.order
        size, wide = initial_length(info, start, order)
        at = start + (12 if wide else 4)
        self.end = min(at + size, len(info))
        self.version = fixed(info, at, order + "H")
        self.offset_letter = order + ("Q" if wide else "I")
        offset_size = 8 if wide else 4
        at += 2
        self.kind = UT_compile
        self.dwo_id: int | None = None
        if 2 <= self.version <= 4:
            abbrev = fixed(info, at, self.offset_letter)
            word = fixed(info, at + offset_size, "B")
            at += offset_size + 1
        elif self.version == 5:
            self.kind, word = fixed(info, at, "B"), fixed(info, at + 1, "B")
            abbrev = fixed(info, at + 2, self.offset_letter)
            at += 2 + offset_size
            at = self._rest_of_head(info, at, offset_size)
        else:
            raise FormatError(f"debug information of version {self.version}")
        if word not in (2, 4, 8):
            raise FormatError(f"addresses of {word} bytes")
        self.shape = Shape(word, offset_size, self.version, order)
        self.table = file.table(abbrev + parts.abbrev, self.shape)
        self.first = at
        self._root: Entry | None = None

    def _rest_of_head(self, info: Buffer, at: int, offset_size: int) -> int:
        if self.kind in (UT_skeleton, UT_split_compile):
            self.dwo_id = fixed(info, at, self.file.order + "Q")
            return at + 8
        if self.kind in (UT_type, UT_split_type):
            return at + 8 + offset_size
        return at

    # --- entries ---

    @property
    def root(self) -> Entry:
        """The unit's own entry."""
        if self._root is None:
            found = self.entry(self.first)
            if found is None:
                raise FormatError("unit without entries")
            self._root = found
        return self._root

    def entry(self, offset: int) -> Entry | None:
        """The entry at an offset; None for the zero that ends a list of children."""
        if not self.first <= offset < self.end:
            raise FormatError("entry outside its unit")
        self.file.spend()
        info = self.file.section("info")
        code, at = uleb(info, offset)
        if code == 0:
            return None
        layout = self.table.get(code)
        if layout is None:
            raise FormatError(f"no abbreviation {code}")
        values: dict[int, tuple[int, int]] = {}
        for attribute, form, constant in layout.attributes:
            form, number, at = self._value(info, at, form, constant)
            values.setdefault(attribute, (form, number))
        return Entry(self, offset, layout.tag, layout.children, values, at)

    def _value(self, info: Buffer, at: int, form: int, constant: int) -> tuple[int, int, int]:
        """(form, number, position behind it)."""
        if form == ab.FORM_indirect:
            form, at = uleb(info, at)
            if form in (ab.FORM_indirect, ab.FORM_implicit_const):
                raise FormatError("a form that may not be indirect")
        if form == ab.FORM_implicit_const:
            return form, constant, at
        size = ab.form_size(form, self.shape)
        letter = _DIRECT.get(size)
        if letter is not None:
            return form, fixed(info, at, self.shape.order + letter), at + size
        if size == 0:
            return form, 1, at  # DW_FORM_flag_present
        if size == 3:
            little = self.shape.order == "<"
            raw = bytes(info[at : at + 3])
            return form, int.from_bytes(raw, "little" if little else "big"), at + 3
        if size == ab.LEB:
            number, end = (sleb if form == ab.FORM_sdata else uleb)(info, at)
            return form, number, end
        if size > 0:
            return form, at, at + size
        return form, at, ab.step_over(info, at, size, self.shape)

    def children(self, parent: Entry) -> Iterator[Entry]:
        """An entry's children, without what is below them."""
        if not parent.children:
            return
        at = parent.end
        while at < self.end:
            found = self.entry(at)
            if found is None:
                return
            yield found
            at = self.behind(found)

    def behind(self, entry: Entry) -> int:
        """Where what follows an entry and all below it begins."""
        if not entry.children:
            return entry.end
        sibling = entry.values.get(AT_sibling)
        if sibling is not None:
            at = self.start + sibling[1]
            if entry.end < at <= self.end:
                return at
        return self.skip(entry.end)

    def step(self, at: int) -> tuple[Abbreviation | None, int]:
        """The layout of the entry at an offset (None: the end of a list) and where it ends."""
        info, shape = self.file.section("info"), self.shape
        code, at = uleb(info, at)
        if code == 0:
            return None, at
        layout = self.table.get(code)
        if layout is None:
            raise FormatError(f"no abbreviation {code}")
        for size in layout.skips:
            at = at + size if size >= 0 else ab.step_over(info, at, size, shape)
        return layout, at

    def skip(self, at: int) -> int:
        """Where a list of children that begins at `at` ends."""
        depth, count, end = 1, 0, self.end
        while depth and at < end:
            count += 1
            layout, at = self.step(at)
            depth += layout.children if layout is not None else -1
        self.file.spend(count)
        return at

    # --- values ---

    def text(self, form: int, number: int) -> bytes:
        """The string of an attribute; FormatError where it is none, or not there."""
        if form == ab.FORM_string:
            return self.file.text("info", number)
        if form == ab.FORM_strp:
            return self.file.text("str", number)
        if form == ab.FORM_line_strp:
            return self.file.text("line_str", number)
        if form in (ab.FORM_strp_sup, ab.FORM_GNU_strp_alt):
            return self.file.elsewhere().text("str", number)
        if form in (ab.FORM_strx, ab.FORM_GNU_str_index) or 0x25 <= form <= 0x28:
            offsets = self.file.section("str_offsets")
            at = self._str_offsets_base() + number * self.shape.offset
            return self.file.text("str", fixed(offsets, at, self.offset_letter))
        raise FormatError(f"form {form:#x} is no string")

    def _str_offsets_base(self) -> int:
        if self.file.split:
            head = (8 if self.shape.offset == 4 else 16) if self.version >= 5 else 0
            return self.parts.str_offsets + head
        base = self._root_number(AT_str_offsets_base)
        return base if base is not None else (8 if self.shape.offset == 4 else 16)

    def _root_number(self, attribute: int) -> int | None:
        return self.root.number(attribute)

    def address(self, form: int, number: int) -> int:
        """The address of an attribute, from `.debug_addr` where the form is an index."""
        if form == ab.FORM_addr:
            return number
        if form in (ab.FORM_addrx, ab.FORM_GNU_addr_index) or 0x29 <= form <= 0x2C:
            return self.indexed_address(number)
        raise FormatError(f"form {form:#x} is no address")

    def indexed_address(self, index: int) -> int:
        """An address of the unit's part of `.debug_addr`."""
        home = self.skeleton or self
        base = home._root_number(AT_addr_base)
        if base is None:
            base = home._root_number(AT_GNU_addr_base)
        if base is None:
            base = 8 if home.version >= 5 else 0
        word = self.shape.word
        letter = self.shape.order + _DIRECT[word]
        return fixed(home.file.section("addr"), base + index * word, letter)

    def referred(self, form: int, number: int) -> Entry | None:
        """The entry of a reference, in whatever unit or file it is; None if it ends a list."""
        if ab.FORM_ref1 <= form <= ab.FORM_ref_udata:
            return self.entry(self.start + number)
        if form == ab.FORM_ref_addr:
            if self.file.split:  # (a package's units lie where the package put them)
                return self.entry(number)
            return self.file.unit_at(number).entry(number)
        if form in (ab.FORM_GNU_ref_alt, ab.FORM_ref_sup4, ab.FORM_ref_sup8):
            return self.file.elsewhere().unit_at(number).entry(number)
        raise FormatError(f"form {form:#x} is no reference")

    @property
    def directory(self) -> bytes:
        """The compilation directory."""
        home = self.skeleton or self
        return home.root.text(AT_comp_dir) or self.root.text(AT_comp_dir)

    @property
    def dwo_name(self) -> bytes:
        """The `.dwo` file that a skeleton stands for; b"" for any other unit."""
        if self.kind not in (UT_compile, UT_skeleton):
            return b""
        return self.root.text(AT_dwo_name) or self.root.text(AT_GNU_dwo_name)

    def identity(self) -> int | None:
        """The id that a skeleton and its split unit share."""
        if self.dwo_id is not None:
            return self.dwo_id
        return self.root.number(AT_GNU_dwo_id)


def join(directory: bytes, name: bytes) -> bytes:
    """A path as the compiler's directory and a name in it make it."""
    return os.path.join(directory, name) if directory else name
