"""From a minicore to a published report: the one way, for every entrance.

    analyse_isolated   minicore and ELF descriptors → text, JSON, compressed minicore
    complete           the same, then published in the store, and the event closed
    report_snapshot    a snapshot in memory → the same, for debugger and run

The analysis runs in the sandbox; nothing on this side parses what comes back.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from .analysis.core.file_search import HOST, Place, SearchPlaces
from .analysis.sandbox import Send, run_isolated
from .config import Config
from .debuginfod.fetching import (
    Missing,
    cache_places,
    deadline,
    decode_missing,
    encode_missing,
    fetch,
)
from .descriptors import write_all
from .elf.corewriter import write_core
from .errors import UsercrashError
from .model.event import CrashEvent
from .model.minicore import files_in_order
from .model.notes import NoteLog
from .model.snapshot import Snapshot
from .report import Report
from .sharing import sandbox_limits, share_by_path, share_symcaches
from .storage.events import DUPLICATE, INCOMPLETE, LOST, PUBLISHED, EventLog
from .storage.store import AlreadyPublishedError, Store

if TYPE_CHECKING:
    from .analysis.core.modules import Module

TEXT, JSON, CORE, SCREEN, WANTED, NAMES = b"TEXT", b"JSON", b"CORE", b"SCRN", b"WANT", b"NAME"
MISSING, SUMMARY = b"MISS", b"SUMM"
_INDEX = struct.Struct("<I")
_MAX_WANTED = 64
_ZSTD_LEVEL = 3


@dataclass(frozen=True, slots=True)
class View:
    """What is wanted besides text and JSON: a coloured or plain screen, the minicore (zstd), a
    summary (render/summary.py)."""

    screen: str = ""  # "", "first" (the first screen), "full" or "stacks"
    color: bool = False
    width: int = 80
    core: bool = False
    summary: bool = False


@dataclass(frozen=True, slots=True)
class Material:
    """What an analysis is made of.

    `core` is a descriptor of any ELF core; `files` are descriptors of the ELF files in the order
    of the minicore's NT_FILES, -1 for one that was let go. With `by_path`, files without a
    descriptor (a core from elsewhere, a restart) are looked for in `places`, without privileges,
    and believed only if their build-ids are right. `exe` is the program where the core cannot
    name it; with `force_exe` the program's file is taken whatever it is. `left_out` are files that
    were not fetched for lack of time.
    """

    crash_id: str
    core: int
    files: Sequence[int] = ()
    by_path: bool = False
    exe: Place | None = None
    force_exe: bool = False
    places: SearchPlaces = HOST
    left_out: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True)
class Analysed:
    """The rendered forms (b"" where absent); `failure` says why, where it is not all.

    `wanted` are indexes into Material.files: worth a SymCache that all may share; so are the
    files of these `names` (with a NUL between), which had no descriptor. `missing` are files that
    a debuginfod server might have.
    """

    text: bytes = b""
    json: bytes = b""
    core: bytes = b""
    screen: bytes = b""
    wanted: tuple[int, ...] = ()
    names: bytes = b""
    missing: tuple[Missing, ...] = ()
    summary: bytes = b""
    failure: str = ""


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


def preload() -> None:
    """Import everything that an analysis will use, so that forked children need not."""
    import zstandard  # noqa: F401

    from .analysis import assemble
    from .analysis.core import image, jit_modules, modules
    from .analysis.symbols import symbolizer as symbols
    from .render import screen, text

    del image, jit_modules, modules, symbols, screen, text
    assemble.preload()


def analyse_again(material: Material, config: Config, view: View, until: float) -> Analysed:
    """Analyse once more with what was fetched, in one attempt before `until` (monotonic seconds):
    there is a report already. Never raises; without text where it could not be done."""
    left = min(config.analysis.seconds, until - time.monotonic())
    if left <= 0:
        return Analysed(failure="no time left for an analysis with what was fetched")
    preload()
    return _attempt(material, config, view, careful="", seconds=left)


def analyse_isolated(material: Material, config: Config, view: View) -> Analysed:
    """Analyse in the sandbox; never raises for what is wrong with the material.

    Where that brings no report, once more without the native libraries that read names and debug
    information of the process's files: they are the likely ones to have died of them.
    """
    preload()
    first = _attempt(material, config, view, careful="")
    if first.text and first.json:
        return first
    second = _attempt(material, config, view, careful=first.failure or "no report came back")
    return second if second.text and second.json else first


def _attempt(
    material: Material, config: Config, view: View, careful: str, seconds: float = 0.0
) -> Analysed:
    """One analysis; `careful` says why it must be without native libraries ("": it need not),
    `seconds` how long it may take (0: as configured)."""
    cache = _open_cache(config.paths.cache)
    owner = os.geteuid()  # the child is somebody else when it asks

    kept: list[object] = []

    def work(send: Send) -> None:
        # By its descriptor: a directory above it may be closed to the unprivileged child.
        place = f"/proc/self/fd/{cache}" if cache >= 0 else None
        # Kept, because to take it apart would take longer than to end with it.
        kept.append(_analyse(material, place, owner, view, careful, send))

    try:
        named = material.exe.fd if material.exe is not None else -1
        places = material.places.descriptors()
        keep = (material.core, *material.files, named, *places, cache)
        limits = sandbox_limits(config)
        result = run_isolated(work, keep, replace(limits, seconds=seconds or limits.seconds))
    finally:
        if cache >= 0:
            os.close(cache)
    parts = result.sections
    count = len(parts.get(WANTED, b"")) // 4
    wanted = struct.unpack_from(f"<{min(count, _MAX_WANTED)}I", parts.get(WANTED, b""))
    return Analysed(
        parts.get(TEXT, b""), parts.get(JSON, b""), parts.get(CORE, b""), parts.get(SCREEN, b""),
        tuple(one for one in wanted if one < len(material.files) and material.files[one] >= 0),
        parts.get(NAMES, b""), decode_missing(parts.get(MISSING, b"")),
        parts.get(SUMMARY, b""), result.failure,
    )  # fmt: skip


def _open_cache(path: str) -> int:
    """The directory of SymCaches; -1 where there is none, or others could have put some there:
    then everything is made for this crash alone."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    status = os.fstat(fd)
    if status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022:
        return fd
    os.close(fd)
    return -1


