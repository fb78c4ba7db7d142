"""Numbers as they stand in tables."""

from __future__ import annotations

NONE = "–"


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
