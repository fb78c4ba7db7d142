"""What all parts of one analysis may spend together of something."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class _Left:
    amount: int
    refused: Callable[[], None]


class Allowance:
    """An amount that each context has for itself; where none was begun, as much as is asked for."""

    def __init__(self, name: str) -> None:
        self._left: ContextVar[_Left | None] = ContextVar(name, default=None)

    def begin(self, amount: int, refused: Callable[[], None]) -> None:
        """From now on this context has so much; `refused` is called once, when that does not
        suffice."""
        self._left.set(_Left(amount, refused))

    def take(self, amount: int) -> bool:
        """Take so much (less than nothing gives back); False, and nothing is taken, if there is
        less left."""
        found = self._left.get()
        if found is None:
            return True
        if amount <= found.amount:
            found.amount -= amount
            return True
        say, found.refused = found.refused, _nothing
        say()
        return False

    def take_up_to(self, amount: int) -> int:
        """How much of so much can be had; it is taken."""
        found = self._left.get()
        if found is None or self.take(amount):
            return amount
        most, found.amount = found.amount, 0
        return most


def _nothing() -> None:
    pass
