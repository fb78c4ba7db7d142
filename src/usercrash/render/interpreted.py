"""The frames of an interpreter among the native ones: each where the loop stands that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..report import Fold, Frame, InterpretedFrame, InterpretedStack, Thread
from .layout import DIM, DOUBT, FUNCTION, PLACE, Paper, Span, clean, columns

_NAMES = {
    "python": "Python",
    "java": "Java",
    "javascript": "JavaScript",
    "perl": "Perl",
    "php": "PHP",
    "ruby": "Ruby",
}
_MARKS = {
    "python": "py",
    "java": "java",
    "javascript": "js",
    "perl": "pl",
    "php": "php",
    "ruby": "rb",
}
_LOCKS = {"python": "the GIL", "ruby": "the GVL"}
_SOURCE_COLUMNS = 40  # of a file's name, at least
_NUMBER_WIDTH = 4
_MAX_MESSAGE = 200
_MAX_WORD = 20  # of a language's name and version


@dataclass(frozen=True, slots=True)
class Interpreted:
    """A row of a stack: a frame of this language."""

    frame: InterpretedFrame
    language: str


Row = Frame | Interpreted | str


def language_name(language: str) -> str:
    """The language as people write it."""
    return _NAMES.get(language, clean(language)[:_MAX_WORD])


def language_mark(language: str) -> str:
    """What stands before the language's frames, where native ones have their number."""
    return _MARKS.get(language, "--")


def own_rows(stack: InterpretedStack) -> list[tuple[Row, int | None]]:
    """The rows of an interpreter's stack, innermost first, with recursion folded, and for each the
    native frame that runs it."""
    rows: list[tuple[Row, int | None]] = []
    folds = sorted(stack.folds, key=lambda fold: fold.start)
    name = language_name(stack.language)
    expected = 0
    native = None
    for frame in stack.frames:
        fold = next((one for one in folds if _inside(one, frame.index)), None)
        if fold is not None and frame.index >= fold.start + fold.length:
            if expected <= fold.start + fold.length:
                rows.append((_fold_words(fold, name), native))
            expected = max(expected, fold.start + fold.length * fold.times)
            continue
        if frame.index > expected:
            rows.append((f"    ... {frame.index - expected:,} frames left out", native))
        native = frame.native
        rows.append((Interpreted(frame, stack.language), native))
        expected = frame.index + 1
    last = next((one for one in folds if _inside(one, expected - 1)), None)
    if last is not None and expected == last.start + last.length:
        rows.append((_fold_words(last, name), native))
        expected = last.start + last.length * last.times
    if stack.frames_total > expected:
        rows.append((f"    ... {stack.frames_total - expected:,} further {name} frames", native))
    if stack.end:
        words = f"    the {name} stack ends here: {clean(stack.end)}"
        rows.append((words, native))
    return rows


def _inside(fold: Fold, index: int) -> bool:
    return fold.start <= index < fold.start + fold.length * fold.times


def _fold_words(fold: Fold, name: str) -> str:
    what = f"this {name} frame" if fold.length == 1 else f"these {fold.length} {name} frames"
    return f"    ... {what} {fold.times - 1:,} more times"


def merged(thread: Thread, native: Sequence[Row], *, brief: bool = False) -> list[Row]:
    """The native rows with those of the interpreters. `brief`: what the interpreter itself calls
    between its frames, and below them, is only counted."""
    rows = [*native]
    for stack in thread.interpreted:
        if stack.frames or stack.end:
            rows = _placed(own_rows(stack), rows, stack.language)
    runs = {frame.native for stack in thread.interpreted for frame in stack.frames}
    modules = {frame.module for frame in thread.frames if frame.index in runs}
    return _without_inner_frames(rows, modules) if brief and modules else rows


def _placed(own: list[tuple[Row, int | None]], native: list[Row], language: str) -> list[Row]:
    """Both in one: a loop's frame stands behind those that it runs, as their caller."""
    if all(place is None for _, place in own):
        name = language_name(language)
        heading = f"    {name} frames, which could not be placed among the native ones:"
        return [heading, *(row for row, _ in own), "    native frames:", *native]
    rows: list[Row] = []
    at = 0
    for row in native:
        if isinstance(row, Frame):
            last = max((n for n in range(at, len(own)) if own[n][1] == row.index), default=-1)
            if last >= at:
                rows += [one for one, place in own[at : last + 1] if place in (None, row.index)]
                at = last + 1
        rows.append(row)
    return [*rows, *(row for row, place in own[at:] if place is None)]


