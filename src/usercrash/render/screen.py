"""A report on a terminal: the words of render.text, with colours where they help."""

from __future__ import annotations

import io
from collections.abc import Callable
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


Linker = Callable[[str], str]
"""Gives the URL of the file of a path, "" where there is to be no link."""


def render_screen(
    report: Report,
    *,
    part: str = "full",
    color: bool = False,
    width: int = 80,
    link: Linker | None = None,
    hint: str = "",
) -> str:
    """The text for a terminal of `width` columns; `part` is "first" (the first screen, with `hint`
    as its last line), "full" or "stacks". With `color`, `link` makes links of files (OSC 8)."""
    if part == "stacks":
        paper = stacks_paper(report, width=width)
    else:
        first = part == "first"
        paper = report_paper(report, first_screen_only=first, width=width, hint=hint)
    return paper_text(paper, color=color, link=link)


def paper_text(paper: Paper, *, color: bool, link: Linker | None = None) -> str:
    """The lines for a terminal; with `color`, ANSI colours (else without importing rich) and
    links."""
    if not color:
        return paper.text()
    from rich.console import Console

    target = io.StringIO()
    console = Console(
        file=target, force_terminal=True, color_system="standard", width=paper.width,
        legacy_windows=False, _environ={},
    )  # fmt: skip
    _print(paper, console, link or _no_link)
    return target.getvalue()


def _no_link(path: str) -> str:
    return ""


def _print(paper: Paper, console: Console, link: Linker) -> None:
    from rich.style import Style
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ignore", end="")
    for line in paper.lines:
        for span in line:
            url = link(span.file) if span.file else ""
            style = _STYLES.get(span.style, "")
            text.append(span.text, style=Style.parse(style) + Style(link=url) if url else style)
        text.append("\n")
    console.print(text, markup=False, highlight=False, soft_wrap=True, end="")
