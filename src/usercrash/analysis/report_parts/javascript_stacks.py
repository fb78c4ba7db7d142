"""The JavaScript frames of a stack, by the names that V8 gives its code for perf.

With --perf-basic-prof V8 writes a line for each piece of code that it makes, named
`JS:*sell /srv/shop.js:3:18` (LogEventListener and CodeEventLogger, src/logging/log.cc; up to V8 9
the word is LazyCompile, Function, Script or Eval): how it was made (~ interpreted, ^ Sparkplug,
+ Maglev, * TurboFan), the function, and the line and column where that function begins. Where the
thread stands in it is not told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ... import report
from ..facts.texts import json_cost, safe

LANGUAGE = "javascript"
_NAME = re.compile(
    r"(?:JS|LazyCompile|Function|Script|Eval):([~^+*]?)(\S*) (.+?):(\d{1,9})(?::(\d{1,9}))?$"
)
_MADE = {"~": "interpreted", "^": "compiled by Sparkplug", "+": "compiled by Maglev",
         "*": "compiled by TurboFan", "": ""}  # fmt: skip
_COST = 150  # bytes of JSON and text beside the names
_MAX_NAME, _MAX_FILE = 300, 1024


class JavaScriptStacks:
    """The JavaScript stacks of one process's threads."""

    def __init__(self, budget: int) -> None:
        """`budget`: bytes of JSON and text that all frames together may take."""
        self._budget = budget

    def of(self, frames: Sequence[report.Frame], total: int) -> list[report.InterpretedStack]:
        """The JavaScript stack among these native frames, of which there are `total`."""
        found: list[report.InterpretedFrame] = []
        for frame in frames:
            name = frame.function
            match = _NAME.match(name) if name and frame.module is None else None
            if match is None:
                continue
            one = _frame(len(found), match, frame.index)
            self._budget -= _COST + json_cost(one.function) + json_cost(one.file)
            if self._budget < 0:
                break
            found.append(one)
        if not found:
            return []
        cut = self._budget < 0 or total > len(frames)
        return [
            report.InterpretedStack(
                language=LANGUAGE, version="", frames=found, frames_total=len(found),
                end="only the native frames that are shown were looked at" if cut else "",
            )
        ]  # fmt: skip


def _frame(index: int, match: re.Match[str], native: int) -> report.InterpretedFrame:
    tier, name, file, line, _ = match.groups()
    words = [f"from line {line}", _MADE[tier]]
    return report.InterpretedFrame(
        index=index,
        function=safe(name or "(anonymous)", _MAX_NAME),
        file=safe(file, _MAX_FILE),
        line=None,
        native=native,
        detail=", ".join(word for word in words if word),
    )
