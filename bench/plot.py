"""Hold against memory as an SVG: both axes logarithmic, legible in light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from .results import Results, middle, names

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 215, 46, 54
# Told apart without colour, too: by their marks and by the names at the ends of the lines.
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #d5d5d5 } .axis { stroke: #707070 }
.line { fill: none; stroke-width: 2 } .back { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e8e8e8 } .grid { stroke: #3c3c3c } .axis { stroke: #9a9a9a } .back { fill: #161616 }
}
"""
_COLOURS = ("#7a7a7a", "#0b7fd4", "#3ba55d", "#d98200", "#c0392b", "#8e5bd0", "#2aa5a0", "#b5739d")
_MARKS = ("circle", "square", "diamond", "triangle")

Point = tuple[float, float]


def hold_over_memory(results: Results) -> str:
    """The medians of all collectors at the loads that differ in memory alone."""
    threads = results.loads()[0].threads
    loads = sorted({one for one in results.loads() if one.threads == threads},
                   key=lambda one: one.megabytes)  # fmt: skip
    lines: dict[str, list[Point]] = {}
    for name in names(results.crashes):
        # (one that has no figure of its own at a load was not measured there)
        there = [(load, results.of(load)) for load in loads]
        values = [(load, middle(row[name].hold)) for load, row in there if name in row]
        points = [(float(load.megabytes), value) for load, value in values if value]
        if len(points) > 1:  # a line
            lines[name] = points
    return _draw(lines, [float(load.megabytes) for load in loads], threads, results.machine)


def _draw(lines: dict[str, list[Point]], sizes: Sequence[float], threads: int, machine: str) -> str:
    values = [value for points in lines.values() for _, value in points]
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    first, last = math.log10(min(sizes)), math.log10(max(sizes))

    def place(point: Point) -> Point:
        across = (math.log10(point[0]) - first) / ((last - first) or 1)
        up = (math.log10(point[1]) - low) / ((high - low) or 1)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Hold against memory">',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 24, "How long a crashing process is held, by its memory", "title"),
        *_axes(place, sizes, low, high),
        _text(LEFT, HEIGHT - 12, f"memory; {threads} threads; {machine.partition(', files')[0]}"),
    ]
    parts += _curves(lines, place)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(
    place: Callable[[Point], Point], sizes: Sequence[float], low: int, high: int
) -> list[str]:
    parts = []
    for power in range(low, high + 1):
        x, y = place((min(sizes), 10.0**power))
        parts.append(_line("grid", x, y, WIDTH - RIGHT, y))
        label = f"{10**power:,} ms" if power < 3 else f"{10 ** (power - 3):,} s"
        parts.append(_text(x - 8, y + 4, label, anchor="end"))
    for size in sizes:
        x, y = place((size, 10.0**low))
        label = f"{size:.0f} MB" if size < 1024 else f"{size / 1024:.0f} GB"
        parts.append(_line("axis", x, y, x, y + 5))
        parts.append(_text(x, y + 20, label, anchor="middle"))
    return parts


def _curves(lines: dict[str, list[Point]], place: Callable[[Point], Point]) -> list[str]:
    """The lines with their marks; the names at their ends, moved apart."""
    parts = []
    ends = []
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        spots = [place(point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        parts += [_mark(_MARKS[number % len(_MARKS)], spot, colour) for spot in spots]
        ends.append((spots[-1][1], spots[-1][0], name, colour))
    nearest = -math.inf
    for y, x, name, colour in sorted(ends):
        nearest = max(y, nearest + 17)
        parts.append(f'<rect x="{x + 12:.1f}" y="{nearest - 6:.1f}" width="10" height="10" '
                     f'fill="{colour}"/>')  # fmt: skip
        parts.append(_text(x + 27, nearest + 4, name))
    return parts


def _mark(kind: str, spot: Point, colour: str) -> str:
    x, y = spot
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    corners = {
        "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "diamond": ((0, -6), (6, 0), (0, 6), (-6, 0)),
        "triangle": ((0, -6), (5, 4), (-5, 4)),
    }[kind]
    path = " ".join(f"{x + across:.1f},{y + down:.1f}" for across, down in corners)
    return f'<polygon points="{path}" fill="{colour}"/>'


def _line(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'
