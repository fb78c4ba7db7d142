"""The first screen, which fits a terminal whatever the report holds: the most complete form that
does."""

from __future__ import annotations

from typing import NamedTuple

from ..report import Report
from .excerpts import excerpt_lines, excerpt_title
from .first import FRAMES, end_words, fields, own_frame, shortened, stack_title, title_words
from .frames import stack_lines
from .layout import DIM, TITLE, Line, Paper, Span, columns

LINES = 40


class _Form(NamedTuple):
    """How much is shown: `frames` lines of the stack, `around` lines of the source on each side
    (−1: none of it), `lines` of each fact (0: as it likes)."""

    frames: int
    around: int
    lines: int


# From the whole to what is always short enough but for the rarest reports, which are cut.
_FORMS = (
    _Form(FRAMES, 2, 0), _Form(10, 2, 0), _Form(10, 1, 3), _Form(FRAMES, -1, 0), _Form(10, -1, 3),
    _Form(7, -1, 2), _Form(5, -1, 1),
)  # fmt: skip


def first_screen(paper: Paper, report: Report, hint: str = "") -> None:
    """Everything that the first look needs, in at most 40 lines; `hint` is the last one."""
    for form in _FORMS:
        body, end = _body(report, paper.width, form), _end(report, paper.width, hint)
        if len(body.lines) + len(end.lines) <= LINES:
            break
    room = LINES - len(end.lines)
    if len(body.lines) > room:
        del body.lines[room - 1 :]
        body.line(Span("    ... the rest is in the full report", DIM))
    paper.lines += body.lines + end.lines


def _body(report: Report, width: int, form: _Form) -> Paper:
    paper = Paper(width)
    words = title_words(report)
    paper.lines += _short(_lines(width, Span(words, TITLE)), 2 if form.lines else 0, width)
    paper.lines.append((Span("=" * min(paper.width, columns(words)), DIM),))
    for field in fields(report):
        one = Paper(width)
        one.field(field.label, *shortened(field, width))
        # (why it died is what all the rest is for)
        most = form.lines + 2 * (field.label == "Why") if form.lines else 0
        paper.lines += _short(one.lines, most, width)
    if form.around >= 0:
        _excerpt(paper, report, form.around)
    if report.threads:
        paper.blank()
        title = _lines(width, Span(stack_title(report), TITLE))
        paper.lines += _short(title, 1 if form.lines else 0, width)
        thread, own = report.threads[0], own_frame(report)
        stack_lines(paper, thread, report.handled_signals, form.frames, own)
    return paper


def _excerpt(paper: Paper, report: Report, around: int) -> None:
    """The source of the innermost frame that has some."""
    if not report.excerpts:
        return
    one = report.excerpts[0]
    paper.blank()
    title = _lines(paper.width, Span(f"Source of {excerpt_title(report, one)}", TITLE, one.file))
    paper.lines += _short(title, 1, paper.width)
    excerpt_lines(paper, one, around)


def _end(report: Report, width: int, hint: str) -> Paper:
    paper = Paper(width)
    paper.lines.append(())
    for words in end_words(report):
        paper.lines += _short(_lines(width, Span(words, DIM), 8), 3, width)
    if hint:
        paper.line(Span(hint, DIM))
    return paper


def _lines(width: int, span: Span, indent: int = 2) -> list[Line]:
    paper = Paper(width)
    paper.line(span, indent=indent)
    return paper.lines


def _short(lines: list[Line], most: int, width: int) -> list[Line]:
    """At most so many of the lines (0: all); the last one says if there were more."""
    if not most or len(lines) <= most:
        return lines
    last = list(lines[most - 1])
    while last and sum(columns(span.text) for span in last) > width - 4:
        text = last[-1].text[:-1]
        last[-1:] = [last[-1]._replace(text=text)] if text else []
    return [*lines[: most - 1], (*last, Span(" ..."))]
