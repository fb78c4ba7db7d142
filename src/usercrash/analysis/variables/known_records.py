"""A record of a known library: its members by their names, and what it holds as text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ..dwarf.attributes import AT_name
from ..dwarf.gaps import NOT_IN_DUMP, Gap
from ..dwarf.records import Member
from ..dwarf.types import Kind, Type, is_complete
from ..facts.secrets import is_secret_name
from .arrays import elements
from .limits import MASKED, MAX_STRING
from .storage import InMemory, Source, bits_of

if TYPE_CHECKING:
    from .printer import Printer

_MAX_DEPTH = 8  # of bases and members in each other
_MAX_LENGTH = 1 << 40  # of a string or vector; more is nonsense
_FLAT = 3  # of what lies so deep only the number of elements is told
_MAX_NODES = 64  # of a map or list that are looked for
_MAX_STEPS = 128  # from a node to the next: no tree is deeper


class Field(NamedTuple):
    """A member and where it lies."""

    type: Type
    at: int


class Pair(NamedTuple):
    """What a map has: a key, and a value so many bytes behind it."""

    key: Type
    value: Type
    at: int


class Unlike(Exception):
    """The type is not what its name says."""


class Reading:
    """One record, and how to find what it holds."""

    def __init__(
        self, printer: Printer, kind: Type, source: Source, at: int, depth: int, secret: bool
    ) -> None:
        self.printer = printer
        self.kind = kind
        self.source = source
        self.at = at
        self.depth = depth
        self.secret = secret
        self.word = printer.frame.arch.long

    def field(self, *names: str) -> Field:
        """The member that a path of names leads to, through bases and members without a name."""
        return self.below(Field(self.kind, self.at), *names)

    def below(self, start: Field, *names: str) -> Field:
        """The same, from another one on."""
        found: Field | None = start
        for name in names:
            found = self._below(found.type, found.at, name, 0) if found is not None else None
        if found is None:
            raise Unlike
        return found

    def any_of(self, *paths: tuple[str, ...]) -> Field:
        """The first of the paths that leads to a member: versions of a library differ."""
        for path in paths:
            try:
                return self.field(*path)
            except Unlike:
                continue
        raise Unlike

    def _below(self, kind: Type, at: int, name: str, depth: int) -> Field | None:
        if kind.kind is not Kind.RECORD or depth > _MAX_DEPTH:
            return None
        for member in self.printer.types.record(kind).members:
            if member.place is not None or member.bits:
                continue
            if member.name == name and not member.base:
                return Field(member.type, at + member.offset)
            if member.base or not member.name:
                found = self._below(member.type, at + member.offset, name, depth + 1)
                if found is not None:
                    return found
        return None

    def first_pointer(self, start: Field, depth: int = 0) -> Field:
        """The first pointer in a member, however deep (Rust's Unique, NonNull and so on)."""
        if start.type.kind is Kind.POINTER:
            return start
        if start.type.kind is Kind.RECORD and depth < _MAX_DEPTH:
            for member in self.printer.types.record(start.type).members:
                try:
                    return self.first_pointer(
                        Field(member.type, start.at + member.offset), depth + 1
                    )
                except Unlike:
                    continue
        raise Unlike

    def number(self, field: Field) -> int:
        """An integer or address."""
        size = field.type.size
        if field.type.kind not in (Kind.BASE, Kind.POINTER) or not size or size > 8:
            raise Unlike
        return self.printer.number(self.source, field.at, size)

    def memory(self, address: int) -> InMemory:
        """What lies at an address."""
        return InMemory(self.printer.process.memory, address, self.printer.frame.arch.mask)

    def word_at(self, address: int) -> int:
        """A word of memory; Gap where it was not captured."""
        if self.kind.entry is not None:
            self.kind.entry.unit.file.work.spend(2)
        return self.printer.number(self.memory(address), 0, self.word)

    def bits(self, holder: Field, name: str) -> int | None:
        """The value of a bit field, None where there is no such."""
        for member in self._members(holder):
            if member.name == name and member.bits:
                first = 8 * holder.at + member.bit_offset
                order = self.printer.frame.arch.byte_order
                return bits_of(self.source, first, member.bits, order)
        return None

    def _members(self, holder: Field) -> Iterator[Member]:
        """The members of a record, with those of what has no name and begins where it does."""
        for member in self.printer.types.record(holder.type).members:
            if not member.name and not member.base and not member.offset:
                yield from self.printer.types.record(member.type).members
            else:
                yield member

    def text(self, address: int, length: int, width: int = 1) -> str:
        """A string of so many characters of `width` bytes; of a long one the beginning."""
        if self.secret:
            return MASKED
        if length > _MAX_LENGTH:
            raise Gap(f"a string of {length:,} characters: not initialized, or damaged")
        if not length:
            return '""'
        data = self.printer.process.memory(address, min(length, MAX_STRING) * width)
        if len(data) < width:
            raise Gap(NOT_IN_DUMP)
        return self.printer.quoted(data, width) + ("…" if len(data) < length * width else "")

    def row(self, element: Type, address: int, count: int) -> str:
        """`{1, 2, 3}`: elements that lie behind one another in memory."""
        size = self.printer.size_of(element)
        if count and not size:
            raise Unlike
        numbered = counted(count)
        memory = self.memory(address)
        if count and not self.printer.process.memory(address, 1):
            return f"{numbered} <{NOT_IN_DUMP}>"
        if self.depth >= _FLAT:
            return f"{{… {numbered}}}" if count else "{}"

        def one(number: int) -> str:
            return self.printer.inner(element, memory, number * size, self.depth + 2, self.secret)

        return "{" + elements(self.printer, one, count) + "}"

    def scattered(self, element: Type | Pair, places: Iterator[int], count: int) -> str:
        """Elements that each have a place of their own, pairs as `[key] = value`."""
        numbered = counted(count)
        if self.depth >= _FLAT or not count:
            return f"{{… {numbered}}}" if count else "{}"
        found: list[int] = []
        gap = ""
        try:
            found += islice(places, min(count, _MAX_NODES))
        except Gap as missing:
            gap = f" <{missing.why}>"
        if not found:
            return numbered + (gap or f" <{NOT_IN_DUMP}>")

        def one(number: int) -> str:
            source = self.memory(found[number])
            if isinstance(element, Pair):
                return self._shown(element, source)
            return self.printer.inner(element, source, 0, self.depth + 2, self.secret)

        return "{" + elements(self.printer, one, len(found), count) + gap + "}"

    def _shown(self, pair: Pair, source: Source) -> str:
        """One of a map. What stands under a key that sounds like a secret's name is one."""
        depth = self.depth + 2
        key = self.printer.inner(pair.key, source, 0, depth, self.secret)
        secret = self.secret or is_secret_name(key.encode())
        return f"[{key}] = {self.printer.inner(pair.value, source, pair.at, depth, secret)}"

    def inside(self, field: Field) -> str:
        """A value in this one."""
        return self.printer.inner(field.type, self.source, field.at, self.depth + 1, self.secret)

    def same(self, field: Field) -> str:
        """A value that is all that this one is."""
        return self.printer.inner(field.type, self.source, field.at, self.depth, self.secret)

    def parameter(self, name: str) -> Type:
        """A parameter of the template."""
        for entry in self.printer.types.record(self.kind).parameters:
            if entry.text(AT_name) == name.encode():
                return self.printer.types.of(entry)
        raise Unlike

    def pack(self) -> list[Type]:
        """The parameters of a template that takes any number of them."""
        pack = self.printer.types.record(self.kind).pack
        if pack is None:
            return []
        return [self.printer.types.of(one) for one in pack.unit.children(pack)]

    def alternative(self, kinds: list[Type], index: int, size: int, at: int) -> str:
        """`alternative 1: "text"`: the one of several types that the value has. `size` in bytes of
        the index, which is -1 where there is no value."""
        if index == (1 << 8 * size) - 1:
            return "none"
        if index >= len(kinds):
            raise Gap(f"alternative {index:,} of {len(kinds):,}: not initialized, or damaged")
        return f"alternative {index}: {self.inside(Field(kinds[index], at))}"

    def allocated(self, allocator: Type, depth: int = 0) -> Type:
        """What an allocator makes: its parameter, or that of its base."""
        record = self.printer.types.record(allocator)
        if record.parameters:
            return self.printer.types.of(record.parameters[0])
        for member in record.members:
            if member.base and depth < _MAX_DEPTH:
                return self.allocated(member.type, depth + 1)
        raise Unlike

    def pair(self, first: str, second: str) -> Pair:
        """The pairs of a map, by the names of its parameters."""
        key, value = self.parameter(first), self.parameter(second)
        alignment = self.alignment(value)
        if alignment > self.word == 4:
            raise Unlike  # (the machines do not agree)
        return Pair(key, value, -(-self.printer.size_of(key) // alignment) * alignment)

    def alignment(self, kind: Type, depth: int = 0) -> int:
        """What addresses of a type are multiples of. Unlike where that is not sure."""
        if depth > _MAX_DEPTH:
            raise Unlike
        if kind.kind is Kind.RECORD:
            return self._alignment_of_record(kind, depth)
        if kind.kind is Kind.ARRAY and kind.target is not None:
            if kind.before.endswith(" vector"):
                raise Unlike
            return self.alignment(kind.target, depth + 1)
        if kind.kind in (Kind.BASE, Kind.ENUM):
            size = kind.size or 0
            if size & size - 1 or not size or size > 2 * self.word:
                raise Unlike
            return size
        return self.word

    def _alignment_of_record(self, kind: Type, depth: int) -> int:
        """That of its members, of which some may not be known, if others need a word."""
        known, unknown = [1], not is_complete(kind)
        for member in self.printer.types.record(kind).members:
            try:
                known.append(self.alignment(member.type, depth + 1))
            except Unlike:
                unknown = True
        if unknown and max(known) < self.word:
            raise Unlike
        return max(known)

    def in_order(self, first: int, left: int, right: int, parent: int) -> Iterator[int]:
        """The nodes of a binary tree from the first on, by where in a node its links are. There is
        no end: the caller knows how many there are. Gap where a link is not known or damaged."""
        node = first
        while True:
            yield node
            below = self.word_at(node + right)
            if below:
                for _ in range(_MAX_STEPS):
                    node, below = below, self.word_at(below + left)
                    if not below:
                        break
            else:
                for _ in range(_MAX_STEPS):
                    node, came = self.word_at(node + parent), node
                    if self.word_at(node + left) == came:
                        break

    def linked(self, first: int, link: int = 0) -> Iterator[int]:
        """The nodes of a list, up to the one without a next."""
        node = first
        while node:
            yield node
            node = self.word_at(node + link)


def counted(count: int) -> str:
    """`2 elements`. Gap for a number that cannot be."""
    if count > _MAX_LENGTH:
        raise Gap(f"{count:,} elements: not initialized, or damaged")
    return f"{count:,} element{'' if count == 1 else 's'}"
