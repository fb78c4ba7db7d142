"""What each part of a report stands behind: a fault of ours costs that part only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..model.notes import NoteLog

T = TypeVar("T")


class Guard:
    """Makes parts. `complete` is False once one has failed; `took` is told how long each took:
    what it is, and seconds."""

    def __init__(self, notes: NoteLog, took: Callable[[str, float], None] | None = None) -> None:
        self.complete = True
        self._notes = notes
        self._took = took

    def __call__(self, stage: str, what: str, make: Callable[[], T], default: T) -> T:
        """What `make` gives; where it fails, `default`, a note, and an incomplete report."""
        begin = time.perf_counter()
        try:
            return make()
        except Exception as error:  # hostile input found a fault of ours: keep the rest
            self.complete = False
            self._notes.add(stage, what, f"{type(error).__name__}: {error}"[:300])
            return default
        finally:
            if self._took is not None:
                self._took(what, time.perf_counter() - begin)
