"""The null pointers among a frame's variables and in what these point to."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import FormatError
from ..dwarf.functions import Level
from ..dwarf.gaps import Gap
from ..dwarf.locations import Where
from ..dwarf.records import Member, Types
from ..dwarf.types import Kind, Type, constant_count, is_complete
from .reading import ERRORS, FrameReader
from .storage import InMemory, Source

MAX_POINTERS = 400  # looked at
_MAX_DEPTH = 3  # pointers and records in each other
_MAX_MEMBERS = 64  # of one record


@dataclass(frozen=True, slots=True)
class NullPointer:
    """A pointer that is null: how the source names it (`request->session`), where it lies: in
    memory, or in a register (DWARF number), None for the other; what it would point to."""

    words: str
    address: int | None
    register: int | None
    target: Type
    types: Types

    def member_at(self, offset: int, size: int) -> str | None:
        """The member (`user`, `place.x`) that an access of so many bytes at this distance touches;
        "" for the whole object; None where none has that place and size."""
        try:
            return _member_at(self.types, self.target, offset, size, 0)
        except FormatError:
            return None

    @property
    def reach(self) -> int | None:
        """Bytes of what it would point to, None where they are not known."""
        return self.target.size if is_known(self.target) else None


def is_known(kind: Type) -> bool:
    """Whether a type says how its values are laid out."""
    return kind.size is not None and (kind.kind is not Kind.RECORD or is_complete(kind))


def _member_at(types: Types, kind: Type, offset: int, size: int, depth: int) -> str | None:
    if kind.kind is not Kind.RECORD:
        return "" if offset == 0 and (kind.size == size or not size) else None
    if not is_complete(kind) or depth > _MAX_DEPTH:
        return None
    for member in types.record(kind).members:
        found = _in_member(types, member, offset, size, depth)
        if found is not None:
            return found
    return None


def _size_of(kind: Type) -> int:
    """Bytes of a type, also of an array of a constant length; 0 where that is not known."""
    if kind.size is not None or kind.kind is not Kind.ARRAY or kind.target is None:
        return kind.size or 0
    size = _size_of(kind.target)
    for bound in kind.bounds:
        size *= constant_count(bound) or 0
    return size


def _in_member(types: Types, member: Member, offset: int, size: int, depth: int) -> str | None:
    length = _size_of(member.type)
    if member.place is not None or not member.offset <= offset < member.offset + max(length, 1):
        return None
    if member.bits:
        return None
    if member.type.kind is Kind.ARRAY and member.type.target is not None:
        whole = member.type.target.size
        return f"{member.name}[{(offset - member.offset) // whole}]" if whole else None
    below = _member_at(types, member.type, offset - member.offset, size, depth + 1)
    if below is None or member.base or not member.name:
        return below
    return f"{member.name}.{below}" if below else member.name


@dataclass(slots=True)
class _Search:
    reader: FrameReader
    found: list[NullPointer] = field(default_factory=list)
    left: int = MAX_POINTERS

    def visit(
        self, kind: Type, source: Source, at: int, words: str, register: int | None, depth: int
    ) -> None:
        """Look at a value; `register` is the one that holds it, if one does."""
        if self.left <= 0:
            return
        self.left -= 1
        if kind.kind in (Kind.POINTER, Kind.REFERENCE):
            self._pointer(kind, source, at, words, register, depth)
        elif kind.kind is Kind.RECORD and is_complete(kind) and depth <= _MAX_DEPTH:
            self._members(kind, source, at, f"{words}.", depth)

    def _pointer(
        self, kind: Type, source: Source, at: int, words: str, register: int | None, depth: int
    ) -> None:
        target = kind.target
        if target is None:
            return
        frame = self.reader.frame
        size = kind.size or frame.arch.long
        value = int.from_bytes(source.read(at, size), frame.arch.byte_order)
        if not value:
            self.found.append(
                NullPointer(words, source.address(at), register, target, self.reader.types)
            )
        elif target.kind is Kind.RECORD and is_complete(target) and depth < _MAX_DEPTH:
            pointee = InMemory(self.reader.process.memory, value, frame.arch.mask)
            mark = "." if kind.kind is Kind.REFERENCE else "->"
            self._members(target, pointee, 0, words + mark, depth + 1)

    def _members(self, kind: Type, source: Source, at: int, words: str, depth: int) -> None:
        if depth > 2 * _MAX_DEPTH:
            return
        for member in self.reader.types.record(kind).members[:_MAX_MEMBERS]:
            if member.bits or member.place is not None:
                continue
            plain = member.base or not member.name
            name = words[:-1] if plain and words.endswith(".") else words + member.name
            if plain and words.endswith("->"):
                if member.type.kind is Kind.RECORD and is_complete(member.type):
                    self._members(member.type, source, at + member.offset, words, depth + 1)
                continue
            try:
                self.visit(member.type, source, at + member.offset, name, None, depth + 1)
            except Gap:
                continue


def null_pointers(reader: FrameReader, levels: list[Level]) -> list[NullPointer]:
    """The null pointers of the functions at a frame, the innermost function's first."""
    search = _Search(reader)
    for level in levels:
        try:
            declared = reader.declared(level)
        except FormatError:
            continue
        for one in declared:
            try:
                kind = reader.type_of(one)
                parts = reader.parts(one)
                source = reader.source(one, kind, parts)
                whole = parts[0] if len(parts) == 1 and not parts[0].bits else None
                register = whole.value if whole and whole.where is Where.REGISTER else None
                search.visit(kind, source, 0, one.name, register, 0)
            except (Gap, FormatError, *ERRORS):
                continue
    return search.found
