"""The memory map as a drawing: heights by the logarithm of sizes, so that a page can be seen
beside a gigabyte; what is free is broken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...report import Map, Report
from ..frames import base_name
from ..layout import clean, number_of, size
from ..words import thread_stacks

_PAGE = 4096
_MOST_PARTS = 160
_HEIGHT = 720.0  # about, of all that is mapped
_LEAST, _MOST_FOR_DOUBLING = 4.0, 5.0  # pixels: of a mapping, and how much twice the size adds
_GAP, _SMALL_GAP, _NEAR = 28.0, 4.0, 1 << 20
_EDGE = 4.0  # of a gap: marks stand there, its text between
_LINE = 13.0  # between two labels
_TOP = 14.0
_LABEL = 26  # characters
_ANONYMOUS = "anonymous"
_POINTERS = {"fault": "fault address", "pc": "program counter", "sp": "stack pointer"}


class Part(NamedTuple):
    """A rectangle: one mapping, or some that were put together; `link` is the first one's row."""

    y: float
    height: float
    kind: str
    title: str
    link: int
    start: int
    end: int


class Gap(NamedTuple):
    y: float
    height: float
    text: str
    start: int
    end: int | None


class Label(NamedTuple):
    """A text beside the bar, with a line to its place `at`."""

    y: float
    at: float
    text: str
    kind: str = ""
    title: str = ""


class Run(NamedTuple):
    """Neighbours of one name: one place to go to by the keyboard."""

    parts: list[Part]
    title: str
    link: int


class Drawing(NamedTuple):
    height: float
    runs: list[Run]
    gaps: list[Gap]
    labels: list[Label]
    marks: list[Label]


class _Piece(NamedTuple):
    """A mapping, or neighbours that are drawn as one; `row` is the index of the first one."""

    start: int
    end: int
    kind: str
    name: str
    row: int
    together: bool = False


def draw(report: Report) -> Drawing | None:
    """The drawing, lowest address on top, with the fault address, pc and sp; None without maps."""
    stacks = thread_stacks(report)
    pieces = _pieces(report.maps, stacks)
    if not pieces:
        return None
    pointers = _pointers(report)
    if len(pieces) > _MOST_PARTS:
        pieces = _fewer(_by_name(pieces), [value for _, value in pointers])
    titles = [_title(piece, report.maps[piece.row], stacks) for piece in pieces]
    parts, gaps, height = _stacked(pieces, titles, [value for _, value in pointers])
    labels, runs = _labelled(pieces, parts)
    marks = _marks(pointers, parts, gaps)
    lowest = max([height, *(label.y for label in (*labels, *marks))])
    return Drawing(lowest + _TOP, runs, gaps, labels, marks)


def _pieces(maps: Sequence[Map], stacks: Mapping[str, str]) -> list[_Piece]:
    found: list[_Piece] = []
    for row, one in enumerate(maps):
        start, end = number_of(one.start), number_of(one.end)
        if start is None or end is None or end <= start or (found and start < found[-1].end):
            continue
        name = stacks.get(one.start) or clean(base_name(one.path)) or _ANONYMOUS
        kind = "stack" if one.start in stacks else _kind(one)
        found.append(_Piece(start, end, kind, name, row))
    return found


def _title(piece: _Piece, first: Map, stacks: Mapping[str, str]) -> str:
    words = [f"{piece.start:x}-{piece.end:x}", size(piece.end - piece.start)]
    path = stacks.get(first.start) or first.path
    words += [piece.name, "put together"] if piece.together else [first.permissions, path]
    return " ".join(filter(None, words))


def _kind(one: Map) -> str:
    if one.path.startswith("[stack"):
        return "stack"
    if one.path == "[heap]":
        return "heap"
    for letter, kind in (("x", "code"), ("w", "data"), ("r", "readonly")):
        if letter in one.permissions:
            return kind
    return "guard"


def _pointers(report: Report) -> list[tuple[str, int]]:
    """What is marked: the fault address, and pc and sp of the crashing thread."""
    frames = report.threads[0].frames if report.threads else []
    values = [
        ("fault", report.signal.fault_address if report.signal else None),
        ("pc", frames[0].pc if frames else None),
        ("sp", frames[0].sp if frames else None),
    ]
    found = [(name, number_of(value)) for name, value in values if value is not None]
    return [(name, number) for name, number in found if number is not None]


