"""Stacks as lines: one function a line, recursion folded, equal stacks together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..function_identity import MAX_NAME, function_identity
from ..report import Fold, Frame, HandledSignal, Report, Thread
from .interpreted import (
    Interpreted,
    Row,
    interpreted_line,
    merged,
    stack_key,
    state_lines,
    variable_lines,
)
from .layout import DIM, DOUBT, FUNCTION, PLACE, Paper, Span, clean, columns

TRUSTED = ("context", "cfi", "tail-call")
END_OF_STACK = "end of stack"
INLINED = "inlined into the next"
_CLONE = re.compile(r" \(\.[\w.]+\)$")  # as demanglers write a suffix: `f(int) (.part.0)`
_NUMBER_WIDTH = 4  # "#12 "
_INNER, _OWN = 2, 4  # lines of the innermost frames, and of the program's own, if some are hidden
_MODULE_COLUMNS = 24
MORE_INTERPRETED = 8  # lines more for a stack that has frames of two kinds
_SOURCE_COLUMNS = 40  # of a file's name, at least
_MAX_TITLES = 24  # thread ids in one heading
_MAX_WAITS = 4  # different things that threads with one stack wait for


def base_name(path: str) -> str:
    """The last component of a path."""
    return path.rpartition("/")[2] or path


def short_id(build_id: str | None) -> str:
    """The first eight digits of a build-id: enough to tell two builds apart."""
    return (build_id or "")[:8]


def frame_tails(frame: Frame) -> list[str]:
    """` (libc.so.6, 5fe62a04)`: the module and its build-id, shortened; the same without the
    build-id; of an inlined function without the module, which is that of the next."""
    name = clean(base_name(frame.module or ""))
    if len(name) > _MODULE_COLUMNS:
        name = name[: _MODULE_COLUMNS - 3] + "..."
    if not frame.function:
        name = ""  # it stands in the place of the function
    start = ["inlined"] if frame.inline else []
    start += ["tail call"] if frame.trust == "tail-call" and not frame.inline else []
    forms = []
    for words in ([*start, name, clean(short_id(frame.build_id))], [*start, name]):
        text = ", ".join(word for word in words if word)
        forms.append(f" ({text})" if text else "")
    if frame.inline:
        forms.append(" (inlined)")
    return forms


def function_words(frame: Frame) -> str:
    """`function+0x1c`, or `module+0x1234` where there is no name, or the pc."""
    if frame.function:
        offset = f"+{frame.offset:#x}" if frame.offset else ""
        return clean(frame.function) + offset
    if frame.module and frame.module_offset:
        return f"{clean(base_name(frame.module))}+{frame.module_offset}"
    return frame.pc


def source_forms(frame: Frame) -> list[str]:
    """The source place from the longest form to the shortest: whole path, last two components,
    file name."""
    if frame.source is None:
        return [""]
    path = clean(frame.source.file)
    parts = path.rsplit("/", 2)
    forms = [path, "/".join(parts[-2:]), parts[-1]]
    line, column = frame.source.line, frame.source.column
    place = f"{line}:{column}" if column else f"{line}"
    return [f"{form}:{place}" for form in dict.fromkeys(forms)]


def file_of(frame: Frame) -> str:
    """The path of its source file, "" where that is not known."""
    return frame.source.file if frame.source is not None else ""


def short_functions(name: str) -> list[str]:
    """A demangled name from the longest form to the shortest: whole, without argument types,
    without template arguments, and with no more than namespaces, classes and the name."""
    offset = re.search(r"\+0x[0-9a-f]+$", name)
    tail = offset.group() if offset else ""
    body = name.removesuffix(tail)
    forms = [body]
    if clone := _CLONE.search(body):
        body = body.removesuffix(clone.group())
        forms.append(body)
    if body.endswith((")", ") const")) and "(" in body[1:]:
        opening = _matching(body, body.rindex(")"))
        if opening > 0:
            body = body[:opening] + "(...)" if body[opening:] != "()" else body
            forms.append(body)
    if "<" in body and "operator" not in body:
        forms.append(_without_templates(body))
    bare = function_identity(forms[0])
    whole = "\\" not in body and len(bare) < MAX_NAME  # (escaped: no name of a compiler's; cut)
    bare = bare.replace("{anonymous}", "(anonymous namespace)")
    if whole and len(bare) < len(forms[-1]):
        forms.append(bare)
    return [form + tail for form in forms]


def _matching(text: str, closing: int) -> int:
    depth = 0
    for at in range(closing, -1, -1):
        depth += (text[at] == ")") - (text[at] == "(")
        if depth == 0:
            return at
    return -1


def _without_templates(text: str) -> str:
    result, depth = [], 0
    for character in text:
        if character == "<":
            depth += 1
            if depth == 1:
                result.append("<...>")
        elif character == ">" and depth:
            depth -= 1
        elif depth == 0:
            result.append(character)
    return "".join(result)


def frame_line(paper: Paper, frame: Frame, handled: Sequence[HandledSignal] = ()) -> None:
    """One frame in one line, shortened step by step until it fits."""
    number = f"{'#' + str(frame.index):<{_NUMBER_WIDTH - 1}} "
    if frame.signal_frame:
        paper.line(Span(number, DIM), Span(signal_words(frame, handled), DIM), indent=_NUMBER_WIDTH)
        return
    doubt = frame_doubt(frame)
    names, sources = short_functions(function_words(frame)), source_forms(frame)
    # Where even the shortest forms leave no room, the build-id goes before a name is cut.
    for tail in frame_tails(frame):
        room = paper.width - columns(number) - columns(tail) - columns(doubt)
        if columns(names[-1]) + (4 + columns(sources[-1]) if sources[-1] else 0) <= room:
            break
    function, source = fit_names(names, sources, room)
    spans = [Span(number, DIM), Span(function, FUNCTION)]
    if source:
        spans += [Span(" at "), Span(source, PLACE, file_of(frame))]
    paper.line(*spans, Span(tail, DIM), Span(doubt, DOUBT), indent=_NUMBER_WIDTH + 2)


def fit_names(functions: Sequence[str], sources: Sequence[str], room: int) -> tuple[str, str]:
    """The longest forms that fit: the source gives way before the function's arguments do."""
    for function in functions:
        for source in sources:
            if columns(function) + (4 + columns(source) if source else 0) <= room:
                return function, source
    function, source = functions[-1], sources[-1]
    if columns(source) > _SOURCE_COLUMNS:
        source = "..." + source[3 - _SOURCE_COLUMNS :]
    keep = room - (4 + columns(source) if source else 0)
    offset = re.search(r"\+0x[0-9a-f]+$", function)
    tail = offset.group() if offset else ""
    if columns(function) <= keep:
        return function, source
    keep = max(keep, 20 + len(tail))  # wrapped, then
    if columns(function) <= keep:
        return function, source
    return function[: keep - 3 - len(tail)] + "..." + tail, source


