"""Values that cannot be had, and why."""

from __future__ import annotations

OPTIMIZED_OUT = "optimized out"
NOT_IN_DUMP = "not in the dump"
THREAD_LOCAL = "thread-local"


class Gap(Exception):
    """A value that cannot be had: `why` in a few words, for people."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