def _analyse(
    material: Material, cache: str | None, owner: int, view: View, careful: str, send: Send
) -> object:
    """The child's work: text and JSON first, so that they are there if the rest fails. Gives all
    that it was made of."""
    from .analysis.assemble import assemble
    from .analysis.binary.inflation import ANALYSIS_BYTES, NOT_INFLATED, allow
    from .analysis.core.image import CoreImage
    from .analysis.core.jit_modules import JitModules
    from .analysis.core.module_files import DescriptorFiles, FileProvider, FileProviders, PathFiles
    from .analysis.core.modules import load_modules
    from .analysis.symbols.debug_files import separate_elf
    from .analysis.symbols.symbolizer import Symbolizer
    from .render.text import render_text
    from .report import to_json

    # (what the first attempt waited for may have been the server of a network disk)
    places = replace(material.places, local=True) if careful else material.places
    size = os.fstat(material.core).st_size
    data = mmap.mmap(material.core, size, access=mmap.ACCESS_READ)
    image = CoreImage.open(data)
    allow(ANALYSIS_BYTES, lambda: image.notes.add("analysis", "compressed sections", NOT_INFLATED))
    for file, fd in zip(image.files, material.files, strict=False):
        file.fd = fd
    providers: list[FileProvider] = [DescriptorFiles(image.files, image.notes)]
    if material.by_path:
        providers.append(PathFiles(image.notes, places=places))
    provider = FileProviders(providers)
    modules = load_modules(
        image, provider, material.exe, force_exe=material.force_exe,
        debug_file=partial(separate_elf, places=places),
    )  # fmt: skip
    modules.made_at_run_time = JitModules(image, modules).find
    _note_left_out(image.notes, modules, material.left_out)
    if careful:
        image.notes.add("analysis", "names and lines", f"the first attempt failed: {careful}")
    symbolizer = Symbolizer(cache, image.notes, owner=owner, places=places, native=not careful)
    zone = datetime.now().astimezone().tzinfo  # the times of those who read it here
    report = assemble(image, modules, symbolizer, material.crash_id, zone=zone or UTC)
    send(TEXT, render_text(report).encode())
    send(JSON, to_json(report))
    if view.summary:
        from .render.summary import encode_summary, summary

        send(SUMMARY, encode_summary(summary(report)))
    if view.screen:
        send(SCREEN, _screen(report, view))
    indexes = {fd: index for index, fd in enumerate(material.files) if fd >= 0}
    wanted = [indexes[module.fd] for module in symbolizer.wanted if module.fd in indexes]
    send(WANTED, b"".join(map(_INDEX.pack, wanted)))
    send(NAMES, b"\0".join(one.path for one in symbolizer.wanted if one.fd not in indexes))
    send(MISSING, encode_missing(symbolizer.missing))
    if view.core:
        import zstandard

        send(CORE, zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(memoryview(data)))
    return image, modules, symbolizer, report


def _note_left_out(notes: NoteLog, modules: Iterable[Module], left_out: Sequence[Missing]) -> None:
    """Say what servers may have and were not asked for."""
    paths = {module.build_id: module.path for module in modules}
    for kind, build_id in left_out:
        path = paths.get(build_id, f"build-id {build_id.hex()}".encode())
        what = f"{kind} of {path.decode('utf-8', 'backslashreplace')}"
        notes.add("debuginfod", what, "not fetched: no time left")


def _screen(report: Report, view: View) -> bytes:
    """The report as for a terminal of this width, coloured or plain."""
    from .render.screen import render_screen

    return render_screen(report, part=view.screen, color=view.color, width=view.width).encode()


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
    try:
        slot = store.publish(crash.id, crash.key, text, json, _core_of(crash, analysed))
    except AlreadyPublishedError:
        if log.is_open(crash.id):  # else a job that outlived its server has closed it
            log.closed(crash.id, DUPLICATE)
        outcome = DUPLICATE
    except UsercrashError as error:
        log.closed(crash.id, LOST, why=str(error))
        outcome = LOST
    else:
        outcome = INCOMPLETE if analysed.failure or crash.interrupted else PUBLISHED
        log.closed(crash.id, outcome, slot, analysed.failure or crash.interrupted)
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


def report_snapshot(snapshot: Snapshot, config: Config, crash_id: str, view: View) -> Analysed:
    """The analysis of a snapshot that is in memory (debugger, run)."""
    core = snapshot_core(snapshot)
    try:
        files = [file.fd for file in files_in_order(snapshot) if file.fd >= 0]
        analysed = analyse_isolated(Material(crash_id, core, files), config, view)
        if analysed.wanted:
            share_symcaches(analysed.wanted, files, config)
        return analysed
    finally:
        os.close(core)
