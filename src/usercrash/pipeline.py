"""From a minicore to a published report: the one way, for every entrance.

complete           analysed (isolated_analysis), published in the store, and the event closed
report_snapshot    a snapshot in memory, analysed, for debugger and run
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .analysis.core.file_search import Place, SearchPlaces
from .config import Config
from .debuginfod.fetching import (
    cache_places,
    deadline,
    fetch,
)
from .descriptors import write_all
from .elf.corewriter import write_core
from .errors import UsercrashError
from .isolated_analysis import (
    Analysed,
    Material,
    View,
    analyse_again,
    analyse_isolated,
)
from .model.event import CrashEvent
from .model.minicore import files_in_order
from .model.snapshot import Snapshot
from .sharing import share_by_path, share_symcaches
from .storage.events import DUPLICATE, INCOMPLETE, LOST, PUBLISHED, EventLog
from .storage.store import AlreadyPublishedError, Store

_ZSTD_LEVEL = 3


@dataclass(slots=True)
class Crash:
    """A crash that is to be published: who it is, and what its collector left.

    `report` and `core` are descriptors of the spool files, -1 where there are none; `files` those
    of the ELF files, -1 for one that was let go; `by_path`, because there never were any.
    `interrupted` says what went wrong in the collection ("" for nothing): the report is
    incomplete then.
    """

    id: str
    key: bytes
    event: CrashEvent
    report: int = -1
    core: int = -1
    files: list[int] = field(default_factory=list)
    by_path: bool = False
    interrupted: str = ""


def complete(
    config: Config,
    store: Store,
    log: EventLog,
    crash: Crash,
    *,
    analyse: bool,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Analyse (unless told not to), publish, close the event, clean up; gives the outcome.

    The outcome is a word of events.*. Without analysis, or where it fails, what the collector
    wrote is published with a note. What was missing is fetched afterwards, from the servers that
    are configured, and the report renewed; `say` is told of servers that fail.
    """
    places = SearchPlaces(caches=cache_places(config))
    analysed = Analysed(failure="not analysed: an earlier attempt did not come to an end")
    if crash.core < 0:
        analysed = Analysed(failure=crash.interrupted or "there is no minicore")
    elif analyse:
        by_path = crash.by_path or -1 in crash.files or bool(crash.interrupted)
        material = Material(crash.id, crash.core, crash.files, by_path, places=places)
        analysed = analyse_isolated(material, config, View(core=True))
    text, json = analysed.text, analysed.json
    if analysed.failure or crash.interrupted:
        why = analysed.failure or crash.interrupted
        text, json = _with_fallback(crash, analysed, why)
    outcome, slot = _publish(store, log, crash, analysed, text, json)
    store.remove_spool(crash.id)
    if outcome == PUBLISHED:
        share_symcaches(analysed.wanted, crash.files, config, places)
        if analysed.names:
            share_by_path(analysed.names, config, places)
    for fd in places.descriptors():
        os.close(fd)
    if outcome == PUBLISHED:
        _renew(config, store, crash, slot, analysed, say)
    return outcome


def _publish(
    store: Store, log: EventLog, crash: Crash, analysed: Analysed, text: bytes, json: bytes
) -> tuple[str, int]:
    """Put the report into a slot and close the event: the outcome, and the slot (-1: none)."""
    why = analysed.failure or crash.interrupted
    try:
        slot = store.publish(crash.id, crash.key, text, json, _core_of(crash, analysed))
    except AlreadyPublishedError:
        if log.is_open(crash.id):  # else a job that outlived its server has closed it
            log.closed(crash.id, DUPLICATE)
        return DUPLICATE, -1
    except UsercrashError as error:
        log.closed(crash.id, LOST, why=str(error))
        return LOST, -1
    outcome = INCOMPLETE if why else PUBLISHED
    log.closed(crash.id, outcome, slot, why)
    return outcome, slot


def _renew(
    config: Config,
    store: Store,
    crash: Crash,
    slot: int,
    first: Analysed,
    say: Callable[[str], None],
) -> None:
    """Fetch what the published analysis missed, and put a better one in its place."""
    if not first.missing or not config.symbols.debuginfod:
        return
    until = deadline(config)
    fetched = fetch(first.missing, config.symbols.debuginfod, config, wait=False, until=until)
    for line in fetched.trouble:
        say(line)
    if not fetched.count:
        return
    places = SearchPlaces(caches=cache_places(config))
    by_path = crash.by_path or -1 in crash.files or ("executable" in dict(first.missing))
    material = Material(
        crash.id, crash.core, crash.files, by_path, places=places, left_out=fetched.left_out
    )
    again = analyse_again(material, config, View(), until)
    if again.text and again.json and not again.failure:
        store.renew(crash.id, slot, again.text, again.json)
        share_symcaches(again.wanted, crash.files, config, places)
    else:
        say(f"the report stays as it was: {again.failure}")
    for fd in places.descriptors():
        os.close(fd)


def _core_of(crash: Crash, analysed: Analysed) -> bytes | None:
    """The minicore, compressed: the child's work, ours where it could not."""
    if analysed.core:
        return analysed.core
    if crash.core < 0 or os.fstat(crash.core).st_size == 0:
        return None
    import zstandard

    with mmap.mmap(crash.core, 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
        return zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(view)


def _with_fallback(crash: Crash, analysed: Analysed, why: str) -> tuple[bytes, bytes]:
    """Text and JSON where something failed: what the analysis gave, else what we were told,
    and what the collector wrote."""
    if analysed.text and analysed.json:
        return f"note: incomplete: {_one_line(why)}\n".encode() + analysed.text, analysed.json
    from .minimal_report import minimal_report
    from .render.text import render_text
    from .report import to_json

    report = minimal_report(crash.id, crash.event, why)
    text = render_text(report).encode()
    collected = _collected_text(crash)
    if collected:
        text += b"\nWhat the collector wrote before names were known\n\n" + collected
    return text, to_json(report)


def _collected_text(crash: Crash) -> bytes:
    if crash.report < 0:
        return b""
    return os.pread(crash.report, 16 << 20, 0).rstrip(b"\0")


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def snapshot_core(snapshot: Snapshot) -> int:
    """A descriptor of an unnamed file in memory that holds the raw minicore."""
    fd = os.memfd_create("minicore", os.MFD_CLOEXEC)
    for chunk in write_core(snapshot):
        write_all(fd, chunk)
    return fd


def report_snapshot(
    snapshot: Snapshot, config: Config, crash_id: str, view: View, sources: Sequence[str] = ()
) -> Analysed:
    """The analysis of a snapshot that is in memory (debugger, run); `sources` are directories of
    source files that somebody named."""
    core = snapshot_core(snapshot)
    places = SearchPlaces(sources=tuple(map(_opened, sources)))
    try:
        files = [file.fd for file in files_in_order(snapshot) if file.fd >= 0]
        material = Material(crash_id, core, files, places=places)
        analysed = analyse_isolated(material, config, view)
        if analysed.wanted:
            share_symcaches(analysed.wanted, files, config)
        return analysed
    finally:
        for fd in (core, *places.descriptors()):
            os.close(fd)


def _opened(directory: str) -> Place:
    """A directory with the rights of who named it: an analysis may have less."""
    name = os.fsencode(directory)
    try:
        return Place(name, os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return Place(name)  # the report will say why
