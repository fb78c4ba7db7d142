"""Memory, registers and code of a page, and what leads from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby, islice
from types import MappingProxyType
from typing import NamedTuple

from ...report import MemoryBlock, Report, Thread
from ..layout import digits, number_of
from ..memory import read_block
from ..words import blamed, register_rows

_LINE = 16  # bytes
MAX_STACK_WORDS = 2_000
MAX_DUMPS = 100
MAX_BYTES = 2_048  # of one
MAX_REGISTERS = 300


class Run(NamedTuple):
    """Bytes of one kind beside each other: `kind` is "", "target" or "gap"."""

    text: str
    kind: str
    title: str


class Line(NamedTuple):
    """A line of a dump; one without bytes is a gap, told by `note`."""

    anchor: str
    address: str
    data: list[Run]
    text: list[Run]
    note: str = ""


class Dump(NamedTuple):
    """Memory near something."""

    label: str
    center: str
    where: str
    lines: list[Line]


class Cell(NamedTuple):
    """A value, the place on the page that it leads to, if any, and what is said of it."""

    name: str
    value: str
    link: str
    title: str
    note: str = ""
    bad: bool = False


class Word(NamedTuple):
    """A word of the stack."""

    anchor: str
    address: str
    value: Cell
    note: str


class Links:
    """Where on the page the memory at an address is shown."""

    def __init__(self, report: Report) -> None:
        self._blocks = [
            (found[0], min(len(found[1]), MAX_BYTES), number, block.where)
            for number, block in enumerate(report.memory[:MAX_DUMPS])
            if (found := read_block(block)) is not None
        ]
        self._stack = {word.address for word in report.stack_memory[:MAX_STACK_WORDS]}
        self._code = {one.address for one in report.code}

    def cell(self, name: str, value: str, note: str = "") -> Cell:
        """The value as digits, with its link."""
        link, title = self._of(value)
        return Cell(name, digits(value), link, title, note)

    def _of(self, value: str) -> tuple[str, str]:
        number = number_of(value)
        if number is None:
            return "", ""
        if value in self._code:
            return f"c-{number:x}", "code around the pc"
        for start, size, block, where in self._blocks:
            if start <= number < start + size:
                line = start + (number - start) // _LINE * _LINE
                return f"m{block}-{line:x}", where or "memory near it"
        if value in self._stack:
            return f"s-{number:x}", "stack memory"
        return "", ""


def registers(report: Report, links: Links) -> list[Cell]:
    """The crashing thread's registers."""
    return register_cells(report.threads[0], links, blamed(report)) if report.threads else []


def register_cells(
    thread: Thread, links: Links, blamed: Mapping[str, str] = MappingProxyType({})
) -> list[Cell]:
    """A thread's registers: those that the cause rests on first, then those that there is something
    to say of."""
    rows = register_rows(thread, blamed)[:MAX_REGISTERS]
    cells = [
        links.cell(name, value, note)._replace(bad=name in blamed) for name, value, note in rows
    ]
    return sorted(cells, key=lambda cell: not cell.note)


def stack_words(report: Report, links: Links) -> list[Word]:
    """The crashing thread's stack memory."""
    return [
        Word(
            f"s-{number_of(word.address) or 0:x}", digits(word.address),
            links.cell("", word.value), word.note,
        )
        for word in report.stack_memory[:MAX_STACK_WORDS]
    ]  # fmt: skip


def dumps(report: Report) -> list[Dump]:
    """The memory blocks, byte by byte; what a register points to is marked."""
    size = 4 if report.system.address_bytes == 4 else 8
    thread = report.threads[0].registers if report.threads else {}
    pointers = {block.center: block.label for block in report.memory}
    for name, value in islice(thread.items(), MAX_REGISTERS):
        if value not in pointers:
            pointers[value] = name
    targets = {}
    for value, label in pointers.items():
        start = number_of(value)
        for at in range(size if start is not None else 0):
            targets[(start or 0) + at] = f"{label} = {value}"
    return [
        Dump(block.label, block.center, block.where, list(_lines(number, block, targets)))
        for number, block in enumerate(report.memory[:MAX_DUMPS])
    ]


def _lines(number: int, block: MemoryBlock, targets: dict[int, str]) -> Iterable[Line]:
    found = read_block(block)
    if found is None:
        return
    address, data, missing = found
    skipped = 0
    for start in range(0, min(len(data), MAX_BYTES), _LINE):
        offsets = range(start, min(start + _LINE, len(data)))
        if all(at in missing for at in offsets):
            skipped += len(offsets)
            continue
        if skipped:
            yield Line("", "", [], [], f"{skipped:,} bytes were not captured")
            skipped = 0
        kinds = [
            ("gap", "not captured") if at in missing
            else ("target", targets[address + at]) if address + at in targets
            else ("", "")
            for at in offsets
        ]  # fmt: skip
        shown = [
            (f"{data[at]:02x}" if at not in missing else "--", _character(data[at], at in missing))
            for at in offsets
        ]
        yield Line(
            f"m{number}-{address + start:x}", f"{address + start:x}",
            _runs([pair[0] for pair in shown], kinds, " "),
            _runs([pair[1] for pair in shown], kinds, ""),
        )  # fmt: skip
    if skipped:
        yield Line("", "", [], [], f"{skipped:,} bytes were not captured")
    if len(data) > MAX_BYTES:
        yield Line("", "", [], [], f"… {len(data) - MAX_BYTES:,} more bytes: see the JSON")


def _character(byte: int, missing: bool) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and not missing else "."


def _runs(texts: list[str], kinds: list[tuple[str, str]], between: str) -> list[Run]:
    pairs = zip(texts, kinds, strict=True)
    return [
        Run(between.join(text for text, _ in run), *kind)
        for kind, run in groupby(pairs, key=lambda pair: pair[1])
    ]
