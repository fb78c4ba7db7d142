"""The results as tables: for a terminal of 80 columns, and for the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

from .results import (
    FLOOR,
    SOCKET,
    Burst,
    Load,
    Results,
    middle,
    over_floor,
    percentile,
)

NONE = "–"


@dataclass(slots=True)
class Grid:
    """A table as text: the first column is names, the others are numbers."""

    title: str
    head: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)


def number(value: float | None) -> str:
    """With as many digits as are worth something."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def ratio(value: float | None, ours: float | None) -> str:
    """`value` in units of ours."""
    if value is None or ours is None or value <= 0 or ours <= 0:
        return NONE
    times = value / ours
    return f"{times:,.0f} ×" if times >= 100 else f"{times:.2g} ×"


def size(value: int) -> str:
    """Bytes, for people."""
    if value <= 0:
        return NONE
    return f"{value / 1024:,.0f} KiB" if value < 1 << 20 else f"{value / (1 << 20):,.1f} MiB"


def grids(results: Results) -> list[Grid]:
    """All tables, in their order."""
    found = [_load(results, load) for load in results.loads()]
    if results.bursts:
        found.append(_bursts(results.bursts))
    if results.idle:
        found.append(_idle(results))
    if results.live:
        found.append(_live(results))
    return found


def _load(results: Results, load: Load) -> Grid:
    rows = results.of(load)
    head = ("", "runs", "hold ms", "over floor", "to ours", "report ms", "to ours", "disk")
    grid = Grid(load.name, head)
    ours = rows.get(SOCKET)
    our_over = over_floor(rows, SOCKET)
    our_report = middle(ours.report) if ours else None
    for name, one in rows.items():
        hold, report = middle(one.hold), middle(one.report)
        if hold is None:
            if not one.absent:
                continue
            grid.rows.append([name, "0", NONE, NONE, NONE, NONE, NONE, NONE])
            continue
        over = None if name == FLOOR else over_floor(rows, name)
        grid.rows.append(
            [name, str(len(one.hold)), number(hold), number(over), ratio(over, our_over),
             number(report), ratio(report, our_report), size(one.size)]
        )  # fmt: skip
    return grid


def _bursts(bursts: Sequence[Burst]) -> Grid:
    head = ("", "crashes", "a second", "hold ms", "99 %", "most", "counted", "kept", "all after")
    grid = Grid(
        f"{max(one.crashes for one in bursts):,} crashes, {bursts[0].parallel} at once", head
    )
    for one in bursts:
        if not one.hold:
            continue
        floor = one.collector == FLOOR
        grid.rows.append(
            [one.collector, f"{one.crashes:,}", number(one.rate), number(middle(one.hold)),
             number(percentile(one.hold, 99)), number(max(one.hold)),
             NONE if floor else f"{one.recorded:,}", NONE if floor else f"{one.kept:,}",
             NONE if floor else f"{one.done:.1f} s"]
        )  # fmt: skip
    return grid


def _idle(results: Results) -> Grid:
    grid = Grid("memory of the server and its children, PSS", ("", "at rest", "after 300 crashes"))
    for one in results.idle:
        cells = [f"{one.workers} workers", f"{one.at_rest:.1f} MB", f"{one.after_burst:.1f} MB"]
        grid.rows.append(cells)
    return grid


def _live(results: Results) -> Grid:
    head = ("", "runs", "pause ms", "to ours", "total ms", "to ours")
    grid = Grid("a live process of 10 MB and 9 threads", head)
    pause, total = middle(results.live[0].pause), middle(results.live[0].total)
    for one in results.live:
        grid.rows.append(
            [one.tool, str(len(one.total)), number(middle(one.pause)),
             ratio(middle(one.pause), pause), number(middle(one.total)),
             ratio(middle(one.total), total)]
        )  # fmt: skip
    return grid


def remarks(results: Results) -> list[str]:
    """What was not run, and why."""
    absent = [f"{one.collector}: {one.absent}" for one in results.crashes if one.absent]
    absent += [f"{one.collector}, burst: {one.absent}" for one in results.bursts if one.absent]
    return [f"not run: {why}" for why in dict.fromkeys([*results.absent, *absent])]


def show(console: Console, results: Results) -> None:
    """Print everything: medians, and ratios to ours behind the socket."""
    console.print(results.machine)
    console.print("Medians. hold: from the fault to the return of the parent's wait.\n")
    for grid in grids(results):
        console.print(grid.title, style="bold", markup=False)
        console.print(_rich(grid, terminal=console.is_terminal))
        console.print()
    for line in remarks(results):
        console.print(line, markup=False)


def _rich(grid: Grid, *, terminal: bool) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column(grid.head[0], no_wrap=True)
    for heading in grid.head[1:]:
        table.add_column(heading, justify="right", no_wrap=" " not in heading)
    for row in grid.rows:
        table.add_row(*row)
    return table


def markdown(grid: Grid) -> str:
    """The same for the document."""
    lines = [f"| {grid.title} | " + " | ".join(grid.head[1:]) + " |"]
    lines.append("|---" + "|--:" * (len(grid.head) - 1) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in grid.rows]
    return "\n".join(lines) + "\n"
