"""Units of `.debug_info` and their entries, read where they are asked for (DWARF 2 to 5, 7.5).

Broken data raises FormatError, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import FormatError
from . import abbreviations as ab
from .abbreviations import Abbreviation, Shape
from .attributes import (
    AT_addr_base,
    AT_comp_dir,
    AT_dwo_name,
    AT_GNU_addr_base,
    AT_GNU_dwo_id,
    AT_GNU_dwo_name,
    AT_sibling,
    AT_str_offsets_base,
    UT_compile,
    UT_skeleton,
    UT_split_compile,
    UT_split_type,
    UT_type,
)
from .encodings import Buffer, fixed, initial_length, sleb, uleb

if TYPE_CHECKING:
    from .debug_info import DwarfFile

MAX_STRING = 16_384
MAX_BLOCK = 4_096
_MAX_HEAD = 48  # bytes
_DIRECT = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a unit's parts of the shared sections of a `.dwp` file begin."""

    abbrev: int = 0
    str_offsets: int = 0
    rnglists: int = 0
    locations: int = 0


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

    def block(self, attribute: int) -> bytes | None:
        """The bytes of a block or expression (at most MAX_BLOCK), None where it is neither."""
        found = self.values.get(attribute)
        return None if found is None else self.unit.block(*found)

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
        file.work.spend(10)
        self.file = file
        self.start = start
        self.parts = parts
        self.skeleton = skeleton
        info, order = file.info(start + _MAX_HEAD), file.order
        size, wide = initial_length(info, start, order)
        at = start + (12 if wide else 4)
        self.info = file.info(at + size)
        self.end = min(at + size, len(self.info))
        self.version = fixed(info, at, order + "H")
        self.offset_letter = order + ("Q" if wide else "I")
        offset_size = 8 if wide else 4
        at += 2
        self.kind = UT_compile
        self.dwo_id: int | None = None
        self.signature: int | None = None  # of the type that a type unit describes
        self.type_offset = 0
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
        self._below: dict[int, tuple[list[int], list[int]]] = {}

    def _rest_of_head(self, info: Buffer, at: int, offset_size: int) -> int:
        if self.kind in (UT_skeleton, UT_split_compile):
            self.dwo_id = fixed(info, at, self.file.order + "Q")
            return at + 8
        if self.kind in (UT_type, UT_split_type):
            self.signature = fixed(info, at, self.file.order + "Q")
            self.type_offset = fixed(info, at + 8, self.offset_letter)
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
        info = self.info
        code, at = uleb(info, offset)
        if code == 0:
            self.file.work.spend()
            return None
        layout = self.table.get(code)
        if layout is None:
            raise FormatError(f"no abbreviation {code}")
        self.file.work.spend(2 + len(layout.attributes))
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
        end = ab.step_over(info, at, size, self.shape)
        self.file.work.spend(min(end - at, len(info)) >> 6)
        return form, at, end

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

    def behind_step(self, layout: Abbreviation, end: int) -> int:
        """The same of an entry that was only stepped over (`step` gave its layout and end)."""
        if not layout.children:
            return end
        size = layout.sibling
        if size:
            info, letter = self.info, self.shape.order + _DIRECT[size]
            at = self.start + fixed(info, end - size, letter)
            if end < at <= self.end:
                return at
        return self.skip(end)

    def below(self, first: int) -> tuple[list[int], list[int]]:
        """(offsets, tags) of the entries of the list that begins at an offset, without what is
        below them: kept, as names ask for the same lists again and again."""
        found = self._below.get(first)
        if found is None:
            offsets: list[int] = []
            tags: list[int] = []
            at = first
            while at < self.end:
                self.file.work.spend(2)
                layout, end = self.step(at)
                if layout is None:
                    break
                offsets.append(at)
                tags.append(layout.tag)
                at = self.behind_step(layout, end)
            found = self._below[first] = (offsets, tags)
        return found

    def step(self, at: int) -> tuple[Abbreviation | None, int]:
        """The layout of the entry at an offset (None: the end of a list) and where it ends."""
        info, shape = self.info, self.shape
        code, at = uleb(info, at)
        if code == 0:
            return None, at
        layout = self.table.get(code)
        if layout is None:
            raise FormatError(f"no abbreviation {code}")
        for size in layout.skips:
            if size >= 0:
                at += size
            else:
                before, at = at, ab.step_over(info, at, size, shape)
                if at - before > 255:
                    self.file.work.spend(min(at - before, len(info)) >> 6)
        if len(layout.skips) > 8:
            self.file.work.spend(len(layout.skips))
        return layout, at

    def skip(self, at: int) -> int:
        """Where a list of children that begins at `at` ends."""
        depth, count, end = 1, 0, self.end
        while depth and at < end:
            count += 1
            if not count & 255:
                self.file.work.spend(512)
            layout, at = self.step(at)
            depth += layout.children if layout is not None else -1
        self.file.work.spend(2 * (count & 255))
        return at

    # --- values ---

    def text(self, form: int, number: int) -> bytes:
        """The string of an attribute; FormatError where it is none, or not there."""
        if form == ab.FORM_string:
            end = ab.string_end(self.info, number)
            return bytes(self.info[number : min(end, number + MAX_STRING)])
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

    def block(self, form: int, number: int) -> bytes | None:
        """The bytes of an attribute that is a block, an expression or 16 bytes of data."""
        if form == ab.FORM_data16:
            start, end = number, number + 16
        elif form in ab.BLOCKS:
            head, size = ab.BLOCKS[form]
            if head:
                length, start = fixed(self.info, number, self.shape.order + head), number + size
            else:
                length, start = uleb(self.info, number)
            end = start + length
        else:
            return None
        if end > len(self.info) or end - start > MAX_BLOCK:
            raise FormatError("block too long")
        self.file.work.spend(1 + (end - start >> 6))
        return bytes(self.info[start:end])

    def _str_offsets_base(self) -> int:
        if self.file.split:
            head = (8 if self.shape.offset == 4 else 16) if self.version >= 5 else 0
            return self.parts.str_offsets + head
        base = self.root.number(AT_str_offsets_base)
        return base if base is not None else (8 if self.shape.offset == 4 else 16)

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
        base = home.root.number(AT_addr_base)
        if base is None:
            base = home.root.number(AT_GNU_addr_base)
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
            if self.file.split and self.parts != Parts():
                # where the other units of its `.dwo` were put is not known
                raise FormatError("reference out of a unit of a package")
            return self.file.unit_at(number).entry(number)
        if form in (ab.FORM_GNU_ref_alt, ab.FORM_ref_sup4, ab.FORM_ref_sup8):
            return self.file.elsewhere().unit_at(number).entry(number)
        if form == ab.FORM_ref_sig8:
            return self.file.type_unit(number).type_entry
        raise FormatError(f"form {form:#x} is no reference")

    @property
    def type_entry(self) -> Entry | None:
        """The type that a type unit describes."""
        return self.entry(self.start + self.type_offset)

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
