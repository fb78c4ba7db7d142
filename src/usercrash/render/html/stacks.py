"""Stacks as rows of a page, as many as are worth its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...report import Frame, HandledSignal, Report
from ..first import FRAMES, own_frame
from ..frames import (
    INLINED,
    MORE_INTERPRETED,
    end_of_stack,
    fit_names,
    frame_doubt,
    frame_facts,
    frame_tails,
    function_words,
    group_title,
    groups,
    module_place,
    short_functions,
    signal_words,
    source_forms,
    stack_rows,
    waiting_words,
)
from ..interpreted import Interpreted, interpreted_words, merged, state_words
from ..interpreted import Row as AnyRow
from ..layout import Span

MAX_ROWS = 120  # of one stack
MAX_ROWS_OF_ALL = 5_000  # of all stacks but the first
MAX_GROUPS = 400
_COLUMNS = 200  # of a function and its place: as in the text, longer ones are shortened
_MOST_COLUMNS = 1 << 20
_FAR, _OWN = 40, 4  # rows to the program's own in what is not folded, and so many of those
FEW_ROWS = 3  # of a stack when the page is full


class Row(NamedTuple):
    """A frame; or, with only `note`, what stands between two of them."""

    number: str = ""
    function: str = ""
    place: str = ""
    tail: str = ""
    doubt: str = ""
    facts: str = ""
    module: str = ""
    note: str = ""


class Stack(NamedTuple):
    """One stack: `rows` first, `more` behind a fold; what the threads wait for, and what an
    interpreter tells of them."""

    title: str
    rows: list[Row]
    more: list[Row]
    end: str
    waits: list[str]
    states: list[Span]


class Others(NamedTuple):
    """The other threads' stacks, and how many stacks of how many threads are left out."""

    stacks: list[Stack]
    left_stacks: int
    left_threads: int


def first_stack(report: Report) -> Stack | None:
    """The crashing thread's; on the first screen as many rows as the text has there, and as far as
    to the program's own, if what ended it is not too long."""
    if not report.threads:
        return None
    thread = report.threads[0]
    found = merged(thread, stack_rows(thread), brief=True)
    rows = _bounded(found, report.handled_signals, MAX_ROWS_OF_ALL)
    most = FRAMES + MORE_INTERPRETED * any(isinstance(row, Interpreted) for row in found)
    shown = len(rows) if len(rows) <= most else most - 2
    own = f"#{own_frame(report)}"
    place = next((at for at, row in enumerate(rows[:_FAR]) if row.number == own), 0)
    shown = max(shown, min(place + _OWN, len(rows)) if place else 0)
    if shown == len(rows) - 1:
        shown += 1  # (what unfolds takes a line, too)
    return Stack("", rows[:shown], rows[shown:], end_of_stack(thread), [], state_words(thread))


def first_rows(report: Report) -> list[Row]:
    """All of the crashing thread's stack, with whole names."""
    thread = report.threads[0]
    found = merged(thread, stack_rows(thread))
    return _bounded(found, report.handled_signals, MAX_ROWS_OF_ALL, _MOST_COLUMNS)


def other_stacks(report: Report) -> Others:
    """Equal stacks together, as the text has them."""
    left = MAX_ROWS_OF_ALL
    stacks = []
    found = groups(report.threads[1:])
    for group in found[:MAX_GROUPS]:
        merged_rows = merged(group[0], stack_rows(group[0]))
        rows = _bounded(merged_rows, (), MAX_ROWS if left > 0 else FEW_ROWS)
        left -= len(rows)
        end, states = end_of_stack(group[0]), state_words(group[0])
        stacks.append(Stack(group_title(group), rows, [], end, waiting_words(group), states))
    rest = found[MAX_GROUPS:]
    return Others(stacks, len(rest), sum(map(len, rest)))


def _bounded(
    found: Sequence[AnyRow], handled: Sequence[HandledSignal], most: int, columns: int = _COLUMNS
) -> list[Row]:
    """The rows; of too many the innermost, and the outermost one."""
    if len(found) <= most:
        return [_row(row, handled, columns) for row in found]
    left = f"… {len(found) - most:,} more lines of this stack: see the JSON"
    inner = [_row(row, handled, columns) for row in found[: most - 1]]
    return [*inner, Row(note=left), _row(found[-1], handled, columns)]


def _row(row: AnyRow, handled: Sequence[HandledSignal], columns: int) -> Row:
    if isinstance(row, Interpreted):
        mark, function, sources, tail = interpreted_words(row)
        function, source = fit_names([function], sources, columns)
        return Row(mark, function, source, tail)
    if not isinstance(row, Frame):
        return Row(note=(row or "").strip())
    number = f"#{row.index}"
    if row.signal_frame:
        return Row(number, note=signal_words(row, handled))
    names, sources = short_functions(function_words(row)), source_forms(row)
    function, source = fit_names(names, sources, columns)
    return Row(
        number, function, source, frame_tails(row)[0], frame_doubt(row),
        INLINED if row.inline else frame_facts(row), "" if row.inline else module_place(row),
    )  # fmt: skip
