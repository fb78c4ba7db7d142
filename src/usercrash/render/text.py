"""A report as plain text."""

from __future__ import annotations

from ..report import Report
from .first import deadlock_words
from .frames import group_title, groups, stack_lines, waiting_words
from .layout import BAD, DIM, FUNCTION, TITLE, Paper, Span, clean
from .screenful import first_screen
from .sections import ALL

WIDTH = 80
MAX_LINES = 50_000  # of one section


def render_text(report: Report, *, first_screen_only: bool = False, width: int = WIDTH) -> str:
    """The report for people: printable characters only, lines of at most `width` columns.

    Nothing that came from the process stands at the beginning of a line.
    """
    return report_paper(report, first_screen_only=first_screen_only, width=width).text()


def render_stacks(report: Report, *, width: int = WIDTH) -> str:
    """The stacks of all threads, and nothing else (`debugger --backtrace`)."""
    return stacks_paper(report, width=width).text()


def report_paper(
    report: Report, *, first_screen_only: bool = False, width: int = WIDTH, hint: str = ""
) -> Paper:
    """The lines of `render_text`, with their styles; a first screen by itself ends with `hint`."""
    paper = Paper(width)
    first_screen(paper, report, hint if first_screen_only else "")
    if first_screen_only:
        return paper
    for section in ALL:
        before = len(paper.lines)
        section(paper, report)
        _bound(paper, before)
    return paper


def _bound(paper: Paper, before: int) -> None:
    """Cut a section that would make the text larger than anybody reads."""
    left = len(paper.lines) - before - MAX_LINES
    if left > 0:
        del paper.lines[before + MAX_LINES :]
        paper.line(Span(f"    ... {left:,} further lines: see the JSON", DIM))


def stacks_paper(report: Report, *, width: int = WIDTH) -> Paper:
    """The lines of `render_stacks`, with their styles."""
    paper = Paper(width)
    process = report.process
    paper.line(Span(f"Stacks of {clean(process.comm)}, pid {process.pid}", TITLE), indent=2)
    for circle in deadlock_words(report):
        paper.field("Deadlock", Span(circle, BAD))
    for number, group in enumerate(groups(report.threads)):
        paper.blank()
        crashed = ", which crashed" if group[0].crashed else ""
        paper.line(Span(group_title(group), FUNCTION), crashed)
        for words in waiting_words(group):
            paper.line(Span(f"    {words}", DIM))
        stack_lines(paper, group[0], report.handled_signals if number == 0 else ())
    for note in report.notes:
        if note.stage in ("threads", "unwind", "symbols", "modules", "core"):
            words = f"note: {clean(note.stage)}: {clean(note.what)}: {clean(note.why)}"
            paper.line(Span(words, DIM), indent=4)
    return paper
