"""How much work the tables of all ELF files of one analysis may be.

Each table has a bound of its own, but a core may name thousands of files, and a file its tables a
thousand times. A step is about a microsecond: a section, a symbol, a note, a hundred bytes that
are searched. What there are no steps left for reads as absent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

ANALYSIS_STEPS = 12_000_000
SEARCHED_BYTES = 128  # in one step
NOT_READ = f"more than {ANALYSIS_STEPS // 1_000_000} million entries in all: some were not read"


@dataclass(slots=True)
class _Effort:
    left: int
    refused: Callable[[], None]


_effort: ContextVar[_Effort | None] = ContextVar("effort", default=None)


def limit_effort(steps: int, refused: Callable[[], None]) -> None:
    """From now on this context has so many steps; `refused` is called once, when they do not
    suffice."""
    _effort.set(_Effort(steps, refused))


def spend(steps: int) -> bool:
    """Take steps; False (and none is taken) if there are fewer left. Without a limit, always
    True."""
    found = _effort.get()
    if found is None:
        return True
    if steps <= found.left:
        found.left -= steps
        return True
    say, found.refused = found.refused, _nothing
    say()
    return False


def affordable(steps: int) -> int:
    """How many of so many steps can be had; they are taken."""
    found = _effort.get()
    if found is None or spend(steps):
        return steps
    most, found.left = found.left, 0
    return most


def _nothing() -> None:
    pass
