"""Names of functions: abstract origins and specifications are followed, also into other units and
files, to the linker's name. Where there is none, the name is built of the scopes around the
declaration, as gdb does it. (DWARF 5 sections 2.15, 3.3.8, 5.7.8.)"""

from __future__ import annotations

from bisect import bisect_right

from ...errors import FormatError
from .attributes import (
    AT_abstract_origin,
    AT_language,
    AT_linkage_name,
    AT_name,
    AT_specification,
)
from .units import Entry, Unit

_TAG_subprogram, _TAG_namespace = 0x2E, 0x39
_TYPES = (0x02, 0x13, 0x17, 0x38)  # class, structure, union, interface
_SCOPES = frozenset((_TAG_namespace, _TAG_subprogram, *_TYPES))
_AT_MIPS_linkage_name = 0x2007
# C++, C++03, 11, 14, 17, 20, Rust: whose names are told with the scopes around them
_SCOPED = frozenset((0x04, 0x19, 0x1A, 0x21, 0x2A, 0x2B, 0x1C))
_MAX_SCOPES = 64
_MAX_STEPS = 16  # from an origin to the next
# The methods that a lambda's class has, which has no name of its own
_OF_LAMBDA = frozenset((b"operator()", b"_FUN", b"__invoke"))


def name_of(entry: Entry) -> tuple[bytes, int]:
    """(the linker's name, else the source's; language of the unit that has it).

    Without a linker's name, one in C++ and Rust stands with the scopes around it. b"" where the
    information does not tell it (or lies in a file that is missing).
    """
    plain, holder = b"", entry
    last = entry
    current: Entry | None = entry
    try:
        for _ in range(_MAX_STEPS):
            if current is None:
                break
            last = current
            linkage = current.text(AT_linkage_name) or current.text(_AT_MIPS_linkage_name)
            if linkage:
                return linkage, language_of(current.unit)
            if not plain:
                plain, holder = current.text(AT_name), current
            current = _origin(current)
    except FormatError:
        pass  # the origin lies in a file that is missing, say: the name at hand counts
    language = language_of(holder.unit)
    if plain and language in _SCOPED:
        plain = b"::".join((*_scopes(last, plain), plain))
    return plain, language


def qualified_name(entry: Entry, language: int) -> str:
    """The name of a type with the scopes around it, where its language has such; "" without a
    name."""
    name = entry.text(AT_name) or (b"?" if AT_name in entry.values else b"")
    if name and language in _SCOPED:
        name = b"::".join((*_scopes(_declaration(entry), name), name))
    return name.decode("utf-8", "backslashreplace")


def language_of(unit: Unit) -> int:
    """DW_AT_language of a unit, 0 where it has none."""
    return unit.root.number(AT_language) or 0


def _origin(entry: Entry) -> Entry | None:
    for attribute in (AT_abstract_origin, AT_specification):
        found = entry.reference(attribute)
        if found is not None:
            return found
    return None


def _scopes(entry: Entry, name: bytes, rounds: int = 0) -> list[bytes]:
    """The names of the namespaces, types and functions around the entry of a function of this
    name, outermost first; none where they cannot be read."""
    unit = entry.unit
    found: list[bytes] = []
    first = unit.root.end
    try:
        for _ in range(_MAX_SCOPES):
            offsets, tags = unit.below(first)
            index = bisect_right(offsets, entry.offset) - 1
            if index < 0 or offsets[index] == entry.offset:
                return found
            layout, first = unit.step(offsets[index])
            if layout is None or not layout.children:
                return found
            scope = unit.entry(offsets[index]) if tags[index] in _SCOPES else None
            if scope is not None:
                declared = _declaration(scope)
                if declared is not scope and rounds < _MAX_STEPS:  # what is around that counts
                    found = _scopes(declared, name, rounds + 1)
                found.append(_scope_name(scope, declared, name))
    except FormatError:
        pass
    return []


def _declaration(entry: Entry) -> Entry:
    """Where the chain of an entry's origins ends."""
    for _ in range(_MAX_STEPS):
        origin = _origin(entry)
        if origin is None:
            break
        entry = origin
    return entry


def _scope_name(scope: Entry, declared: Entry, function: bytes) -> bytes:
    """What a scope is called; `function` is the one below it whose name is being built."""
    name = scope.text(AT_name) or declared.text(AT_name)
    if name:
        return name
    if AT_name in scope.values or AT_name in declared.values:
        return b"?"  # it lies in a file that is missing
    if scope.tag == _TAG_namespace:
        return b"(anonymous namespace)"
    return b"{lambda}" if function in _OF_LAMBDA else b"{unnamed}"
