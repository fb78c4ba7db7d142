"""Where a report of `usercrash run` goes: the reports directory, or one of the user's."""

from __future__ import annotations

import os
import stat
from contextlib import closing

from ..config import Config
from ..errors import UsercrashError
from ..isolated_analysis import Analysed
from ..model.event import CrashEvent
from ..storage.events import INCOMPLETE, LOST, PUBLISHED, EventLog
from ..storage.newfile import NewFile
from ..storage.reports import slot_name
from ..storage.store import Store
from .watcher import Wishes, say


def publish(
    config: Config, wishes: Wishes, crash_id: str, event: CrashEvent, analysed: Analysed
) -> str:
    """Make the report visible; gives where, for people. UsercrashError if it cannot be written.

    It goes to the reports directory if that can be written, else to the directory that the
    user named (the one that the program was started in, if none): to a named one in any case.
    """
    places = []
    if reports_writable(config.paths.reports):
        try:
            places.append(_into_store(config, crash_id, event, analysed))
        except UsercrashError as error:
            say(str(error))
    if wishes.directory or not places:
        places.append(
            into_directory(
                wishes.directory or wishes.cwd,
                config.reports.slots,
                analysed.text,
                {".json": analysed.json, ".core.zst": analysed.core},
            )
        )
    return " and ".join(places)


def reports_writable(path: str) -> bool:
    """Whether the reports directory is there and ours to write to."""
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK, effective_ids=True)


def _into_store(config: Config, crash_id: str, event: CrashEvent, analysed: Analysed) -> str:
    key = os.urandom(16)
    with closing(Store(config.paths.reports, config.reports.slots, create=True)) as store:
        log = EventLog(config.paths.state, say)
        log.announced(crash_id, key, event)
        try:
            number = store.publish(
                crash_id, key, analysed.text, analysed.json or None, analysed.core or None
            )
        except UsercrashError as error:
            log.closed(crash_id, LOST, why=str(error))
            raise
        outcome = INCOMPLETE if analysed.failure else PUBLISHED
        log.closed(crash_id, outcome, number, analysed.failure)
    return os.path.join(store.path, slot_name(number))


def into_directory(directory: str, slots: int, text: bytes, companions: dict[str, bytes]) -> str:
    """Write `usercrash_NN` and its companions (by suffix) into any directory; gives the path.

    NN is the first free number, or else that of the oldest report, which is replaced.
    """
    path = os.path.join(directory, slot_name(0))
    with NewFile(os.path.join(directory, slot_name(slots))) as file:
        file.write([text])
        for number in range(slots):
            path = os.path.join(directory, slot_name(number))
            if file.try_name(slot_name(number)):
                break
        else:
            path = _oldest(directory, slots)
            with NewFile(path) as replacement:
                replacement.commit([text])
    for suffix, content in companions.items():
        if content:
            with NewFile(path + suffix) as file:
                file.commit([content])
        elif os.path.lexists(path + suffix):
            os.unlink(path + suffix)  # of the report that was replaced
    return path


def _oldest(directory: str, slots: int) -> str:
    ages = []
    for number in range(slots):
        path = os.path.join(directory, slot_name(number))
        try:
            state = os.stat(path, follow_symlinks=False)
        except OSError:
            continue  # removed meanwhile
        if stat.S_ISREG(state.st_mode):
            ages.append((state.st_mtime_ns, path))
    if not ages:
        raise UsercrashError(f"cannot write a report in {directory!r}: all names are taken")
    return min(ages)[1]
