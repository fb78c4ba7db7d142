"""The client without a server: the same pipeline and store, in its own process."""

from __future__ import annotations

import os
from contextlib import closing

from ..descriptors import write_all
from ..errors import UsercrashError
from ..model.minicore import files_in_order
from ..model.types import TYPE_CHECKING
from ..storage.events import DUPLICATE, INCOMPLETE, LOST, EventLog
from ..storage.store import AlreadyPublishedError, Store
from .collecting import complain
from .link import collected_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from .collecting import Collected
    from .link import ServerLink

DEFAULT_PLACE = {"/var/log/usercrashes": 50}  # and how many reports it holds


def complete_alone(link: ServerLink, found: Collected, load: Callable[[], Config]) -> int:
    """Analyse and publish; exit status 0 if a report (ours or another's) is there, else 1.

    `load` gives the configuration; whatever it raises, the crash is published.
    """
    (found.snapshot.notes if found.snapshot else found.notes).add("client", "the server", link.why)
    try:
        # Not only a wrong configuration: an installation in the middle of an upgrade, too.
        config = load()
    except Exception as error:
        crash_id = link.id or os.urandom(16).hex()
        why = f"{type(error).__name__}: {error}"
        outcome = _publish_plain(DEFAULT_PLACE, crash_id, link, found, why)
    else:
        outcome = _record(config, link, found)
    if outcome == LOST:
        event = found.event
        complain(f"the crash of process {event.pid} (signal {event.signal}) could not be recorded")
    return 1 if outcome == LOST else 0


def _record(config: Config, link: ServerLink, found: Collected) -> str:
    """Complete it, with its lines in the event log; gives the outcome."""
    crash_id = link.id or os.urandom(16).hex()
    log = EventLog(config.paths.state, complain)
    if not link.id:
        log.announced(crash_id, link.key, found.event)
    try:
        return _complete(config, crash_id, log, link, found)
    except Exception as error:  # a library that is missing, a mistake of ours
        why = f"{type(error).__name__}: {error}"
        places = {config.paths.reports: config.reports.slots}
        places.update((place, DEFAULT_PLACE[place]) for place in DEFAULT_PLACE.keys() - places)
        outcome = _publish_plain(places, crash_id, link, found, why)
        log.closed(crash_id, outcome, why=why)
        return outcome


def _complete(
    config: Config, crash_id: str, log: EventLog, link: ServerLink, found: Collected
) -> str:
    from ..isolated_analysis import preload
    from ..pipeline import Crash, complete, snapshot_core

    preload()
    store = Store(config.paths.reports, config.reports.slots, create=True)
    crash = Crash(crash_id, link.key, found.event, report=_text_file(found))
    if found.snapshot is None:
        crash.interrupted = "; ".join(f"{note.what}: {note.why}" for note in found.notes)
    else:
        crash.core = snapshot_core(found.snapshot)
        crash.files = [file.fd for file in files_in_order(found.snapshot) if file.fd >= 0]
    return complete(config, store, log, crash, analyse=True)


def _text_file(found: Collected) -> int:
    fd = os.memfd_create("report", os.MFD_CLOEXEC)
    write_all(fd, collected_text(found))
    return fd


def _publish_plain(
    places: dict[str, int], crash_id: str, link: ServerLink, found: Collected, why: str
) -> str:
    """Publish what was collected with the standard library alone, in the first place that
    takes it."""
    text = f"note: not analysed: {why!r}\n".encode() + collected_text(found)
    for place, slots in places.items():
        try:
            with closing(Store(place, slots, create=True)) as store:
                store.publish(crash_id, link.key, text, None, None)
        except AlreadyPublishedError:
            return DUPLICATE
        except UsercrashError as error:
            complain(str(error))
            continue
        return INCOMPLETE
    return LOST
