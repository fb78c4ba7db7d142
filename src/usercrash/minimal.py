"""The report of a crash of which hardly more than the announcement is known."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

from . import __version__
from .model.event import DUMP_MODE_ROOT, DUMP_MODE_USER, CrashEvent
from .report import VERSION, Cause, Event, NoteEntry, Process, Report, Signal, System

_MODES = {DUMP_MODE_USER: "user", DUMP_MODE_ROOT: "root-only"}


def minimal_report(crash_id: str, event: CrashEvent, why: str) -> Report:
    """A valid report, marked as incomplete because of `why`, made of the event alone."""
    seconds = event.time_ns / 1e9
    return Report(
        version=VERSION,
        id=crash_id,
        generator=f"usercrash {__version__}",
        complete=False,
        event=Event(
            time=datetime.fromtimestamp(seconds, UTC).astimezone().isoformat("T", "milliseconds"),
            source=event.source,
            dump_mode=_MODES.get(event.dump_mode, "unknown"),
        ),
        system=System(boot_id=event.boot_id.decode("ascii", "replace")),
        process=Process(
            pid=event.pid,
            tid=event.tid,
            comm=event.name.decode("utf-8", "backslashreplace"),
            exe="",
            cmdline=[],
            uid=None,
            gid=None,
        ),
        signal=Signal(
            number=event.signal, name=_signal_name(event.signal), code=None, code_name=""
        ),
        cause=Cause(
            kind="unknown",
            summary="not analysed; see the notes",
            certainty="possible",
        ),
        threads=[],
        memory=[],
        modules=[],
        maps=[],
        open_files=[],
        notes=[NoteEntry(stage="analysis", what="the complete report", why=why)],
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