def _by_name(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Neighbours of one name and kind as one."""
    found: list[_Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        same = last is not None and (last.name, last.kind) == (piece.name, piece.kind)
        if last is not None and same and piece.start - last.end < _NEAR:
            found[-1] = _joined([last, piece])
        else:
            found.append(piece)
    return found


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    first, last = pieces[0], pieces[-1]
    same = all(piece.name == first.name for piece in pieces)
    name = first.name if same else f"{len(pieces):,} places"
    kind = first.kind if len({piece.kind for piece in pieces}) == 1 else "mixed"
    return _Piece(first.start, last.end, kind, name, first.row, together=True)


def _fewer(pieces: list[_Piece], pointers: Sequence[int]) -> list[_Piece]:
    """So few that they can be drawn: what has a pointer into it stays by itself."""
    many = math.ceil(len(pieces) / _MOST_PARTS)
    if many < 2:
        return pieces
    found: list[_Piece] = []
    waiting: list[_Piece] = []
    for piece in pieces:
        marked = any(piece.start <= value < piece.end for value in pointers)
        if waiting and (marked or len(waiting) == many):
            found.append(_joined(waiting) if len(waiting) > 1 else waiting[0])
            waiting = []
        if marked:
            found.append(piece)
        else:
            waiting.append(piece)
    if waiting:
        found.append(_joined(waiting) if len(waiting) > 1 else waiting[0])
    return found


def _stacked(
    pieces: Sequence[_Piece], titles: Sequence[str], pointers: Sequence[int]
) -> tuple[list[Part], list[Gap], float]:
    """Everything at its height, and where it ends."""
    doublings = [math.log2(max(1, (piece.end - piece.start) / _PAGE)) for piece in pieces]
    left = _HEIGHT - _LEAST * len(pieces)
    each = min(_MOST_FOR_DOUBLING, max(0.4, left / (sum(doublings) or 1)))
    parts: list[Part] = []
    gaps: list[Gap] = []
    y, previous = _TOP, 0
    for piece, title, doubling in zip(pieces, titles, doublings, strict=True):
        free = piece.start - previous
        if free > 0:
            high = _GAP if free > _NEAR or not gaps else _SMALL_GAP
            words = f"{size(free)} free" if high == _GAP else ""
            gaps.append(Gap(y, high, words, previous, piece.start))
            y += high
        high = _LEAST + each * doubling
        parts.append(Part(y, high, piece.kind, title, piece.row, piece.start, piece.end))
        y += high
        previous = piece.end
    if any(value >= previous for value in pointers):
        gaps.append(Gap(y, _GAP, "", previous, None))
        y += _GAP
    return parts, gaps, y


def _labelled(pieces: Sequence[_Piece], parts: Sequence[Part]) -> tuple[list[Label], list[Run]]:
    """A label for each run of neighbours of one name."""
    runs: list[Run] = []
    names: list[str] = []
    for piece, part in zip(pieces, parts, strict=True):
        if names and names[-1] == piece.name and part.start - runs[-1].parts[-1].end < _NEAR:
            runs[-1].parts.append(part)
        else:
            runs.append(Run([part], part.title, piece.row))
            names.append(piece.name)
    middles = [(run.parts[0].y + run.parts[-1].y + run.parts[-1].height) / 2 for run in runs]
    wanted = [
        Label(
            middle, middle, name if len(name) <= _LABEL else name[: _LABEL - 1] + "…",
            "unnamed" if name == _ANONYMOUS else "",
        )
        for middle, name in zip(middles, names, strict=True)
    ]  # fmt: skip
    return _spread(wanted), runs


def _marks(
    pointers: Sequence[tuple[str, int]], parts: Sequence[Part], gaps: Sequence[Gap]
) -> list[Label]:
    found = []
    for name, value in pointers:
        at = next((p.y + p.height * (value - p.start) / (p.end - p.start) for p in parts
                   if p.start <= value < p.end), None)  # fmt: skip
        if at is None:
            at = next(
                (
                    _in_gap(gap, value)
                    for gap in gaps
                    if gap.start <= value and (gap.end is None or value < gap.end)
                ),
                None,
            )
        if at is not None:
            found.append(Label(at, at, name, name, f"{_POINTERS[name]} {value:#x}"))
    return _spread(sorted(found, key=lambda mark: mark.at))


def _in_gap(gap: Gap, value: int) -> float:
    """At its beginning, or at its end if the value is near to that."""
    at_end = gap.end is not None and gap.end - value < _NEAR and value - gap.start >= _NEAR
    edge = min(_EDGE, gap.height / 2)
    return gap.y + (gap.height - edge if at_end else edge)


def _spread(labels: Sequence[Label]) -> list[Label]:
    """So that none stands on another."""
    found: list[Label] = []
    for label in labels:
        y = max(label.y, found[-1].y + _LINE) if found else label.y
        found.append(label._replace(y=y))
    return found