def signal_words(frame: Frame, handled: Sequence[HandledSignal]) -> str:
    """`<signal handler called: SIGSEGV at 0x10>`."""
    for one in handled:
        if one.frame == frame.index + 1:
            at = one.signal.fault_address
            return f"<signal handler called: {one.signal.name}" + (f" at {at}>" if at else ">")
    return "<signal handler called>"


def stack_lines(
    paper: Paper,
    thread: Thread,
    handled: Sequence[HandledSignal] = (),
    most: int | None = None,
    own: int | None = None,
) -> None:
    """The thread's stack: cycles folded, gaps and the end told. `most` is the number of lines
    for frames; where there is one, the frames of an interpreter itself are only counted, and the
    frame with the index `own` is shown before those that it called."""
    rows = merged(thread, stack_rows(thread), brief=most is not None)
    if most is not None and any(isinstance(row, Interpreted) for row in rows):
        most += MORE_INTERPRETED
    if most is not None and len(rows) > most:
        rows = _cut(rows, most, own)
    for row in rows:
        if isinstance(row, str):
            paper.line(Span(row, DIM))
        elif isinstance(row, Interpreted):
            interpreted_line(paper, row)
        else:
            frame_line(paper, row, handled)
    state_lines(paper, thread)
    if end_of_stack(thread):
        paper.line(Span(f"    {end_of_stack(thread)}", DOUBT))


