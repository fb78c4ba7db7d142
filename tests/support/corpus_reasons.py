"""Why gdb or eu-stack shows another stack than we do, for each build of the corpus."""

from __future__ import annotations

from .corpus_document import Reason
from .corpus_run import BETTER

REASONS: list[Reason] = [
    Reason(
        "musl-gcc/*", "gdb", BETTER,
        "musl's own code has no call frame information in Debian; gdb guesses by the frame pointer and "
        "goes through addresses that are no code. Our frames follow the code to its return.",
    ),
    Reason(
        "musl-gcc/*", "eu-stack", BETTER,
        "musl's own code has no call frame information in Debian: eu-stack's stack ends there.",
    ),
]  # fmt: skip
