"""How much work reading debug information may be: a file of a few kilobytes can claim any amount.

A unit of work is about a microsecond: an entry's attribute, an instruction of a line program, a
range, an abbreviation, a hundred bytes that are searched for their end. Each module has its share
of what one analysis may spend, so that one hostile file takes the names of no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import FormatError

ANALYSIS_WORK = 8_000_000
MODULE_WORK = 3_000_000
_LEASE = 50_000  # what a share takes from the whole at a time
_SMALL_LEASE = 1_000  # … from one that is not large

TOO_MUCH = "too much debug information to read here: names and lines are missing"


class TooMuchError(FormatError):
    """The work that was allowed is done; nothing more will be read."""


class Work:
    """What may still be spent: of a module's share, and of the `whole` that it is part of."""

    __slots__ = ("_lease", "_left", "_rest", "_whole")

    def __init__(self, units: int = MODULE_WORK, whole: Work | None = None) -> None:
        self._left = 0 if whole is not None else units  # (at hand)
        self._rest = units - self._left
        self._whole = whole
        self._lease = _LEASE

    @property
    def exhausted(self) -> bool:
        """Whether more was asked for than there is."""
        return self._left < 0

    def spend(self, units: int = 1) -> None:
        """Count work that is done or about to be; TooMuchError when it is more than allowed, and
        from then on."""
        self._left -= units
        if self._left < 0:
            self._refill()

    @contextmanager
    def lent(self, whole: Work) -> Iterator[None]:
        """Meanwhile, what is spent comes from another whole, and what this share had is kept."""
        kept = self._left, self._rest, self._whole, self._lease
        self._left, self._rest, self._whole, self._lease = 0, MODULE_WORK, whole, _SMALL_LEASE
        try:
            yield
        finally:
            whole.give_back(self._left)
            self._left, self._rest, self._whole, self._lease = kept

    def give_back(self, units: int) -> None:
        """What was taken and not spent."""
        if units > 0 and self._left >= 0:
            self._left += units

    def _refill(self) -> None:
        if self._whole is not None and self._rest > 0:
            wanted = min(max(self._lease, -self._left), self._rest)
            if wanted + self._left >= 0:
                self._rest -= wanted
                try:
                    self._whole.spend(wanted)
                except TooMuchError:
                    self._rest = 0
                    self._left = -1
                    raise
                self._left += wanted
                return
        self._rest, self._left = 0, -1
        raise TooMuchError(TOO_MUCH)
