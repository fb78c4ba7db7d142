"""The client without a server: the same pipeline and store, in its own process."""

from __future__ import annotations

import os

from ..errors import UsercrashError
from ..model.event import CrashEvent
from ..model.minicore import files_in_order
from ..model.notes import NoteLog
from ..model.snapshot import Snapshot
from ..server_config import load_effective
from ..storage.events import INCOMPLETE, LOST, EventLog
from ..storage.store import AlreadyPublishedError, Store
from .link import ServerLink, collected_text
from .program import complain


def complete_alone(
    link: ServerLink,
    event: CrashEvent,
    snapshot: Snapshot | None,
    notes: NoteLog,
    config_path: str,
) -> int:
    """Analyse and publish; exit status 0 if a report (ours or another's) is there, else 1."""
    (snapshot.notes if snapshot else notes).add("client", "the server", link.why)
    try:
        outcome = _complete(link, event, snapshot, notes, config_path)
    except Exception as error:
        # A wrong configuration, an installation in the middle of an upgrade, a mistake of ours:
        # the event and the facts all the same.
        outcome = _publish_plain(link, event, snapshot, notes, f"{type(error).__name__}: {error}")
    if outcome == LOST:
        complain(f"the crash of process {event.pid} (signal {event.signal}) could not be recorded")
    return 1 if outcome == LOST else 0


def _complete(
    link: ServerLink,
    event: CrashEvent,
    snapshot: Snapshot | None,
    notes: NoteLog,
    config_path: str,
) -> str:
    from ..pipeline import Crash, complete, preload, snapshot_core

    config = load_effective(link.run, config_path)
    preload()
    crash_id = link.id or os.urandom(16).hex()
    log = EventLog(config.paths.state, complain)
    store = Store(config.paths.reports, config.reports.slots, create=True)
    if not link.id:
        log.announced(crash_id, link.key, event)
    crash = Crash(crash_id, link.key, event, report=_text_file(event, snapshot, notes))
    if snapshot is None:
        crash.interrupted = "; ".join(f"{note.what}: {note.why}" for note in notes)
    else:
        crash.core = snapshot_core(snapshot)
        crash.files = [file.fd for file in files_in_order(snapshot) if file.fd >= 0]
    return complete(config, store, log, crash, analyse=True)


def _text_file(event: CrashEvent, snapshot: Snapshot | None, notes: NoteLog) -> int:
    fd = os.memfd_create("report", os.MFD_CLOEXEC)
    os.write(fd, collected_text(event, snapshot, notes))
    return fd


def _publish_plain(
    link: ServerLink, event: CrashEvent, snapshot: Snapshot | None, notes: NoteLog, why: str
) -> str:
    """Publish what was collected with the standard library alone, in the default places."""
    crash_id = link.id or os.urandom(16).hex()
    text = f"note: not analysed: {why!r}\n".encode() + collected_text(event, snapshot, notes)
    try:
        store = Store("/var/log/usercrashes", create=True)
        store.publish(crash_id, link.key, text, None, None)
    except AlreadyPublishedError:
        return INCOMPLETE
    except UsercrashError as error:
        complain(str(error))
        return LOST
    return INCOMPLETE
