"""A report on a terminal: the words of render.text, with colours where they help."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ..report import Report
from .layout import BAD, CAUSE, DIM, DOUBT, FUNCTION, GOOD, HEADING, LABEL, PLACE, TITLE, Paper
from .text import report_paper, stacks_paper

if TYPE_CHECKING:
    from rich.console import Console

# Only the sixteen colours that a terminal's own theme defines, none that vanish on white.
_STYLES = {
    TITLE: "bold",
    HEADING: "bold",
    LABEL: "dim",
    CAUSE: "bold red",
    FUNCTION: "bold",
    PLACE: "cyan",
    DIM: "dim",
    BAD: "bold red",
    DOUBT: "yellow",
    GOOD: "bold green",
}


def render_screen(
    report: Report, *, part: str = "full", color: bool = False, width: int = 80
) -> str:
    """The text for a terminal of `width` columns; `part` is "first" (the first screen), "full"
    or "stacks"."""
    if part == "stacks":
        paper = stacks_paper(report, width=width)
    else:
        paper = report_paper(report, first_screen_only=part == "first", width=width)
    return paper_text(paper, color=color)


def paper_text(paper: Paper, *, color: bool) -> str:
    """The lines for a terminal; with `color`, ANSI colours (else without importing rich)."""
    if not color:
        return paper.text()
    from rich.console import Console

    target = io.StringIO()
    console = Console(
        file=target, force_terminal=True, color_system="standard", width=paper.width,
        legacy_windows=False, _environ={},
    )  # fmt: skip
    _print(paper, console)
    return target.getvalue()


def _print(paper: Paper, console: Console) -> None:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ignore", end="")
    for line in paper.lines:
        for span in line:
            text.append(span.text, style=_STYLES.get(span.style))
        text.append("\n")
    console.print(text, markup=False, highlight=False, soft_wrap=True, end="")