def _without_inner_frames(rows: list[Row], modules: set[str | None]) -> list[Row]:
    """Without the native frames in the interpreter's own file that led to an interpreted frame or
    to the first one; only their number is told."""
    result: list[Row] = []
    count = 0
    first = next((at for at, row in enumerate(rows) if isinstance(row, Interpreted)), len(rows))
    inner = first
    while inner > 1 and _is_of(rows[inner - 1], modules):
        inner -= 1
    removed = False
    for at, row in enumerate(rows):
        if at >= inner and _is_of(row, modules):
            count += 1
            removed = True
        elif not (removed and at > first and isinstance(row, str) and row.startswith("    ...")):
            result.append(row)
            removed = False
    if count:
        frames = "frame" if count == 1 else "frames"
        result.append(f"    (without {count} native {frames} of the interpreter itself)")
    return result


def _is_of(row: Row, modules: set[str | None]) -> bool:
    return isinstance(row, Frame) and not row.signal_frame and row.module in modules


def interpreted_words(row: Interpreted) -> tuple[str, str, list[str], str]:
    """`py`, the function, its place from the longest form to the shortest ([""] where it is not
    known), ` (Python)`."""
    frame = row.frame
    path = clean(frame.file)
    parts = path.rsplit("/", 2)
    line = f":{frame.line}" if frame.line else ""
    sources = [form + line for form in dict.fromkeys((path, "/".join(parts[-2:]), parts[-1]))]
    mark = language_mark(row.language)
    words = ", ".join(one for one in (language_name(row.language), clean(frame.detail)) if one)
    return mark, clean(frame.function), sources, f" ({words})"


def interpreted_line(paper: Paper, row: Interpreted) -> None:
    """`py  function at file.py:21 (Python)`, shortened until it fits."""
    mark, function, sources, tail = interpreted_words(row)
    mark = f"{mark + ' ':<{_NUMBER_WIDTH}}"
    room = paper.width - columns(mark) - columns(tail) - 4
    source = next((one for one in sources if columns(function) + columns(one) <= room), sources[-1])
    if columns(source) > _SOURCE_COLUMNS and columns(function) + columns(source) > room:
        source = "..." + source[3 - _SOURCE_COLUMNS :]
    keep = max(room - columns(source), 20)
    if columns(function) > keep:
        function = function[: keep - 3] + "..."
    place = [Span(" at "), Span(source, PLACE, row.frame.file)] if source else []
    paper.line(
        Span(mark, DIM), Span(function, FUNCTION), *place, Span(tail, DIM),
        indent=_NUMBER_WIDTH + 2,
    )  # fmt: skip


def variable_lines(paper: Paper, row: Interpreted) -> None:
    """The variables of a frame, where the report has them."""
    for one in row.frame.variables:
        paper.line(Span(f"      {clean(one.name)} = {clean(one.value)}", DIM), indent=10)


def state_lines(paper: Paper, thread: Thread) -> None:
    """What else an interpreter tells of the thread."""
    for span in state_words(thread):
        paper.line(Span(f"    {span.text}", span.style))


def _short(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "..."


def state_words(thread: Thread) -> list[Span]:
    """`Python 3.11.2: the thread holds the GIL`: its lock, its exception, for each interpreter."""
    found = []
    for stack in thread.interpreted:
        words = []
        if stack.thread:
            words.append(f"is its {stack.thread}")
        if stack.holds_lock:
            words.append(f"holds {_LOCKS.get(stack.language, 'its lock')}")
        raised = stack.exception
        if raised is not None:
            text = f": {_short(raised.text)}" if raised.text else ""
            verb = "is handling" if raised.handled else "is raising"
            words.append(f"{verb} {_short(raised.type)}{text}")
        if stack.interpreter:
            words.append(f"is in sub-interpreter {stack.interpreter}")
        if words:
            name = f"{language_name(stack.language)} {clean(stack.version)[:_MAX_WORD]}"
            style = DOUBT if raised else DIM
            found.append(Span(clean(f"{name}: the thread {', '.join(words)}"), style))
    return found


def stack_key(thread: Thread) -> tuple[object, ...]:
    """What makes the interpreted stacks of two threads equal."""
    return tuple(
        (
            stack.language, stack.frames_total, stack.holds_lock, stack.exception is None,
            *((frame.function, frame.file, frame.line) for frame in stack.frames),
        )
        for stack in thread.interpreted
    )  # fmt: skip
