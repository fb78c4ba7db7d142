"""Values as text, within bounds: what is too long, deep or missing says so where it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..dwarf.attributes import AT_containing_type, AT_data_member_location
from ..dwarf.gaps import Gap
from ..dwarf.locations import number_of
from ..dwarf.records import Member, Record, Types
from ..dwarf.scopes import Declared
from ..dwarf.types import (
    GO,
    RUST,
    Kind,
    Type,
    is_complete,
)
from ..dwarf.units import Entry
from ..facts.secrets import is_secret_name, mask_assignment, mask_at
from . import arrays, containers
from .frame import Frame
from .limits import MASKED, MAX_CHARACTERS, MAX_DEPTH, MAX_MEMBERS, MAX_STRING
from .numbers import SIGNED, SIGNED_CHAR, base_value, decoded, is_char, quoted
from .storage import InMemory, Known, ReadMemory, Source, Synthetic, bits_of

_CHUNK = 64


@dataclass(slots=True)
class Process:
    """What values need of the process: its memory, the name of the function that begins at an
    address, whether an address is mapped (None: not known)."""

    memory: ReadMemory
    function: Callable[[int], str]
    mapped: Callable[[int], bool | None]


@dataclass(slots=True)
class Budget:
    """Characters that a value may still take."""

    left: int = MAX_CHARACTERS

    def spend(self, count: int) -> bool:
        self.left -= count
        return self.left >= 0


@dataclass(slots=True)
class Printer:
    """Writes values of one frame. `follow`: pointers to records show what they point to, one
    level; `resolve` gives the source of a variable that only a synthetic pointer leads to."""

    types: Types
    process: Process
    frame: Frame
    follow: bool = False
    budget: Budget = field(default_factory=Budget)
    resolve: Callable[[int, Entry | None], tuple[Type, Source] | None] = lambda offset, entry: None

    def value(
        self, kind: Type, source: Source, at: int = 0, depth: int = 0, secret: bool = False
    ) -> str:
        """The value of a type at a place. Gap where there is none."""
        if self.budget.left <= 0:
            return "…"
        if kind.entry is not None:
            kind.entry.unit.file.work.spend(20)
        found = self._value(kind, source, at, depth, secret)
        self.budget.spend(len(found) if kind.kind in (Kind.BASE, Kind.POINTER, Kind.ENUM) else 2)
        return found

    def inner(self, kind: Type, source: Source, at: int, depth: int, secret: bool = False) -> str:
        """A value in another one: a gap stands in its place."""
        try:
            return self.value(kind, source, at, depth, secret)
        except Gap as gap:
            return f"<{gap.why}>"

    def _value(self, kind: Type, source: Source, at: int, depth: int, secret: bool) -> str:
        if kind.kind is Kind.BASE:
            return self._base(kind, source, at, secret)
        if kind.kind in (Kind.POINTER, Kind.REFERENCE):
            return self._pointer(kind, source, at, depth, secret)
        if kind.kind is Kind.ENUM:
            return MASKED if secret else self._enumeration(kind, source, at)
        if kind.kind is Kind.ARRAY:
            return arrays.array(self, kind, source, at, depth, secret)
        if kind.kind is Kind.RECORD:
            return self._record(kind, source, at, depth, secret)
        if kind.kind is Kind.MEMBER_POINTER:
            return self._member_pointer(kind, source, at)
        if kind.kind is Kind.FUNCTION:
            address = source.address(at)
            name = self.process.function(address) if address is not None else ""
            return f"<{name}>" if name else "<function>"
        if kind.kind is Kind.VOID:
            return kind.name
        raise Gap(f"type not supported: {kind.name}")

    # --- scalars ---

    def _base(self, kind: Type, source: Source, at: int, secret: bool) -> str:
        if not kind.size:
            return "()" if kind.language == RUST else "<type of no size>"
        if kind.size > 64:
            raise Gap("type not supported: a base type of such a size")
        data = source.read(at, kind.size)
        if secret:
            return MASKED
        return base_value(kind, data, self.frame.arch.byte_order, self.frame.arch.name)

    def number(self, source: Source, at: int, size: int, signed: bool = False) -> int:
        """An integer of so many bytes."""
        return int.from_bytes(source.read(at, size), self.frame.arch.byte_order, signed=signed)

    def _enumeration(self, kind: Type, source: Source, at: int) -> str:
        size = kind.size or 4
        return self._enumerated(kind, self.number(source, at, size), 8 * size)

    def _enumerated(self, kind: Type, number: int, bits: int) -> str:
        """By name; a value that is made of flags as these; else the number."""
        mask = (1 << bits) - 1
        known = [(name, value & mask) for name, value in self.types.enumerators(kind)]
        for name, value in known:
            if value == number:
                return name
        flags = [(name, value) for name, value in known if value and not value & value - 1]
        if number and len(flags) > 1:
            names = [name for name, value in flags if number & value]
            rest = number
            for _, value in flags:
                rest &= ~value
            if names and not rest:
                return " | ".join(names)
        signed = any(value < 0 for _, value in self.types.enumerators(kind))
        return str(number - (1 << bits) if signed and number >> bits - 1 else number)

    # --- pointers ---

    def _pointer(self, kind: Type, source: Source, at: int, depth: int, secret: bool) -> str:
        if isinstance(source, Synthetic):
            return self._synthetic(kind, source, depth, secret)
        address = self.number(source, at, kind.size or self.frame.arch.long)
        if not address:
            return "null"
        target = kind.target
        shown = f"{address:#x}"
        if target is None or target.kind in (Kind.VOID, Kind.OTHER, Kind.FUNCTION):
            name = self.process.function(address)
            return f"{shown} <{name}>" if name else shown + self._bad(address)
        reference = kind.kind is Kind.REFERENCE
        pointee = InMemory(self.process.memory, address, self.frame.arch.mask)
        if target.kind is Kind.BASE and is_char(target) and kind.language not in (RUST, GO):
            if secret:
                return f"{shown} {MASKED}"
            return f"{shown} {self._text(pointee, target.size or 1, address)}"
        if (reference or self.follow) and depth < (3 if reference else 1):
            return shown + self._pointed(target, pointee, address, depth, secret)
        return shown + self._bad(address)

    def _bad(self, address: int) -> str:
        return " <not mapped>" if self.process.mapped(address) is False else ""

    def _pointed(
        self, target: Type, pointee: Source, address: int, depth: int, secret: bool
    ) -> str:
        """` → {…}`: what is at the other end of a pointer."""
        if self.process.mapped(address) is False:
            return " <not mapped>"
        if target.kind is Kind.RECORD and not is_complete(target):
            return ""
        try:
            if target.size:
                pointee.read(0, 1)  # (else a record would say it of each member)
            return f" → {self.value(target, pointee, 0, depth + 1, secret)}"
        except Gap as gap:
            return f" <{gap.why}>"

    def _synthetic(self, kind: Type, source: Synthetic, depth: int, secret: bool) -> str:
        """A pointer to what is in no memory: what it points to can still be known."""
        found = self.resolve(source.entry, kind.entry)
        if found is None or source.distance or depth > 2:
            raise Gap("optimized out: it would point to a variable that is, too")
        target, pointee = found
        if target.kind is Kind.BASE and is_char(target) and target.size == 1:
            data = arrays.beginning(pointee, 0, MAX_STRING).partition(b"\0")[0]
            return f"<optimized out> → {MASKED if secret else self.quoted(data)}"
        return f"<optimized out> → {self.inner(target, pointee, 0, depth + 1, secret)}"

    def _text(self, source: Source, size: int, address: int) -> str:
        """The string at the other end of a pointer."""
        data = b""
        while len(data) < MAX_STRING * size:
            piece = self._readable(source, len(data), _CHUNK * size)
            end = _end_of(piece, size)
            data += piece if end < 0 else piece[:end]
            if end >= 0:
                return self._quoted_at(address, data, size)
            if len(piece) < _CHUNK * size:
                break
        if not data:
            known = self.process.mapped(address)
            return "<not mapped>" if known is False else "<not in the dump>"
        return self._quoted_at(address, data[: MAX_STRING * size], size) + "…"

    def _quoted_at(self, address: int, data: bytes, size: int) -> str:
        """A string in memory: an argument's or the environment's is masked as there."""
        if size == 1:
            data = mask_at(self.process.memory, address, data)
        return self.quoted(data, size)

    def _readable(self, source: Source, at: int, size: int) -> bytes:
        """As many bytes as there are."""
        address = source.address(at)
        if address is None:
            return source.read(at, size)
        return self.process.memory(address, size)

    def quoted(self, data: bytes, size: int = 1) -> str:
        """A string in quotes; what looks like a secret in it is masked."""
        if size == 1:
            return quoted(mask_assignment(data))
        text = decoded(data, size, self.frame.arch.byte_order).encode("utf-8", "backslashreplace")
        masked = mask_assignment(text)
        return quoted(masked) if masked != text else quoted(data, size, self.frame.arch.byte_order)

    def _member_pointer(self, kind: Type, source: Source, at: int) -> str:
        word = self.frame.arch.long
        if kind.target is not None and kind.target.kind is Kind.FUNCTION:
            address = self.number(source, at, word)
            if not address:
                return "null"
            if address & 1:
                return f"virtual function at {address - 1:#x} of its table"
            name = self.process.function(address)
            return f"{address:#x}" + (f" <{name}>" if name else "")
        offset = self.number(source, at, kind.size or word, signed=True)
        if offset == -1:
            return "null"
        holder = self.types.of(kind.entry, AT_containing_type) if kind.entry is not None else None
        members = self.types.record(holder).members if holder is not None else []
        for member in members:
            if member.offset == offset and member.name and holder is not None:
                return f"&{holder.name}::{member.name}"
        return f"offset {offset:#x}"

    def size_of(self, kind: Type) -> int:
        """Bytes of a type. Gap where that is not known."""
        if kind.kind is Kind.ARRAY and kind.size is None and kind.target is not None:
            size = self.size_of(kind.target)
            for bound in kind.bounds:
                size *= arrays.length_of(self, bound) or 0
            return size
        if kind.size is None:
            if kind.kind is Kind.RECORD:
                raise Gap("the type is incomplete")
            raise Gap(f"type not supported: {kind.name}")
        return kind.size

    # --- records ---

    def _record(self, kind: Type, source: Source, at: int, depth: int, secret: bool) -> str:
        if not is_complete(kind):
            raise Gap("the type is incomplete")
        known = containers.readable(self, kind, source, at, depth, secret)
        if known is not None:
            return known
        record = self.types.record(kind)
        if record.variants:
            return self._variant(record, source, at, depth, secret)
        if depth >= MAX_DEPTH:
            return "{…}"
        return self.members(kind, record.members, source, at, depth, secret)

    def members(
        self, kind: Type, members: list[Member], source: Source, at: int, depth: int, secret: bool
    ) -> str:
        """`{a = 1, b = 2}`; of Rust's tuples only the values."""
        words: list[str] = []
        tuple_like = kind.language == RUST and bool(members) and members[0].name == "__0"
        for number, member in enumerate(members):
            if member.artificial and not member.base and member.name.startswith("_vptr"):
                continue
            if len(words) >= MAX_MEMBERS or (self.budget.left <= 0 and words):
                words.append(f"… {len(members) - number:,} more")
                break
            hidden = secret or is_secret_name(member.name.encode())
            value = self.member(member, source, at, depth, hidden)
            if member.base:
                if value == "{}":
                    continue  # (a tag, an allocator)
                words.append(f"<{member.type.name}> = {value}")
            elif tuple_like or not member.name:
                words.append(value)
            else:
                words.append(f"{member.name} = {value}")
            self.budget.spend(len(member.name) + 4)
        brackets = "()" if tuple_like else "{}"
        return brackets[0] + ", ".join(words) + brackets[1]

    def member(
        self, member: Member, source: Source, at: int, depth: int, secret: bool = False
    ) -> str:
        """A member's value."""
        try:
            if member.bits:
                return self._bit_field(member, source, at, secret)
            return self.inner(
                member.type, source, at + self.offset_of(member, source, at), depth + 1, secret
            )
        except Gap as gap:
            return f"<{gap.why}>"

    def offset_of(self, member: Member, source: Source, at: int) -> int:
        """Where a member lies in its record; of a virtual base the object tells it."""
        if member.place is None:
            return member.offset
        address = source.address(at)
        expression = member.place.block(AT_data_member_location)
        if address is None or expression is None:
            raise Gap("the place of a virtual base is not known")
        return number_of(expression, member.place.unit, self.frame, address) - address

    def _bit_field(self, member: Member, source: Source, at: int, secret: bool) -> str:
        order = self.frame.arch.byte_order
        value = bits_of(source, 8 * at + member.bit_offset, member.bits, order)
        kind = member.type
        if secret:
            return MASKED
        if kind.kind is Kind.ENUM:
            return self._enumerated(kind, value, member.bits)
        signed = kind.encoding in (SIGNED, SIGNED_CHAR) and value >> member.bits - 1
        size = kind.size or 8
        whole = (value - (1 << member.bits) if signed else value) & (1 << 8 * size) - 1
        return self.inner(kind, Known(whole.to_bytes(size, order)), 0, MAX_DEPTH)

    def _variant(self, record: Record, source: Source, at: int, depth: int, secret: bool) -> str:
        """An enumeration with values (Rust): the variant that the discriminant names."""
        chosen = self.chosen(record, source, at)
        if chosen is None:
            raise Gap("no variant has this discriminant")
        inner = chosen.type
        name = inner.base_name.rpartition("::")[2] or chosen.name
        if inner.kind is not Kind.RECORD or not is_complete(inner):
            return name
        fields = self.types.record(inner).members
        if not fields:
            return name
        if depth >= MAX_DEPTH:
            return f"{name}(…)"
        words = self.members(inner, fields, source, at + chosen.offset, depth, secret)
        return name + (words if words.startswith("(") else " " + words)

    def chosen(self, record: Record, source: Source, at: int) -> Member | None:
        """The member of the variant that holds."""
        fallback = None
        value, bits = 0, 64
        if record.discriminant is not None:
            size = record.discriminant.type.size or 0
            bits = 8 * size
            value = self.number(source, at + record.discriminant.offset, size) if size else 0
        for variant in record.variants:
            member = variant.members[0] if variant.members else None
            if not variant.values:
                fallback = member
                continue
            mask = (1 << bits) - 1
            if any(low & mask <= value <= high & mask for low, high in variant.values):
                return member
        return fallback


def _end_of(data: bytes, size: int) -> int:
    """Where the zero lies that ends a string of such characters, -1 where there is none."""
    if size == 1:
        return data.find(0)
    for at in range(0, len(data) - size + 1, size):
        if not any(data[at : at + size]):
            return at
    return -1


def is_secret(declared: Declared) -> bool:
    """Whether a variable's name sounds like that of a secret."""
    return is_secret_name(declared.name.encode())
