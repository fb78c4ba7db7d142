"""docs/performance.md: the figures of one run, between marks in text that stays; and the plot."""

from __future__ import annotations

from pathlib import Path

from usercrash.errors import UsercrashError

from .plot import hold_over_memory
from .results import Results
from .table import BURST_MEANING, MEANING, about, grids, markdown, reached, remarks

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
PLOT = "hold.svg"


def write(results: Results, document: Path = DOCUMENT) -> None:
    """Put the figures into the document, the plot beside it; UsercrashError without the marks."""
    text = document.read_text()
    for name, new in parts(results).items():
        text = put_between(text, name, new, str(document))
    document.with_name(PLOT).write_text(hold_over_memory(results))
    document.write_text(text)


def put_between(text: str, name: str, new: str, place: str) -> str:
    """The text with what stands between the marks of this name replaced."""
    marks = [f"<!-- {name}: {end} -->\n" for end in ("begin", "end")]
    before, begin, rest = text.partition(marks[0])
    _old, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise UsercrashError(f"{place} has no lines {' and '.join(map(str.strip, marks))}")
    return before + begin + new + end + after


def parts(results: Results) -> dict[str, str]:
    """What the document shows of a run, by the names of the marks."""
    tables = [markdown(grid) for grid in grids(results)]
    notes = "".join(f"- {line}\n" for line in remarks(results))
    return {
        "machine": "\n".join(about(results)) + "\n",
        "targets": markdown(reached(results)),
        "figures": "\n".join([MEANING + "\n", BURST_MEANING + "\n", *tables, notes]),
    }
