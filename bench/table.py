"""The results as tables of 80 columns and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from .measure import LiveSeries, Load, Series

OURS = "usercrash, pipe"
FLOOR = "no dump"


def machine() -> str:
    """The machine in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            model = " ".join(line.partition(":")[2].split())
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} × {model}, {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def as_json(series: Sequence[Series], live: Sequence[LiveSeries]) -> dict[str, object]:
    """Every single measurement, in milliseconds."""
    return {
        "machine": machine(),
        "unit": "ms",
        "crashes": [
            {
                "collector": one.subject,
                "megabytes": one.load.megabytes,
                "threads": one.load.threads,
                "hold": one.hold,
                "report": one.report,
                "absent": one.absent or None,
            }
            for one in series
        ],
        "live": [{"tool": one.subject, "pause": one.pause, "total": one.total} for one in live],
    }


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(value: float | None, ours: float | None) -> str:
    if value is None or ours is None or value <= 0 or ours <= 0:
        return "–"
    ratio = value / ours
    return f"{ratio:,.0f} ×" if ratio >= 100 else f"{ratio:.2g} ×"


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _table(terminal: bool, title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD if terminal else None,
        pad_edge=False, width=78, title_style="bold",
    )  # fmt: skip


def _of_load(series: Sequence[Series], load: Load, terminal: bool) -> Table:
    table = _table(terminal, load.name)
    table.add_column("", min_width=17, no_wrap=True)
    for heading in ("runs", "hold ms", "over floor", "to ours", "report ms", "to ours"):
        table.add_column(heading, justify="right")
    rows = {one.subject: one for one in series if one.load == load}
    floor = _median(rows[FLOOR].hold) if FLOOR in rows else None
    ours = rows.get(OURS)
    our_hold = _median(ours.hold) if ours else None
    our_over = our_hold - floor if our_hold is not None and floor is not None else None
    our_report = _median(ours.report) if ours else None
    for one in rows.values():
        hold, report = _median(one.hold), _median(one.report)
        if hold is None:
            table.add_row(one.subject, "0", one.absent[:40] or "–")
            continue
        over = hold - floor if floor is not None and one.subject != FLOOR else None
        table.add_row(
            one.subject, str(len(one.hold)), _ms(hold), _ms(over), _ratio(over, our_over),
            _ms(report), _ratio(report, our_report),
        )  # fmt: skip
    return table


def _of_live(live: Sequence[LiveSeries], load: Load, terminal: bool) -> Table:
    table = _table(terminal, f"a live process: {load.name}")
    table.add_column("", min_width=17, no_wrap=True)
    for heading in ("runs", "pause ms", "to ours", "total ms", "to ours"):
        table.add_column(heading, justify="right")
    pause, total = _median(live[0].pause), _median(live[0].total)
    for one in live:
        table.add_row(
            one.subject, str(len(one.total)), _ms(_median(one.pause)),
            _ratio(_median(one.pause), pause), _ms(_median(one.total)),
            _ratio(_median(one.total), total),
        )  # fmt: skip
    return table


def show(
    console: Console, series: Sequence[Series], live: Sequence[LiveSeries], load: Load
) -> None:
    """Print everything: medians, and ratios to ours."""
    terminal = console.is_terminal
    console.print(machine())
    console.print("Medians. hold: from the fault to the return of the parent's wait.\n")
    for one in dict.fromkeys(one.load for one in series):
        console.print(_of_load(series, one, terminal))
        console.print()
    if live:
        console.print(_of_live(live, load, terminal))
    for why in dict.fromkeys(f"{one.subject}: {one.absent}" for one in series if one.absent):
        console.print(f"not run: {why}", markup=False)
