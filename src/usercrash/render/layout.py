"""Lines for people: styled spans, wrapped to a width, foreign text made harmless.

Everything that came from the crashed process goes through `clean`, which leaves no
control, format or line-breaking character. Every line that is too long is broken here, and
what follows is indented: nothing that a process says ever begins a line, neither in the file
nor, by wrapping, on a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

# Styles: what a span is; render.screen gives them colours.
PLAIN, TITLE, HEADING, LABEL, CAUSE, FUNCTION, PLACE, DIM, BAD, DOUBT, GOOD = (
    "", "title", "heading", "label", "cause", "function", "place", "dim", "bad", "doubt", "good",
)  # fmt: skip

MIN_WIDTH = 40
_MARKS = ("Mn", "Me")  # what stands above, below or around the character before
_MAX_MARKS = 5  # on one character; no script needs more


class Span(NamedTuple):
    """A piece of a line. `text` must be clean; `file` is the path of a file that it stands for, as
    the report has it."""

    text: str
    style: str = PLAIN
    file: str = ""


Line = tuple[Span, ...]


def clean(text: str) -> str:
    """The text with every character that is not printable (controls, bidirectional and other
    format characters, separators but the space, unassigned) as an escape: `\\x1b`, `\\u202e`.
    So are marks on a character that has many already: a hundred would cover the lines above."""
    if text.isascii():
        return text if text.isprintable() else "".join(map(_shown, text))
    shown = text if text.isprintable() else "".join(map(_shown, text))
    return _unstacked(shown)


def _shown(character: str) -> str:
    return character if character.isprintable() else _escape(character)


def _unstacked(text: str) -> str:
    words = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in _MARKS else 0
        words.append(character if marks <= _MAX_MARKS else _escape(character))
    return "".join(words)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def columns(text: str) -> int:
    """The columns that the text takes on a terminal: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrap(line: Line, width: int, indent: int) -> list[Line]:
    """The line broken so that no part is wider than `width`; all but the first part are
    indented. Breaks at spaces where it can, else behind a slash, else anywhere."""
    if sum(columns(span.text) for span in line) <= width:
        return [line]
    cells = [(c, span) for span in line for c in span.text]
    indent = min(indent, width // 2)
    lines: list[Line] = []
    start = 0
    while start < len(cells):
        room = width - (indent if lines else 0)
        end = _break_at(cells, start, room)
        part = _join(cells[start:end])
        lines.append((Span(" " * indent), *part) if lines else part)
        start = end
        while lines and start < len(cells) and cells[start][0] == " ":
            start += 1
    return lines


def _break_at(cells: Sequence[tuple[str, Span]], start: int, room: int) -> int:
    used = 0
    space = slash = -1
    for at in range(start, len(cells)):
        character = cells[at][0]
        used += _columns(character)
        if used > room:
            for place in (space, slash):
                if place > start + room // 3:
                    return place
            return max(at, start + 1)
        if character == " ":
            space = at
        elif character == "/":
            slash = at + 1
    return len(cells)


def _join(cells: Sequence[tuple[str, Span]]) -> Line:
    """The characters as pieces of the spans that they come from."""
    runs = groupby(cells, key=lambda cell: cell[1][1:])
    return tuple(
        Span("".join(character for character, _ in run), style, file) for (style, file), run in runs
    )


class Paper:
    """Collects lines of at most `width` columns."""

    def __init__(self, width: int = 80) -> None:
        self.width = max(width, MIN_WIDTH)
        self.lines: list[Line] = []

    def line(self, *parts: Span | str, indent: int = 8) -> None:
        """One line (its parts in a row), wrapped with what follows indented. Whatever the caller
        forgot to clean is cleaned here."""
        spans = tuple(
            Span(clean(part)) if isinstance(part, str) else part._replace(text=clean(part.text))
            for part in parts
        )
        self.lines += wrap(spans, self.width, indent)

    def fixed_then(self, head: str, foreign: str, indent: int = 8, style: str = PLAIN) -> None:
        """`head` and the text `foreign` in one line if they fit in it, else the text in a
        line (or lines) of its own below."""
        head, foreign = clean(head), clean(foreign)
        if columns(head) + columns(foreign) <= self.width:
            self.lines.append((Span(head), Span(foreign, style)))
            return
        if head.strip():
            self.line(head.rstrip())
        self.line(Span(" " * indent), Span(foreign, style), indent=indent)

    def blank(self) -> None:
        """An empty line, never two in a row."""
        if self.lines and self.lines[-1] != ():
            self.lines.append(())

    def heading(self, text: str, file: str = "") -> None:
        """A section's heading, underlined; `file` as a span has it."""
        self.blank()
        text = clean(text)
        while columns(text) > self.width:
            text = text[: min(len(text) - 1, self.width)]
        self.lines.append((Span(text, HEADING, file),))
        self.lines.append((Span("-" * columns(text), DIM),))

    def field(self, label: str, *parts: Span | str, label_width: int = 9) -> None:
        """`Label    value`, the value wrapped under itself."""
        head = Span(f"{label:<{label_width}}", LABEL)
        self.line(head, *parts, indent=label_width)

    def text(self) -> str:
        """All lines as plain text, each ended by a newline, without spaces at their ends."""
        return "".join("".join(s.text for s in line).rstrip() + "\n" for line in self.lines)


def duration(seconds: float) -> str:
    """`0.35 s`, `12 s`, `3 min 12 s`, `5 h 3 min`, `4 days 3 h`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    days = whole // 86400
    return f"{days:,} day{'s' if days > 1 else ''} {whole % 86400 // 3600} h"


def size(count: int) -> str:
    """`512 bytes`, `4.0 KiB`, `1.2 GiB`."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} EiB"


def moment(iso: str) -> str:
    """`2026-11-22 21:31:05 UTC` of an ISO 8601 time with a zone; other texts as they are."""
    day, separator, rest = iso.partition("T")
    if not separator or len(rest) < 8:
        return clean(iso)
    zone = rest[8:].lstrip(".0123456789")
    return clean(f"{day} {rest[:8]} {'UTC' if zone in ('+00:00', 'Z') else zone}")


def digits(value: str) -> str:
    """A number of the report (0x…) without what says that it is hexadecimal."""
    return value.removeprefix("0x")


def number_of(value: str) -> int | None:
    """The number that a field like 0x7f12 holds; None where it holds none."""
    try:
        return int(value, 16)
    except ValueError:
        return None
