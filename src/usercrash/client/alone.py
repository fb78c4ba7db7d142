"""The client without a server: the same pipeline and store, in its own process."""

from __future__ import annotations

import os
from contextlib import closing

from ..errors import UsercrashError
from ..model.event import CrashEvent
from ..model.minicore import files_in_order
from ..model.notes import NoteLog
from ..model.snapshot import Snapshot
from ..model.types import TYPE_CHECKING
from ..storage.events import INCOMPLETE, LOST, EventLog
from ..storage.store import AlreadyPublishedError, Store
from .link import ServerLink, collected_text
from .program import complain

if TYPE_CHECKING:
    from ..config import Config

DEFAULT_PLACE = {"/var/log/usercrashes": 50}  # and how many reports it holds


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
        # Not only a wrong configuration: an installation in the middle of an upgrade, too.
        from ..server_config import load_effective

        config = load_effective(link.run, config_path)
    except Exception as error:
        crash_id = link.id or os.urandom(16).hex()
        why = f"{type(error).__name__}: {error}"
        outcome = _publish_plain(DEFAULT_PLACE, crash_id, link, event, snapshot, notes, why)
    else:
        outcome = _record(config, link, event, snapshot, notes)
    if outcome == LOST:
        complain(f"the crash of process {event.pid} (signal {event.signal}) could not be recorded")
    return 1 if outcome == LOST else 0


def _record(
    config: Config, link: ServerLink, event: CrashEvent, snapshot: Snapshot | None, notes: NoteLog
) -> str:
    """Complete it, with its lines in the event log; gives the outcome."""
    crash_id = link.id or os.urandom(16).hex()
    log = EventLog(config.paths.state, complain)
    if not link.id:
        log.announced(crash_id, link.key, event)
    try:
        return _complete(config, crash_id, log, link, event, snapshot, notes)
    except Exception as error:  # a library that is missing, a mistake of ours
        why = f"{type(error).__name__}: {error}"
        places = {config.paths.reports: config.reports.slots}
        places.update((place, DEFAULT_PLACE[place]) for place in DEFAULT_PLACE.keys() - places)
        outcome = _publish_plain(places, crash_id, link, event, snapshot, notes, why)
        log.closed(crash_id, outcome, why=why)
        return outcome


def _complete(
    config: Config,
    crash_id: str,
    log: EventLog,
    link: ServerLink,
    event: CrashEvent,
    snapshot: Snapshot | None,
    notes: NoteLog,
) -> str:
    from ..pipeline import Crash, complete, preload, snapshot_core

    preload()
    store = Store(config.paths.reports, config.reports.slots, create=True)
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
    places: dict[str, int],
    crash_id: str,
    link: ServerLink,
    event: CrashEvent,
    snapshot: Snapshot | None,
    notes: NoteLog,
    why: str,
) -> str:
    """Publish what was collected with the standard library alone, in the first place that
    takes it."""
    text = f"note: not analysed: {why!r}\n".encode() + collected_text(event, snapshot, notes)
    for place, slots in places.items():
        try:
            with closing(Store(place, slots, create=True)) as store:
                store.publish(crash_id, link.key, text, None, None)
        except AlreadyPublishedError:
            pass
        except UsercrashError as error:
            complain(str(error))
            continue
        return INCOMPLETE
    return LOST