def _cut(rows: Sequence[Row], most: int, own: int | None) -> list[Row]:
    """So many of the rows, which are more: the inner ones and the outermost; where that would
    hide the frame `own` or what called it, two of the inner ones, and from it on."""
    outer = 1 if isinstance(rows[-1], Frame) else 2  # (a text tells of frames left out)
    kept = most - 1 - outer  # one line for the gap, those for the outermost frame
    found = (at for at, row in enumerate(rows) if isinstance(row, Frame) and row.index == own)
    place = next(found, 0)
    if place <= _INNER + 1 or place + _OWN <= kept or kept < _INNER + 1 + _OWN:
        return [*rows[:kept], _gap(len(rows) - kept - outer), *rows[-outer:]]
    rest = most - _INNER - 1
    start = min(place - 1, len(rows) - rest)
    end = start + rest - 1 - outer
    inner = [*rows[:_INNER], _gap(start - _INNER)]
    if len(rows) - start <= rest:
        return [*inner, *rows[start:]]
    return [*inner, *rows[start:end], _gap(len(rows) - end - outer), *rows[-outer:]]


def _gap(lines: int) -> str:
    words = "line" if lines == 1 else "lines"
    return f"    ... {lines} more {words} of this stack in the full report"


def end_of_stack(thread: Thread) -> str:
    """Why it ends where it does, "" if at its real end."""
    if not thread.frames:
        return f"no frames: {clean(thread.stack_end) or 'unknown'}"
    if thread.stack_end not in ("", END_OF_STACK):
        return f"the stack ends here: {clean(thread.stack_end)}"
    return ""


def stack_rows(thread: Thread) -> list[Frame | str]:
    """Frames, and texts for what is folded or left out."""
    rows: list[Frame | str] = []
    folds = sorted(thread.folds, key=lambda fold: fold.start)
    previous = -1
    for frame in thread.frames:
        fold = _fold_of(folds, frame.index)
        if fold is not None and frame.index >= fold.start + fold.length:
            if previous < fold.start + fold.length:
                rows.append(_fold_words(fold))
        else:
            gap = frame.index - previous - 1
            last = _fold_of(folds, previous)
            end = last.start + last.length * last.times if last else previous + 1
            if gap and last and previous < last.start + last.length:
                rows.append(_fold_words(last))
            if gap and frame.index > end:
                rows.append(f"    ... {frame.index - end:,} frames left out (#{end} to "
                            f"#{frame.index - 1})")  # fmt: skip
            rows.append(frame)
        previous = frame.index
    last = _fold_of(folds, previous)
    end = last.start + last.length * last.times if last else previous + 1
    if last and previous < last.start + last.length and thread.frames_total > previous + 1:
        rows.append(_fold_words(last))
    rest = thread.frames_total - end
    if rest > 0:
        rows.append(f"    ... {rest:,} further frames, left out")
    return rows


def _fold_of(folds: Sequence[Fold], index: int) -> Fold | None:
    for fold in folds:
        if fold.start <= index < fold.start + fold.length * fold.times:
            return fold
    return None


def _fold_words(fold: Fold) -> str:
    end = fold.start + fold.length * fold.times - 1
    what = "this frame" if fold.length == 1 else f"these {fold.length} frames"
    first = fold.start + fold.length
    return f"    ... {what} {fold.times - 1:,} more times (#{first} to #{end})"


def full_stack_lines(paper: Paper, thread: Thread, handled: Sequence[HandledSignal]) -> None:
    """The stack with everything that is known of each frame, two or more lines each."""
    for row in merged(thread, stack_rows(thread)):
        if isinstance(row, Interpreted):
            interpreted_line(paper, row)
            variable_lines(paper, row)
            continue
        if not isinstance(row, Frame):
            paper.line(Span(row or "", DIM))
            continue
        number = f"{'#' + str(row.index):<{_NUMBER_WIDTH - 1}} "
        if row.signal_frame:
            paper.line(Span(number, DIM), signal_words(row, handled), indent=_NUMBER_WIDTH)
        else:
            source = source_forms(row)[0]
            spans = [Span(number, DIM), Span(function_words(row), FUNCTION)]
            if source:
                spans += [Span(" at "), Span(source, PLACE, file_of(row))]
            paper.line(*spans, indent=_NUMBER_WIDTH + 2)
        if row.inline:
            paper.line(Span(f"      {INLINED}", DIM))
            continue
        paper.line(Span(f"      {frame_facts(row)}", DIM))
        paper.fixed_then("      ", module_place(row), 6, DIM)
    state_lines(paper, thread)
    if thread.stack_end:
        paper.line(Span(f"    end: {clean(thread.stack_end)}", DIM))


