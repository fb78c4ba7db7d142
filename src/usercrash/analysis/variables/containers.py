"""Strings, vectors and smart pointers of libstdc++, Rust and Go as people think of them.

Only where the type's name and the members that this needs are those that are known; everything else
is shown as the record that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..dwarf.attributes import AT_name
from ..dwarf.gaps import NOT_IN_DUMP, Gap
from ..dwarf.types import GO, RUST, Kind, Type
from .arrays import elements
from .limits import MASKED, MAX_STRING
from .storage import InMemory, Source

if TYPE_CHECKING:
    from .printer import Printer

_MAX_DEPTH = 8  # of bases and members in each other
_TAG_template_type = 0x2F
_MAX_LENGTH = 1 << 40  # of a string or vector; more is nonsense
_INLINE = 16  # bytes that a libstdc++ string has room for in itself


class Field(NamedTuple):
    """A member and where it lies."""

    type: Type
    at: int


def readable(
    printer: Printer, kind: Type, source: Source, at: int, depth: int, secret: bool
) -> str | None:
    """The value of a record that is known, None for any other one."""
    maker = _maker(kind)
    if maker is None:
        return None
    try:
        return maker(_Reading(printer, kind, source, at, depth, secret))
    except _Unlike:
        return None


class _Unlike(Exception):
    """The type is not what its name says."""


class _Reading:
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
        found: Field | None = Field(self.kind, self.at)
        for name in names:
            found = self._below(found.type, found.at, name, 0) if found is not None else None
        if found is None:
            raise _Unlike
        return found

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
                except _Unlike:
                    continue
        raise _Unlike

    def number(self, field: Field) -> int:
        """An integer or address."""
        size = field.type.size
        if field.type.kind not in (Kind.BASE, Kind.POINTER) or not size or size > 8:
            raise _Unlike
        return self.printer.number(self.source, field.at, size)

    def memory(self, address: int) -> InMemory:
        """What lies at an address."""
        return InMemory(self.printer.process.memory, address, self.printer.frame.arch.mask)

    def text(self, address: int, length: int) -> str:
        """A string of a known length; of a long one the beginning."""
        if self.secret:
            return MASKED
        if length > _MAX_LENGTH:
            raise Gap(f"a string of {length:,} bytes: not initialized, or damaged")
        if not length:
            return '""'
        data = self.printer.process.memory(address, min(length, MAX_STRING))
        if not data:
            raise Gap(NOT_IN_DUMP)
        return self.printer.quoted(data) + ("…" if len(data) < length else "")

    def list(self, element: Type, address: int, count: int) -> str:
        """`{1, 2, 3}`: elements in memory."""
        size = self.printer.size_of(element)
        if count and not size:
            raise _Unlike
        if count > _MAX_LENGTH:
            raise Gap(f"{count:,} elements: not initialized, or damaged")
        memory = self.memory(address)
        if count and not self.printer.process.memory(address, 1):
            return f"{count:,} elements <{NOT_IN_DUMP}>"
        if self.depth >= 3:
            return f"{{… {count:,} elements}}" if count else "{}"

        def one(number: int) -> str:
            return self.printer.inner(element, memory, number * size, self.depth + 2, self.secret)

        return "{" + elements(self.printer, one, count) + "}"

    def value(self, kind: Type, source: Source, at: int) -> str:
        """A value in this one."""
        return self.printer.inner(kind, source, at, self.depth + 1, self.secret)

    def pointer(self, field: Field) -> str:
        """A pointer that stands for this record."""
        return self.printer.inner(field.type, self.source, field.at, self.depth, self.secret)

    def parameter(self, name: str) -> Type:
        """A parameter of the template."""
        entry = self.kind.entry
        for child in entry.unit.children(entry) if entry is not None else ():
            if child.tag == _TAG_template_type and child.text(AT_name) == name.encode():
                return self.printer.types.of(child)
        raise _Unlike


_Maker = Callable[[_Reading], str]


def _maker(kind: Type) -> _Maker | None:
    name = kind.base_name
    if kind.language == GO:
        return _go_string if name == "string" else _go_slice if name.startswith("[]") else None
    plain = name.partition("<")[0]
    if kind.language == RUST:
        if name == "&str":
            return _rust_str
        if name.startswith(("&[", "&mut [")):
            return _rust_slice
        return _RUST.get(plain)
    return _CPLUSPLUS.get(plain)


# --- libstdc++ ---


def _string(r: _Reading) -> str:
    pointer, length = r.field("_M_dataplus", "_M_p"), r.field("_M_string_length")
    target = pointer.type.target
    if target is None or target.size != 1:
        raise _Unlike
    address, size = r.number(pointer), r.number(length)
    own = r.source.address(r.field("_M_local_buf").at)
    if size < _INLINE and own is not None and address == own:
        data = r.source.read(r.field("_M_local_buf").at, size)
        return MASKED if r.secret else r.printer.quoted(data)
    return r.text(address, size)


def _string_view(r: _Reading) -> str:
    pointer = r.field("_M_str")
    if pointer.type.target is None or pointer.type.target.size != 1:
        raise _Unlike
    return r.text(r.number(pointer), r.number(r.field("_M_len")))


def _vector(r: _Reading) -> str:
    first, last = r.field("_M_impl", "_M_start"), r.field("_M_impl", "_M_finish")
    element = first.type.target
    if first.type.kind is not Kind.POINTER or element is None or not element.size:
        raise _Unlike  # (vector<bool> has iterators)
    start, end = r.number(first), r.number(last)
    if end < start or (end - start) % element.size:
        raise Gap("a vector that ends before it begins: not initialized, or damaged")
    return r.list(element, start, (end - start) // element.size)


def _unique(r: _Reading) -> str:
    pointer = _head(r, Field(r.kind, r.at), 0)
    if pointer is None:
        raise _Unlike
    return r.pointer(pointer)


def _head(r: _Reading, start: Field, depth: int) -> Field | None:
    """The pointer in a std::tuple of a pointer and a deleter, which is one of its bases."""
    if start.type.kind is not Kind.RECORD or depth > _MAX_DEPTH:
        return None
    for member in r.printer.types.record(start.type).members:
        field = Field(member.type, start.at + member.offset)
        if member.name == "_M_head_impl" and field.type.kind is Kind.POINTER:
            return field
        if member.base or member.name == "_M_t":
            found = _head(r, field, depth + 1)
            if found is not None:
                return found
    return None


def _shared(r: _Reading) -> str:
    return r.pointer(r.field("_M_ptr"))


def _optional(r: _Reading) -> str:
    engaged = r.field("_M_payload", "_M_engaged")
    if not r.number(engaged) & 0xFF:
        return "none"
    value = r.field("_M_payload", "_M_payload", "_M_value")
    return r.value(value.type, r.source, value.at)


def _tree(r: _Reading) -> str:
    return _counted(r.number(r.field("_M_t", "_M_impl", "_M_node_count")))


def _hashed(r: _Reading) -> str:
    return _counted(r.number(r.field("_M_h", "_M_element_count")))


def _counted(count: int) -> str:
    """What has elements that are not shown."""
    if count > _MAX_LENGTH:
        raise Gap(f"{count:,} elements: not initialized, or damaged")
    return f"{{… {count:,} element{'' if count == 1 else 's'}}}" if count else "{}"


_CPLUSPLUS: dict[str, _Maker] = {
    "std::__cxx11::basic_string": _string,
    "std::basic_string_view": _string_view,
    "std::vector": _vector,
    "std::unique_ptr": _unique,
    "std::shared_ptr": _shared,
    "std::optional": _optional,
    "std::map": _tree,
    "std::multimap": _tree,
    "std::set": _tree,
    "std::multiset": _tree,
    "std::unordered_map": _hashed,
    "std::unordered_set": _hashed,
}


# --- Rust ---


def _rust_str(r: _Reading) -> str:
    return r.text(r.number(r.field("data_ptr")), r.number(r.field("length")))


def _rust_slice(r: _Reading) -> str:
    pointer = r.field("data_ptr")
    if pointer.type.target is None:
        raise _Unlike
    return r.list(pointer.type.target, r.number(pointer), r.number(r.field("length")))


def _rust_vec(r: _Reading) -> str:
    pointer = r.first_pointer(r.field("buf"))
    return r.list(r.parameter("T"), r.number(pointer), r.number(r.field("len")))


def _rust_string(r: _Reading) -> str:
    pointer = r.first_pointer(r.field("vec", "buf"))
    return r.text(r.number(pointer), r.number(r.field("vec", "len")))


_RUST: dict[str, _Maker] = {
    "alloc::string::String": _rust_string,
    "alloc::vec::Vec": _rust_vec,
}


# --- Go ---


def _go_string(r: _Reading) -> str:
    return r.text(r.number(r.field("str")), r.number(r.field("len")))


def _go_slice(r: _Reading) -> str:
    pointer = r.field("array")
    if pointer.type.target is None:
        raise _Unlike
    return r.list(pointer.type.target, r.number(pointer), r.number(r.field("len")))
