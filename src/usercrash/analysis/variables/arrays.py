"""Arrays: their lengths, which may be other variables, their elements, and texts in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import FormatError
from ..dwarf.attributes import AT_count, AT_lower_bound, AT_upper_bound
from ..dwarf.gaps import Gap
from ..dwarf.locations import number_of
from ..dwarf.types import Kind, Type, constant_count, first_index, has_bound
from ..dwarf.units import Entry
from .limits import MASKED, MAX_DEPTH, MAX_ELEMENTS, MAX_READ_ELEMENTS, MAX_STRING
from .numbers import UNSIGNED_CHAR, is_char
from .storage import Source

if TYPE_CHECKING:
    from .printer import Printer

_REPEATED = 4  # equal elements that are told once


def array(printer: Printer, kind: Type, source: Source, at: int, depth: int, secret: bool) -> str:
    """`{1, 2, 3}`, or a text. Gap where its length is not known."""
    target = kind.target
    if target is None:
        raise Gap("type not supported: an array of nothing")
    counts = [length_of(printer, bound) for bound in kind.bounds] or [None]
    return _dimension(printer, target, source, at, depth, secret, counts)


def length_of(printer: Printer, bound: Entry) -> int | None:
    """The length of a dimension, None for an array that does not say it."""
    count = constant_count(bound)
    if count is not None or not has_bound(bound):
        return count
    count = _bound(printer, bound, AT_count)
    if count is not None:
        return count
    upper, lower = _bound(printer, bound, AT_upper_bound), _bound(printer, bound, AT_lower_bound)
    if upper is None:
        raise Gap("an array of unknown length")
    return upper - (first_index(bound) if lower is None else lower) + 1


def _bound(printer: Printer, bound: Entry, attribute: int) -> int | None:
    """A bound that is a constant, an expression, or the value of another variable."""
    if attribute not in bound.values:
        return None
    expression = bound.block(attribute)
    if expression is not None:
        value = number_of(expression, bound.unit, printer.frame)
        bits = 8 * bound.unit.shape.word
        return value - (1 << bits) if value >> bits - 1 else value
    try:
        entry = bound.reference(attribute)
    except FormatError:
        return bound.number(attribute)
    found = printer.resolve(0, entry)
    if found is None or not found[0].size:
        raise Gap("an array of unknown length")
    return printer.number(found[1], 0, found[0].size, signed=True)


def _dimension(
    printer: Printer, target: Type, source: Source, at: int, depth: int, secret: bool,
    counts: list[int | None],
) -> str:  # fmt: skip
    count, inner = counts[0], counts[1:]
    size = printer.size_of(target)
    for one in inner:
        size *= one or 0
    if count is None:
        return "{…}"
    if not inner and target.kind is Kind.BASE and is_char(target) and target.size == 1:
        if secret:
            return MASKED
        return _char_array(printer, source, at, count, target.encoding == UNSIGNED_CHAR)

    def element(number: int) -> str:
        place = at + number * size
        if inner:
            return _dimension(printer, target, source, place, depth + 1, secret, inner)
        return printer.inner(target, source, place, depth + 1, secret)

    if depth >= MAX_DEPTH and count > 0:
        return "{…}"
    return "{" + elements(printer, element, count) + "}"


def elements(
    printer: Printer, element: Callable[[int], str], count: int, total: int | None = None
) -> str:
    """Elements with commas between, runs of equal ones once, not too many. `total`: there are more
    than the `count` that can be told."""
    groups: list[tuple[str, int]] = []
    number = 0
    while number < min(count, MAX_READ_ELEMENTS):
        if printer.budget.left <= 0 and number:
            break
        one = element(number)
        if groups and groups[-1][0] == one:
            groups[-1] = (one, groups[-1][1] + 1)
            printer.budget.left += len(one)
        else:
            shown = sum(1 if times >= _REPEATED else times for _, times in groups)
            if shown >= MAX_ELEMENTS:
                break
            groups.append((one, 1))
        number += 1
    words = []
    for one, times in groups:
        if times >= _REPEATED:
            words.append(f"{one} <repeats {times:,} times>")
        else:
            words += [one] * times
    missing = (count if total is None else total) - number
    if missing > 0:
        words.append(f"… {missing:,} more")
    return ", ".join(words)


def _char_array(printer: Printer, source: Source, at: int, count: int, numbers: bool) -> str:
    """A text up to its first zero; `numbers`: as likely no text, to its last byte."""
    size = min(max(count, 0), MAX_STRING + 1)
    why = ""
    try:
        data = source.read(at, size)
    except Gap as gap:
        data, why = beginning(source, at, size), f"<{gap.why}>"
        if not data:
            raise
    end = len(data.rstrip(b"\0")) if numbers else data.find(0)
    if end < 0 or end == len(data):
        return printer.quoted(data[:MAX_STRING]) + (why or ("…" if count > MAX_STRING else ""))
    return printer.quoted(data[:end])


def beginning(source: Source, at: int, size: int) -> bytes:
    """The bytes before the first that is missing."""
    data = b""
    try:
        while len(data) < size:
            data += source.read(at + len(data), 1)
    except Gap:
        pass
    return data