def frame_doubt(frame: Frame) -> str:
    """` [scan]`: what makes a frame less than certain, "" for nothing."""
    doubt = f" [{frame.trust}]" if frame.trust not in TRUSTED else ""
    return doubt + (" [by a tail call]" if frame.by_tail_call else "")


def frame_facts(frame: Frame) -> str:
    """`pc 0x401136, sp 0x7ffc00001000, cfi`: where it stands and how it was found."""
    facts = f"pc {frame.pc}, sp {frame.sp or '?'}, {frame.trust}"
    if frame.trust == "tail-call":
        facts = f"pc {frame.pc}, no more on the stack: it ended with a jump"
    if frame.by_tail_call:
        facts += ", reached by a tail call of functions that are not known"
    return facts


def module_place(frame: Frame) -> str:
    """`/usr/bin/shelfd+0x1136`: the pc as a place in the file."""
    offset = f"+{frame.module_offset}" if frame.module and frame.module_offset else ""
    return clean(frame.module or "no module") + offset


def thread_title(thread: Thread) -> str:
    """`4242 (worker)`."""
    name = clean(thread.name)
    return f"{thread.tid} ({name})" if name else str(thread.tid)


def groups(threads: Sequence[Thread]) -> list[list[Thread]]:
    """The threads with equal stacks (same pcs, same end) together, in the order of the first."""
    found: dict[tuple[object, ...], list[Thread]] = {}
    for thread in threads:
        key = (tuple((f.pc, f.function) for f in thread.frames), thread.frames_total,
               thread.stack_end if not thread.frames else "", stack_key(thread))  # fmt: skip
        found.setdefault(key, []).append(thread)
    return list(found.values())


def group_title(group: Sequence[Thread]) -> str:
    """`Thread 12 (main)`, or `5 threads with the same stack: 12 to 16 (worker)`."""
    if len(group) == 1:
        return f"Thread {thread_title(group[0])}"
    return f"{len(group):,} threads with the same stack: {titles(group)}"


def titles(group: Sequence[Thread]) -> str:
    """The threads' ids and names; neighbours of one name as a range, very many cut."""
    runs: list[list[Thread]] = []
    for thread in group:
        last = runs[-1][-1] if runs else None
        if last is not None and (last.tid + 1, last.name) == (thread.tid, thread.name):
            runs[-1].append(thread)
        else:
            runs.append([thread])
    shown = [
        thread_title(run[0]) if len(run) == 1 else f"{run[0].tid} to {thread_title(run[-1])}"
        for run in runs[:_MAX_TITLES]
    ]
    left = sum(len(run) for run in runs[_MAX_TITLES:])
    return ", ".join(shown) + (f", and {left:,} more" if left else "")


def waiting_words(group: Sequence[Thread]) -> list[str]:
    """What the threads of a group wait for, a line for each different thing."""
    found: dict[str, list[Thread]] = {}
    for thread in group:
        if thread.waiting is not None and thread.waiting.summary:
            found.setdefault(clean(thread.waiting.summary), []).append(thread)
    if len(found) == 1 and len(group) == len(next(iter(found.values()))):
        return [f"waiting: {words}" for words in found]
    lines = [f"waiting: {words}: {titles(threads)}" for words, threads in found.items()]
    left = len(lines) - _MAX_WAITS
    return lines[:_MAX_WAITS] + ([f"waiting: for {left:,} things more"] if left > 0 else [])


def other_threads(paper: Paper, report: Report) -> None:
    """The stacks of all threads but the first, equal ones once."""
    for group in groups(report.threads[1:]):
        paper.blank()
        paper.line(Span(group_title(group), FUNCTION))
        for words in waiting_words(group):
            paper.line(Span(f"    {words}", DIM))
        stack_lines(paper, group[0])
