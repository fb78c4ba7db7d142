"""docs/performance.md: the tables and the plot of one run, between marks in text that stays."""

from __future__ import annotations

from pathlib import Path

from usercrash.errors import UsercrashError

from .plot import hold_over_memory
from .results import Results
from .table import grids, markdown, remarks

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
PLOT = "hold.svg"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def write(results: Results, document: Path = DOCUMENT) -> None:
    """Put the figures into the document, the plot beside it; UsercrashError without the marks."""
    text = put_between(document.read_text(), figures(results), str(document))
    document.with_name(PLOT).write_text(hold_over_memory(results))
    document.write_text(text)


def put_between(text: str, new: str, place: str) -> str:
    """The text with what stands between the marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise UsercrashError(f"{place} has no lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + new + end + after


def figures(results: Results) -> str:
    """The tables as Markdown."""
    parts = [f"{results.machine}. {results.date}. Medians; hold in ms from the fault to the "
             "return of the parent's wait.\n"]  # fmt: skip
    parts += [markdown(grid) for grid in grids(results)]
    if lines := remarks(results):
        parts.append("".join(f"- {line}\n" for line in lines))
    return "\n".join(parts)
