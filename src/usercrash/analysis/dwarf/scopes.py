"""The parameters and local variables of a function at an address: those of the blocks around it.
(DWARF 5 sections 3.3, 3.5, 4.1)"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import FormatError
from .address_ranges import covers, ranges_of
from .attributes import (
    AT_abstract_origin,
    AT_artificial,
    AT_const_value,
    AT_declaration,
    AT_external,
    AT_location,
    AT_name,
    AT_specification,
)
from .functions import MAX_DEPTH, TAG_lexical_block, TAG_subprogram
from .types import TAG_formal_parameter, key_of, text
from .units import Entry

TAG_variable = 0x34
MAX_VARIABLES = 512  # of one function
_MAX_STEPS = 16  # from an origin to the next


@dataclass(frozen=True, slots=True)
class Declared:
    """A variable of a function: its entries, the concrete one first, then its origins.
    `depth` is that of its block, 0 for the function's own."""

    entries: tuple[Entry, ...]
    name: str
    parameter: bool
    depth: int

    def holder(self, attribute: int) -> Entry | None:
        """The first of its entries that has an attribute."""
        return next((entry for entry in self.entries if attribute in entry.values), None)


def declared_in(function: Entry, address: int) -> list[Declared]:
    """The variables of a function (a concrete or inlined one) whose blocks hold an address:
    parameters, then locals, the innermost block's first; those of the function itself as its
    source declares them."""
    found: list[Declared] = []
    origins = _chain(function)
    _collect(function, address, 0, found, True)
    order: dict[tuple[int, int], int] = {}
    for origin in origins[1:]:
        if AT_declaration in origin.values:
            break  # (of a class's member, whose parameters have no names there)
        _add_missing(origin, found)
        # (compilers list an instance's variables in any order, its origin as they are declared)
        for place, child in enumerate(origin.unit.children(origin)):
            order[key_of(child)] = place

    def rank(one: Declared) -> int:
        places = (order.get(key_of(entry)) for entry in one.entries)
        return next((place for place in places if place is not None), len(order))

    found.sort(key=lambda one: (not one.parameter, -one.depth, rank(one)))
    return found


def _collect(parent: Entry, address: int, depth: int, found: list[Declared], placed: bool) -> None:
    """Of a block without addresses (not `placed`) only the blocks in it count."""
    unit = parent.unit
    for child in unit.children(parent):
        if len(found) >= MAX_VARIABLES:
            return
        if child.tag in (TAG_formal_parameter, TAG_variable):
            one = _declared(child, depth) if placed else None
            if one is not None:
                found.append(one)
        elif child.tag == TAG_lexical_block and depth < MAX_DEPTH:
            try:
                ranges = ranges_of(child)
            except FormatError:
                continue  # (its own ranges are broken: a sibling may hold the address)
            if covers(ranges, address) or (not ranges and child.children):
                _collect(child, address, depth + 1, found, bool(ranges))


def _declared(entry: Entry, depth: int) -> Declared | None:
    """A variable that can be shown: not what the compiler made for itself, nor the declaration of
    one elsewhere."""
    try:
        entries = _chain(entry)
    except FormatError:
        entries = [entry]
    name = next((name for one in entries if (name := text(one, AT_name))), "")
    parameter = entry.tag == TAG_formal_parameter
    made = any(AT_artificial in one.values for one in entries)
    if not name or (made and not parameter):
        return None
    placed = any(at in one.values for one in entries for at in (AT_location, AT_const_value))
    if not placed and any(
        AT_declaration in one.values or AT_external in one.values for one in entries
    ):
        return None
    return Declared(tuple(entries), name, parameter, depth)


def _add_missing(abstract: Entry, found: list[Declared]) -> None:
    """What an inlined function's description has, and this instance of it left out."""
    if abstract.tag != TAG_subprogram:
        return
    known = {key_of(one) for each in found for one in each.entries}
    for child in abstract.unit.children(abstract):
        if child.tag not in (TAG_formal_parameter, TAG_variable) or len(found) >= MAX_VARIABLES:
            continue
        one = _declared(child, 0) if key_of(child) not in known else None
        if one is not None:
            found.append(one)


def _chain(entry: Entry) -> list[Entry]:
    """An entry and its origins."""
    found = [entry]
    for _ in range(_MAX_STEPS):
        origin = found[-1].reference(AT_abstract_origin) or found[-1].reference(AT_specification)
        if origin is None:
            break
        found.append(origin)
    return found
