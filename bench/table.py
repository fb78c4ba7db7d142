"""The results as tables: for a terminal of 80 columns, and for the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

from .results import (
    FLOOR,
    MINICOREDUMPER,
    SOCKET,
    Burst,
    Load,
    Results,
    middle,
    over_floor,
    per_second,
    percentile,
)
from .targets import targets
from .unwinding import PATIENCE
from .words import NONE, number, ratio, size


@dataclass(slots=True)
class Grid:
    """A table as text: the first column is names, the others are numbers."""

    title: str
    head: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)


def grids(results: Results) -> list[Grid]:
    """All tables, in their order."""
    found = [_load(results, load) for load in results.loads()]
    for parallel in dict.fromkeys(one.parallel for one in results.bursts):
        found.append(_bursts([one for one in results.bursts if one.parallel == parallel]))
    if results.idle:
        found.append(_idle(results))
    if results.live:
        found.append(_live(results))
    if results.stacks:
        found += [_walks(results), _whole(results)]
    if results.explanation:
        found.append(_explanation(results))
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
    head = ("", "made", "a s", "alone", "hold", "99 %", "most", "known", "kept", "all after")
    grid = Grid(f"a burst, {bursts[0].parallel} at a time, 1 MB each", head)
    for one in bursts:
        if not one.hold:
            continue
        floor = one.collector == FLOOR
        grid.rows.append(
            [one.name, f"{one.crashes:,}", number(one.rate), number(middle(one.alone)),
             number(middle(one.hold)), number(percentile(one.hold, 99)), number(max(one.hold)),
             NONE if floor else f"{one.known:,}", NONE if floor else f"{one.kept:,}",
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


def _walks(results: Results) -> Grid:
    head = ("our walk", "frames", "first ms", "frames a s", "again ms", "frames a s", "name µs")
    grid = Grid("stacks of a core, walked", head)
    for one in results.stacks:
        first, again = middle(one.first), middle(one.again)
        grid.rows.append(
            [one.what, f"{one.frames:,}", number(first), number(per_second(one.frames, first)),
             number(again), number(per_second(one.frames, again)), number(middle(one.naming))]
        )  # fmt: skip
    return grid


def _whole(results: Results) -> Grid:
    tools = list(dict.fromkeys(tool for one in results.stacks for tool in one.whole))
    grid = Grid("the same, from start to end of each program, ms", ("", *tools))
    for one in results.stacks:
        cells = [_at_most(middle(one.whole.get(tool, []))) for tool in tools]
        grid.rows.append([one.what, *cells])
    return grid


def _explanation(results: Results) -> Grid:
    head = ("", "whole analysis", "explanation", "with variables")
    grid = Grid("a warm report without and with explanation, ms", head)
    for one in results.explanation:
        cells = [number(middle(each)) for each in (one.total, one.plain, one.with_variables)]
        grid.rows.append([one.what, *cells])
    return grid


def _at_most(milliseconds: float | None) -> str:
    """A time; of a program that had not come to its end by then, that it is longer."""
    longer = milliseconds is not None and milliseconds >= PATIENCE * 1e3
    return f"> {number(PATIENCE * 1e3)}" if longer else number(milliseconds)


def reached(results: Results) -> Grid:
    """What is aimed at, and what this run has shown."""
    grid = Grid("aims", ("", "at least", "measured", ""))
    words = {True: "reached", False: "missed", None: NONE}
    for one in targets(results):
        grid.rows.append([one.what, one.goal, one.measured, words[one.reached]])
    return grid


def remarks(results: Results) -> list[str]:
    """What has to be known about the tables, and what was not run, and why."""
    words = []
    if any(one.collector == MINICOREDUMPER and one.hold for one in results.crashes):
        words.append(f"{MINICOREDUMPER} keeps a core and makes no report")
    if any("drgn" in one.whole for one in results.stacks):
        words.append("drgn ends each stack at 1,024 frames")
    words += [
        f"{one.name}: with core_pipe_limit {one.pipe_limit:,} instead of its own"
        for one in results.bursts
        if not one.shipped
    ]
    absent = [f"{one.collector}: {one.absent}" for one in results.crashes if one.absent]
    absent += [f"{one.name}, burst: {one.absent}" for one in results.bursts if one.absent]
    words += [f"not run: {why}" for why in [*results.absent, *absent]]
    return list(dict.fromkeys(words))


def about(results: Results) -> list[str]:
    """The machine, the run, the peers: a sentence each."""
    return [
        f"{results.machine}.",
        f"One run of {results.minutes:.0f} minutes on {results.date}, load average "
        f"{results.load:.1f} before it.",
        f"Peers: {', '.join(results.versions) or 'none'}.",
    ]


MEANING = (
    "Medians. hold, alone: ms from the fault to the return of the parent's wait; over floor: above "
    "that of no dump; report: ms from the fault to the complete report; to ours: in units of "
    f"that of {SOCKET}; disk: what is kept of one crash."
)
BURST_MEANING = (
    "a s: captured in a second; alone: hold of such a process by itself; hold, 99 %, most: in "
    "the burst; known: crashes that the collector tells of; kept: with a complete report (others: "
    "with a core); all after: from the first fault to the last of those."
)


def show(console: Console, results: Results) -> None:
    """Print everything."""
    for line in about(results):
        console.print(line, markup=False, highlight=False)
    for words in ("", MEANING, "", BURST_MEANING, ""):
        console.print(words, markup=False, highlight=False)
    for grid in [*grids(results), reached(results)]:
        console.print(grid.title, style="bold", markup=False, highlight=False)
        console.print(_rich(grid, terminal=console.is_terminal))
        console.print()
    for line in remarks(results):
        console.print(line, markup=False, highlight=False)


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
