"""The event log: one line when a crash is announced, one when it is closed.

`STATE/events.jsonl`, append-only, one JSON object a line (docs/formats.md). A crash
that is announced and never closed was interrupted: the next start of the server
finds it here. Writers append with one write(2) to an O_APPEND descriptor.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from ..model.event import CrashEvent

NAME = "events.jsonl"
MAX_BYTES = 8 << 20  # then it becomes events.jsonl.1, and the older one goes

# How a crash was closed.
PUBLISHED = "published"  # a complete report stands in a slot
INCOMPLETE = "incomplete"  # a report that says what was known stands in a slot
LOST = "lost"  # no report could be written; `why` says why
DUPLICATE = "duplicate"  # another collector had published it already


class Pending(NamedTuple):
    """A crash that was announced and not closed."""

    id: str
    key: bytes
    event: CrashEvent


class EventLog:
    """Appends to and reads the event log in the directory `state` (made with mode 0700)."""

    def __init__(self, state: str) -> None:
        self.path = os.path.join(state, NAME)
        os.makedirs(state, mode=0o700, exist_ok=True)

    def announced(self, crash_id: str, key: bytes, event: CrashEvent) -> None:
        """A crash has begun to be collected; OSError if that cannot be written."""
        fields = {
            name.decode(): value.decode("utf-8", "backslashreplace")
            for name, value in event.to_fields().items()
        }
        self._append({"what": "announced", "id": crash_id, "key": key.hex(), **fields})

    def closed(self, crash_id: str, outcome: str, slot: int | None = None, why: str = "") -> None:
        """A crash has come to its end; OSError if that cannot be written."""
        line: dict[str, object] = {"what": "closed", "id": crash_id, "outcome": outcome}
        if slot is not None:
            line["slot"] = slot
        if why:
            line["why"] = why
        self._append(line)

    def _append(self, line: dict[str, object]) -> None:
        data = json.dumps({"at": time.time_ns(), **line}).encode() + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.path, flags | os.O_NONBLOCK, 0o600)
        try:
            if os.fstat(fd).st_size > MAX_BYTES:
                os.replace(self.path, self.path + ".1")
            # A line that was cut short by a full disk must not swallow this one.
            if os.write(fd, data) != len(data):
                os.write(fd, b"\n")
                raise OSError(28, os.strerror(28), self.path)
        finally:
            os.close(fd)

    def lines(self) -> Iterator[dict[str, object]]:
        """All whole lines, the older file's first; what is no JSON object is passed over."""
        for path in (self.path + ".1", self.path):
            try:
                with open(path, "rb") as file:
                    for raw in file:
                        try:
                            line = json.loads(raw)
                        except ValueError:
                            continue
                        if isinstance(line, dict):
                            yield line
            except FileNotFoundError:
                continue

    def pending(self) -> list[Pending]:
        """The crashes that were announced and not closed, in their order."""
        waiting: dict[str, Pending] = {}
        for line in self.lines():
            crash_id = str(line.get("id", ""))
            if line.get("what") == "announced":
                fields = {
                    name.encode(): str(value).encode()
                    for name, value in line.items()
                    if isinstance(value, str)
                }
                try:
                    key = bytes.fromhex(str(line.get("key", "")))
                except ValueError:
                    continue
                waiting[crash_id] = Pending(crash_id, key, CrashEvent.from_fields(fields))
            elif line.get("what") == "closed":
                waiting.pop(crash_id, None)
        return list(waiting.values())
