"""What the gallery's table is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What a summary's pattern may hold in braces, the regular expression for it, and how the document
# shows it.
PLACEHOLDERS = {
    "address": (r"0x[0-9a-f]+", "0x7f…"),
    "register": (r"[a-z][a-z0-9]+", "rax"),
    "where": (r"\S[^\n]*?(?: at [\w./-]+:\d+|\+0x[0-9a-f]+)", "function at file.c:12"),
    "number": (r"-?[0-9,]+", "N"),
    "bytes": (r"\d+ (?:byte|bytes|KiB|MiB)", "8 bytes"),
    "size": (r"\d+ (?:byte|bytes|KiB|MiB)", "8 MiB"),
    "access": (r"(?:read|write|read and write) of \d+ bytes?", "read of 8 bytes"),
    "memory": (r"(?:anonymous memory|the heap|the stack of thread \d+ \([^)]*\)|the main thread's "
               r"stack|the data of \S+)", "the heap"),
    "whose": (r"(?:the main|this) thread's stack", "the main thread's stack"),
    "program": (r"ways\w*", "program"),
    "instruction": (r"[a-z0-9]+(?: [^:]*?)?", "instruction"),
    "any": (r".*", "…"),
}  # fmt: skip
_BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to die. `program` is one of programs.BUILDS, or "py"; `summary` is the report's line
    with PLACEHOLDERS, which must match it whole; `means` says for people what it means and what to
    do.
    `detail` must stand in one of the details. A way that cannot die in another thread in the same
    words has `thread` False, one that only a build with debug information dies `plain` False."""

    program: str
    word: str
    kind: str
    reason: str
    summary: str
    means: str
    certainty: str = "certain"
    detail: str = ""
    thread: bool = True
    plain: bool = True
    listed: bool = True  # in the document; not, where another way has the same line

    @property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression of the summary."""
        parts, at = [], 0
        for found in _BRACES.finditer(self.summary):
            parts += [re.escape(self.summary[at : found.start()]), PLACEHOLDERS[found[1]][0]]
            at = found.end()
        return re.compile("".join(parts) + re.escape(self.summary[at:]))

    @property
    def example(self) -> str:
        """The summary as the document shows it."""
        return _BRACES.sub(lambda found: PLACEHOLDERS[found[1]][1], self.summary)


@dataclass(frozen=True, slots=True)
class Family:
    """Ways that have to do with each other; `intro` says what they have in common, and what to
    do."""

    title: str
    intro: str
    ways: tuple[Way, ...]
