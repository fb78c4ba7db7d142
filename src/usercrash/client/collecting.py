"""Collect one crash: capture, let go. The same for every entrance from the kernel.

Imported before the crashed process is released: standard library only.
"""

from __future__ import annotations

import _signal
import os
import time

from ..capture.collect import Limits, collect
from ..capture.kernel_dump import KernelDump
from ..errors import UsercrashError
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from ..model.event import CrashEvent
    from ..model.notes import NoteLog
    from ..model.snapshot import Snapshot
    from .link import ServerLink

# The server gives up a capture after [server] capture_seconds, which a cold client does not know;
# a tenth earlier we give up what hangs and deliver the rest. Alone, everything after the release
# has to be done in ALONE_SECONDS.
HELD_SECONDS, HELD_PART = 9.0, 0.9
ALONE_SECONDS = 120


class Collected:
    """What came of a capture: `snapshot` is None where there was nothing to take; `hold_ns` from
    `started` until the process was let go."""

    __slots__ = ("event", "hold_ns", "notes", "snapshot")

    def __init__(
        self, event: CrashEvent, notes: NoteLog, snapshot: Snapshot | None, hold_ns: int
    ) -> None:
        self.event = event
        self.notes = notes
        self.snapshot = snapshot
        self.hold_ns = hold_ns


def capture(
    stream_fd: int,
    pidfd: int,
    event: CrashEvent,
    notes: NoteLog,
    link: ServerLink,
    let_go: Callable[[], None],
    started: int,
    limits: Limits | None = None,
    seconds: float = HELD_SECONDS,
) -> Collected:
    """The snapshot of the process that the kernel dumps into `stream_fd`.

    Takes over both descriptors. `let_go` ends the hold, whoever else has the stream open; it is
    called as soon as that can be, and in any case. `started` is time.monotonic_ns() of when the
    hold began. Without `limits` those of the server apply if it has answered by then, else the
    default; after `seconds` what hangs is given up. Never raises for what the process is or does:
    that is in the notes.
    """
    snapshot = None
    released = 0
    watch(seconds)
    try:
        target = KernelDump.open(stream_fd, event, pidfd, notes, let_go=let_go)
        try:
            chosen = limits or link.limits()
            if chosen is None:
                chosen = Limits()
                chosen.ask_variables = link.wants_variables
            snapshot = collect(target, chosen)
        finally:
            watch(0)
            target.release()
            released = target.released_ns
    except UsercrashError as error:
        notes.add("capture", "the process", str(error))
    except Exception as error:  # a mistake of ours must not cost the event
        notes.add("capture", "the process", f"{type(error).__name__}: {error}")
    finally:
        if not released:
            watch(0)
            let_go()
    return Collected(event, notes, snapshot, (released or time.monotonic_ns()) - started)


def watch(seconds: float) -> None:
    """Raise TimeoutError in the main thread after `seconds`, and again each second, because
    it ends only the one call that hangs; 0 ends the watch."""
    _signal.signal(_signal.SIGALRM, _timed_out)
    _signal.setitimer(_signal.ITIMER_REAL, seconds, 1.0)


def _timed_out(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("took too long")


def complain(text: str) -> None:
    """Say it on standard error, in at most 800 bytes: a line that the kernel's log can take."""
    os.write(2, f"usercrash_c: {text}"[:800].encode("utf-8", "backslashreplace") + b"\n")
