"""The report of a crash of which hardly more than the announcement is known."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

from . import __version__
from .model.event import DUMP_MODE_ROOT, DUMP_MODE_USER, SOURCE_PIPE, CrashEvent
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
        signal=_signal(event.signal),
        cause=Cause(
            kind="unknown",
            summary="not analysed; see the notes",
            certainty="unknown",
        ),
        threads=[],
        memory=[],
        modules=[],
        maps=[],
        open_files=[],
        notes=_notes(event, why),
    )


def _notes(event: CrashEvent, why: str) -> list[NoteEntry]:
    notes = [NoteEntry(stage="analysis", what="the complete report", why=why)]
    if event.source != SOURCE_PIPE:
        return notes  # the worker's own findings
    if event.name:
        told = "taken from core_pattern's %e, where other characters may stand for some"
        notes.append(NoteEntry(stage="process", what="its own word for its name", why=told))
    if event.pid and not event.tid:  # %p %e %s, and nothing came that could prove it
        told = f"{event.pid} is its number in its own pid namespace, which may not be ours"
        notes.append(NoteEntry(stage="process", what="its process id here", why=told))
    return notes


def _signal(number: int) -> Signal | None:
    if number == 0:
        return None  # the announcement did not say, and nothing else came
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"SIG{number}"
    return Signal(number=number, name=name, code=None, code_name="")
