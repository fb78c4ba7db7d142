"""What records and enumerations hold: members, bit fields, variants, names of values.
(DWARF 5 sections 5.7 and 5.8)"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import FormatError
from .attributes import (
    AT_artificial,
    AT_bit_offset,
    AT_bit_size,
    AT_byte_size,
    AT_const_value,
    AT_data_bit_offset,
    AT_data_member_location,
    AT_declaration,
    AT_discr,
    AT_discr_list,
    AT_discr_value,
    AT_external,
    AT_name,
)
from .encodings import uleb
from .types import (
    Kind,
    TAG_enumerator,
    TAG_inheritance,
    TAG_member,
    TAG_parameter_pack,
    TAG_template_type,
    TAG_variant,
    TAG_variant_part,
    Type,
    TypeReader,
    key_of,
    text,
)
from .units import Entry
from .work import TooMuchError

MAX_MEMBERS = 2_000


@dataclass(frozen=True, slots=True)
class Member:
    """A member or base of a record. `offset` in bytes, of a bit field in bits as `bit_offset` (from
    the record's first bit in the order of its memory; `bits` its width); `place` is the entry whose
    expression says where it is, where that is no constant."""

    name: str
    type: Type
    offset: int = 0
    bits: int = 0
    bit_offset: int = 0
    base: bool = False
    artificial: bool = False
    place: Entry | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the shapes of a record, for these (first, last) values of the discriminant; without
    any: for all others."""

    values: tuple[tuple[int, int], ...]
    members: list[Member]


@dataclass(frozen=True, slots=True)
class Record:
    """What a record holds: members, and variants that the `discriminant` chooses from. The entries
    of the `parameters` of its template, and of a `pack` of any number of them."""

    members: list[Member]
    discriminant: Member | None = None
    variants: tuple[Variant, ...] = ()
    parameters: tuple[Entry, ...] = ()
    pack: Entry | None = None


class Types(TypeReader):
    """The types of one analysis with what they hold, each read once."""

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[tuple[int, int], Record] = {}
        self._names: dict[tuple[int, int], list[tuple[str, int]]] = {}

    def record(self, kind: Type) -> Record:
        """What a record holds. FormatError where it is broken."""
        entry = kind.entry
        if entry is None:
            return Record([])
        key = key_of(entry)
        found = self._records.get(key)
        if found is None:
            found = self._records[key] = self._read_record(entry)
        # (also when it is known: a record may be its own base, a thousand times)
        entry.unit.file.work.spend(2 + len(found.members) + len(found.variants))
        return found

    def _read_record(self, entry: Entry) -> Record:
        members: list[Member] = []
        discriminant: Member | None = None
        variants: list[Variant] = []
        parameters: list[Entry] = []
        pack: Entry | None = None
        for child in entry.unit.children(entry):
            if len(members) + len(variants) + len(parameters) >= MAX_MEMBERS:
                break
            if child.tag in (TAG_member, TAG_inheritance):
                if is_instance(child):
                    members.append(self._member(child))
            elif child.tag == TAG_variant_part:
                discriminant, variants = self._variants(child)
            elif child.tag == TAG_template_type:
                parameters.append(child)
            elif child.tag == TAG_parameter_pack:
                pack = child
        return Record(members, discriminant, tuple(variants), tuple(parameters), pack)

    def _member(self, entry: Entry) -> Member:
        place = None
        offset = entry.number(AT_data_member_location) or 0
        if entry.block(AT_data_member_location) is not None:
            constant = _plain_offset(entry.block(AT_data_member_location) or b"")
            place, offset = (entry, 0) if constant is None else (None, constant)
        kind = self._type_of(entry)
        bits = entry.number(AT_bit_size) or 0
        start = 0
        if bits:
            start = _first_bit(entry, kind, bits, offset)
        return Member(
            text(entry, AT_name), kind, offset, bits, start, entry.tag == TAG_inheritance,
            AT_artificial in entry.values, place,
        )  # fmt: skip

    def _type_of(self, member: Entry) -> Type:
        """A member's type; one that cannot be read (a file is missing) costs only itself."""
        try:
            return self.of(member)
        except TooMuchError:
            raise
        except FormatError:
            return Type(Kind.OTHER, "?")

    def _variants(self, part: Entry) -> tuple[Member | None, list[Variant]]:
        chosen = part.reference(AT_discr)
        discriminant = self._member(chosen) if chosen is not None else None
        variants: list[Variant] = []
        for child in part.unit.children(part):
            if child.tag != TAG_variant or len(variants) >= MAX_MEMBERS:
                continue
            members = [
                self._member(one) for one in child.unit.children(child) if one.tag == TAG_member
            ]
            variants.append(Variant(_choices(child), members))
        return discriminant, variants

    # --- enumerations ---

    def enumerators(self, kind: Type) -> list[tuple[str, int]]:
        """The names of an enumeration with their values, as they stand."""
        entry = kind.entry
        if entry is None:
            return []
        known = self._names.get(key_of(entry))
        if known is not None:
            return known
        found: list[tuple[str, int]] = []
        for child in entry.unit.children(entry):
            if child.tag == TAG_enumerator and len(found) < MAX_MEMBERS:
                value = child.number(AT_const_value)
                if value is not None and child.block(AT_const_value) is None:
                    found.append((text(child, AT_name), value))
        self._names[key_of(entry)] = found
        return found


def is_instance(entry: Entry) -> bool:
    """Whether a member is part of each object (a static one is not)."""
    return (
        AT_external not in entry.values
        and AT_const_value not in entry.values
        and (AT_declaration not in entry.values)
    )


def _plain_offset(expression: bytes) -> int | None:
    """The constant of a member's expression that only adds one (DW_OP_plus_uconst), as DWARF 2
    has them."""
    if expression[:1] != b"\x23":
        return None
    try:
        value, end = uleb(expression, 1)
    except FormatError:
        return None
    return value if end == len(expression) else None


def _first_bit(entry: Entry, kind: Type, bits: int, offset: int) -> int:
    """Where a bit field begins, counted from the record's first bit in memory order."""
    at = entry.number(AT_data_bit_offset)
    if at is not None:
        return at + 8 * offset
    old = entry.number(AT_bit_offset) or 0
    size = entry.number(AT_byte_size) or kind.size or 0
    if entry.unit.shape.order == "<":  # (it counts from the unit's most significant bit)
        return 8 * offset + 8 * size - old - bits
    return 8 * offset + old


def _choices(variant: Entry) -> tuple[tuple[int, int], ...]:
    value = variant.number(AT_discr_value)
    if value is not None:
        return ((value, value),)
    data = variant.block(AT_discr_list)
    if not data:
        return ()
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(data) and len(found) < MAX_MEMBERS:
        kind, at = data[at], at + 1
        low, at = uleb(data, at)
        high = low
        if kind == 1:
            high, at = uleb(data, at)
        found.append((low, high))
    return tuple(found)
